"""Parity: is the number of ones among T random bits odd?

An old test of recurrent networks (Hochreiter and Schmidhuber 1997 discuss it in their section 5.1): one
bit flips the answer, so that nothing short of keeping the running parity helps. The answer is asked for at
the last bit only. Guessing is right in half the cases. It counts as solved above 99%. Long sequences are
best learned from short ones (`data.train_length: [1, T]`).
"""

from __future__ import annotations

import math

import numpy as np

from lstmcli.kinds.sequence.batch import SequenceBatch, places_at
from lstmcli.kinds.sequence.synthetic.task import Generator, SyntheticTask


def draw(generator: Generator, length: int, count: int) -> SequenceBatch:
    """Inputs (T, B) of 0 and 1."""
    bits = generator.integers(0, 2, (length, count))
    ends = np.full(count, length, dtype=np.int64)
    return SequenceBatch(bits, places_at(ends - 1, count), bits.sum(0) % 2, ends)


def parity(symbols: int | None) -> SyntheticTask:
    return SyntheticTask(
        "parity",
        outputs=2,
        symbols=2,
        draw=draw,
        steps=lambda length: length,
        baselines=lambda length: {"chance": {"loss": math.log(2.0), "accuracy": 0.5}},
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the sequences right",
    )
