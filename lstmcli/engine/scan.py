"""A linear recurrence over time, h_t = a_t h_{t-1} + b_t, without a loop over its steps.

The steps are laid out as √T blocks side by side: each is scanned from zero at once, which gives what it
adds and what it keeps of the state before it; then the states at the blocks' borders are found one after
the other. 2√T operations on whole tensors, and as many additions as a plain loop twice.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def linear_recurrence(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """h_1 .. h_T (T, B, H) for coefficients a and b (T, B, H) and h_0 = start (B, H)."""
    result: Tensor = _LinearRecurrence.apply(a, b, start)  # type: ignore[no-untyped-call]
    return result


class _LinearRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        h = _scan(a, b, start)
        ctx.save_for_backward(a, h, start)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """∂L/∂h_t is a linear recurrence, too, from the end: d_t = ∂L/∂(output t) + a_{t+1} d_{t+1}."""
        a, h, start = ctx.saved_tensors
        (gradient,) = gradients
        later = torch.cat([a[1:], torch.zeros_like(a[:1])]).flip(0)
        d = _scan(later, gradient.flip(0), torch.zeros_like(start)).flip(0)
        previous = torch.cat([start.unsqueeze(0), h[:-1]])
        return d * previous, d, a[0] * d[0]


def _scan(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    steps = a.shape[0]
    length = max(1, math.isqrt(steps))
    blocks = -(-steps // length)
    if (missing := blocks * length - steps) > 0:
        a = torch.cat([a, a.new_ones(missing, *a.shape[1:])])
        b = torch.cat([b, b.new_zeros(missing, *b.shape[1:])])
    a, b = a.view(blocks, length, *a.shape[1:]), b.view(blocks, length, *b.shape[1:])
    added, kept = torch.empty_like(b), torch.empty_like(a)
    added[:, 0], kept[:, 0] = b[:, 0], a[:, 0]
    for t in range(1, length):
        torch.addcmul(b[:, t], a[:, t], added[:, t - 1], out=added[:, t])
        torch.mul(a[:, t], kept[:, t - 1], out=kept[:, t])
    before = [start.to(b.dtype)]
    for block in range(blocks - 1):
        before.append(added[block, -1] + kept[block, -1] * before[-1])
    h = torch.addcmul(added, kept, torch.stack(before).unsqueeze(1))
    return h.flatten(0, 1)[:steps]
