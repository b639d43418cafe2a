"""The model of whole sequences: what it reads of a batch, and what not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lstmcli.core.errors import RunError
from lstmcli.kinds.sequence.batch import SequenceBatch, places_at
from lstmcli.kinds.sequence.model import SequenceModel, SequenceShape, rows_of
from lstmcli.kinds.sequence.settings import Classifier

CPU = torch.device("cpu")
LENGTHS = np.array([3, 7, 1, 5])


def model(symbols=6, inputs=0, outputs=3, numbers=False, **settings):
    torch.manual_seed(0)
    given = {"hidden_size": 5, "num_layers": 2, "embedding_size": 4, "path": "loop", **settings}
    return SequenceModel(Classifier(**given), SequenceShape(symbols, inputs, outputs, numbers)).double()


def batch(symbols=6, inputs=0, padding=0):
    draw = np.random.default_rng(1)
    shape = (7, 4) if symbols else (7, 4, inputs)
    values = draw.integers(0, symbols, shape) if symbols else draw.normal(size=shape)
    values[np.arange(7)[:, None] >= LENGTHS] = padding
    return SequenceBatch(values, places_at(LENGTHS - 1, 4), draw.integers(0, 3, 4), LENGTHS)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("kind", ["symbols", "numbers"])
def test_an_answer_is_made_from_its_sequence_alone(pooling, kind):
    made = model(pooling=pooling) if kind == "symbols" else model(0, 2, pooling=pooling)
    made.product_dtype = torch.float64
    sizes = {} if kind == "symbols" else {"symbols": 0, "inputs": 2}
    rows = rows_of(batch(**sizes), CPU)
    answers = made(rows)
    other = made(rows_of(batch(**sizes, padding=5), CPU))
    assert torch.equal(answers, other)
    for k, length in enumerate(LENGTHS):
        outputs, _ = made.outputs(rows.inputs[:length, k : k + 1], made.initial_state(1))
        own = outputs[:, 0].float()
        pooled = {"last": own[-1], "mean": own.mean(0), "max": own.max(0).values}[pooling]
        wanted = made.head.weight.float() @ pooled + made.head.bias.float()
        assert torch.allclose(answers[k], wanted, atol=1e-6)


def test_only_marked_steps_are_answered_and_learned():
    made = model()
    made.product_dtype = torch.float64
    rows = rows_of(batch(), CPU)._replace(places=torch.tensor([1, 6, 5]), targets=torch.tensor([0, 2, 1]))
    outputs, _ = made.outputs(rows.inputs, made.initial_state(4))
    logits = (outputs @ made.head.weight.T + made.head.bias).float()  # at every step
    picked = [logits[0, 1], logits[1, 2], logits[1, 1]]
    nats = [-torch.log_softmax(row, -1)[k] for row, k in zip(picked, [0, 2, 1], strict=True)]
    assert made.loss(rows).item() == pytest.approx(sum(n.item() for n in nats) / 3, abs=1e-6)


def test_the_loss_of_numbers_is_the_mean_squared_error():
    made = model(0, 2, 1, True)
    made.product_dtype = torch.float64
    given = batch(0, 2)._replace(targets=np.ones((4, 1)))
    rows = rows_of(given, CPU)._replace(targets=torch.ones(4, 1))
    assert made.loss(rows).item() == pytest.approx(((made(rows) - 1.0) ** 2).mean().item())


def test_what_is_observed_are_the_layers_of_the_model():
    made = model()
    traces = made.float().observe(torch.from_numpy(batch().inputs))
    assert [trace.states["cell"].shape for trace in traces] == [(7, 4, 5)] * 2


@pytest.mark.parametrize("change", [{"symbols": "6"}, {"outputs": None}, {"more": 1}])
def test_a_damaged_shape_is_told(change):
    whole = vars(SequenceShape(6, 0, 3, False))
    assert SequenceShape.from_json(whole) == SequenceShape(6, 0, 3, False)
    with pytest.raises(RunError):
        SequenceShape.from_json(whole | change)
