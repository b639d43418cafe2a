"""Dropout whose mask is cheap to draw on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 1 << 16


def dropout(x: Tensor, p: float, training: bool, locked: bool = False) -> Tensor:
    """Zero a share `p` of x and scale the rest by 1 / (1 - p), as in Srivastava et al. 2014.

    `locked`: x is (T, ...) and what is zeroed is so at all steps (Gal and Ghahramani 2016).

    On a CPU the library draws one number per element from a sequential generator, which costs as
    much as a recurrent product; here each draw of 64 bits serves four elements, and `p` is rounded
    to a multiple of 2^-16.
    """
    if not training or p == 0.0:
        return x
    if locked:
        return x * dropout(x.new_ones(1, *x.shape[1:]), p, training)
    if x.device.type != "cpu":
        return functional.dropout(x, p, training)
    dropped = round(p * LEVELS)
    scale = LEVELS / (LEVELS - dropped)
    return x * (~chosen(x.shape, p, x.device)).to(x.dtype).mul_(scale)


def chosen(shape: Sequence[int], p: float, device: torch.device) -> Tensor:
    """A mask of bool that is true with probability `p` (rounded to a multiple of 2^-16)."""
    if device.type != "cpu":
        return torch.rand(*shape, device=device) < p
    size = torch.Size(shape)
    words = torch.empty((size.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[: size.numel()].view(size)  # uniform on -2^15 .. 2^15 - 1
    return draws < round(p * LEVELS) - LEVELS // 2
