"""x Wᵀ for a weight that many steps share, row by row: so that a thread can take its rows through a whole
window without waiting for the others.

The weight is laid out once, in blocks of columns as wide as the registers of a tile's row, in units of four
bytes: a number of fp32, or two of bf16 that one instruction multiplies and adds (AVX512-BF16). Tiles of up to
six rows stay in registers while the inputs pass. Sums are fp32 and rounded once.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from lstmcli.core.notices import notice
from lstmcli.engine.kernels.build import load
from lstmcli.engine.kernels.source import Source
from lstmcli.engine.kernels.values import Fault, Unsupported

TEXT = """
#ifdef __AVX512F__
enum { lanes = 16, block = 4 };
#elif defined(__AVX__)
enum { lanes = 8, block = 2 };
#else
enum { lanes = 4, block = 4 };
#endif
enum { tall = 6 };
typedef float vector __attribute__((vector_size(4 * lanes)));

#ifdef BF16
#include <immintrin.h>
typedef unsigned short number;

static inline vector add_product(vector sum, float unit, vector weights) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(unit), (__m512bh)weights);
}
static inline void put(number *y, vector sum, int count) {
    const __mmask16 some = count == lanes ? 0xffff : (1 << count) - 1;
    _mm256_mask_storeu_epi16(y, some, (__m256i)_mm512_cvtneps_pbh((__m512)sum));
}
#else
typedef float number;

static inline vector add_product(vector sum, float unit, vector weights) { return sum + unit * weights; }
static inline void put(number *y, vector sum, int count) {
    if (count == lanes) __builtin_memcpy(y, &sum, sizeof sum);
    else __builtin_memcpy(y, &sum, count * sizeof(number));
}
#endif

// y (rows, wide lanes) = x (rows, units) times the weights (units, wide lanes); of the last lanes, `count`
template <int rows, int wide> static inline __attribute__((always_inline))
void tile(const number *x, long x_stride, const float *weights, long units,
          number *y, long y_stride, int count) {
    vector sums[rows][wide];
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < wide; ++c) sums[r][c] = vector{};
    for (long k = 0; k < units; ++k) {
        vector w[wide];
        for (int c = 0; c < wide; ++c)
            __builtin_memcpy(&w[c], weights + (k * wide + c) * lanes, sizeof(vector));
        for (int r = 0; r < rows; ++r) {
            float unit;
            __builtin_memcpy(&unit, x + r * x_stride + k * (4 / sizeof(number)), 4);
            for (int c = 0; c < wide; ++c) sums[r][c] = add_product(sums[r][c], unit, w[c]);
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < wide; ++c)
            put(y + r * y_stride + c * lanes, sums[r][c], c == wide - 1 ? count : lanes);
}

template <int wide> static
void columns(long rows, const number *x, long x_stride, const float *weights, long units,
             number *y, long y_stride, int count) {
    const long tiles = (rows + tall - 1) / tall;  // as even as can be
    for (long t = 0; t < tiles; ++t) {
        const long first = rows * t / tiles, height = rows * (t + 1) / tiles - first;
        const number *from = x + first * x_stride;
        number *to = y + first * y_stride;
        switch (height) {
            case 6: tile<6, wide>(from, x_stride, weights, units, to, y_stride, count); break;
            case 5: tile<5, wide>(from, x_stride, weights, units, to, y_stride, count); break;
            case 4: tile<4, wide>(from, x_stride, weights, units, to, y_stride, count); break;
            case 3: tile<3, wide>(from, x_stride, weights, units, to, y_stride, count); break;
            case 2: tile<2, wide>(from, x_stride, weights, units, to, y_stride, count); break;
            case 1: tile<1, wide>(from, x_stride, weights, units, to, y_stride, count); break;
        }
    }
}

