"""Lyapunov exponents and Jacobians against systems whose answers are known, and against slow loops."""

from __future__ import annotations

import math

import pytest
import torch

from lstmcli.cells import BUILT_IN
from lstmcli.cells.base import FreeCell
from lstmcli.engine.measures.jacobian import (
    lyapunov_exponents,
    push_forward,
    singular_values,
    state_size,
    step_jacobian,
)
from lstmcli.engine.measures.unrolled import flatten
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

B, H, E = 2, 4, 3


class Linear(FreeCell):
    """h_t = A h_{t-1} + x_t."""

    gates = ()

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.matrix = torch.nn.Parameter(torch.zeros(hidden_size, hidden_size))
        self.inputs = torch.nn.Parameter(torch.eye(hidden_size, input_size))

    def step(self, x_t, state):
        h = state[0] @ self.matrix.t() + x_t @ self.inputs.t()
        return h, (h,), {}


def made(cell="lstm", layers=2, cell_class=None, size=H, **settings):
    torch.manual_seed(0)
    config = LanguageModel(cell=cell, hidden_size=size, embedding_size=E, num_layers=layers, **settings)
    model = TextModel(config, 5, cell_class)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return model.double().eval()


def case(model, steps=1, streams=B):
    torch.manual_seed(1)
    x = torch.randn(steps, streams, E, dtype=torch.float64)
    state = tuple(tuple(torch.rand_like(s) for s in layer) for layer in model.layers.initial_state(streams))
    return x, state


def by_rows(model, x, state):
    """The Jacobian, a row at a time, by backward passes; (B, N, N)."""
    found = torch.zeros(len(x), state_size(state), state_size(state), dtype=torch.float64)
    for stream in range(len(x)):
        old = tuple(tuple(s[stream : stream + 1].clone().requires_grad_() for s in layer) for layer in state)
        with torch.enable_grad():
            new = torch.cat(flatten(model.layers.step(x[stream : stream + 1], old)[1]), dim=1)[0]
        for row, value in enumerate(new):
            gradients = torch.autograd.grad(value, flatten(old), retain_graph=True, allow_unused=True)
            pairs = zip(gradients, flatten(old), strict=True)
            whole = [torch.zeros_like(s) if g is None else g for g, s in pairs]
            found[stream, row] = torch.cat(whole, dim=1)[0]
    return found


@pytest.mark.parametrize("cell", BUILT_IN)
def test_the_jacobian_of_a_step_equals_backward_passes(cell):
    model = made(cell)
    x, state = case(model)
    found = step_jacobian(model.layers, x[0], state)
    torch.testing.assert_close(found, by_rows(model, x[0], state), rtol=1e-9, atol=1e-12)


