"""What a gate does at each character: its mean over the units there, beside its mean elsewhere.

Neighbouring symbols are alike, so they are not so many independent observations. The interval of a
difference is made of batch means: the stream falls into blocks of `BLOCK` consecutive symbols of one
row, and blocks, not symbols, are what varies. With n_k and S_k the count and the sum at a character in
block k, and m_k and R_k elsewhere,

    d = S / n - R / m        e_k = (S_k - n_k S / n) / n  -  (R_k - m_k R / m) / m
    variance of d = K / (K - 1) · sum of e_k² over the K blocks

which is the usual (linearised) variance of a difference of ratios of sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 512
"""Symbols of a block, at least."""
FEWEST = 10
"""Blocks that a character must occur in for an interval."""
NORMAL_95 = 1.959964


class Effects(NamedTuple):
    """Per gate and symbol, (G, V); NaN where a symbol did not occur, or too seldom for an interval."""

    counts: Tensor  # (V,)
    mean: Tensor
    difference: Tensor  # to the mean at all other symbols
    half: Tensor  # half the width of the difference's 95 % interval


class CharacterMeans:
    """Sums by symbol over a stream, for G gates at once; memory does not grow with the stream."""

    def __init__(self, gates: int, symbols: int):
        self._shape = (gates, symbols)
        self._open: tuple[Tensor, Tensor] | None = None  # the blocks being filled: (B, V), (G, B, V)
        self._steps = 0
        self.blocks = 0
        self.occupied = torch.zeros(symbols, dtype=torch.float64)  # blocks that each symbol occurs in
        zeros = torch.zeros(symbols, dtype=torch.float64)
        self.counts, self.sums = zeros.clone(), torch.zeros(self._shape, dtype=torch.float64)
        # Sums over blocks of products: n counts and s sums at a symbol, N and S of the whole block.
        self._nn, self._nN = zeros.clone(), zeros.clone()
        self._NN = torch.zeros((), dtype=torch.float64)
        self._SS, self._SN = torch.zeros(2, gates, dtype=torch.float64)
        self._ss, self._sn, self._sS, self._sN, self._nS = torch.zeros(5, gates, symbols, dtype=torch.float64)

    def add(self, ids: Tensor, values: Tensor) -> None:
        """Take one window in: ids (T, B), values (G, T, B). Row b goes on where it was."""
        gates, symbols = self._shape
        steps, rows = ids.shape
        if self._open is None:
            self._open = (
                torch.zeros(rows, symbols, dtype=torch.float64),
                torch.zeros(gates, rows, symbols, dtype=torch.float64),
            )
        counts, sums = self._open
        counts.scatter_add_(1, ids.T, torch.ones(rows, steps, dtype=torch.float64))
        sums.scatter_add_(2, ids.T.expand(gates, -1, -1), values.transpose(1, 2).double())
        self._steps += steps
        if self._steps >= BLOCK:
            self._close()

    def _close(self) -> None:
        """The blocks are full: their products count."""
        if self._open is None:
            return
        n, s = self._open
        N, S = n.sum(1), s.sum(2)  # (B,), (G, B)
        self.blocks += len(n)
        self.occupied += (n > 0).sum(0)
        self.counts += n.sum(0)
        self.sums += s.sum(1)
        self._nn += n.square().sum(0)
        self._nN += N @ n
        self._NN += N @ N
        self._SS += S.square().sum(1)
        self._SN += S @ N
        self._ss += s.square().sum(1)
        self._sn += (s * n).sum(1)
        self._sS += (s * S.unsqueeze(2)).sum(1)
        self._sN += (s * N.unsqueeze(1)).sum(1)
        self._nS += S @ n
        self._open, self._steps = None, 0

    def effects(self) -> Effects:
        """What each symbol does to each gate, over all that was read."""
        self._close()
        n, total = self.counts, self.counts.sum()
        here = self.sums / n
        whole = self.sums.sum(1, keepdim=True)
        elsewhere = (whole - self.sums) / (total - n)
        variance = self._variance(here, elsewhere) * self.blocks / max(1, self.blocks - 1)
        half = NORMAL_95 * variance.clamp_min(0.0).sqrt()
        known = (self.occupied >= FEWEST) & (total > n)
        return Effects(n, here, here - elsewhere, torch.where(known, half, torch.nan))

    def _variance(self, here: Tensor, elsewhere: Tensor) -> Tensor:
        """The sum of e_k² (G, V), with e_k = a s_k + b n_k - c S_k + d N_k written out."""
        n, m = self.counts, self.counts.sum() - self.counts
        a, c = 1.0 / n + 1.0 / m, 1.0 / m  # (V,)
        b, d = -here / n - elsewhere / m, elsewhere / m  # (G, V)
        squares = a**2 * self._ss + b**2 * self._nn + c**2 * self._SS.unsqueeze(1) + d**2 * self._NN
        with_s = a * (b * self._sn - c * self._sS + d * self._sN)
        others = -b * c * self._nS + b * d * self._nN - c * d * self._SN.unsqueeze(1)
        found: Tensor = squares + 2.0 * (with_s + others)
        return found
