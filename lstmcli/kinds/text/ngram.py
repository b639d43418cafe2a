"""Baselines that cost nothing: how well counting alone predicts the next symbol.

Interpolated Witten-Bell smoothing (Bell, Cleary, Witten 1990; Chen, Goodman 1996), where h' is the
context h without its oldest symbol, c counts occurrences in the training text, C(h) is the sum of
c(h, w) over all w, and T(h) the number of distinct symbols seen after h:

    p(w | h) = (c(h, w) + T(h) p(w | h')) / (C(h) + T(h))

A context that never occurred leaves p(w | h'). Below the empty context is the uniform distribution
over the vocabulary. The unknown symbol is a symbol as any other, so that the figures compare with
those of a model that predicts it too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError

Ids = npt.NDArray[Any]
Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

# Only the last so many symbols of the training text are counted: a bound on memory (about 0.4 GB for
# text without any pattern, less for any other) and time, which also lets ranks and counts be int32.
LONGEST = 4_000_000
# Symbols scored at a time.
CHUNK = 1_000_000
UNSEEN = -1


def unigram_loss(train_ids: Ids, eval_ids: Ids, size: int) -> float:
    """Mean nats per symbol of ``eval_ids[1:]`` by frequency alone: ``NGram`` at order 1."""
    return NGram(train_ids, size, order=1).loss(eval_ids)


class NGram:
    """Predicts a symbol from up to ``order`` - 1 symbols before it; ``symbols`` were counted.

    N-grams are ranks, so nothing overflows however large the vocabulary: an (n+1)-gram is the pair
    (rank of its first n symbols among the n-grams of the training text, its last symbol), packed
    into one integer, and its own rank is its place among the distinct pairs.
    """

    def __init__(self, train_ids: Ids, size: int, order: int = 6):
        ids = np.asarray(train_ids[-LONGEST:], dtype=np.int64)
        self.symbols = len(ids)
        self.size = size
        self.order = order
        self._levels: list[_Level] = []
        ranks = np.zeros(len(ids) + 1, dtype=np.int32)  # of the empty gram, before each position
        contexts = 1
        for length in range(min(order, len(ids))):
            level, ranks = _count(_pack(ranks[:-1], ids[length:], size), size, contexts)
            contexts = len(level.grams)
            self._levels.append(level)

    def loss(self, ids: Ids) -> float:
        """Mean nats per symbol of ``ids[1:]``; see ``losses``."""
        return float(self.losses(ids).mean())

    def losses(self, ids: Ids) -> Floats:
        """Nats of each of ``ids[1:]`` given what precedes it in ``ids``: (len(ids) - 1,).

        The first symbols have the shorter context that there is. DataError below two symbols.
        """
        if len(ids) < 2:
            raise DataError(f"{len(ids)} symbols are too few to predict one from another")
        parts = []
        for begin in range(1, len(ids), CHUNK):
            context = max(0, begin - self.order + 1)
            piece = np.asarray(ids[context : begin + CHUNK], dtype=np.int64)
            parts.append(-np.log(self._probabilities(piece)[begin - context :]))
        return np.concatenate(parts)

    def _probabilities(self, ids: Longs) -> Floats:
        """p of each symbol given those before it: (len(ids),)."""
        found = np.full(len(ids), 1.0 / self.size)
        ranks = np.zeros(len(ids) + 1, dtype=np.int32)
        for length, level in enumerate(self._levels[: len(ids)]):
            contexts, symbols = ranks[:-1], ids[length:]
            grams, counts = level.look_up(contexts, symbols, self.size)
            types = level.types[contexts]
            both = np.maximum(level.totals[contexts] + types, 1)
            lower = found[length:]
            known = (contexts != UNSEEN) & (types > 0)
            found[length:] = np.where(known, (counts + types * lower) / both, lower)
            ranks = grams
        return found


class _Level:
    """The counts of all n-grams of one length n."""

    def __init__(self, grams: Longs, counts: Ints, size: int, contexts: int):
        self.grams = grams  # (G,) ascending: rank of the context * size + last symbol
        self.counts = counts  # (G,) c(h, w)
        owners = grams // size
        types = np.bincount(owners, minlength=contexts)
        totals = np.bincount(owners, weights=counts, minlength=contexts)
        self.types = types.astype(np.int32)  # (contexts,) T(h)
        self.totals = totals.astype(np.int32)  # (contexts,) C(h)

    def look_up(self, contexts: Ints, symbols: Longs, size: int) -> tuple[Ints, Ints]:
        """Ranks (UNSEEN if there is none) and counts of pairs of a context's rank and a symbol."""
        pairs = np.where(contexts == UNSEEN, UNSEEN, _pack(contexts, symbols, size))
        places = np.minimum(np.searchsorted(self.grams, pairs), len(self.grams) - 1)
        seen = self.grams[places] == pairs
        ranks = np.where(seen, places, UNSEEN).astype(np.int32)
        return ranks, np.where(seen, self.counts[places], np.int32(0))


def _pack(contexts: Ints, symbols: Longs, size: int) -> Longs:
    """Context and symbol as one integer: below 1e7 * 1.2e6, which int64 holds."""
    pairs: Longs = contexts * np.int64(size) + symbols
    return pairs


def _count(pairs: Longs, size: int, contexts: int) -> tuple[_Level, Ints]:
    """The level of these n-grams, and the rank of each of them."""
    order = pairs.argsort(kind="stable")
    ascending = pairs[order]
    first = np.ones(len(pairs), dtype=bool)  # of a run of equal n-grams
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    begins = np.flatnonzero(first)
    counts = np.diff(begins, append=len(pairs)).astype(np.int32)
    ranks = np.empty(len(pairs), dtype=np.int32)
    ranks[order] = first.cumsum(dtype=np.int32) - np.int32(1)
    return _Level(ascending[begins], counts, size, contexts), ranks
