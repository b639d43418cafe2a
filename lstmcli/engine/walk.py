"""From step to step of a window: the recurrent product and the cell's kernel in turn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lstmcli.engine.kernels.compiled import Kernel, mode
from lstmcli.engine.kernels.gpu import TritonKernel
from lstmcli.engine.kernels.graphs import Windows
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.product import native_product
from lstmcli.engine.packed import repeated_product


def walk(
    kernel: Kernel, columns: Sequence[Tensor], weight: Tensor, x: Tensor, into: int, back: bool = False
) -> None:
    """At every step t, columns[into][t] = x[t] weightᵀ, and then the kernel on row t of each column; or,
    `back` from the last step to the first, the kernel and then the product, which the step before reads.

    In one call where both are native, each thread with rows of the batch of its own; as one CUDA graph where
    the kernel is a GPU's; else step by step. For a single step no weight is laid out.

    Args:
        kernel: writes into its arguments, (B, n) and (n,).
        columns: its arguments at every step, (T, B, n) or (T, n).
        weight: (N, K); x: (T, B, K); columns[into]: (T, B, N), its steps in one memory if none is to be kept.
    """
    steps = x.shape[0]
    product = native_product(weight) if isinstance(kernel, NativeKernel) and steps > 1 else None
    if isinstance(kernel, NativeKernel) and product is not None:
        kernel.window(columns, product, x, columns[into], back)
        return
    if isinstance(kernel, TritonKernel) and steps > 1:

        def loop(tensors: Sequence[Tensor]) -> None:
            _step_by_step(kernel, tensors[2:], tensors[1], tensors[0], into, back)

        written = [2 + n for n in sorted({*kernel.written, into})]
        strict = mode() == "strict"
        _windows.run((kernel, into, back), loop, (x, weight, *columns), written, strict)
        return
    _step_by_step(kernel, columns, weight, x, into, back)


_windows = Windows()


def _step_by_step(
    kernel: Kernel, columns: Sequence[Tensor], weight: Tensor, x: Tensor, into: int, back: bool
) -> None:
    steps = x.shape[0]
    multiply = repeated_product(weight, x.shape[1]) if steps > 1 else lambda x: x @ weight.t()
    kept = columns[into].stride(0) != 0
    inputs, rows = x.unbind(), list(zip(*(c.unbind() for c in columns), strict=True))
    result = columns[into][-1]
    for t in reversed(range(steps)) if back else range(steps):
        row = rows[t]
        if not back:
            result = row[into].copy_(multiply(inputs[t])) if kept else multiply(inputs[t])
        kernel(*row[:into], result, *row[into + 1 :])
        if back:
            result = multiply(inputs[t])
    if back:
        columns[into][0].copy_(result)
