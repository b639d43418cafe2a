"""Whole functions as kernels: columns cut and put together, sums over columns, sums over rows, threads."""

from __future__ import annotations

import random

import pytest
import torch

from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.source import source
from lstmcli.engine.kernels.trace import ROWS, trace
from lstmcli.engine.kernels.values import Unsupported

pytestmark = pytest.mark.skipif(not compiler_available(), reason="needs a C++ compiler")
H = 16


def run(function, given, summed=frozenset()):
    """What the kernel and the function make of copies of the same tensors."""
    ours, theirs = ([t.clone() for t in given] for _ in range(2))
    kernel = NativeKernel(source(trace(function, given), frozenset(summed)), len(given))
    kernel(*ours)
    function(*theirs)
    return ours, theirs


def agree(function, *given, within=1e-5, equal_nan=False):
    for ours, theirs in zip(*run(function, given), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=within, equal_nan=equal_nan)


def normalized(v):
    centred = v - v.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def test_columns_are_cut_and_put_together():
    def function(wide, vector, into):
        a, b, c = wide.chunk(3, dim=-1)
        into.copy_(torch.cat([c * vector, a[:, : H // 2], wide[:, H + 8 : 2 * H], b], dim=1))

    agree(function, torch.randn(5, 3 * H), torch.randn(H), torch.empty(5, 3 * H))


def test_sums_over_columns_of_sums_over_columns():
    def function(x, gain, into, wide):
        y = normalized(x) * gain
        into.copy_(normalized(y.tanh() + x.sum(-1, keepdim=True)))
        wide.copy_(torch.cat([x, y], -1) - torch.cat([y, x], -1).mean(-1).unsqueeze(-1))

    agree(function, torch.randn(9, H), torch.randn(H), torch.empty(9, H), torch.empty(9, 2 * H))


@pytest.mark.parametrize("normalize", [torch.softmax, torch.log_softmax])
@pytest.mark.parametrize(("size", "half"), [(1.0, H), (300.0, H), (1.0, 128)])
def test_softmax_and_what_autograd_makes_of_it(normalize, size, half):
    def function(x, d_y, vector, y, d_x, parts, one):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            result = normalize(leaf * vector, -1)
            (gradient,) = torch.autograd.grad(result, leaf, d_y)
        y.copy_(result)
        d_x.copy_(gradient)
        left, right = x.chunk(2, -1)
        parts.copy_(torch.cat([normalize(left, -1), normalize(right + x.sum(-1, keepdim=True), -1)], -1))
        one.copy_(normalize(vector, -1) + normalize(x[:, :1], -1))

    shape = (7, 2 * half)
    x = torch.randn(shape) * size
    x[0, 3] = -torch.inf
    given = x, torch.randn(shape), torch.randn(2 * half).abs(), *torch.empty(4, *shape)
    # A sum of numbers of this size goes into one of them; of infinite ones it is a NaN.
    agree(function, *given, within=1e-5 * size, equal_nan=True)


def test_one_column_is_the_same_for_all():
    def function(x, vector, flag, into, other, doubled):
        y = x.tanh()
        left, right = x.chunk(2, -1)
        into.copy_(torch.cat([left * y[:, 3:4] + x[:, -1:], right * vector[H + 2 : H + 3]], -1))
        other.copy_(torch.where(flag[:, 5:6], x, y) + x[:, :1].sum(-1, keepdim=True))
        doubled.copy_(x.double()[:, 7:8] + y[:, H + 3 : H + 4].bfloat16() * vector)

    x, flag = torch.randn(6, 2 * H), torch.rand(6, 2 * H) < 0.5
    doubled = torch.empty(6, 2 * H, dtype=torch.float64)
    agree(function, x, torch.randn(2 * H), flag, torch.empty(6, 2 * H), torch.empty(6, 2 * H), doubled)


def test_columns_of_one_side_by_side():
    def function(x, into, gradient):
        into.copy_(torch.cat([x[:, 1:2]] * (H - 1) + [x[:, :1].tanh()], -1))
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            loss = (leaf * leaf[:, 3:4]).sum(-1) + leaf[:, H - 1 :].sum(-1)
            (found,) = torch.autograd.grad(loss, leaf, x.sum(-1))
        gradient.copy_(found)

    agree(function, torch.randn(4, H), torch.empty(4, H), torch.empty(4, H))


def test_a_column_beside_others_of_its_tensor_is_not_known():
    given = [torch.randn(4, H), torch.empty(4, H)]
    with pytest.raises(Unsupported, match="one column"):
        source(trace(lambda x, y: y.copy_(torch.cat([x[:, 1:], x[:, :1]], -1)), given))


@pytest.mark.parametrize("rows", ROWS)
def test_as_many_columns_as_rows_are_not_taken_for_rows(rows):
    def function(x, vector, into):
        left, right = vector.chunk(2)
        into.copy_(x * torch.cat([right * left, left]))

    agree(function, torch.randn(rows, 2 * rows), torch.randn(2 * rows), torch.empty(rows, 2 * rows))


def test_a_nan_makes_the_whole_softmax_one():
    x = torch.randn(4, H)
    x[1, 5] = torch.nan
    (_, ours), _ = run(lambda x, y: y.copy_(x.softmax(-1)), [x, torch.empty(4, H)])
    assert ours[1].isnan().all() and not ours[[0, 2, 3]].isnan().any()


def test_what_is_read_is_read_before_it_is_written():
    def function(x, y):
        old = x + 0.0
        x.copy_(normalized(y))
        y.copy_(normalized(x) + old)
        x.mul_(2.0)
        x[:, :].add_(1.0)

    agree(function, torch.randn(6, H), torch.randn(6, H))


def test_a_slice_follows_what_is_written_over_it():
    def function(x, into):
        left, _ = x.chunk(2, dim=-1)
        x.copy_(x * 2.0)
        into.copy_(left)

    agree(function, torch.randn(4, 2 * H), torch.empty(4, H))


def test_what_is_written_into_a_part_is_in_that_part_alone():
    def function(x, halves, whole, one, own):
        fresh = torch.zeros_like(x)
        left, right = fresh.chunk(2, dim=-1)
        left.copy_(x[:, H:])
        halves.copy_(torch.cat([right, left], -1) + fresh)
        fresh[:, H:] += left.tanh()
        fresh[:, : H // 2] = 3.0
        whole.copy_(fresh + right.sum(-1, keepdim=True))
        one.copy_(x * left[:, 1:2] + fresh[:, -1:])
        first, second = own.chunk(2, dim=-1)
        second.copy_(first * 2.0)
        first.mul_(second)

    agree(function, *torch.randn(5, 4, 2 * H))


def test_what_is_written_into_parts_that_overlap():
    def function(x, y, into):
        left, middle, right = into[:, :H], into[:, H // 2 : H + H // 2], into[:, H:]
        into.copy_(y)
        left.copy_(x[:, :H])
        middle.copy_(x[:, H:])
        right.add_(left + middle)

    agree(function, *torch.randn(3, 4, 2 * H))


def test_rows_that_lie_apart():
    def function(x, into):
        into.copy_(x * 2.0)

    wide = torch.randn(5, 4 * H)
    given = [wide[:, H : 2 * H], torch.empty(5, H)]
    kernel = NativeKernel(source(trace(function, given)), 2)
    kernel(*given)
    assert torch.equal(given[1], 2.0 * given[0])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_sums_over_rows(threads):
    rows, width = 37, 1024

    def function(x, total, into):
        y = x.tanh()
        into.copy_(y)
        total.copy_(total + y * x)

    given = [torch.randn(rows, width), torch.zeros(rows, width), torch.empty(rows, width)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (_, ours, into), (_, theirs, wanted) = run(function, given, {1})
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(into, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.sum(0), theirs.sum(0), rtol=1e-4, atol=1e-4)
    assert not ours[threads:].any(), "one row for each thread"


def written_over(x, y, dice):
    fresh = torch.zeros_like(x)
    for part in (x, y):
        first = dice.choice([0, H // 2, H])
        fresh[:, first : first + H] = part[:, :H]
        fresh[:, H // 2 : H + H // 2].mul_(part[:, H:])
    return fresh + fresh[:, :1]


def slope(x, y):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        left, right = leaf.chunk(2, -1)
        result = torch.cat([left.softmax(-1) * leaf[:, 3:4], (right * y[:, :H]).tanh()], -1)
        return torch.autograd.grad(result, leaf, y)[0]


@pytest.mark.parametrize("seed", range(10))
def test_functions_at_random(seed):
    dice = random.Random(seed)

    def function(a, b, vector, flag, into, other):
        values = [a, b, a * vector, torch.where(flag, a, b)]
        for _ in range(12):
            x, y = dice.choice(values), dice.choice(values)
            values.append(
                dice.choice(
                    [
                        lambda x=x, y=y: x * y.tanh(),
                        lambda x=x, y=y: (x - y).sigmoid(),
                        lambda x=x, y=y: normalized(x + 0.1 * y),
                        lambda x=x, y=y: torch.cat([y[:, H:], x[:, :H]], 1),
                        lambda x=x, y=y: torch.maximum(x, y.mean(-1, keepdim=True)),
                        lambda x=x: (x.bfloat16().relu() + 0.5).to(x.dtype),
                        lambda x=x, y=y: x * y[:, (k := dice.randrange(2 * H)) : k + 1],
                        lambda x=x, y=y: y.softmax(-1) - x.log_softmax(-1),
                        lambda x=x, y=y: written_over(x, y, dice),
                        lambda x=x, y=y: slope(x, y),
                    ]
                )()
            )
        into.copy_(values[-1])
        other.copy_(values[-2])

    given = [torch.randn(5, 2 * H, dtype=torch.float64) for _ in range(2)]
    given += [torch.randn(2 * H, dtype=torch.float64), torch.rand(5, 2 * H) < 0.5]
    given += [torch.empty(5, 2 * H, dtype=torch.float64), torch.empty(5, 2 * H, dtype=torch.bfloat16)]
    state = dice.getstate()
    program = trace(function, given)
    dice.setstate(state)
    ours, theirs = ([t.clone() for t in given] for _ in range(2))
    NativeKernel(source(program), len(given))(*ours)
    function(*theirs)
    torch.testing.assert_close(ours[4], theirs[4], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours[5], theirs[5], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("why", "function"),
    [
        ("the operation cumprod", lambda x, y: y.copy_(x.cumprod(-1))),
        ("along the rows", lambda x, y: y.copy_(x.softmax(0))),
        ("along the rows", lambda x, y: y.copy_(x * x.sum(-1).softmax(-1).unsqueeze(-1))),
        ("along the rows", lambda x, y: y.copy_(x * x.sum(-1).sum(-1))),
        ("along the rows", lambda x, y: y.copy_(x * x.sum(-1)[:1])),
        ("along the rows", lambda x, y: y.copy_(x * x.mean(-1).chunk(2)[0][:1])),
        ("along the rows", lambda x, y: y.copy_(x * torch.cat([x.sum(-1), x.sum(-1)])[:1])),
        ("a tensor of shape", lambda x, y: y.copy_(x * (x.sum(-1) * x[:, :1]).sum(-1, keepdim=True))),
        ("along the rows", lambda x, y: y.copy_(x - x.sum(0))),
        ("a sum over everything", lambda x, y: y.copy_(x - x.sum())),
        ("the operation select", lambda x, y: y.copy_(x if x[0, 0] > 0 else -x)),
        ("along the rows", lambda x, y: y.copy_(torch.cat(x.split(1)))),
        ("a tensor that is not an argument", lambda x, y: y.copy_(x * OUTSIDE)),
        ("the operation", lambda x, y: y.copy_(torch.rand_like(x))),
    ],
)
def test_what_is_not_known_is_said(why, function):
    with pytest.raises(Unsupported, match=why):
        trace(function, [torch.randn(5, H), torch.empty(5, H)])


OUTSIDE = torch.ones(H)
NUMBER = torch.tensor(0.5)


def test_a_number_that_the_function_holds_is_part_of_it():
    agree(lambda x, y: y.copy_(x * NUMBER), torch.randn(5, H), torch.empty(5, H))


def test_columns_cut_too_finely():
    given = [torch.randn(5, 512), torch.empty(5, 512)]
    with pytest.raises(Unsupported, match="too finely"):
        source(trace(lambda x, y: y.copy_(x + x[:, 4:8].sum(-1, keepdim=True)), given))


def test_one_column_is_too_few():
    given = [torch.randn(5, 1), torch.empty(5, 1)]
    with pytest.raises(Unsupported):
        source(trace(lambda x, y: y.copy_(x * 2), given))
