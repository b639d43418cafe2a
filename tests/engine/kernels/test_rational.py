"""tanh and sigmoid of the kernels against the library's, and against the best ratio that there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.engine.kernels import rational
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.source import source
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.pointwise import PointwisePair

EVERYWHERE = torch.cat([torch.linspace(-30.0, 30.0, 200_001), torch.logspace(-38, 38, 1001)])
needs_compiler = pytest.mark.skipif(not compiler_available(), reason="needs a C++ compiler")


def ours(name, x):
    """The function by a kernel, at x (n,)."""
    x = torch.cat([x, x.new_zeros(-len(x) % 64)]).reshape(-1, 64)
    room = torch.empty_like(x)
    given = [x, room]
    NativeKernel(source(trace(lambda x, y: y.copy_(getattr(torch, name)(x)), given)), 2)(*given)
    return room.flatten()


@needs_compiler
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_close_to_the_library_and_within_its_range(name):
    x = torch.cat([EVERYWHERE, -EVERYWHERE, torch.tensor([0.0, -0.0, float("inf"), -float("inf")])])
    found, exact = ours(name, x)[: len(x)], getattr(torch, name)(x.double())
    assert (found - exact).abs().max() < 4e-7
    assert found.max() < 1.0 and found.min() > (0.0 if name == "sigmoid" else -1.0)
    assert ours(name, torch.tensor([float("nan")]))[0].isnan(), "what is wrong shows"


@needs_compiler
def test_small_values_keep_their_digits():
    x = torch.logspace(-30, 0, 1000)
    assert ((ours("tanh", x)[:1000] - x.double().tanh()) / x.double().tanh()).abs().max() < 4e-7


@needs_compiler
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_the_kernel_of_a_cell_agrees_with_its_equations(dtype, bound):
    torch.manual_seed(1)
    z, recurrent = 4 * torch.randn(2, 3, 32).to(dtype)
    old = torch.randn(3, 8).to(dtype)
    given = [z, recurrent, torch.empty(3, 8, dtype=dtype), old, torch.empty(3, 8, dtype=dtype)]
    compiled, plain = ([t.clone() for t in given] for _ in range(2))
    PointwisePair(LSTM(), compiled=True).forward_for(*compiled)(*compiled)
    PointwisePair(LSTM(), compiled=False).forward_for(*plain)(*plain)
    for ours, theirs in zip(compiled, plain, strict=True):
        assert (ours - theirs).abs().max() <= bound


def test_no_ratio_of_these_degrees_is_better():
    x = rational.LIMIT * (np.cos(np.linspace(0.0, np.pi, 1000)) + 1.0) / 2.0
    x = np.clip(x, 1e-6, None)
    above, below = _fit(x, np.tanh(x) / x, len(rational.TANH_ABOVE), len(rational.TANH_BELOW))
    ours = _error(x, rational.TANH_ABOVE, rational.TANH_BELOW)
    assert ours < 6e-9 and ours < 1.1 * _error(x, above, below)


def _error(x, above, below):
    square = x * x
    ratio = np.polyval(above[::-1], square) / np.polyval(below[::-1], square)
    return np.abs(x * ratio / np.tanh(x) - 1.0).max()


def _fit(x, wanted, above, below, rounds=150):
    """Coefficients of P and Q, whose first is one; Lawson's weights even the errors out."""
    scale = x.max() ** 2
    powers = np.vander(x * x / scale, max(above, below), increasing=True)
    weights, former = np.ones_like(x), np.ones_like(x)
    for _ in range(rounds):
        row = np.sqrt(weights) / (wanted * former)
        system = np.hstack([powers[:, :above], -wanted[:, None] * powers[:, 1:below]]) * row[:, None]
        size = np.linalg.norm(system, axis=0)
        solved = np.linalg.lstsq(system / size, wanted * row, rcond=None)[0] / size
        p, q = solved[:above], np.append(1.0, solved[above:])
        former = np.abs(powers[:, :below] @ q)
        errors = np.abs(powers[:, :above] @ p / (powers[:, :below] @ q) / wanted - 1.0)
        weights *= errors / errors.max() + 1e-3
        weights /= weights.mean()
    return p / scale ** np.arange(above), q / scale ** np.arange(below)
