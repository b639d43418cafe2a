"""Batches of a text: contiguous streams, cut into windows of the truncated-BPTT length.

The epoch's text is divided into as many streams as all ranks read side by side, and each step reads
the next window of every stream, so that the carried state always belongs to what stands before.

    offset(epoch)
    |  stream 0                |  stream 1                |  ...           | left over
    |  window 0  |  window 1   |  window 0  |  window 1   |

The text is a ring: an epoch begins at a pseudo-random place, and reading goes on from the end at
the start (one seam per epoch). Window borders therefore lie elsewhere in each epoch, every symbol
is as likely as any other to be left over, and none is for ever.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.kinds.text.vocabulary import Ids


class Batch(NamedTuple):
    """One window of each stream of a rank; do not write into it, the two windows share memory."""

    inputs: npt.NDArray[np.int64]  # (T, B)
    targets: npt.NDArray[np.int64]  # (T, B), the symbol after each input
    reset: npt.NDArray[np.bool_]  # (B,), streams whose carried state starts from zero here
    epoch: int


class StreamBatches:
    """Batch number i of rank r, as a pure function of (seed, i, r) and the ids.

    ``batch_size`` is per rank: there are world_size * batch_size streams. Step i belongs to epoch
    i // steps_per_epoch; any i from 0 on is valid. ``state_reset`` is the chance, per stream and
    window, of a reset besides the one at the start of an epoch. ``jitter`` moves the borders between
    windows by up to half of that share of their length either way, the same for all streams. Random
    numbers come from hashes, so they are the same under every version of every library. DataError: too
    few ids for one window.
    """

    def __init__(
        self,
        ids: Ids,
        batch_size: int,
        sequence_length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        state_reset: float = 0.0,
        jitter: float = 0.0,
    ):
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not below world_size {world_size}")
        streams = batch_size * world_size
        if len(ids) < streams * (sequence_length + 1):
            raise _too_short(len(ids), batch_size, sequence_length, world_size)
        self.steps_per_epoch = len(ids) // (streams * sequence_length)
        self._ids = np.asarray(ids)  # a view: a memory map is read only where a batch lies
        self._sequence_length = sequence_length
        self._seed = seed
        self._streams = np.arange(rank * batch_size, (rank + 1) * batch_size)
        self._jitter = int(jitter * sequence_length / 2)
        self._reset_below = np.uint64(int(state_reset * 2**64))

    def __getitem__(self, step: int) -> Batch:
        if step < 0:
            raise IndexError(f"there is no step {step}")
        epoch, window = divmod(step, self.steps_per_epoch)
        begin, end = self._border(epoch, window), self._border(epoch, window + 1)
        starts = self._offset(epoch) + self._sequence_length * self.steps_per_epoch * self._streams + begin
        positions = starts + np.arange(end - begin + 1)[:, None]  # (T + 1, B)
        symbols = np.take(self._ids, positions, mode="wrap").astype(np.int64)
        return Batch(symbols[:-1], symbols[1:], self._resets(step, first=window == 0), epoch)

    def _offset(self, epoch: int) -> int:
        """Where the epoch begins in the ring."""
        digest = hashlib.sha256(f"offset/{self._seed}/{epoch}".encode()).digest()
        return int.from_bytes(digest[:16], "little") % len(self._ids)

    def _border(self, epoch: int, window: int) -> int:
        """Where a window begins in its stream."""
        middle = window * self._sequence_length
        if self._jitter == 0 or window in (0, self.steps_per_epoch):
            return middle
        digest = hashlib.sha256(f"border/{self._seed}/{epoch}/{window}".encode()).digest()
        return middle + int.from_bytes(digest[:16], "little") % (2 * self._jitter + 1) - self._jitter

    def _resets(self, step: int, first: bool) -> npt.NDArray[np.bool_]:
        if first or self._reset_below == 0:
            return np.full(len(self._streams), first)
        # Eight bytes per global stream: a longer digest begins like a shorter one, so a stream's
        # fate depends on its number alone.
        last = int(self._streams[-1]) + 1
        digest = hashlib.shake_256(f"reset/{self._seed}/{step}".encode()).digest(8 * last)
        return np.frombuffer(digest, dtype="<u8")[self._streams] < self._reset_below


def _too_short(symbols: int, batch_size: int, sequence_length: int, world_size: int) -> DataError:
    streams = batch_size * world_size
    ranks = f" x {world_size} ranks" if world_size > 1 else ""
    largest_batch = symbols // (world_size * (sequence_length + 1))
    longest = symbols // streams - 1
    fits = []
    if largest_batch > 0:
        fits.append(f"train.batch_size of at most {largest_batch}")
    if longest > 0:
        fits.append(f"train.sequence_length of at most {longest}")
    return DataError(
        f"the text has {symbols:,} symbols, but one batch needs "
        f"{streams * (sequence_length + 1):,}: batch_size {batch_size}{ranks} x "
        f"(sequence_length {sequence_length} + 1)",
        f"use a longer text, or a {' or a '.join(fits)}" if fits else "use a longer text",
    )
