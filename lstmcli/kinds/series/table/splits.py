"""Where training, validation and test end in each series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice

if TYPE_CHECKING:
    from lstmcli.kinds.series.settings import SeriesTable

Int = npt.NDArray[np.int64]


def split_ends(settings: SeriesTable, lengths: Int, test_from: Int | None) -> tuple[Int, Int, Int, Int]:
    """train_end, val_begin, val_end and test_end of series of these lengths, each (S,).

    A series of which `calibration_length` would leave less than a window to learn from keeps its training
    part. DataError: no series has room for it.
    """
    train, val_end, test_end = _three_ends(settings, lengths, test_from)
    if settings.calibration_length is None:
        return train, train, val_end, test_end
    left = train - settings.calibration_length
    room = left >= settings.context_length + settings.horizon
    if not room.any():
        raise DataError(
            f"data.calibration_length {settings.calibration_length:,} leaves no series the "
            f"{settings.context_length + settings.horizon:,} training steps of a window",
            "make it, data.context_length or data.horizon smaller",
        )
    if few := int((~room).sum()):
        notice(f"{few:,} of {len(room):,} series are too short to keep data.calibration_length steps apart")
    return np.where(room, left, train), train, val_end, test_end


def _three_ends(settings: SeriesTable, lengths: Int, test_from: Int | None) -> tuple[Int, Int, Int]:
    """Of training, validation and test.

    ``test_from``: where the rows of `test_path` begin; None without it. DataError: settings that say
    two things, or counts that no series is long enough for.
    """
    by_length = settings.val_length is not None or settings.test_length is not None
    if test_from is not None:
        if settings.test_length is not None:
            raise DataError(
                "data.test_path and data.test_length both say what the test is", "remove one of them"
            )
        body = np.minimum(test_from, lengths)
        val = settings.val_length or 0
        train, val_end = (np.maximum(body - val, 0), body) if by_length else _two(settings.splits, body)
        return train, val_end, lengths
    if by_length:
        val_end = np.maximum(lengths - (settings.test_length or 0), 0)
        return np.maximum(val_end - (settings.val_length or 0), 0), val_end, lengths
    if max(settings.splits) > 1:
        return _counted(settings.splits, lengths)
    train, val_end, test_end = (_share(lengths, sum(settings.splits[:n])) for n in (1, 2, 3))
    return train, val_end, test_end


def _share(lengths: Int, share: float) -> Int:
    """Rounded down, a hair above so that 0.7 + 0.2 of 10 is 9."""
    ends: Int = np.minimum(np.floor(lengths * share + 1e-6).astype(np.int64), lengths)
    return ends


def _two(splits: list[float], body: Int) -> tuple[Int, Int]:
    """Training and validation in what `test_path` leaves: counts as they are, shares as a proportion."""
    if max(splits) > 1:
        train, val_end, _ = _counted(splits[:2], body)
        return train, val_end
    return _share(body, splits[0] / sum(splits[:2])), body


def _counted(splits: list[float], lengths: Int) -> tuple[Int, Int, Int]:
    counts = [int(count) for count in splits] + [0] * (3 - len(splits))
    needed, longest = sum(counts), int(lengths.max(initial=0))
    if longest < needed:
        raise DataError(
            f"data.splits asks for {needed:,} steps, but "
            + (f"the longest series has {longest:,}" if len(lengths) > 1 else f"there are {longest:,}"),
            "use smaller counts, or shares such as [0.8, 0.1, 0.1]",
        )
    if short := int((lengths < needed).sum()):
        notice(f"{short:,} series are shorter than the {needed:,} steps of data.splits: later parts get less")
    train, val_end, test_end = (np.minimum(lengths, total) for total in np.cumsum(counts))
    return train, val_end, test_end
