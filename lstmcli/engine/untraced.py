"""Optimizers of torch without its compiler."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch

METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@cache
def untraced(kind: Any) -> Any:
    """The same class of optimizers, for programs that do not compile it.

    Torch wraps these methods, so that TorchDynamo looks away from them; asking it to do so imports it, for a
    second of time and a hundred megabytes. Here are the methods inside the wrappers.
    """
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in METHODS}
    inner_step = inspect.unwrap(kind.step)

    def step(self: Any, closure: Any = None) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return inner_step(self, closure)

    return type(kind.__name__, (kind,), {**bare, "step": step, "__doc__": kind.__doc__})
