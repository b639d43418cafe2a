"""Operations that the recorder takes apart, and tensors of three dimensions, against the library."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional as F

from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.source import source
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Unsupported

pytestmark = pytest.mark.skipif(not compiler_available(), reason="needs a C++ compiler")
B, H, G = 5, 48, 4


def heads(x):
    return x.view(x.shape[0], G, -1)


def softmax_over_a_stack(x, y, v):
    a, b = torch.stack([x, y], 1).softmax(1).unbind(1)
    return a * y + b.log() * v


# Of x and y (B, H) and a learned vector v (H,), what a cell could compute.
OPERATIONS = {
    "lerp": lambda x, y, v: torch.lerp(x, y, 0.3) + x.lerp(y, v.sigmoid()),
    "addcmul": lambda x, y, v: torch.addcmul(x, y, v, value=0.5),
    "addcdiv": lambda x, y, v: torch.addcdiv(x, y, v.abs() + 0.5, value=0.5),
    "in place": lambda x, y, v: (x * 1.0).lerp_(y, 0.25).addcmul_(x, v),
    "atan": lambda x, y, v: torch.atan(x * 3.0) + torch.atan(y * v),
    "remainder": lambda x, y, v: x.remainder(0.7) + x.remainder(-0.7) + y % (v.abs() + 0.3),
    "floor": lambda x, y, v: x * y.floor() + torch.div(x, 0.3, rounding_mode="floor") * v,
    "trunc": lambda x, y, v: torch.div(x, v.abs() + 0.4, rounding_mode="trunc") * y,
    "2**x": lambda x, y, v: 2**x + 0.5**y * v,
    "exp2": lambda x, y, v: torch.exp2(x * v) + y,
    "mish": lambda x, y, v: F.mish(x) * F.mish(y * v),
    "amax": lambda x, y, v: x - (x * v).amax(-1, keepdim=True) + y.amin(-1, keepdim=True),
    "amax of equals": lambda x, y, v: x * y.round().amax(-1, keepdim=True),
    "cumsum": lambda x, y, v: x.softmax(-1).cumsum(-1) * y.cumsum(1) + v.cumsum(-1),
    "cumsum from the right": lambda x, y, v: (x * v).flip(-1).cumsum(-1).flip(-1) * y,
    "cumsum of cumsum": lambda x, y, v: (x.cumsum(-1) * 0.1).tanh().cumsum(-1) * (y * v).cumsum(-1).sigmoid(),
    "var": lambda x, y, v: x / x.var(-1, keepdim=True) + y / y.std(-1, keepdim=True, correction=0),
    "norm": lambda x, y, v: x / x.norm(dim=-1, keepdim=True) + F.normalize(y * v, dim=-1),
    "select": lambda x, y, v: x[:, 3].unsqueeze(-1) * y,
    "layer_norm": lambda x, y, v: F.layer_norm(x, (H,)) + F.layer_norm(y, v.shape, v, v * 0.5, 1e-3),
    "rms_norm": lambda x, y, v: F.rms_norm(x, (H,)) + F.rms_norm(y, v.shape, v, 1e-3),
    "group_norm": lambda x, y, v: F.group_norm(x, 3) + F.group_norm(y, G, v, v * 0.5),
    "einsum of two": lambda x, y, v: x * torch.einsum("bh,bh->b", x, y).unsqueeze(-1),
    "einsum of a vector": lambda x, y, v: y * torch.einsum("bh,h->b", x, v)[:, None],
    "einsum of heads": lambda x, y, v: (
        torch.einsum("bgn,bgn->bg", heads(x), heads(y)).unsqueeze(-1) * heads(x * v)
    ).flatten(1),
    "einsum over heads": lambda x, y, v: (
        (heads(x) * torch.einsum("bgn,bgn->bn", heads(x), heads(y))[:, None]).flatten(1) * v
    ),
    "stack and sum": lambda x, y, v: torch.stack([x, y, x * v]).sum(0) * torch.stack([x, y], -1).mean(-1),
    "stack and amax": lambda x, y, v: torch.stack([x, y, x * v], 1).amax(1),
    "stack and softmax": softmax_over_a_stack,
    "stack and log_softmax": lambda x, y, v: torch.stack([x, y * v], -1).log_softmax(-1)[..., 1],
    "stack and cumsum": lambda x, y, v: torch.stack([x, y, x * v]).cumsum(0)[1:].sum(0),
    "a head's mean": lambda x, y, v: (heads(x).mean(-1, keepdim=True).sigmoid() * heads(y * v)).flatten(1),
    "a head's softmax": lambda x, y, v: (heads(x).softmax(-1) * heads(y)).reshape(x.shape) * v,
    "over heads": lambda x, y, v: (heads(x).softmax(1) * heads(y).sum(1, keepdim=True)).flatten(1) * v,
    "a head's norm": lambda x, y, v: (F.layer_norm(heads(x), (H // G,)) * heads(y)).flatten(1) * v,
    "a head's amax": lambda x, y, v: (heads(x) - heads(y).amax(-1, keepdim=True)).flatten(1) + v,
    "a head's cumsum": lambda x, y, v: heads(x).cumsum(-1).flatten(1) * y + v,
    "parts of heads": lambda x, y, v: (
        (
            torch.cat(heads(x).chunk(2, -1)[::-1], -1) * heads(y)[:, :1] + heads(x)[:, 1:2].expand(-1, G, -1)
        ).flatten(1)
        * v
    ),
    "heads the other way round": lambda x, y, v: (
        heads(x).transpose(1, 2).softmax(-1).transpose(1, 2).flatten(1) * (y + v)
    ),
    "heads one by one": lambda x, y, v: (
        torch.cat([h * k for k, h in enumerate(heads(x).unbind(1))], -1) * y + v
    ),
    "in place of a stack": lambda x, y, v: torch.stack([x, y]).mul_(v).lerp(torch.stack([y, x]), v).sum(0),
    "where in heads": lambda x, y, v: torch.where(heads(x) > 0, heads(y), 0.5 * heads(x)).flatten(1) * v,
    "heads of one": lambda x, y, v: (
        (x.unsqueeze(1) * heads(y).sum((1,), keepdim=True).amax(-1, keepdim=True)).squeeze(1).mul(v)
    ),
}


def forward_and_backward(f, by_rows=False):
    """As a kernel's function: the value, and the gradients of x, y and, for each row of its own, v."""

    def function(x, y, v, weight, value, d_x, d_y, d_v):
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (x, y, v.expand(x.shape[0], -1) if by_rows else v)]
            result = f(*leaves)
            total = Weighed.apply(result, weight)
        value.copy_(result)
        found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        for into, gradient in zip((d_x, d_y, d_v), found, strict=True):
            into.copy_(into + gradient if into is d_v and by_rows else gradient)

    return function


