"""The operations that kernels know, in C++: arithmetic in line, so that a compiler makes vectors of it.

Everything is written without branches. What is wrong stays visible: a NaN comes out where one goes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from lstmcli.engine.kernels import rational


class Function(NamedTuple):
    """An expression of its operands, {0}, {1}, ..., in the C++ type {T}; a condition is an int."""

    operands: int
    expression: str


FUNCTIONS = {
    "add": Function(2, "{0} + {1}"),
    "sub": Function(2, "{0} - {1}"),
    "mul": Function(2, "{0} * {1}"),
    "div": Function(2, "{0} / {1}"),
    "neg": Function(1, "-{0}"),
    "abs": Function(1, "absolute({0})"),
    "sgn": Function(1, "{T}({0} > 0) - {T}({0} < 0)"),
    "sign": Function(1, "{T}({0} > 0) - {T}({0} < 0)"),
    "floor": Function(1, "{T}(__builtin_floor({0}))"),
    "ceil": Function(1, "{T}(__builtin_ceil({0}))"),
    "trunc": Function(1, "{T}(__builtin_trunc({0}))"),
    "round": Function(1, "{T}(__builtin_rint({0}))"),
    "reciprocal": Function(1, "1 / {0}"),
    "sqrt": Function(1, "root({0})"),
    "rsqrt": Function(1, "1 / root({0})"),
    "exp": Function(1, "exponential({0})"),
    "expm1": Function(1, "exponential_m1({0})"),
    "log": Function(1, "logarithm({0})"),
    "log1p": Function(1, "logarithm_1p({0})"),
    "erf": Function(1, "error({0})"),
    "tanh": Function(1, "hyperbolic({0})"),
    "tanh_backward": Function(2, "{0} * (1 - {1} * {1})"),
    "sigmoid": Function(1, "logistic({0})"),
    "sigmoid_backward": Function(2, "{0} * (1 - {1}) * {1}"),
    "silu": Function(1, "{0} / (1 + exponential(-{0}))"),
    "silu_backward": Function(2, "{0} * silu_slope({1})"),
    "softplus": Function(3, "{0} * {1} > {2} ? {0} : logarithm_1p(exponential({0} * {1})) / {1}"),
    "softplus_backward": Function(4, "{1} * {2} > {3} ? {0} : {0} * logistic({1} * {2})"),
    "log_sigmoid": Function(1, "log_logistic({0})"),
    "log_sigmoid_slope": Function(2, "{0} * log_logistic_slope({1})"),
    "relu": Function(1, "{0} < 0 ? 0 : {0}"),
    "threshold_backward": Function(3, "{1} <= {2} ? 0 : {0}"),
    "leaky_relu": Function(2, "{0} > 0 ? {0} : {0} * {1}"),
    "leaky_relu_backward": Function(4, "{1} > 0 ? {0} : {0} * {2}"),
    "elu": Function(4, "{0} > 0 ? {0} * {2} : exponential_m1({0} * {3}) * {1} * {2}"),
    "elu_slope": Function(5, "{0} * {2} * ({4} > 0 ? 1 : {1} * {3} * exponential({4} * {3}))"),
    "gelu": Function(1, "{0} * normal({0})"),
    "gelu_slope": Function(2, "{0} * (normal({1}) + {1} * normal_density({1}))"),
    "gelu_tanh": Function(1, "{0} / (1 + exponential(-gelu_exponent({0})))"),
    "gelu_tanh_slope": Function(2, "{0} * gelu_tanh_slope({1})"),
    "hardtanh": Function(3, "{0} < {1} ? {1} : {0} > {2} ? {2} : {0}"),
    "hardtanh_backward": Function(4, "({1} <= {2}) | ({1} >= {3}) ? 0 : {0}"),
    "hardsigmoid": Function(1, "{0} < -3 ? 0 : {0} > 3 ? 1 : ({0} + 3) / 6"),
    "hardsigmoid_backward": Function(2, "({1} > -3) & ({1} < 3) ? {0} / 6 : 0"),
    "maximum": Function(2, "({0} > {1}) | ({0} != {0}) ? {0} : {1}"),
    "minimum": Function(2, "({0} < {1}) | ({0} != {0}) ? {0} : {1}"),
    "clamp_min": Function(2, "{0} < {1} ? {1} : {0}"),
    "clamp_max": Function(2, "{0} > {1} ? {1} : {0}"),
    "where": Function(3, "{0} ? {1} : {2}"),
    "gt": Function(2, "{0} > {1}"),
    "lt": Function(2, "{0} < {1}"),
    "ge": Function(2, "{0} >= {1}"),
    "le": Function(2, "{0} <= {1}"),
    "eq": Function(2, "{0} == {1}"),
    "ne": Function(2, "{0} != {1}"),
    "logical_not": Function(1, "!{0}"),
    "bitwise_not": Function(1, "!{0}"),
    "logical_and": Function(2, "{0} & {1}"),
    "bitwise_and": Function(2, "{0} & {1}"),
    "logical_or": Function(2, "{0} | {1}"),
    "bitwise_or": Function(2, "{0} | {1}"),
}


def _polynomial(x: str, coefficients: Sequence[float]) -> str:
    """The sum of c_k·x^k (Horner)."""
    *lower, text = (f"float({c!r})" for c in coefficients)
    for coefficient in reversed(lower):
        text = f"({text} * {x} + {coefficient})"
    return text


def _ratio(limit: float, above: Sequence[float], below: Sequence[float]) -> str:
    return f"""
    x = x < float({-limit}) ? float({-limit}) : x > float({limit}) ? float({limit}) : x;
    const float s = x * x;
    return x * {_polynomial("s", above)} / {_polynomial("s", below)}"""


ERROR = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)

PRELUDE = f"""
typedef unsigned short bf16;
typedef unsigned int word;

