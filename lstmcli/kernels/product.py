"""x Wᵀ for a weight that many steps share, in bf16, row by row: so that a thread can take its rows through a
whole window without waiting for the others.

The weight is laid out once: in blocks of 64 columns, in each the pairs of inputs that one instruction
multiplies and adds (AVX512-BF16). Tiles of up to six rows by 64 columns stay in registers while the inputs
pass. Sums are fp32 and rounded once.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from lstmcli.kernels.build import build
from lstmcli.kernels.source import Source
from lstmcli.kernels.values import Unsupported

LANES = 16
BLOCK = 4
"""Registers of a tile's row."""
TEXT = """
#include <immintrin.h>
typedef unsigned short bf16;
typedef unsigned int pair;

enum { lanes = 16, block = 4, tall = 6 };

// y (rows, 16 wide) = x (rows, 2 pairs) times the weights (pairs, 16 wide); of the last 16 columns, `some`
template <int rows, int wide> static inline __attribute__((always_inline))
void tile(const bf16 *x, long x_stride, const pair *weights, long pairs, bf16 *y, long y_stride,
          __mmask16 some) {
    __m512 sums[rows][wide];
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < wide; ++c) sums[r][c] = _mm512_setzero_ps();
    for (long k = 0; k < pairs; ++k) {
        __m512bh w[wide];
        for (int c = 0; c < wide; ++c)
            w[c] = (__m512bh)_mm512_loadu_si512(weights + (k * wide + c) * lanes);
        for (int r = 0; r < rows; ++r) {
            int both;
            __builtin_memcpy(&both, x + r * x_stride + 2 * k, 4);
            for (int c = 0; c < wide; ++c)
                sums[r][c] = _mm512_dpbf16_ps(sums[r][c], (__m512bh)_mm512_set1_epi32(both), w[c]);
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < wide; ++c)
            _mm256_mask_storeu_epi16(y + r * y_stride + c * lanes, c == wide - 1 ? some : 0xffff,
                                     (__m256i)_mm512_cvtneps_pbh(sums[r][c]));
}

template <int wide> static
void columns(long rows, const bf16 *x, long x_stride, const pair *weights, long pairs, bf16 *y, long y_stride,
             __mmask16 some) {
    const long tiles = (rows + tall - 1) / tall;  // as even as can be
    for (long t = 0; t < tiles; ++t) {
        const long first = rows * t / tiles, count = rows * (t + 1) / tiles - first;
        const bf16 *from = x + first * x_stride;
        bf16 *to = y + first * y_stride;
        switch (count) {
            case 6: tile<6, wide>(from, x_stride, weights, pairs, to, y_stride, some); break;
            case 5: tile<5, wide>(from, x_stride, weights, pairs, to, y_stride, some); break;
            case 4: tile<4, wide>(from, x_stride, weights, pairs, to, y_stride, some); break;
            case 3: tile<3, wide>(from, x_stride, weights, pairs, to, y_stride, some); break;
            case 2: tile<2, wide>(from, x_stride, weights, pairs, to, y_stride, some); break;
            case 1: tile<1, wide>(from, x_stride, weights, pairs, to, y_stride, some); break;
        }
    }
}

extern "C" void multiply(long rows, const bf16 *x, long x_stride, const pair *weights, long inputs, bf16 *y,
                         long y_stride, long outputs) {
    const long pairs = inputs / 2;
    for (long column = 0; column < outputs; column += block * lanes) {
        const long left = outputs - column;
        const int wide = left >= block * lanes ? block : (left + lanes - 1) / lanes;
        const __mmask16 some = left >= wide * lanes ? 0xffff : (1 << (left - (wide - 1) * lanes)) - 1;
        const pair *here = weights + column * pairs;
        bf16 *to = y + column;
        switch (wide) {
            case 4: columns<4>(rows, x, x_stride, here, pairs, to, y_stride, some); break;
            case 3: columns<3>(rows, x, x_stride, here, pairs, to, y_stride, some); break;
            case 2: columns<2>(rows, x, x_stride, here, pairs, to, y_stride, some); break;
            case 1: columns<1>(rows, x, x_stride, here, pairs, to, y_stride, some); break;
        }
    }
}
"""


class NativeProduct:
    """x (rows, inputs) -> x weightᵀ (rows, outputs) for a weight (outputs, inputs) of bf16."""

    def __init__(self, weight: Tensor):
        self.outputs, self.inputs = weight.shape
        self.weights = _laid_out(weight)
        self.address = _multiply()


def native_product(weight: Tensor) -> NativeProduct | None:
    """The product with this weight; None where another is quicker, or nothing can build it."""
    served = weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and weight.shape[1] % 2 == 0
    return NativeProduct(weight) if served and _available() else None


def _laid_out(weight: Tensor) -> Tensor:
    """Blocks of 64 columns, the last one of what is left in sixteens: each (pairs, columns)."""
    pairs = weight.contiguous().view(torch.int32)  # two neighbours of a row
    outputs, count = pairs.shape
    width = LANES * BLOCK
    whole = outputs - outputs % width
    blocks = pairs[:whole].view(-1, width, count).transpose(1, 2).reshape(-1)
    if whole == outputs:
        return blocks
    rest = torch.nn.functional.pad(pairs[whole:], (0, 0, 0, -(outputs - whole) % LANES))
    return torch.cat([blocks, rest.t().reshape(-1)])


@cache
def _available() -> bool:
    """Whether the CPU has the instruction, and no larger one that oneDNN knows how to use."""
    if _cpu_says("_is_amx_tile_supported") or not _cpu_says("_is_avx512_bf16_supported"):
        return False
    try:
        _multiply()
    except (Unsupported, OSError):
        return False
    return True


@cache
def _multiply() -> int:
    library = ctypes.CDLL(str(build(Source(TEXT, 0))))
    address = ctypes.cast(library.multiply, ctypes.c_void_p).value
    assert address is not None
    return address


def _cpu_says(test: str) -> bool:
    probe = getattr(torch.cpu, test, None)  # private to torch, so it may go away
    return bool(probe()) if probe is not None else False
