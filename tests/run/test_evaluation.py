"""Both protocols against a slow loop in float64; every position of a split counts exactly once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lstmcli.api import load
from lstmcli.core.errors import DataError
from lstmcli.engine.hardware import set_path
from lstmcli.kinds.text.evaluate import SEGMENT, WARM_UP, WINDOW, evaluate_text, rows_of
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

LENGTHS = [2, 3, 17, 255, 256, 257, 258, 512, 513, 514, 4095, 4096, 4097, 4098, 4609, 8193, 8194, 20_001]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def reference(tensors, ids, window=None):
    """Loss (nats per symbol) and accuracy, one symbol after the other, by the LSTM's equations."""
    weights = {k.removeprefix("model."): v.astype(np.float64) for k, v in tensors.items()}
    layers = sum(k.endswith("weight_hh") for k in weights)
    size = weights["layers.0.weight_hh"].shape[1]
    losses, right = [], 0
    for position in range(len(ids) - 1):
        if position % (window or len(ids)) == 0:
            h, c = np.zeros((layers, size)), np.zeros((layers, size))
        x = weights["embedding.weight"][ids[position]]
        for k in range(layers):
            w, u, b = (weights[f"layers.{k}.{n}"] for n in ("weight_ih", "weight_hh", "bias"))
            i, f, g, o = np.split(w @ x + u @ h[k] + b, 4)
            c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
            x = h[k] = sigmoid(o) * np.tanh(c[k])
        logits = weights["head.weight"] @ x + weights["head.bias"]
        shifted = logits - logits.max()
        losses.append(np.log(np.exp(shifted).sum()) - shifted[ids[position + 1]])
        right += int(logits.argmax() == ids[position + 1])
    return float(np.mean(losses)), right / (len(ids) - 1)


@pytest.fixture(scope="module")
def good(trained_lab):
    """A model that has learned something, its tensors, and 9,000 symbols in its vocabulary."""
    run = load(trained_lab.path("good"))
    tensors = {k: v for k, v in trained_lab.checkpoint("good", run.step).tensors.items() if "model." in k}
    ids = run.vocabulary.encode((trained_lab.folder / "text.txt").read_text() + "the cat sat on a mat. " * 50)
    return run.model, tensors, ids[:9000]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("protocol", ["windows", "stateful"])
def test_each_symbol_but_the_first_is_scored_exactly_once(protocol, length):
    scored = np.zeros(length, dtype=int)
    for row in rows_of(protocol, length):
        assert 0 <= row.start <= row.scored < row.end <= length - 1
        scored[row.scored + 1 : row.end + 1] += 1
    assert scored[0] == 0 and (scored[1:] == 1).all()


def test_windows_start_from_nothing_and_segments_from_what_precedes_them():
    assert {(row.scored - row.start, row.start % WINDOW) for row in rows_of("windows", 2000)} == {(0, 0)}
    first, *others = rows_of("stateful", 3 * SEGMENT)
    assert first.start == 0 and {row.scored - row.start for row in others} == {WARM_UP}


@pytest.mark.parametrize("length", [2, 300, 600])
def test_windows_equal_the_loop(good, length):
    model, tensors, ids = good
    score = evaluate_text(model, ids[:length], "windows", 3)
    loss, accuracy = reference(tensors, ids[:length], WINDOW)
    assert score.tokens == length - 1
    assert score.loss == pytest.approx(loss, abs=2e-6) and score.accuracy == pytest.approx(accuracy)


def test_stateful_equals_the_loop_below_a_segment(good):
    model, tensors, ids = good
    score = evaluate_text(model, ids[:900], "stateful", 3)
    loss, accuracy = reference(tensors, ids[:900])
    assert score.loss == pytest.approx(loss, abs=2e-6) and score.accuracy == pytest.approx(accuracy)


def test_stateful_in_segments_is_close_to_one_single_stream(good):
    model, tensors, ids = good
    score = evaluate_text(model, ids, "stateful", 4)
    loss, accuracy = reference(tensors, ids)
    assert score.tokens == 8999
    assert score.loss == pytest.approx(loss, abs=1e-3)
    assert score.accuracy == pytest.approx(accuracy, abs=1e-3)


@pytest.mark.parametrize("protocol", ["windows", "stateful"])
def test_the_batch_size_changes_nothing(good, protocol):
    model, _, ids = good
    scores = [evaluate_text(model, ids[:6000], protocol, size) for size in (1, 5, 64)]
    assert {score.tokens for score in scores} == {5999}
    assert len({score.accuracy for score in scores}) == 1
    assert max(s.loss for s in scores) - min(s.loss for s in scores) < 1e-6


def test_evaluating_leaves_the_model_as_it_was(good):
    model, _, ids = good
    model.train()
    evaluate_text(model, ids[:300], "windows", 2)
    assert model.training and all(p.grad is None for p in model.parameters())
    model.eval()
    evaluate_text(model, ids[:300], "windows", 2)
    assert not model.training


def test_dropout_is_off_while_evaluating(good):
    _, _, ids = good
    torch.manual_seed(0)
    model = TextModel(LanguageModel(hidden_size=8, num_layers=2, dropout=0.8), 40)
    set_path(model.layers, "fused")
    first, second = (evaluate_text(model.train(), ids[:400], "windows", 2) for _ in range(2))
    assert first == second


def test_an_evaluation_can_be_abandoned(good):
    model, _, ids = good
    asked = iter([False, True])
    assert evaluate_text(model, ids[:2000], "windows", 2, lambda: next(asked)) is None


def test_progress_is_told(good):
    model, _, ids = good
    heard = []
    evaluate_text(model, ids[:2000], "windows", 2, on_progress=lambda *numbers: heard.append(numbers))
    assert heard == sorted(heard) and heard[-1][0] >= 1999 and {total for _, total in heard} == {2000}


def test_too_short_to_evaluate(good):
    model, _, ids = good
    with pytest.raises(DataError, match="at least 2"):
        evaluate_text(model, ids[:1], "windows", 2)