static inline word bits(float x) {{ word u; __builtin_memcpy(&u, &x, 4); return u; }}
static inline float from_bits(word u) {{ float x; __builtin_memcpy(&x, &u, 4); return x; }}

static inline float widen(bf16 x) {{ return from_bits(word(x) << 16); }}
static inline bf16 narrow(float x) {{  // to the nearest, ties to even
    const word u = bits(x);
    return x != x ? 0x7fc0 : (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}}

static inline float absolute(float x) {{ return __builtin_fabsf(x); }}
static inline double absolute(double x) {{ return __builtin_fabs(x); }}
static inline float root(float x) {{ return __builtin_sqrtf(x); }}
static inline double root(double x) {{ return __builtin_sqrt(x); }}

static inline float hyperbolic(float x) {{{_ratio(rational.LIMIT, rational.TANH_ABOVE, rational.TANH_BELOW)};
}}
static inline double hyperbolic(double x) {{ return __builtin_tanh(x); }}

static inline float logistic_about_half(float x) {{{
    _ratio(2 * rational.LIMIT, rational.SIGMOID_ABOVE, rational.SIGMOID_BELOW)
};
}}
static inline float logistic(float x) {{ return 0.5f + logistic_about_half(x); }}
static inline double logistic(double x) {{ return 1 / (1 + __builtin_exp(-x)); }}

// e^x = 2^n e^r with |r| <= ln(2) / 2, where seven terms of the series leave 5e-9
static inline float exponential(float x) {{
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // the nearest whole number
    const float r = x - n * 0.693145752f - n * 1.42860677e-6f;
    const int half = int(n) / 2, other = int(n) - half;  // in two steps: 2^128 and 2^-127 are not there
    const float y = {_polynomial("r", [1 / math.factorial(k) for k in range(8)])}
        * from_bits(word(half + 127) << 23) * from_bits(word(other + 127) << 23);
    return x > 88.7228394f ? __builtin_inff() : x < -103.972084f ? 0.0f : y;
}}
static inline double exponential(double x) {{ return __builtin_exp(x); }}

// log(2^n m) = n log(2) + 2 artanh(s), s = (m - 1) / (m + 1), m within a factor of sqrt(2) of one
static inline float logarithm(float x) {{
    const float scaled = x < 1.17549435e-38f ? x * 8388608.0f : x;
    const int n = int(bits(scaled) - 0x3f3504f3u) >> 23;
    const float m = from_bits(bits(scaled) - (word(n) << 23));
    const float s = (m - 1) / (m + 1), t = s * s;
    const float exponent = float(n) - (x < 1.17549435e-38f ? 23.0f : 0.0f);
    const float y = exponent * 0.693147181f + s * {_polynomial("t", [2 / (2 * k + 1) for k in range(6)])};
    return x > 3.40282347e38f ? x : x > 0 ? y : x == 0 ? -__builtin_inff() : __builtin_nanf("");
}}
static inline double logarithm(double x) {{ return __builtin_log(x); }}

static inline float logarithm_1p(float x) {{  // what 1 + x loses of x is put right (Kahan)
    const float y = 1 + x;
    return y == 1 ? x : y > 3.40282347e38f ? y : logarithm(y) * (x / (y - 1));
}}
static inline double logarithm_1p(double x) {{ return __builtin_log1p(x); }}

static inline float exponential_m1(float x) {{  // near nought without the loss of a difference
    const float t = hyperbolic(0.5f * x), near = 2 * t / (1 - t), far = exponential(x) - 1;
    return x < 0.5f && x > -0.5f ? near : far;
}}
static inline double exponential_m1(double x) {{ return __builtin_expm1(x); }}

static inline float error(float x) {{  // within 2e-7: formula 7.1.26 of Abramowitz and Stegun
    const float a = absolute(x), t = 1 / (1 + 0.3275911f * a);
    const float rest = t * {_polynomial("t", ERROR)} * exponential(-a * a);
    return x < 0 ? rest - 1 : 1 - rest;
}}
static inline double error(double x) {{ return __builtin_erf(x); }}

template <class T> static inline T normal(T x) {{ return (1 + error(x * T({math.sqrt(0.5)!r}))) / 2; }}
template <class T> static inline T normal_density(T x) {{
    return exponential(-x * x / 2) * T({1 / math.sqrt(2 * math.pi)!r});
}}
template <class T> static inline T gelu_exponent(T x) {{
    return T({2 * math.sqrt(2 / math.pi)!r}) * (x + T(0.044715) * x * x * x);
}}
template <class T> static inline T gelu_tanh_slope(T x) {{
    const T share = 1 / (1 + exponential(-gelu_exponent(x)));
    const T slope = T({2 * math.sqrt(2 / math.pi)!r}) * (1 + T(3 * 0.044715) * x * x);
    return share + x * share * (1 - share) * slope;
}}

template <class T> static inline T silu_slope(T x) {{
    const T gate = 1 / (1 + exponential(-x));
    return gate * (1 + x * (1 - gate));
}}
template <class T> static inline T log_logistic(T x) {{
    return (x < 0 ? x : T(0)) - logarithm_1p(exponential(-absolute(x)));
}}
template <class T> static inline T log_logistic_slope(T x) {{
    const T e = exponential(-absolute(x));
    return (x < 0 ? T(1) : e) / (1 + e);
}}
"""