def test_a_step_moves_the_state_as_the_model_does():
    model = made(layers=3, residual=True)
    x, state = case(model)
    directions = torch.randn(B, state_size(state), 5, dtype=torch.float64)
    new, moved = push_forward(model.layers, x[0], state, directions)
    for layer in model.layers.layers:
        layer.path = "loop"
    _, expected = model.layers(lambda layer, old: layer(x, old), state)
    for ours, theirs in zip(flatten(new), flatten(expected), strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    torch.testing.assert_close(moved, step_jacobian(model.layers, x[0], state) @ directions)


def test_exponents_of_a_linear_recurrence_are_its_eigenvalues():
    model = made(layers=1, cell_class=Linear)
    wanted = torch.tensor([1.1, 0.9, 0.5, 0.2], dtype=torch.float64)
    basis = torch.randn(H, H, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    basis = basis + 3 * torch.eye(H, dtype=torch.float64)  # not orthogonal: eigenvalues, not singular ones
    model.layers.layers[0].cell.matrix.data = basis @ wanted.diag() @ basis.inverse()
    x, state = case(model, steps=120)
    found = lyapunov_exponents(model.layers, x, state, burn_in=100)
    assert found.steps == 20 and found.by_stream.shape == (B, H)
    torch.testing.assert_close(found.mean, wanted.log(), rtol=1e-7, atol=1e-9)
    assert float(found.drift.abs().max()) < 1e-6  # settled
    early = lyapunov_exponents(model.layers, x[:10], state)
    assert float(early.drift.abs().max()) > 1e-3  # not yet


def test_exponents_of_a_pair_of_complex_eigenvalues():
    """A rotation by 0.3 that shrinks by 0.8: both exponents are log 0.8, whatever the angle."""
    model = made(layers=1, cell_class=Linear, size=2)
    cos, sin = math.cos(0.3), math.sin(0.3)
    rotation = torch.tensor([[cos, -2 * sin], [sin / 2, cos]], dtype=torch.float64)
    model.layers.layers[0].cell.matrix.data = 0.8 * rotation
    x, state = case(model, steps=400, streams=1)
    found = lyapunov_exponents(model.layers, x, state, count=9, burn_in=10)
    assert found.mean.tolist() == pytest.approx([math.log(0.8)] * 2, abs=3e-3)


def test_exponents_of_a_simple_network_in_its_linear_region():
    model = made("rnn", layers=1)
    layer = model.layers.layers[0]
    layer.bias.data.zero_()
    layer.weight_hh.data = torch.tensor([0.95, 0.7, 0.4, 0.1], dtype=torch.float64).diag()
    zeros = torch.zeros(60, B, E, dtype=torch.float64)  # so that h stays 0, where tanh' is 1
    found = lyapunov_exponents(model.layers, zeros, model.layers.initial_state(B), count=3, burn_in=40)
    assert found.mean.tolist() == pytest.approx([math.log(v) for v in (0.95, 0.7, 0.4)], rel=1e-6)


def test_exponents_along_a_text_equal_the_product_of_all_jacobians():
    """The sum of the leading n exponents is the rate at which n-dimensional volume grows, which the product
    of the whole Jacobians gives without any QR between."""
    model = made()
    x, state = case(model, steps=12)
    total = torch.eye(state_size(state), dtype=torch.float64).expand(B, -1, -1)
    at = state
    for x_t in x:
        total = step_jacobian(model.layers, x_t, at) @ total
        at, _ = push_forward(model.layers, x_t, at, torch.zeros(B, state_size(state), 1).double())
    count = 5
    # the directions that it begins with
    start = torch.linalg.qr(
        torch.randn(
            B, state_size(state), count, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
    )[0]
    volume = torch.linalg.svdvals(total @ start).log().sum(1) / len(x)
    found = lyapunov_exponents(model.layers, x, state, count=count)
    torch.testing.assert_close(found.by_stream.sum(1), volume, rtol=1e-8, atol=1e-10)


def test_a_direction_that_is_lost_has_a_finite_exponent():
    model = made(layers=1, cell_class=Linear)
    model.layers.layers[0].cell.matrix.data = torch.tensor([0.5, 0.4, 0.0, 0.0], dtype=torch.float64).diag()
    x, state = case(model, steps=5)
    found = lyapunov_exponents(model.layers, x, state).mean
    assert bool(found.isfinite().all()) and float(found[-1]) < -20.0


def test_singular_values():
    left, _ = torch.linalg.qr(torch.randn(2, H, H, dtype=torch.float64))
    values = torch.tensor([[3.0, 1.0, 0.5, 0.0]] * 2, dtype=torch.float64)
    found = singular_values(left @ values.diag_embed())
    torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-12)


def test_measuring_changes_nothing():
    model = made(dropout=0.5)
    model.train()
    x, state = case(model, steps=3)
    generator = torch.get_rng_state()
    first = lyapunov_exponents(model.layers, x, state)
    step_jacobian(model.layers, x[0], state)
    assert model.training and torch.equal(generator, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(first.by_stream, lyapunov_exponents(model.layers, x, state).by_stream)