class Weighed(torch.autograd.Function):
    """A sum over all elements, weighed, without any sum over the rows."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.weight = weight
        return x.new_zeros(())

    @staticmethod
    def backward(ctx, _):
        return ctx.weight, None


def tensors(dtype, rows=B, seed=0):
    torch.manual_seed(seed)
    x, y, weight = torch.randn(3, rows, H, dtype=dtype).unbind()
    return [x, y, torch.randn(H, dtype=dtype), weight, *torch.zeros(4, rows, H, dtype=dtype).unbind()]


def library(f, given):
    """Value and gradients by PyTorch, row by row for those of the vector."""
    x, y, v, weight = (t.double() for t in given[:4])
    rows = []
    for k in range(x.shape[0]):
        leaves = [t.detach().clone().requires_grad_() for t in (x[k : k + 1], y[k : k + 1], v)]
        result = f(*leaves)
        found = torch.autograd.grad(
            (result * weight[k]).sum(), leaves, allow_unused=True, materialize_grads=True
        )
        rows.append([result[0].detach(), *(g.reshape(-1).detach() for g in found)])
    return [torch.stack(each) for each in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("dtype", "first"),
    [*((torch.float64, k) for k in range(0, len(OPERATIONS), 6)), (torch.float32, 3), (torch.float32, 15)],
)
def test_values_and_gradients_are_the_librarys(dtype, first):
    """A few of them in one kernel, which the compiler is called for once."""
    given = tensors(dtype)
    chosen = dict(list(OPERATIONS.items())[first : first + 6])
    functions = [forward_and_backward(f, by_rows=True) for f in chosen.values()]

    def all_of_them(x, y, v, weight, *room):
        for k, function in enumerate(functions):
            function(x, y, v, weight, *room[4 * k : 4 * k + 4])

    room = [torch.zeros(B, H, dtype=dtype) for _ in range(4 * len(functions))]
    arguments = [*given[:4], *room]
    NativeKernel(source(trace(all_of_them, arguments)), len(arguments))(*arguments)
    for k, (name, f) in enumerate(chosen.items()):
        for what, ours, wanted in zip(
            ("value", "dx", "dy", "dv"), room[4 * k :], library(f, given), strict=False
        ):
            off = ((ours - wanted).abs() / (1.0 + wanted.abs())).max()
            assert off < (1e-12 if dtype == torch.float64 else 2e-5), (name, what, float(off))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_is_recorded_with_vectors_as_they_are_and_by_rows(name):
    given = tensors(torch.float32)
    source(trace(lambda x, y, v, w, value, *_: value.copy_(OPERATIONS[name](x, y, v)), given))
    source(trace(forward_and_backward(OPERATIONS[name], by_rows=True), given), frozenset({7}))


def test_a_nan_is_the_largest():
    given = tensors(torch.float32)
    given[0][1, 5] = torch.nan

    def function(x, y, v, weight, value, *_):
        value.copy_(x.amax(-1, keepdim=True) + y)

    NativeKernel(source(trace(function, given)), len(given))(*given)
    assert given[4][1].isnan().all() and not given[4][[0, 2, 3, 4]].isnan().any()


def test_the_angles_of_all_sizes():
    x = torch.cat(
        [torch.linspace(-9, 9, 4001), torch.tensor([1e30, -1e30, torch.inf, -torch.inf, torch.nan, 0])]
    )
    x = torch.cat([x, torch.logspace(-30, 30, 4096 - len(x))]).double().reshape(4, -1)
    into = torch.empty_like(x)
    NativeKernel(source(trace(lambda x, into: into.copy_(x.atan()), [x, into])), 2)(x, into)
    torch.testing.assert_close(into, x.atan(), rtol=1e-15, atol=4e-16, equal_nan=True)


@pytest.mark.parametrize(
    ("why", "function"),
    [
        ("in reverse", lambda x, y, v: x.flip(-1)),
        ("along the rows", lambda x, y, v: x.cumsum(0)),
        ("along the rows", lambda x, y, v: heads(x).sum(0).reshape(1, -1) * y),
        ("reverse order|along the rows", lambda x, y, v: x.flip(0)),
        ("over several dimensions", lambda x, y, v: F.layer_norm(x, x.shape)),
        ("different dimensions", lambda x, y, v: (x[:, None, :] * y[:, :, None]).sum(-1)),
        ("a view of", lambda x, y, v: x.view(x.shape[0] * 2, -1).tanh().view(x.shape)),
        ("change places", lambda x, y, v: heads(x).transpose(0, 2).transpose(0, 2).flatten(1)),
        ("others see", lambda x, y, v: (s := torch.stack([x, y]), s[0], s.mul_(2.0).sum(0))[2]),
        ("the sum", lambda x, y, v: torch.einsum("bh,bk", x, y)),
        ("powers of", lambda x, y, v: (-2.0) ** x),
    ],
)
def test_what_is_not_known_is_said(why, function):
    with pytest.raises(Unsupported, match=why):
        source(trace(lambda x, y, v, w, value, *_: value.copy_(function(x, y, v)), tensors(torch.float32)))


@pytest.mark.parametrize("seed", range(4))
def test_programs_of_them_at_random(seed):
    dice = random.Random(seed)

    def f(x, y, v):
        values = [x, y * v]
        for _ in range(6):
            name = dice.choice(list(OPERATIONS))
            values.append(
                OPERATIONS[name](dice.choice(values).tanh(), dice.choice(values).tanh() + 1.5, v).tanh()
            )
        return values[-1] + values[-2]

    given = tensors(torch.float64, seed=seed)
    state = dice.getstate()

    def again(x, y, v):
        dice.setstate(state)
        return f(x, y, v)

    kernel = NativeKernel(
        source(trace(forward_and_backward(again, by_rows=True), given), frozenset()), len(given)
    )
    kernel(*given)
    for ours, wanted in zip(given[4:], library(again, given), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-8)
