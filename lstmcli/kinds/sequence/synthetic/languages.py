"""Formal languages: what must be counted, and what needs a stack.

Counting: the language of n times a, then n times b.

Gers and Schmidhuber (2001): a start symbol, a^n, b^n, and then the end. The next symbol is determined from
the first b on (before that an a or a b may come): another b, or the end. Only these answers are learned
and judged; a string is accepted when all of them are right. Training draws n from 1 to `data.length`;
evaluation reads every string up to it once and finds the largest n up to which all are accepted. It counts
as solved when all up to `data.length` are. Who always says b is right but at the end, and accepts nothing.

Brackets of K kinds that must close in the right order: the language Dyck-K.

A balanced word of T brackets (an odd T is rounded up), all shapes alike, all kinds alike. Wherever the
next bracket closes one, the answer is of which kind it must be: its probability given that it closes, as
Hewitt et al. (2020) judge it. The kind of the last opening bracket is right in more than half of the cases
and costs nothing; what shows a stack are the answers far from their opening bracket. It counts as solved
above 99%.

Shapes are uniform by the cycle lemma (Dvoretzky and Motzkin 1947): of the rotations of n ups and n + 1
downs in any order exactly one stays at or above zero until its last step, and without that step it is a
balanced word.
"""

from __future__ import annotations

import math

import numpy as np

from lstmcli.kinds.sequence.batch import Ints, SequenceBatch, places_of
from lstmcli.kinds.sequence.synthetic.task import Facts, Generator, SyntheticTask

START, A, B = 0, 1, 2
ANOTHER, END = 0, 1  # the classes: what comes after a b


def strings(sizes: Ints) -> SequenceBatch:
    """The string of each size, inputs (2 max n + 1, B)."""
    step = np.arange(2 * int(sizes.max()) + 1)[:, None]
    inputs = np.where(step == 0, START, np.where(step <= sizes, A, np.where(step <= 2 * sizes, B, START)))
    asked = (step > sizes) & (step <= 2 * sizes)
    answers = np.where(step == 2 * sizes, END, ANOTHER)
    return SequenceBatch(inputs, places_of(asked), answers[asked], 2 * sizes + 1)


def draw_anbn(generator: Generator, length: int, count: int) -> SequenceBatch:
    return strings(generator.integers(1, length + 1, count))


def anbn(symbols: int | None) -> SyntheticTask:
    def baselines(length: int) -> dict[str, dict[str, float]]:
        answers = length * (length + 1) / 2
        return {"always b": {"accuracy": 1.0 - length / answers, "exact": 0.0}}

    return SyntheticTask(
        "anbn",
        outputs=2,
        symbols=3,
        draw=draw_anbn,
        steps=lambda length: 2 * length + 1,
        baselines=baselines,
        solved=lambda scores: scores["exact"] == 1.0,
        rule="every string up to this n accepted",
        strings=strings,
    )


def steps(length: int) -> int:
    """What is read of a word: all but its last bracket."""
    return 2 * pairs(length) - 1


def pairs(length: int) -> int:
    return max(1, (length + 1) // 2)


def shapes(generator: Generator, count: int, size: int) -> Ints:
    """Balanced words of `size` pairs, (2 size, count): 1 opens, -1 closes."""
    ups = np.repeat(np.array([1, -1], dtype=np.int64), [size, size + 1])
    walks = generator.permuted(np.broadcast_to(ups, (count, 2 * size + 1)), axis=1)
    lowest = walks.cumsum(1).argmin(1)
    turned = (np.arange(1, 2 * size + 1) + lowest[:, None]) % (2 * size + 1)
    return np.take_along_axis(walks, turned, axis=1).T


def partners(shape: Ints) -> tuple[Ints, Ints]:
    """Where each pair opens and where it closes, (pairs, B) both. On one level of nesting brackets open
    and close in turn, so sorting by level puts partners side by side."""
    level = (shape.cumsum(0) + (shape < 0)).T.astype(np.min_scalar_type(len(shape)))  # small: sorted by radix
    order = np.argsort(level, axis=1, kind="stable").T
    return order[0::2], order[1::2]


def draw_dyck(generator: Generator, length: int, count: int, kinds: int) -> SequenceBatch:
    """Inputs (T - 1, B): kind k opens as k and closes as K + k."""
    size = pairs(length)
    shape = shapes(generator, count, size)
    opening, closing = partners(shape)
    kind = generator.integers(0, kinds, (size, count))
    word = np.empty((2 * size, count), dtype=np.int64)
    np.put_along_axis(word, opening, kind, axis=0)
    np.put_along_axis(word, closing, kind + kinds, axis=0)
    closes = word[1:] >= kinds
    ends = np.full(count, 2 * size - 1, dtype=np.int64)
    return SequenceBatch(word[:-1], places_of(closes), word[1:][closes] - kinds, ends)


def facts(batch: SequenceBatch, kinds: int) -> Facts:
    """Distance: from the opening bracket to the one that closes it."""
    length, count = batch.inputs.shape[0] + 1, batch.inputs.shape[1]
    opens = np.vstack([batch.inputs < kinds, np.zeros((1, count), dtype=bool)])
    opening, closing = partners(np.where(opens, 1, -1))
    distance = np.zeros((length, count), dtype=np.int64)
    np.put_along_axis(distance, closing, closing - opening, axis=0)
    last = np.maximum.accumulate(np.where(opens, np.arange(length)[:, None], -1), axis=0)[:-1]
    guess = np.take_along_axis(np.asarray(batch.inputs, dtype=np.int64), last, axis=0)
    return Facts(distance[1:].ravel()[batch.places], guess.ravel()[batch.places])


def dyck(symbols: int | None) -> SyntheticTask:
    kinds = symbols or 2
    return SyntheticTask(
        "dyck",
        outputs=kinds,
        symbols=2 * kinds,
        draw=lambda generator, length, count: draw_dyck(generator, length, count, kinds),
        steps=steps,
        baselines=lambda length: {"chance": {"loss": math.log(kinds), "accuracy": 1.0 / kinds}},
        solved=lambda scores: scores["accuracy"] > 0.99,
        rule="more than 99% of the closing brackets right",
        facts=lambda batch: facts(batch, kinds),
        thumb="kind of the last opening bracket",
    )
