"""A window in one call is the window step by step, to the bit where the sums are exact."""

from __future__ import annotations

import pytest
import torch

from lstmcli.engine.kernels.compiled import compiled, compiler_available
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.product import available
from lstmcli.engine.walk import walk

T = 5
HERE = [d for d in (torch.bfloat16, torch.float32) if compiler_available() and available(d)]
native = pytest.mark.skipif(not HERE, reason="needs a compiler")
each_dtype = pytest.mark.parametrize("dtype", HERE)


def forward(z, recurrent, hidden):
    total = z + recurrent
    z.copy_(total)
    hidden.copy_((total * 0.25).clamp(-3, 3))


def backward(z, d_z, d_hidden, total):
    gradient = (d_hidden + z).clamp(-3, 3)
    d_z.copy_(gradient)
    total.copy_(total + gradient)


def integers(dtype, *shape):
    return torch.randint(-3, 4, shape).to(dtype)


def windows(way, dtype, batch, size, threads=2):
    """By a kernel and by plain steps: what each has written."""
    torch.manual_seed(batch + size)
    weight, z, start = (integers(dtype, *s) for s in ((size, size), (T, batch, size), (batch, size)))
    found = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for use_kernel in (True, False):
            if way == "forward":
                hidden = torch.zeros(T + 1, batch, size, dtype=dtype)
                hidden[0] = start
                products = torch.zeros(1, batch, size, dtype=dtype)
                columns, function = [z.clone(), products.expand(T, -1, -1), hidden[1:]], forward
                arguments = (weight, hidden[:-1], 1)
            else:
                d_z, d_hidden = torch.zeros_like(z), start.clone()
                total = torch.zeros(batch, size)
                columns = [z.clone(), d_z, d_hidden.expand(T, -1, -1), total.expand(T, -1, -1)]
                function, arguments = backward, (weight.t(), d_z, 2)
            rows = [c[0] for c in columns]
            summed = frozenset({3} if way == "backward" else ())
            kernel = compiled(function, rows, summed) if use_kernel else function
            assert isinstance(kernel, NativeKernel) == use_kernel
            walk(kernel, columns, *arguments, back=way == "backward")
            written = [c.clone() for c in columns] + ([hidden] if way == "forward" else [])
            if way == "backward":
                written[3] = total.sum(0)
            else:
                del written[1]  # only a place to work
            found.append(written)
    finally:
        torch.set_num_threads(before)
    return found


@native
@each_dtype
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("size", [2, 8, 16, 34, 48, 64, 70, 112, 130, 256])
@pytest.mark.parametrize("batch", [2, 3, 7, 13, 64])
def test_one_call_is_every_step(way, size, batch, dtype):
    for ours, theirs in zip(*windows(way, dtype, batch, size), strict=True):
        assert torch.equal(ours, theirs)


@native
@each_dtype
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_computes_the_same(threads, dtype):
    for way in ("forward", "backward"):
        for ours, theirs in zip(*windows(way, dtype, 65, 256, threads), strict=True):
            assert torch.equal(ours, theirs)


@native
@each_dtype
def test_products_that_are_kept_and_a_single_step(dtype):
    torch.manual_seed(1)
    weight, z = integers(dtype, 32, 16), integers(dtype, 1, 4, 32)
    products = torch.zeros(1, 4, 32, dtype=dtype)
    hidden = torch.cat([integers(dtype, 1, 4, 16), torch.zeros(1, 4, 16, dtype=dtype)])

    def function(z, recurrent, hidden):
        hidden.copy_((z + recurrent).chunk(2, dim=-1)[0])

    columns = [z, products, hidden[1:]]
    walk(compiled(function, [c[0] for c in columns]), columns, weight, hidden[:-1], 1)
    assert torch.equal(products[0], hidden[0] @ weight.t())


@native
@each_dtype
def test_a_row_does_not_depend_on_the_others(dtype):
    """So that a batch may be cut in any way."""
    torch.manual_seed(2)
    weight, x = torch.randn(192, 128).to(dtype), torch.randn(2, 29, 128).to(dtype)

    def function(recurrent, into):
        into.copy_(recurrent)

    def all_rows(x):
        room = [torch.empty(2, x.shape[1], 192, dtype=dtype) for _ in range(2)]
        walk(compiled(function, [c[0] for c in room]), room, weight, x, 0)
        return room[1]

    together = all_rows(x)
    for rows in (slice(0, 5), slice(5, 6), slice(6, 29)):
        assert torch.equal(all_rows(x[:, rows].contiguous()), together[:, rows])
    exact = x.double() @ weight.double().t()
    bound = 2.0**-8 * exact.abs() + 1e-3 if dtype == torch.bfloat16 else 1e-4
    assert ((together - exact).abs() <= bound).all()
