"""A device that is not the CPU, for tests where there is none: its tensors compute, and nothing is mixed.

Under `Elsewhere` the device `meta` holds tensors with values. An operation on one of them and on a tensor of
the CPU fails, as it would on a GPU, and each time that the program waits for a value, it is noted where.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

import lstmcli

DEVICE = torch.device("meta")
WAITS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim")
PACKAGE = Path(lstmcli.__file__).parent


class There(torch.Tensor):
    """A tensor that says it is on the device; `inner` has its values."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self, **_):
        return f"There({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} outside of the device")

    __torch_function__ = torch._C._disabled_torch_function_impl


class Elsewhere(TorchDispatchMode):
    """The device is there, and counts in `waits` by place in the package how often it was waited for."""

    def __init__(self):
        super().__init__()
        self.waits = Counter()
        self.literals = _Literals()

    def __enter__(self):
        self.literals.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.literals.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name, tensors = (
            func.overloadpacket.__name__,
            [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)],
        )
        there = [t for t in tensors if isinstance(t, There)]
        wanted = kwargs.get("device")
        to_cpu = bool(there) and wanted is not None and torch.device(wanted).type == "cpu"
        back = name == "copy_" and not isinstance(args[0], There) and isinstance(args[1], There)
        if (there and name in WAITS) or to_cpu or back:
            self.waits[_place()] += 1
        makes = wanted is not None and torch.device(wanted).type == DEVICE.type
        if not there and not makes:
            result = func(*args, **kwargs)
            lost = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor) and t.is_meta]
            assert not lost, f"{func} of {args} is on the device without a value"
            return result
        moves = name in ("_to_copy", "copy_")
        mixed = [t for t in tensors if not isinstance(t, There) and t.dim()]
        assert moves or not there or not mixed or name in ("index", "index_put_"), f"{name} on two devices"
        if makes or to_cpu:
            kwargs["device"] = "cpu"
        result = func(*_inner(args), **_inner(kwargs))
        lost = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor) and t.is_meta]
        assert not lost, f"{func} of {args} {kwargs} is on the device without a value"
        if to_cpu or back:
            return args[0] if back else result
        wrapped = tree_map_only(torch.Tensor, There, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if there else wrapped


class _Literals(TorchFunctionMode):
    """Numbers from Python reach the device through the CPU: the constructor itself is below every mode."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device) == DEVICE:
            kwargs["device"] = "cpu"
            return func(*args, **kwargs).to(DEVICE)
        if func is torch.Tensor.tolist and isinstance(args[0], There):
            return args[0].cpu().tolist()
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(args[0], There):
            raise TypeError("NumPy of a tensor that is on the device")
        if func is torch.Tensor.new_tensor and isinstance(args[0], There):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        return func(*args, **kwargs)


def _inner(given):
    return tree_map_only(There, lambda t: t.inner, given)


def _place():
    """The function of the package that waits."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            return f"{path.relative_to(PACKAGE)}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"
