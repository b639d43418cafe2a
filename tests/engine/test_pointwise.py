"""Cells of other people's on the engine, against one step after the other in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lstmcli.cells import find_cell
from lstmcli.cells.base import GatedCell
from lstmcli.engine import pointwise
from lstmcli.engine.kernels import compiled as door
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import Regularization, Start, make_layers

T, B, WIDTH, H = 5, 3, 6, 16


class ReadsHiddenInAComparison(GatedCell):
    gates = ("forget", "cell")
    state = ("hidden", "cell")

    def pointwise(self, z, state):
        f = z[0].sigmoid()
        c = torch.where(state[0] > 0, f, f / 2) * state[1] + (1 - f) * z[1].tanh()
        return (c.tanh(), c), (f, c)


class NormalizesGroups(GatedCell):
    gates = ("forget", "cell")
    state = ("hidden", "cell")

    def pointwise(self, z, state):
        f = z[0].sigmoid()
        c = f * state[1] + (1 - f) * z[1].tanh()
        return (F.group_norm(c, 4).tanh(), c), (f, c)


class Heads(GatedCell):
    """Each head has one forget gate, the mean of its units', and a share of what is written."""

    gates = ("forget", "cell", "share")
    state = ("hidden", "cell")

    def pointwise(self, z, state):
        def heads(x):
            return x.view(x.shape[0], 4, -1)

        f = heads(z[0]).mean(-1, keepdim=True).sigmoid()
        share = heads(z[2]).softmax(-1)
        c = f * heads(state[1]) + (1 - f) * share * heads(z[1]).tanh()
        h = (c * (c.square().mean(-1, keepdim=True) + 0.1).rsqrt()).reshape(z[0].shape)
        return (h, c.flatten(1)), (f.expand_as(c).flatten(1), h, share.flatten(1))


class NormalizesWithVectors(GatedCell):
    gates = ("forget", "cell")
    state = ("hidden", "cell")
    vectors = {"bias": 0.1, "decay": 0.5, "gain": 1.0}  # noqa: RUF012

    def pointwise(self, z, state, bias, decay, gain):
        f = (z[0] + decay).sigmoid()
        c = f * state[1] + (1 - f) * z[1].tanh()
        return (F.layer_norm(c, gain.shape, gain, bias), c), (f, c)


