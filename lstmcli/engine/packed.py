"""x Wᵀ for a weight that many steps share: laid out once for oneDNN, then multiplied at every step.

A recurrent product is small (a batch by one matrix), so unpacking the weight at every call costs as
much as multiplying. oneDNN keeps a weight in its own blocked layout; on CPUs where MKL is slow at
such shapes this is also the faster library in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

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