extern "C" void multiply(long rows, const number *x, long x_stride, const float *weights, long inputs,
                         number *y, long y_stride, long outputs) {
    const long units = inputs * sizeof(number) / 4;
    for (long column = 0; column < outputs; column += block * lanes) {
        const long left = outputs - column;
        const int wide = left >= block * lanes ? block : (left + lanes - 1) / lanes;
        const int count = left >= wide * lanes ? lanes : left - (wide - 1) * lanes;
        const float *here = weights + column * units;
        number *to = y + column;
        switch (wide) {
            case 4: columns<4>(rows, x, x_stride, here, units, to, y_stride, count); break;
            case 3: columns<3>(rows, x, x_stride, here, units, to, y_stride, count); break;
            case 2: columns<2>(rows, x, x_stride, here, units, to, y_stride, count); break;
            case 1: columns<1>(rows, x, x_stride, here, units, to, y_stride, count); break;
        }
    }
}

extern "C" long lanes_of_a_register() { return lanes; }
extern "C" long registers_of_a_block() { return block; }
"""


class NativeProduct:
    """x (rows, inputs) -> x weightᵀ (rows, outputs) for a weight (outputs, inputs)."""

    def __init__(self, weight: Tensor):
        library = _library(weight.dtype)
        self.outputs, self.inputs = weight.shape
        self.weights = _laid_out(weight, library.lanes, library.block)
        self.address = library.address


def native_product(weight: Tensor) -> NativeProduct | None:
    """The product with this weight; None where another is quicker, or nothing can build it."""
    if weight.device.type != "cpu" or not available(weight.dtype):
        return None
    if weight.dtype == torch.bfloat16 and weight.shape[1] % 2:
        return None
    return NativeProduct(weight)


def _laid_out(weight: Tensor, lanes: int, block: int) -> Tensor:
    """Blocks of columns, each (units, columns); the last one, of what is left, filled to whole registers."""
    units = _units(weight)
    outputs = units.shape[0]
    width = lanes * block
    whole = outputs - outputs % width
    blocks = torch.unflatten(units[:whole], 0, (-1, width)).transpose(1, 2).reshape(-1)
    if whole == outputs:
        return blocks
    rest = torch.nn.functional.pad(units[whole:], (0, 0, 0, -(outputs - whole) % lanes))
    return torch.cat([blocks, rest.t().reshape(-1)])


def _units(weight: Tensor) -> Tensor:
    """(outputs, units) of int32; of a transposed weight transposed too, which saves turning it round."""
    if weight.dtype == torch.float32:
        return weight.view(torch.int32)
    if weight.stride(0) != 1:
        return weight.contiguous().view(torch.int32)
    rows = weight.t().view(torch.int16).to(torch.int32)
    lower, upper = rows[0::2], rows[1::2]
    return ((upper << 16) | (lower & 0xFFFF)).t()


@cache
def available(dtype: torch.dtype) -> bool:
    """Whether products of this dtype are built here: fp32; bf16 where the CPU has the instruction, and no
    larger one that oneDNN knows how to use."""
    if dtype == torch.bfloat16:
        if cpu_says("_is_amx_tile_supported") or not cpu_says("_is_avx512_bf16_supported"):
            return False
    elif dtype != torch.float32:
        return False
    try:
        _library(dtype)
    except Unsupported:  # no compiler, which is told where it matters
        return False
    except Fault as error:
        notice(
            f"the recurrent product is the library's, and slower, as the own one cannot be built ({error})"
        )
        return False
    return True


class _Library(NamedTuple):
    address: int
    lanes: int
    block: int


@cache
def _library(dtype: torch.dtype) -> _Library:
    defined = "#define BF16" if dtype == torch.bfloat16 else ""
    library, _ = load(Source(defined + TEXT, 0))
    address = ctypes.cast(library.multiply, ctypes.c_void_p).value
    assert address is not None
    return _Library(address, library.lanes_of_a_register(), library.registers_of_a_block())


def cpu_says(test: str) -> bool:
    """What `torch.cpu` answers to a question of that name; no where it knows no such question."""
    probe = getattr(torch.cpu, test, None)  # private to torch, so it may go away
    return bool(probe()) if probe is not None else False
