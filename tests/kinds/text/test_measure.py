"""Gradients by lag against what happens to the loss when a state is moved a little, in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from lstmcli.core.errors import DataError
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.measure import BEFORE, PASSAGES, gradients_by_lag, passages, relative_norms
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

LAG, SYMBOLS = 100, 7


@pytest.fixture
def text():
    return np.random.default_rng(1).integers(0, SYMBOLS, 3000).astype(np.uint8)


def model_of(cell, **settings):
    torch.manual_seed(3)
    return TextModel(
        LanguageModel(cell=cell, hidden_size=6, embedding_size=4, num_layers=1, path="loop", **settings),
        SYMBOLS,
    )


def measured(model, text, lag):
    found = gradients_by_lag(model, text, lag)
    return found.numbers, found.curves


def loss_from(model, ids, state):
    """The loss of the last symbol of ids (T + 1, B), read from a state; none for what came before."""
    with torch.no_grad():
        logits, _ = model(ids[:-1], state)
    return functional.cross_entropy(logits[-1], ids[-1], reduction="none")


def norm_by_differences(model, ids, lag, memory, step=1e-5):
    """The norm (B,) of the gradient with respect to the memory `lag` (at least 1) steps before the last
    symbol read."""
    first, rest = ids[: len(ids) - 1 - lag], ids[len(ids) - 1 - lag :]
    with torch.no_grad():
        _, ((*state,),) = model(first, model.initial_state(ids.shape[1]))
    units = state[memory].shape[1]
    moves = step * torch.cat([torch.eye(units), -torch.eye(units)]).double()  # one stream per move
    moved = [s.repeat_interleave(len(moves), 0) for s in state]
    before = moved[memory].clone()
    moved[memory] += moves.repeat(ids.shape[1], 1)
    if memory:  # an LSTM shows its cell state at once: h = o * tanh(c) moves with it
        moved[0] *= moved[memory].tanh() / before.tanh()
    losses = loss_from(model, rest.repeat_interleave(len(moves), 1), (tuple(moved),)).view(-1, 2, units)
    return ((losses[:, 0] - losses[:, 1]) / (2.0 * step)).norm(dim=1)


@pytest.mark.parametrize(
    ("cell", "memory", "settings"),
    [
        ("rnn", 0, {}),
        ("gru", 0, {}),
        ("lstm", 1, {"forget_bias": 0.0}),
        ("lstm", 1, {"forget_bias": 1.0}),
        ("lstm", 1, {"forget_bias": 3.0}),
    ],
)
def test_gradients_by_lag_are_those_of_finite_differences(text, cell, memory, settings):
    model = model_of(cell, **settings).double()
    model.product_dtype = torch.float64
    ids = passages(text, LAG)[BEFORE:, :3]
    norms = gradient_norms(model, ids, explain=False).layers[0]
    exact = norms.states[norms.memory]
    for lag in (1, 10, 50, 100):
        wanted = norm_by_differences(model, ids, lag, memory)
        # Moving a state by 1e-5 changes the loss by that times the gradient; the loss has 16 digits.
        torch.testing.assert_close(exact[lag], wanted, rtol=1e-5, atol=1e-10)


def test_the_curve_is_the_geometric_mean_relative_to_lag_0(text):
    model = model_of("lstm")
    before = copy.deepcopy(model.state_dict())
    numbers, curves = measured(model, text, 20)
    exact = model.double()
    exact.product_dtype = torch.float64
    ids = passages(text, 20)
    with torch.no_grad():
        _, state = exact(ids[:BEFORE], exact.initial_state(PASSAGES))
    norms = gradient_norms(exact, ids[BEFORE:], state, explain=False).layers[0].states["cell"].numpy()
    wanted = np.exp(np.log(norms / norms[0]).mean(1))
    np.testing.assert_allclose(curves["gradient_by_lag"]["y"], wanted, rtol=1e-12)
    assert curves["gradient_by_lag"]["y"][0] == 1.0 and len(wanted) == 21
    assert numbers["gradient_20"] == pytest.approx(np.log10(wanted[20]))
    assert all(torch.equal(v.float(), before[k]) for k, v in model.state_dict().items())


def test_a_gradient_that_is_nothing_is_still_a_number(text):
    model = model_of("rnn")
    with torch.no_grad():
        model.layers.layers[0].weight_hh.zero_()
    numbers, curves = measured(model, text, 10)
    assert numbers["gradient_10"] < -250 and np.isfinite(curves["gradient_by_lag"]["y"]).all()


def test_passages_are_spread_over_the_text(text):
    ids = passages(text, LAG)
    assert ids.shape == (BEFORE + LAG + 2, PASSAGES)
    np.testing.assert_array_equal(ids[:, 0], text[: len(ids)])
    np.testing.assert_array_equal(ids[:, -1], text[-len(ids) :])
    with pytest.raises(DataError, match="202 are needed"):
        passages(text[:201], LAG)


def test_relative_norms_are_of_the_memory(text):
    ids = passages(text, 5)[BEFORE:]
    found = gradient_norms(model_of("lstm"), ids, explain=False)
    cell = found.layers[0].states["cell"].numpy()
    np.testing.assert_allclose(relative_norms(found), np.exp(np.log(cell / cell[0]).mean(1)))
