"""The linear recurrence without a loop over its steps, against that loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lstmcli.engine.scan import linear_recurrence


def by_steps(a, b, h):
    outputs = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        outputs.append(h)
    return torch.stack(outputs)


def drawn(steps, batch=2, units=3, dtype=torch.float64):
    torch.manual_seed(steps)
    a, b = torch.rand(steps, batch, units, dtype=dtype), torch.randn(steps, batch, units, dtype=dtype)
    return a.requires_grad_(), b.requires_grad_(), torch.randn(batch, units, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("steps", [*range(1, 18), 24, 25, 31, 36, 47, 63, 64, 65, 70])
def test_the_scan_is_the_loop_in_values_and_gradients(steps):
    given = drawn(steps)
    weights = torch.randn(steps, 2, 3, dtype=torch.float64)
    found, wanted = linear_recurrence(*given), by_steps(*given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad((h * weights).sum(), given) for h in (found, wanted)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 6, 9, 11])
def test_gradcheck(steps):
    assert torch.autograd.gradcheck(linear_recurrence, drawn(steps, 2, 2))


def test_the_given_tensors_stay_as_they_are():
    given = drawn(10)
    before = [value.detach().clone() for value in given]
    linear_recurrence(*given).sum().backward()
    for value, was in zip(given, before, strict=True):
        assert torch.equal(value.detach(), was)


@pytest.mark.parametrize("least", [0.0, 0.999, 1.0])
def test_long_in_single_precision_stays_near_the_loop_in_double(least):
    """Whatever is kept from step to step: nothing, nearly all, or all of it."""
    torch.manual_seed(0)
    a = least + (1 - least) * torch.rand(4096, 2, 8)
    b = torch.randn(4096, 2, 8)
    h = torch.randn(2, 8)
    wanted = by_steps(a.double(), b.double(), h.double())
    found = linear_recurrence(a, b, h).double()
    assert float((found - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_what_is_forgotten_at_once_leaves_no_trace():
    """A zero in the coefficients begins anew, whatever came before, also in the gradient."""
    a, b, h = drawn(30)
    with torch.no_grad():
        a[11] = 0.0
    outputs = linear_recurrence(a, b, h)
    gradients = torch.autograd.grad(outputs[11:].sum(), (b, h))
    assert not gradients[0][:11].any() and not gradients[1].any()
    torch.testing.assert_close(outputs[11], b[11], rtol=0, atol=0)


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def operations(steps):
    given = drawn(steps)
    with Counting() as counting:
        linear_recurrence(*given).sum().backward()
    return counting.count


def test_operations_grow_with_the_root_of_the_steps():
    counts = {steps: operations(steps) for steps in (64, 256, 1024, 4096)}
    assert counts[4096] < 20 * math.isqrt(4096)
    for steps in (256, 1024, 4096):
        assert counts[steps] < 2.2 * counts[steps // 4]