class CutsItsVector(GatedCell):
    """In two halves, of which the batch must not become one."""

    gates = ("cell",)
    vectors = {"decay": 0.5}  # noqa: RUF012

    def pointwise(self, z, state, decay):
        first, second = decay[: H // 2], decay[H // 2 :]
        a = torch.cat([first * second, second], -1).sigmoid() * decay.mean()
        h = a * state[0] + z[0].tanh()
        return (h,), (h,)


class StraightThrough(GatedCell):
    gates = ("forget", "cell")

    def pointwise(self, z, state):
        soft = z[0].sigmoid()
        f = (soft > 0.5).to(soft.dtype) + soft - soft.detach()
        h = f * state[0] + (1 - f) * z[1].tanh()
        return (h,), (f, h)


class Own(torch.autograd.Function):
    """A function whose gradient is not its derivative: h gets one though nothing is read of it."""

    @staticmethod
    def forward(ctx, x, h):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient * 0.5


class GradientOfItsOwn(GatedCell):
    gates = ("cell",)

    def pointwise(self, z, state):
        h = Own.apply(z[0].tanh(), state[0])
        return (h,), (h,)


class LooksAtItsData(GatedCell):
    gates = ("cell",)

    def pointwise(self, z, state):
        h = z[0].tanh() + (state[0] if bool(state[0].abs().max() > 10.0) else 0.5 * state[0])
        return (h,), (h,)


OWN = [
    ReadsHiddenInAComparison,
    NormalizesGroups,
    Heads,
    NormalizesWithVectors,
    CutsItsVector,
    StraightThrough,
    GradientOfItsOwn,
    LooksAtItsData,
]


def made(cell, size=H):
    torch.manual_seed(3)
    (layer,) = make_layers(cell, [(WIDTH, size)], Regularization())
    layer.reset_parameters(Start())
    layer.double()
    state = tuple(torch.randn(B, size).double() for _ in cell.state)
    return layer, torch.randn(T, B, WIDTH).double(), state


def plain_loop(layer, x, state):
    outputs, gates = [], len(layer.cell.gates)
    vectors = [layer.vectors[name] for name in layer.cell.vectors]
    for x_t in x:
        z = x_t @ layer.weight_ih.T + layer.bias + state[0] @ layer.weight_hh.T
        state, _ = layer.cell.pointwise(z.chunk(gates, -1), state, *vectors)
        outputs.append(state[0])
    return torch.stack(outputs), state


def everything(layer, x, state, run):
    """Outputs, final states, and the gradients of the input, the start and all parameters."""
    x, state = x.clone().requires_grad_(), [s.clone().requires_grad_() for s in state]
    parameters = dict(layer.named_parameters())
    outputs, final = run(layer, x, tuple(state))
    weights = torch.linspace(-1.0, 1.0, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    loss = (outputs * weights).sum() + sum((s * s).sum() for s in final)
    gradients = torch.autograd.grad(loss, [x, *state, *parameters.values()], allow_unused=True)
    names = ["x", *layer.cell.state, *parameters]
    pairs = dict(zip(names, gradients, strict=True)) | dict(enumerate([outputs, *final]))
    return {name: None if value is None else value.detach() for name, value in pairs.items()}


def check(layer, x, state, tolerance):
    wanted = everything(layer, x, state, plain_loop)
    ours = everything(layer, x, state, type(layer).__call__)
    for name, value in wanted.items():
        nothing = torch.zeros_like(ours[name] if value is None else value)
        assert torch.allclose(
            nothing if ours[name] is None else ours[name],
            nothing if value is None else value,
            rtol=tolerance,
            atol=tolerance,
        ), name


@pytest.mark.parametrize("cell", OWN)
def test_the_engine_is_the_loop(cell):
    layer, x, state = made(cell)
    layer.path, layer.compiled = "engine", False
    check(layer, x, state, 1e-10)


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
@pytest.mark.parametrize("cell", OWN)
def test_the_compiled_engine_is_the_loop(cell):
    layer, x, state = made(cell)
    layer.path, layer.compiled = "engine", True
    check(layer, x, state, 1e-10)


@pytest.mark.parametrize(
    ("cell", "reads"),
    [
        (ReadsHiddenInAComparison, True),
        (StraightThrough, True),
        (GradientOfItsOwn, True),
        (CutsItsVector, True),
        (find_cell("gru"), True),
        (find_cell("lstm"), False),
        (find_cell("lstm-peephole"), False),
        (find_cell("lstm-layer-norm"), False),
        (Heads, False),
    ],
)
def test_what_a_step_reads_is_taken_from_what_it_does(cell, reads):
    assert pointwise.pointwise_pair(cell(), False).reads_hidden(H) == reads


def test_what_cannot_be_recorded_counts_as_reading_everything():
    class Draws(GatedCell):
        gates = ("cell",)

        def pointwise(self, z, state):
            h = z[0] * torch.rand_like(z[0])
            return (h,), (h,)

    assert pointwise.pointwise_pair(Draws(), False).reads_hidden(H)


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
def test_a_cell_that_takes_a_slower_way_is_told_once_with_the_reason(monkeypatch):
    told = []
    monkeypatch.setattr(door, "notice", told.append)
    monkeypatch.setattr(door, "_slower_ones", set())
    monkeypatch.setattr(door, "inductor_kernel", lambda function, _: function)

    class Flips(GatedCell):
        gates = ("cell",)

        def pointwise(self, z, state):
            h = z[0].tanh() + state[0].flip(-1)
            return (h,), (h,)

    layer, x, state = made(Flips)
    layer.path, layer.compiled = "engine", True
    check(layer, x, state, 1e-10)
    check(layer, x[:, :2], (state[0][:2],), 1e-10)
    assert len(told) == 1 and told[0].startswith("the cell Flips is compiled by TorchInductor")
    assert "columns in reverse order" in told[0]
