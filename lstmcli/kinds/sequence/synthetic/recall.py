"""Recall over a distance: "I live in France ... I know [French]".

In the manner of experiment 2 of Hochreiter and Schmidhuber (1997): one of K key symbols, then k symbols of
another alphabet (K of them, uniform) that say nothing about the key, then a question mark. The answer at
the question mark is the key. Who has forgotten it is right in 1/K of the cases. It counts as solved above
99%.
"""

from __future__ import annotations

import math

import numpy as np

from lstmcli.kinds.sequence.batch import SequenceBatch, places_at
from lstmcli.kinds.sequence.synthetic.task import Generator, SyntheticTask


def draw(generator: Generator, length: int, count: int, symbols: int) -> SequenceBatch:
    """Inputs (k + 2, B): keys 0 to K - 1, distractors K to 2 K - 1, question mark 2 K."""
    inputs = generator.integers(symbols, 2 * symbols, (length + 2, count))
    keys = generator.integers(0, symbols, count)
    inputs[0], inputs[-1] = keys, 2 * symbols
    ends = np.full(count, length + 2, dtype=np.int64)
    return SequenceBatch(inputs, places_at(ends - 1, count), keys, ends)


def recall(symbols: int | None) -> SyntheticTask:
    keys = symbols or 8
    return SyntheticTask(
        "recall",
        outputs=keys,
        symbols=2 * keys + 1,
        draw=lambda generator, length, count: draw(generator, length, count, keys),
        steps=lambda length: length + 2,
        baselines=lambda length: {"no memory": {"loss": math.log(keys), "accuracy": 1.0 / keys}},
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the keys right",
    )
