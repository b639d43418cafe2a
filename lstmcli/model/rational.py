"""tanh and the logistic sigmoid as ratios of two polynomials, for kernels that a CPU runs.

A vector library's exponential is a call of some thirty instructions, and an LSTM needs five of them per unit
and step; a ratio is sixteen multiplications and additions, in line, and one division, for half the time.
Errors in fp32 are at most 4e-7, absolute. Values stay strictly within (-1, 1) and (0, 1), so that a logarithm
or a reciprocal of a gate is finite; but a sigmoid below 1e-7 comes as about 1e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LIMIT = 7.8
"""Where tanh is within 3.4e-7 of one."""
# x·P(x²) / Q(x²) with the least relative error on [0, LIMIT] that degrees 4 and 4 allow (5e-9, before any
# rounding), by least squares with Lawson's weights; tests/model/test_rational.py finds them again.
TANH_ABOVE = (
    0.9999999950518823,
    0.1345670464172687,
    0.0035863500974532654,
    2.215183169683194e-05,
    1.5627405497164494e-08,
)
TANH_BELOW = (1.0, 0.4679003325919713, 0.026219869255867924, 0.00034359725934832007, 8.675432578743342e-07)
# sigmoid(x) = 1/2 + tanh(x/2)/2
SIGMOID_ABOVE = tuple(c * 0.5 ** (2 * power + 2) for power, c in enumerate(TANH_ABOVE))
SIGMOID_BELOW = tuple(c * 0.5 ** (2 * power) for power, c in enumerate(TANH_BELOW))


def tanh(x: Tensor) -> Tensor:
    """tanh(x) of fp32 on a CPU; NotImplemented for others, which keep the library's."""
    return _ratio(x, LIMIT, TANH_ABOVE, TANH_BELOW) if _is_served(x) else NotImplemented


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), likewise."""
    return 0.5 + _ratio(x, 2 * LIMIT, SIGMOID_ABOVE, SIGMOID_BELOW) if _is_served(x) else NotImplemented


# Only values go this way: derivatives have been taken before, from the functions themselves.
DECOMPOSITIONS: dict[Any, Any] = {torch.ops.aten.tanh.default: tanh, torch.ops.aten.sigmoid.default: sigmoid}


def _is_served(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu"


def _ratio(x: Tensor, limit: float, above: Sequence[float], below: Sequence[float]) -> Tensor:
    x = x.clamp(-limit, limit)
    square = x * x
    return x * _polynomial(square, above) / _polynomial(square, below)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum of c_k·x^k (Horner)."""
    *lower, highest = coefficients
    value = x * highest + lower.pop()
    for coefficient in reversed(lower):
        value = value * x + coefficient
    return value
