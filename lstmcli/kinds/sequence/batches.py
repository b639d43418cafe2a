"""Batches of a synthetic task, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstmcli.kinds.sequence.batch import SequenceBatch, every
from lstmcli.kinds.sequence.synthetic.task import Generator, SyntheticTask

STREAMS = {"train": 0, "val": 1, "test": 2, "lengths": 3}
STEPS_PER_EPOCH = 1000
"""There is no end to the sequences; so many batches are called an epoch."""


def generator_of(*words: int) -> Generator:
    """Random numbers as a pure function of whole numbers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


class SyntheticBatches:
    """Batch number i, as a pure function of (seed, i); of it a rank has every so many-th sequence."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(
        self,
        task: SyntheticTask,
        lengths: tuple[int, int],
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ):
        self.task, self.lengths, self.batch_size = task, lengths, batch_size
        self._seed, self._rank, self._ranks = seed, rank, ranks

    def __getitem__(self, step: int) -> SequenceBatch:
        if step < 0:
            raise IndexError(f"there is no step {step}")
        generator = generator_of(self._seed, STREAMS["train"], step)
        whole = self.task.draw(generator, self._length(step), self.batch_size)
        return whole if self._ranks == 1 else every(whole, self._rank, self._ranks)

    def _length(self, step: int) -> int:
        low, high = self.lengths
        if low == high:
            return low
        return int(generator_of(self._seed, STREAMS["lengths"], step).integers(low, high + 1))


def held_batches(
    task: SyntheticTask, length: int, count: int, batch_size: int, seed: int, split: str = "val"
) -> Iterator[SequenceBatch]:
    """At most `count` sequences at a length to evaluate: always the same ones for a seed and split."""
    if task.strings is not None:
        chosen = np.unique(np.linspace(1, length, min(count, length)).round().astype(np.int64))
        for first in range(0, len(chosen), batch_size):
            yield task.strings(chosen[first : first + batch_size])
        return
    for number in range(-(-count // batch_size)):
        size = min(batch_size, count - number * batch_size)
        yield task.draw(generator_of(seed, STREAMS[split], length, number), length, size)
