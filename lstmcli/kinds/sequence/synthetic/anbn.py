"""Counting: the language of n times a, then n times b.

Gers and Schmidhuber (2001): a start symbol, a^n, b^n, and then the end. The next symbol is determined from
the first b on (before that an a or a b may come): another b, or the end. Only these answers are learned
and judged; a string is accepted when all of them are right. Training draws n from 1 to `data.length`;
evaluation reads every string up to it once and finds the largest n up to which all are accepted. It counts
as solved when all up to `data.length` are. Who always says b is right but at the end, and accepts nothing.
"""

from __future__ import annotations

import numpy as np

from lstmcli.kinds.sequence.batch import Ints, SequenceBatch, places_of
from lstmcli.kinds.sequence.synthetic.task import Generator, SyntheticTask

START, A, B = 0, 1, 2
ANOTHER, END = 0, 1  # the classes: what comes after a b


def strings(sizes: Ints) -> SequenceBatch:
    """The string of each size, inputs (2 max n + 1, B)."""
    step = np.arange(2 * int(sizes.max()) + 1)[:, None]
    inputs = np.where(step == 0, START, np.where(step <= sizes, A, np.where(step <= 2 * sizes, B, START)))
    asked = (step > sizes) & (step <= 2 * sizes)
    answers = np.where(step == 2 * sizes, END, ANOTHER)
    return SequenceBatch(inputs, places_of(asked), answers[asked], 2 * sizes + 1)


def draw(generator: Generator, length: int, count: int) -> SequenceBatch:
    return strings(generator.integers(1, length + 1, count))


def anbn(symbols: int | None) -> SyntheticTask:
    def baselines(length: int) -> dict[str, dict[str, float]]:
        answers = length * (length + 1) / 2
        return {"always b": {"accuracy": 1.0 - length / answers, "exact": 0.0}}

    return SyntheticTask(
        "anbn",
        outputs=2,
        symbols=3,
        draw=draw,
        steps=lambda length: 2 * length + 1,
        baselines=baselines,
        solved=lambda scores: scores["exact"] == 1.0,
        rule="every string up to this n accepted",
        strings=strings,
    )
