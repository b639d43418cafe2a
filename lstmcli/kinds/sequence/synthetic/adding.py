"""The adding problem: two of many numbers are marked, and their sum is asked for at the end.

Hochreiter and Schmidhuber (1997), experiment 4, in the form of Le et al. (2015) and Arjovsky et al. (2016):
of T steps each reads a number, uniform in [0, 1], and a mark; one mark lies in the first half and one in
the second. The answer at the last step is the sum of the two marked numbers. Who always answers 1 has a
mean squared error of 1/6 (the variance of the sum), 0.167. It counts as solved below 0.01.
"""

from __future__ import annotations

import numpy as np

from lstmcli.kinds.sequence.batch import SequenceBatch, places_at
from lstmcli.kinds.sequence.synthetic.task import Generator, SyntheticTask


def draw(generator: Generator, length: int, count: int) -> SequenceBatch:
    """Inputs (T, B, 2): number and mark."""
    length = max(2, length)
    columns = np.arange(count)
    inputs = np.zeros((length, count, 2), dtype=np.float32)
    inputs[..., 0] = generator.random((length, count), dtype=np.float32)
    first = generator.integers(0, length // 2, count)
    second = generator.integers(length // 2, length, count)
    inputs[first, columns, 1] = inputs[second, columns, 1] = 1.0
    targets = (inputs[first, columns, 0] + inputs[second, columns, 0])[:, None]
    ends = np.full(count, length, dtype=np.int64)
    return SequenceBatch(inputs, places_at(ends - 1, count), targets, ends)


def adding(symbols: int | None) -> SyntheticTask:
    return SyntheticTask(
        "adding",
        outputs=1,
        inputs=2,
        draw=draw,
        steps=lambda length: max(2, length),
        baselines=lambda length: {"always 1": {"mse": 1.0 / 6.0}},
        solved=lambda scores: scores["mse"] < 0.01,
        rule="mean squared error below 0.01",
    )
