"""A model that learns from what it has been scored on, and mixtures with counts: against slow references,
and never with a look ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lstmcli.core.errors import DataError, UsageError
from lstmcli.kinds.text.dynamic import Dynamics, dynamic_losses
from lstmcli.kinds.text.evaluate import evaluate_text
from lstmcli.kinds.text.mixing import MEMORY, START, Cache, mix, ngram_losses
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.ngram import NGram
from lstmcli.kinds.text.report import Beside
from lstmcli.kinds.text.settings import LanguageModel

V = 5
SETTINGS = Dynamics(rate=1e-3, decay=0.05, segment=10, statistics=3)


@pytest.fixture
def model():
    torch.manual_seed(1)
    model = TextModel(LanguageModel(hidden_size=6, embedding_size=4, num_layers=2), V).double()
    model.product_dtype = torch.float64
    return model.eval()


def text(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length)


def slow(model, ids, train, settings, window):
    """The rule of the docstring, one segment after the other, one parameter after the other."""
    names = dict(model.named_parameters())
    trained = {k: p.detach().clone() for k, p in names.items()}

    def segment(text, begin, end, state):
        logits, state = model(torch.from_numpy(text[begin:end]).unsqueeze(1), state)
        wanted = torch.from_numpy(text[begin + 1 : end + 1])
        return functional.cross_entropy(logits[:, 0].float(), wanted, reduction="none"), state

    squares = {k: torch.zeros_like(p) for k, p in names.items()}
    n = settings.segment
    starts = [int(s) for s in np.linspace(0, len(train) - 2 * n - 1, settings.statistics)]
    for start in starts:
        _, state = segment(train, start, start + n, model.initial_state(1))
        state = tuple(tuple(s.detach() for s in layer) for layer in state)
        model.zero_grad()
        segment(train, start + n, start + 2 * n, state)[0].mean().backward()
        for k, p in names.items():
            squares[k] += p.grad**2
    r = {k: (s / len(starts)).sqrt() for k, s in squares.items()}
    mean = float(sum(v.sum() for v in r.values()) / sum(v.numel() for v in r.values()))
    losses, begin, state = [], 0, None
    while begin < len(ids) - 1:
        if begin % window == 0:
            state = model.initial_state(1)
        end = min(begin + n, len(ids) - 1, (begin // window + 1) * window)
        model.zero_grad()
        found, state = segment(ids, begin, end, state)
        found.mean().backward()
        losses += found.tolist()
        state = tuple(tuple(s.detach() for s in layer) for layer in state)
        with torch.no_grad():
            for k, p in names.items():
                pull = (settings.decay * r[k] / mean).clamp(max=1.0) * (trained[k] - p)
                p += pull - settings.rate * p.grad / (r[k] + settings.floor)
        begin = end
    return np.array(losses)


@pytest.mark.parametrize("protocol", ["stateful", "windows"])
def test_dynamic_evaluation_against_the_rule_written_out(model, protocol):
    ids, train = text(600), text(300, seed=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = dynamic_losses(model, ids, train, protocol, SETTINGS)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())  # it is left as it was
    wanted = slow(model, ids, train, SETTINGS, 256 if protocol == "windows" else 10**9)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_at_rate_nought_it_is_the_static_evaluation(model):
    ids = text(700)
    static = np.empty(699, dtype=np.float32)
    evaluate_text(model, ids, "windows", 4, losses=static)
    still = dynamic_losses(model, ids, text(300), "windows", Dynamics(rate=0.0, statistics=2))
    np.testing.assert_allclose(still, static, rtol=1e-5)


def test_no_symbol_is_predicted_by_weights_that_have_seen_it(model):
    ids = text(200)
    changed = ids.copy()
    changed[150:] = (changed[150:] + 1) % V
    one, two = (dynamic_losses(model, t, text(300), "stateful", SETTINGS) for t in (ids, changed))
    np.testing.assert_array_equal(one[:149], two[:149])
    assert not np.allclose(one[150:], two[150:])


def test_it_learns_a_text_that_repeats_itself(model):
    ids = np.tile(np.array([0, 3, 1, 1, 4, 2]), 200)
    losses = dynamic_losses(model, ids, text(300), "stateful", Dynamics(rate=3e-3, decay=0.0, segment=10))
    assert losses[-200:].mean() < 0.5 * losses[:50].mean()


def test_too_little_training_text_is_told(model):
    with pytest.raises(DataError, match="training text"):
        dynamic_losses(model, text(100), text(10), "stateful", SETTINGS)


@pytest.mark.parametrize("protocol", ["stateful", "windows"])
def test_losses_by_symbol_belong_to_their_symbols(model, protocol):
    ids = text(1500)
    losses = np.empty(1499, dtype=np.float32)
    score = evaluate_text(model, ids, protocol, 3, losses=losses)
    assert score.loss == pytest.approx(losses.mean(), rel=1e-6)
    window = 256 if protocol == "windows" else 1500
    for k in (0, 1, 255, 256, 700, 1498):
        first = k // window * window
        logits, _ = model(torch.from_numpy(ids[first : k + 1]).unsqueeze(1), model.initial_state(1))
        wanted = float(-logits[-1, 0].detach().log_softmax(-1)[ids[k + 1]])
        assert losses[k] == pytest.approx(wanted, rel=2e-3), k


def test_a_mixture_against_its_rule():
    rng = np.random.default_rng(0)
    ours, theirs = rng.exponential(size=(2, 500))
    losses, mean = mix(ours, theirs)
    weight, weights = START, []
    for k in range(500):
        p, q = math.exp(-ours[k]), math.exp(-theirs[k])
        weights.append(weight)
        assert losses[k] == pytest.approx(-math.log(weight * p + (1 - weight) * q))
        had = weight * p / (weight * p + (1 - weight) * q)
        weight += (had - weight) / MEMORY
    assert mean == pytest.approx(np.mean(weights))


def test_a_mixture_finds_the_better_of_two():
    good, bad = np.full(20_000, 0.1), np.full(20_000, 3.0)
    assert mix(bad, good)[0][-100:].mean() < 0.2 and mix(good, bad)[0].mean() < 0.16


def test_ngrams_see_no_more_than_the_window():
    ids = np.tile(np.array([0, 1, 2, 3, 4]), 200)
    ngram = NGram(ids, V)
    found = ngram_losses(ngram, ids, "windows")
    assert len(found) == 999
    np.testing.assert_allclose(found[256:511], ngram.losses(ids[256:512]))
    assert found[256] > 10 * found[300]  # the first symbol of a window has little context
    np.testing.assert_array_equal(ngram_losses(ngram, ids, "stateful"), ngram.losses(ids))


def test_the_cache_is_an_ngram_model_of_all_that_came_before():
    ids = text(120)
    found = Cache(V, order=4).losses(ids)
    for k in (1, 2, 5, 30, 119):
        wanted = NGram(ids[:k], V, order=4).losses(ids[: k + 1])[-1]
        assert found[k - 1] == pytest.approx(wanted, rel=1e-9), k


def test_unknown_help_is_refused():
    with pytest.raises(UsageError, match="no mixture with 'bigram'"):
        Beside(mix=("bigram",)).check()
