"""A function as a kernel, by the quickest way that can do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from torch import Tensor

from lstmcli.kernels.build import find_compiler
from lstmcli.kernels.inductor import inductor_kernel
from lstmcli.kernels.native import NativeKernel
from lstmcli.kernels.source import source
from lstmcli.kernels.trace import trace
from lstmcli.notices import notice

Kernel = Callable[..., None]


def compiled(function: Kernel, arguments: Sequence[Tensor], summed: frozenset[int] = frozenset()) -> Kernel:
    """A kernel of a function that computes row by row and writes into its arguments.

    Args:
        arguments: tensors (B, n), the first of them, and (n,), like those that it will be called with but
            for B.
        summed: numbers of arguments (B, n) that the function adds to, of which only the total over the
            rows counts.

    Returns:
        The kernel; or the function itself, with a notice, where nothing here can compile it.
    """
    if all(a.device.type == "cpu" for a in arguments):
        try:
            return NativeKernel(source(trace(function, arguments), summed), len(arguments))
        except Exception:  # `Unsupported`, or what the function raises on tensors of few rows
            pass  # what follows is slower to compile, and knows everything
    if any(a.dim() > 1 and a.shape[0] == 1 for a in arguments):
        return function  # one row would need a kernel of its own, and has little to gain
    try:
        return inductor_kernel(function, arguments)
    except Exception as error:  # a compiler may fail in any way; the equations are right all the same
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        notice(f"the cell cannot be compiled here ({problem[:200]}): the recurrence runs uncompiled, slower")
        return function


@cache
def compiler_available() -> bool:
    """Whether kernels can be compiled for the CPU; says so once where they cannot."""
    found = find_compiler() is not None
    if not found:
        notice("no C++ compiler here: the recurrence runs uncompiled, two to five times slower")
    return found
