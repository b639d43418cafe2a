"""Sequences side by side, and where each of them must be answered."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Inputs = npt.NDArray[np.int64] | npt.NDArray[np.float32]


class SequenceBatch(NamedTuple):
    """B sequences of at most T steps; shorter ones are padded on the right (their padding comes after all
    that is answered, so nothing reads it). Answers are in the order of `places`."""

    inputs: Inputs  # (T, B) symbols, or (T, B, I) numbers
    places: Ints  # (N,) where an answer is due: step * B + sequence
    targets: Inputs  # (N,) classes, or (N, D) numbers
    lengths: Ints  # (B,) steps of each sequence


def places_of(mask: npt.NDArray[np.bool_]) -> Ints:
    """The places that a mask (T, B) marks, step by step."""
    return np.flatnonzero(mask).astype(np.int64)


def places_at(steps: npt.ArrayLike, batch_size: int) -> Ints:
    """Places at the steps (S, B) or (B,), one row after the other."""
    steps = np.asarray(steps, dtype=np.int64)
    return (steps * batch_size + np.arange(batch_size)).ravel()


def every(batch: SequenceBatch, first: int, step: int) -> SequenceBatch:
    """Every so many-th sequence of a batch, beginning with `first`; the padding stays."""
    size = len(batch.lengths)
    steps, columns = np.divmod(batch.places, size)
    kept = columns % step == first
    lengths = batch.lengths[first::step]
    places = steps[kept] * len(lengths) + (columns[kept] - first) // step
    inputs: Any = np.ascontiguousarray(batch.inputs[:, first::step])
    return SequenceBatch(inputs, places, batch.targets[kept], lengths)
