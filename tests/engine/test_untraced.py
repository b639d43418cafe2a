"""The ways round torch's imports: they are needed, they save what they say, and they compute the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lstmcli.engine.untraced import VERSIONS, pulled_back, untraced

HEAVY = ("torch._dynamo", "sympy")


def imported(code):
    """Which of the heavy modules a fresh process has after running the code."""
    shown = f"import sys, torch\n{code}\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_version_of_torch_is_one_that_this_was_tried_with():
    here = tuple(int(n) for n in torch.__version__.split("+")[0].split(".")[:2])
    first, last = (tuple(map(int, v.split("."))) for v in VERSIONS)
    assert first <= here <= last, "see whether the ways are still needed, then move VERSIONS"


def test_nothing_heavy_is_imported_by_what_takes_these_ways():
    """An optimizer's whole life, and a cell's step recorded with its derivative."""
    code = """
from lstmcli.engine.untraced import untraced
p = torch.nn.Parameter(torch.ones(3))
o = untraced(torch.optim.AdamW)([p], lr=0.1)
p.grad = torch.ones(3)
o.step(); o.zero_grad(); o.load_state_dict(o.state_dict())
from lstmcli.cells import find_cell
from lstmcli.engine.pointwise import pointwise_pair
assert not pointwise_pair(find_cell("lstm")(), False).reads_hidden(16)
"""
    assert imported(code) == "[]"


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("torch._dynamo", "torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])"),
        (
            "sympy",
            "x = torch.ones(3, requires_grad=True)\ntorch.autograd.grad(x * 2, x, torch.ones(3))",
        ),
        (
            "torch._dynamo",
            "from torch.utils._python_dispatch import TorchDispatchMode\n"
            "class M(TorchDispatchMode):\n"
            "    def __torch_dispatch__(self, f, types, args=(), kwargs=None): return f(*args)\n"
            "with M(): torch.ones(3) + 1",
        ),
    ],
)
def test_the_plain_way_still_imports_it(what, code):
    """Where this fails, torch has mended it: the way round can go."""
    assert what in imported(code)


def test_gradients_are_those_of_vjp():
    torch.manual_seed(1)
    x, y, d = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)

    def function(x, y):
        return (x * y).tanh(), x.detach() * 2.0, x.sigmoid()

    found = pulled_back(function, (x, y), (d, d, d))
    _, pull = torch.func.vjp(function, x, y)
    for ours, wanted in zip(found, pull((d, d, d)), strict=True):
        torch.testing.assert_close(ours, wanted)
    nothing = pulled_back(lambda x: (torch.ones_like(x),), (x,), (d,))
    assert not nothing[0].any()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_steps_as_torchs_own(kind):
    torch.manual_seed(1)
    start, gradient = torch.randn(5), torch.randn(5)
    ends = []
    for make in (kind, untraced(kind)):
        p = torch.nn.Parameter(start.clone())
        optimizer = make([p], lr=0.1)
        for _ in range(3):
            p.grad = gradient.clone()
            optimizer.step()
        ends.append(p.detach())
    assert torch.equal(*ends)
