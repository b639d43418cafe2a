"""tanh and the logistic sigmoid as ratios of two polynomials, for kernels in fp32.

A vector library's exponential is a call of some thirty instructions, and an LSTM needs five of them per unit
and step; a ratio is sixteen multiplications and additions, in line, and one division, for half the time.
Errors in fp32 are at most 4e-7, absolute. Values stay strictly within (-1, 1) and (0, 1), so that a logarithm
or a reciprocal of a gate is finite; but a sigmoid below 1e-7 comes as about 1e-7.
"""

from __future__ import annotations

LIMIT = 7.9
"""Where tanh is within 2.8e-7 of one."""
# x·P(x²) / Q(x²) with the least relative error on [0, LIMIT] that degrees 4 and 4 allow (6e-9, before any
# rounding), by least squares with Lawson's weights; tests/engine/kernels/test_rational.py finds them again.
TANH_ABOVE = (
    0.9999999943525698,
    0.13450623024834268,
    0.0035789949306743864,
    2.2023292727868345e-05,
    1.5428038643951332e-08,
)
TANH_BELOW = (1.0, 0.46783951026286275, 0.0261922490159645, 0.00034236552930082487, 8.598807060542829e-07)
# sigmoid(x) = 1/2 + tanh(x/2)/2
SIGMOID_ABOVE = tuple(c * 0.5 ** (2 * power + 2) for power, c in enumerate(TANH_ABOVE))
SIGMOID_BELOW = tuple(c * 0.5 ** (2 * power) for power, c in enumerate(TANH_BELOW))
