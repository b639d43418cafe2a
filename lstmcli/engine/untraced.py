"""What is there only so that a program starts fast: ways round imports that torch makes on first use.

TorchDynamo takes a second and a hundred megabytes to import, an algebra system half a second; nothing here
needs either. Each way says which call would import what, and `tests/engine/test_untraced.py` says for which
versions of torch that is so, and that the ways compute the same. What torch no longer imports can go.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VERSIONS = ("2.10", "2.13")
"""The first and the last version of torch that this was tried with."""
METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@cache
def untraced(kind: Any) -> Any:
    """The same class of optimizers, for programs that do not compile it.

    Torch wraps these methods, so that TorchDynamo looks away from them; asking it to do so imports it. Here
    are the methods inside the wrappers.
    """
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in METHODS}
    inner_step = inspect.unwrap(kind.step)

    def step(self: Any, closure: Any = None) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return inner_step(self, closure)

    return type(kind.__name__, (kind,), {**bare, "step": step, "__doc__": kind.__doc__})


class UntracedMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation below autograd. Torch hides such a mode from TorchDynamo unless it says no here,
    and imports it to do so."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def pulled_back(
    function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The gradients with respect to the inputs, from those with respect to the function's results.

    As `torch.func.vjp`, which would import torch's compiler, for a second.
    """
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        results = function(*leaves)
        ends = [_Begin.apply(y, d) for y, d in zip(results, gradients, strict=True) if y.requires_grad]  # type: ignore[no-untyped-call]
        if not ends:
            return tuple(torch.zeros_like(x) for x in inputs)
        end = sum(ends[1:], ends[0])
    return torch.autograd.grad(end, leaves, allow_unused=True, materialize_grads=True)


class _Begin(torch.autograd.Function):
    """Where the gradient of a result is the given one. `torch.autograd.grad` takes gradients to begin with,
    too, and imports an algebra system to check them, for half a second."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient = gradient
        return result.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.gradient, None
