"""Tasks that ask for what was read long before.

The adding problem: two of many numbers are marked, and their sum is asked for at the end.

Hochreiter and Schmidhuber (1997), experiment 4, in the form of Le et al. (2015) and Arjovsky et al. (2016):
of T steps each reads a number, uniform in [0, 1], and a mark; one mark lies in the first half and one in
the second. The answer at the last step is the sum of the two marked numbers. Who always answers 1 has a
mean squared error of 1/6 (the variance of the sum), 0.167. It counts as solved below 0.01.

The copy problem: ten symbols, a long pause, and then the ten symbols again.

Hochreiter and Schmidhuber (1997) in the form of Arjovsky et al. (2016): ten symbols of K = 8, then T - 1
blanks, a marker, and ten blanks more while which the symbols are to be repeated in their order: T + 20
steps. What a network answers before is no secret (nothing), so only the last ten steps are learned and
judged. The literature's loss is a mean over all steps; `loss_all_steps` is that mean with the other steps
right, and the baseline is to remember nothing: 10 ln K / (T + 20). It counts as solved when more than 99%
of the ten are right.

Recall over a distance: "I live in France ... I know [French]".

In the manner of experiment 2 of Hochreiter and Schmidhuber (1997): one of K key symbols, then k symbols of
another alphabet (K of them, uniform) that say nothing about the key, then a question mark. The answer at
the question mark is the key. Who has forgotten it is right in 1/K of the cases. It counts as solved above
99%.

Parity: is the number of ones among T random bits odd?

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


def draw_adding(generator: Generator, length: int, count: int) -> SequenceBatch:
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
        draw=draw_adding,
        steps=lambda length: max(2, length),
        baselines=lambda length: {"always 1": {"mse": 1.0 / 6.0}},
        solved=lambda scores: scores["mse"] < 0.01,
        rule="mean squared error below 0.01",
    )


COPIED = 10
"""Symbols to remember."""


def copying_steps(length: int) -> int:
    return length + 2 * COPIED


def draw_copying(generator: Generator, length: int, count: int, symbols: int) -> SequenceBatch:
    """Inputs (T + 20, B): symbols 0 to K - 1, blank K, marker K + 1."""
    asked = generator.integers(0, symbols, (COPIED, count))
    total = copying_steps(length)
    inputs = np.full((total, count), symbols, dtype=np.int64)
    inputs[:COPIED] = asked
    inputs[total - COPIED - 1] = symbols + 1
    places = places_at(np.arange(total - COPIED, total)[:, None], count)
    return SequenceBatch(inputs, places, asked.ravel(), np.full(count, total, dtype=np.int64))


def copying(symbols: int | None) -> SyntheticTask:
    known = symbols or 8
    nothing = {"loss": math.log(known), "accuracy": 1.0 / known}

    def all_steps(loss: float, length: int) -> float:
        return loss * COPIED / copying_steps(length)

    return SyntheticTask(
        "copy",
        outputs=known,
        symbols=known + 2,
        draw=lambda generator, length, count: draw_copying(generator, length, count, known),
        steps=copying_steps,
        baselines=lambda length: {
            "no memory": nothing | {"loss_all_steps": all_steps(nothing["loss"], length)}
        },
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the ten symbols right",
        further=lambda scores, length: {"loss_all_steps": all_steps(scores["loss"], length)},
    )


def draw_recall(generator: Generator, length: int, count: int, symbols: int) -> SequenceBatch:
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
        draw=lambda generator, length, count: draw_recall(generator, length, count, keys),
        steps=lambda length: length + 2,
        baselines=lambda length: {"no memory": {"loss": math.log(keys), "accuracy": 1.0 / keys}},
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the keys right",
    )


def draw_parity(generator: Generator, length: int, count: int) -> SequenceBatch:
    """Inputs (T, B) of 0 and 1."""
    bits = generator.integers(0, 2, (length, count))
    ends = np.full(count, length, dtype=np.int64)
    return SequenceBatch(bits, places_at(ends - 1, count), bits.sum(0) % 2, ends)


def parity(symbols: int | None) -> SyntheticTask:
    return SyntheticTask(
        "parity",
        outputs=2,
        symbols=2,
        draw=draw_parity,
        steps=lambda length: length,
        baselines=lambda length: {"chance": {"loss": math.log(2.0), "accuracy": 0.5}},
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the sequences right",
    )
