"""x Wᵀ for a weight that many steps share: laid out once for oneDNN, then multiplied at every step.

A recurrent product is small (a batch by one matrix), so unpacking the weight at every call costs as
much as multiplying. oneDNN keeps a weight in its own blocked layout; on CPUs where MKL is slow at
such shapes this is also the faster library in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def repeated_product(weight: Tensor, batch_size: int) -> Product:
    """A function x (B, K) -> x weightᵀ (B, N) for a weight (N, K) that stays as it is.

    The result lies in fresh memory, has the weight's dtype and is not tracked by autograd.
    """
    weight = weight.detach().contiguous()
    if weight.device.type == "cpu" and _can_pack(weight.dtype):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, batch_size)
        multiply = torch.ops.mkldnn._linear_pointwise
        return lambda x: multiply(x, packed, None, "none", [], "")
    transposed = weight.t()
    return lambda x: torch.mm(x, transposed)


class Packed:
    """x weightᵀ for weights that many steps share, each laid out once for both directions; several times
    as fast for a few rows. Derivatives with respect to x alone."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Tensor, Product, Product]] = {}  # the weight, too: its id must last

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        if id(weight) not in self._pairs:
            there, back = repeated_product(weight, len(x)), repeated_product(weight.t(), len(x))
            self._pairs[id(weight)] = (weight, there, back)
        _, there, back = self._pairs[id(weight)]
        product: Tensor = _Product.apply(x, there, back)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Product, back: Product) -> Tensor:
        ctx.back = back
        return there(x.contiguous())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradients[0].contiguous()), None, None


@cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this build has the packed product for the dtype, and it works (tried, not assumed)."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if dtype not in (torch.float32, torch.bfloat16) or not available:
        return False
    try:
        weight = torch.eye(16, dtype=dtype)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
        result = torch.ops.mkldnn._linear_pointwise(weight, packed, None, "none", [], "")
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool(torch.equal(result, weight))
