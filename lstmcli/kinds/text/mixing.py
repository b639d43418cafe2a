"""Mixing a model's predictions with those of counts, symbol by symbol, without looking ahead."""

from __future__ import annotations

import math

import numpy as np

from lstmcli.kinds.text.evaluate import rows_of
from lstmcli.kinds.text.ngram import NGram

START = 0.95
"""Weight of the model before the first symbol."""
MEMORY = 2000
"""Symbols over which the weight is remembered."""


def mix(model: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """Nats per symbol of w p_model + (1 - w) p_other, and the mean weight of the model.

    The weight is a running mean of how much of each symbol's probability the model had brought (one step of
    EM per symbol), so it depends on symbols already scored alone.

    Args:
        model, other: nats of the same symbols, (n,).
    """
    ours, theirs = np.exp(-model.astype(np.float64)), np.exp(-other.astype(np.float64))
    weight, total = START, 0.0
    losses = np.empty(len(ours))
    for k, (p, q) in enumerate(zip(ours.tolist(), theirs.tolist(), strict=True)):
        mixed = weight * p + (1.0 - weight) * q
        losses[k] = -math.log(max(mixed, 1e-300))
        total += weight
        weight += (weight * p / max(mixed, 1e-300) - weight) / MEMORY
    return losses, total / len(ours)


def ngram_losses(ngram: NGram, ids: np.ndarray, protocol: str) -> np.ndarray:
    """Nats of each of `ids[1:]` by counts of the training text; in the protocol `windows` from no more
    context than a window gives."""
    if protocol != "windows":
        return ngram.losses(ids)
    parts = [ngram.losses(ids[row.start : row.end + 1]) for row in rows_of("windows", len(ids))]
    return np.concatenate(parts)


class Cache:
    """Counts of the text that has been scored, and no other: what repeats itself is soon foreseen.

    The smoothing is that of `NGram`; a symbol is counted after it is predicted.
    """

    def __init__(self, size: int, order: int = 6):
        self.size, self.order = size, order
        self._counts: dict[tuple[int, ...], dict[int, int]] = {}
        self._totals: dict[tuple[int, ...], int] = {}

    def losses(self, ids: np.ndarray) -> np.ndarray:
        """Nats of each of `ids[1:]`; the first symbol is counted, not predicted."""
        symbols = [int(symbol) for symbol in ids]
        self._count((), symbols[0])
        found = np.empty(len(symbols) - 1)
        for k in range(1, len(symbols)):
            context = tuple(symbols[max(0, k - self.order + 1) : k])
            found[k - 1] = -math.log(self._probability(context, symbols[k]))
            for length in range(len(context) + 1):
                self._count(context[len(context) - length :], symbols[k])
        return found

    def _probability(self, context: tuple[int, ...], symbol: int) -> float:
        p = 1.0 / self.size
        for length in range(len(context) + 1):
            here = context[len(context) - length :]
            counts = self._counts.get(here)
            if counts is None:
                break  # a longer context has not been seen either
            types = len(counts)
            p = (counts.get(symbol, 0) + types * p) / (self._totals[here] + types)
        return p

    def _count(self, context: tuple[int, ...], symbol: int) -> None:
        counts = self._counts.setdefault(context, {})
        counts[symbol] = counts.get(symbol, 0) + 1
        self._totals[context] = self._totals.get(context, 0) + 1
