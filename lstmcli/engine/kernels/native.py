"""Kernels built from C++: one step, or a whole window, in a call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from lstmcli.engine.kernels.build import load
from lstmcli.engine.kernels.product import NativeProduct
from lstmcli.engine.kernels.source import Source

WORK = 4096
"""Elements of a thread's share, below which waking it costs more than it saves."""


class NativeKernel:
    """A built kernel, to be called with tensors laid out like those it was written for."""

    def __init__(self, source: Source, arguments: int):
        library, self.library = load(source)
        self._run, self._window = library.kernel, library.window
        self._run.restype = self._window.restype = None
        self._pointers, self._strides = ctypes.c_void_p * arguments, ctypes.c_long * arguments
        self._run.argtypes = (ctypes.c_long, ctypes.c_long, self._pointers)
        numbers, address = ctypes.c_long, ctypes.c_void_p
        self._window.argtypes = (
            *(numbers, numbers, numbers, self._pointers, self._strides, numbers),
            *(address, address, numbers, numbers, numbers),
            *(address, numbers, numbers, address, numbers, numbers),
        )

    def __call__(self, *tensors: Tensor) -> None:
        rows = tensors[0].shape[0]
        self._run(rows, _parts(rows, tensors[0].numel()), self._pointers(*[t.data_ptr() for t in tensors]))

    def window(
        self, columns: Sequence[Tensor], product: NativeProduct, x: Tensor, y: Tensor, back: bool
    ) -> None:
        """The kernel at every step of a window, each thread with rows of its own: y[t] = product(x[t]), then
        the kernel on row t of each column; or, `back` from the last step to the first, the other way round.

        Args:
            columns: the kernel's arguments at every step, (T, B, n) or (T, n).
            x: (T, B, inputs); y: (T, B, outputs), one of the columns.
        """
        steps, rows = x.shape[0], x.shape[1]
        sign = -1 if back else 1

        def start(tensor: Tensor) -> int:
            return (tensor[-1] if back else tensor).data_ptr()

        def stride(tensor: Tensor) -> int:
            return sign * tensor.stride(0) * tensor.element_size()

        self._window(
            *(rows, _parts(rows, columns[0][0].numel()), steps),
            self._pointers(*map(start, columns)),
            self._strides(*map(stride, columns)),
            int(not back),
            *(product.address, product.weights.data_ptr(), product.inputs, product.outputs, x.element_size()),
            *(start(x), stride(x), x.stride(1)),
            *(start(y), stride(y), y.stride(1)),
        )


def _parts(rows: int, elements: int) -> int:
    threads = torch.get_num_threads()
    return threads if rows >= threads and elements >= WORK * threads else 1
