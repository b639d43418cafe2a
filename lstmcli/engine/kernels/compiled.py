"""A function as a kernel, by the quickest way that can do it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from lstmcli.core.errors import UsageError
from lstmcli.core.notices import notice
from lstmcli.engine.kernels.build import find_compiler
from lstmcli.engine.kernels.gpu import TritonKernel
from lstmcli.engine.kernels.inductor import inductor_kernel
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.source import source
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Fault, Unsupported

Kernel = Callable[..., None]
ENVIRONMENT = "LSTM_KERNELS"
MODES = ("", "show", "strict", "off")
"""What that environment variable may say: `show` tells what becomes of each function, and where its text
lies; under `strict` a fault is an error instead of a slower way; `off` compiles nothing."""


def compiled(
    function: Kernel,
    arguments: Sequence[Tensor],
    summed: frozenset[int] = frozenset(),
    by_rows: Kernel | None = None,
    name: str = "the cell",
) -> Kernel:
    """A kernel of a function that computes row by row and writes into its arguments.

    Args:
        arguments: tensors (B, n), the first of them, and (n,), like those that it will be called with but
            for B.
        summed: numbers of arguments (B, n) that the function adds to, of which only the total over the
            rows counts.
        by_rows: a function to record in its place, which adds to each row of them what is that row's.
        name: of what is computed, for notices.

    Returns:
        The kernel; or the function itself, with a notice, where nothing here can compile it.

    Raises:
        Fault: a kernel should have been made and was not (where LSTM_KERNELS=strict; else it is told).
    """
    if mode() == "off":
        return function
    device = arguments[0].device.type
    reason = f"it is on {device}"
    try:
        if device == "cpu":
            return _native(by_rows or function, arguments, summed, name)
        if device == "cuda":
            return _on_gpu(by_rows or function, arguments, name)
    except Unsupported as error:
        reason = _expected(error)
    if any(a.dim() > 1 and a.shape[0] == 1 for a in arguments):
        return function  # one row would need a kernel of its own, and has little to gain
    return _by_inductor(function, arguments, name, reason)


def _native(function: Kernel, arguments: Sequence[Tensor], summed: frozenset[int], name: str) -> NativeKernel:
    text = source(trace(function, arguments), summed)
    kernel = NativeKernel(text, len(arguments))
    if mode() == "show":
        shown = kernel.library.with_suffix(".cpp")
        shown.write_text(text.text)
        notice(f"{name}, {_called(function)}: C++, {shown}")
    return kernel


def _on_gpu(function: Kernel, arguments: Sequence[Tensor], name: str) -> TritonKernel:
    """Every row of a vector's gradient is its own there, so that nothing is summed by threads."""
    kernel = TritonKernel(trace(function, arguments))
    if mode() == "show":
        notice(f"{name}, {_called(function)}: Triton, in blocks of {kernel.source.block} columns")
    return kernel


def _by_inductor(function: Kernel, arguments: Sequence[Tensor], name: str, reason: str) -> Kernel:
    try:
        kernel = inductor_kernel(function, arguments)
    except Unsupported as error:
        why = _expected(error)
        reasons = dict.fromkeys((reason, why))
        _slower(
            name, f"cannot be compiled here ({'; '.join(reasons)}): the recurrence runs uncompiled, slower"
        )
        return function
    if arguments[0].device.type in ("cpu", "cuda"):
        _slower(name, f"is compiled by TorchInductor, for slower steps after a longer start ({reason})")
    if mode() == "show":
        notice(f"{name}, {_called(function)}: TorchInductor")
    return kernel


_slower_ones: set[str] = set()


def _slower(name: str, how: str) -> None:
    """Tell that a cell takes a slower way; once, though it has several functions."""
    if name not in _slower_ones:
        _slower_ones.add(name)
        notice(f"{name} {how}")


def _called(function: Kernel) -> str:
    return getattr(function, "__name__", "a function").strip("_")


def _expected(error: Unsupported) -> str:
    """Why there is no kernel. A fault is raised again under LSTM_KERNELS=strict."""
    if isinstance(error, Fault) and mode() == "strict":
        raise error
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def mode() -> str:
    """What LSTM_KERNELS says."""
    told = os.environ.get(ENVIRONMENT, "")
    if told not in MODES:
        raise UsageError(
            f"the environment variable {ENVIRONMENT} is {told!r}", f"it may be {', '.join(MODES[1:])}"
        )
    return told


def why_uncompiled(device: torch.device) -> str | None:
    """Why no kernels can be compiled for the device; None where they can."""
    if mode() == "off":
        return f"{ENVIRONMENT}=off"
    if device.type == "cpu":
        return None if _compiler_found() else "no C++ compiler here"
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") is not None else "no Triton here"
    return f"no compiler for {device.type}"


def compiler_available() -> bool:
    """Whether kernels can be compiled for the CPU."""
    return why_uncompiled(torch.device("cpu")) is None


@cache
def _compiler_found() -> bool:
    return find_compiler() is not None
