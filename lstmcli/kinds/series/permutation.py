"""A pseudo-random permutation of 0 .. n-1 that is computed place by place, not kept in memory."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

ROUNDS = 6
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_SHIFT = np.uint64(33)


def permuted(places: npt.ArrayLike, size: int, key: str) -> npt.NDArray[np.int64]:
    """What stands at these places of the permutation that ``key`` names, any shape.

    A Feistel network permutes the numbers of an even count of bits; what falls outside 0 .. n-1 goes
    through again until it is inside (cycle walking), which is a permutation of 0 .. n-1. Keys come from
    SHA-256 and all arithmetic is on integers, so it is the same everywhere.
    """
    half = max(3, -(-max(1, (size - 1).bit_length()) // 2))
    digest = hashlib.sha256(key.encode()).digest() + hashlib.sha256(b"more" + key.encode()).digest()
    keys = np.frombuffer(digest, dtype="<u8")[:ROUNDS].astype(np.uint64)
    values = np.array(places, dtype=np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        values[outside] = _network(values[outside], keys, np.uint64(half))
        outside = values >= size
    return values.astype(np.int64)


def _network(values: Words, keys: Words, half: np.uint64) -> Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(words: Words) -> Words:
    """Every bit of the result depends on every bit of the word (the finish of MurmurHash3)."""
    for factor in _MIX:
        words = (words ^ (words >> _SHIFT)) * factor
    return words ^ (words >> _SHIFT)
