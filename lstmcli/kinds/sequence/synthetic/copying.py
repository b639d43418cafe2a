"""The copy problem: ten symbols, a long pause, and then the ten symbols again.

Hochreiter and Schmidhuber (1997) in the form of Arjovsky et al. (2016): ten symbols of K = 8, then T - 1
blanks, a marker, and ten blanks more while which the symbols are to be repeated in their order: T + 20
steps. What a network answers before is no secret (nothing), so only the last ten steps are learned and
judged. The literature's loss is a mean over all steps; `loss_all_steps` is that mean with the other steps
right, and the baseline is to remember nothing: 10 ln K / (T + 20). It counts as solved when more than 99%
of the ten are right.
"""

from __future__ import annotations

import math

import numpy as np

from lstmcli.kinds.sequence.batch import SequenceBatch, places_at
from lstmcli.kinds.sequence.synthetic.task import Generator, SyntheticTask

COPIED = 10
"""Symbols to remember."""


def steps(length: int) -> int:
    return length + 2 * COPIED


def draw(generator: Generator, length: int, count: int, symbols: int) -> SequenceBatch:
    """Inputs (T + 20, B): symbols 0 to K - 1, blank K, marker K + 1."""
    asked = generator.integers(0, symbols, (COPIED, count))
    total = steps(length)
    inputs = np.full((total, count), symbols, dtype=np.int64)
    inputs[:COPIED] = asked
    inputs[total - COPIED - 1] = symbols + 1
    places = places_at(np.arange(total - COPIED, total)[:, None], count)
    return SequenceBatch(inputs, places, asked.ravel(), np.full(count, total, dtype=np.int64))


def copying(symbols: int | None) -> SyntheticTask:
    known = symbols or 8
    nothing = {"loss": math.log(known), "accuracy": 1.0 / known}

    def all_steps(loss: float, length: int) -> float:
        return loss * COPIED / steps(length)

    return SyntheticTask(
        "copy",
        outputs=known,
        symbols=known + 2,
        draw=lambda generator, length, count: draw(generator, length, count, known),
        steps=steps,
        baselines=lambda length: {
            "no memory": nothing | {"loss_all_steps": all_steps(nothing["loss"], length)}
        },
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the ten symbols right",
        further=lambda scores, length: {"loss_all_steps": all_steps(scores["loss"], length)},
    )
