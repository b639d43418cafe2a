"""Whole functions as kernels: columns cut and put together, sums over columns, sums over rows, threads."""

from __future__ import annotations

import random

import pytest
import torch

from lstmcli.kernels.compiled import compiler_available
from lstmcli.kernels.native import NativeKernel
from lstmcli.kernels.source import source
from lstmcli.kernels.trace import trace
from lstmcli.kernels.values import Unsupported

pytestmark = pytest.mark.skipif(not compiler_available(), reason="needs a C++ compiler")
H = 16


def run(function, given, summed=frozenset()):
    """What the kernel and the function make of copies of the same tensors."""
    ours, theirs = ([t.clone() for t in given] for _ in range(2))
    kernel = NativeKernel(source(trace(function, given), frozenset(summed)), len(given))
    kernel(*ours)
    function(*theirs)
    return ours, theirs


def agree(function, *given):
    for ours, theirs in zip(*run(function, given), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize("seed", range(6))
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
        ("the operation _softmax", lambda x, y: y.copy_(x.softmax(-1))),
        ("a sum over rows", lambda x, y: y.copy_(x - x.sum(0))),
        ("the operation select", lambda x, y: y.copy_(x if x[0, 0] > 0 else -x)),
        ("a split of rows", lambda x, y: y.copy_(torch.cat(x.split(1)))),
        ("writing into a part", lambda x, y: y[:, :4].copy_(x[:, :4])),
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


def test_one_column_is_too_few():
    given = [torch.randn(5, 1), torch.empty(5, 1)]
    with pytest.raises(Unsupported):
        source(trace(lambda x, y: y.copy_(x * 2), given))
