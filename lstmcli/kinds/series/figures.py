"""Center and scale of each series, from its values: what they are, whether a series has them at all, and from
where they are taken where it has not.

A scale is divided by and multiplied with, so one that is invented is a unit that is invented. A constant, or
fewer values than `FEWEST`, has none of its own; it borrows one (`Typical.borrowed`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RELATIVE = 1e-8
"""A deviation below this share of the values' size is that of a constant series."""
FEWEST = 5
"""Values that show a scale."""
FAR, MOST = 30.0, 0.99
"""A value is an outlier that lies so many times as far from the median as this share of all values."""
BY_SIZE = 0.1
"""The scale of a value with nothing to compare it with, as a share of its size."""


class Figures(NamedTuple):
    """Of S series of C channels, each (S, C)."""

    center: Floats  # mean; 0 where nothing is observed
    scale: Floats  # standard deviation (ddof 0); 1 where there is none
    own: Flags  # whether the scale is one


def figures(parts: list[Floats]) -> Figures:
    """Of the values (T, C) of each series, NaN and outliers left out."""
    center = np.zeros((len(parts), parts[0].shape[1]))
    scale, own = np.ones_like(center), np.zeros(center.shape, dtype=bool)
    for s, values in enumerate(parts):
        seen = ~np.isnan(values)
        far = outliers(values)
        if far.any():
            seen &= ~far
        count = seen.sum(0)
        mean = np.where(seen, values, 0.0).sum(0) / np.maximum(count, 1)
        deviation = np.sqrt((np.where(seen, values - mean, 0.0) ** 2).sum(0) / np.maximum(count, 1))
        own[s] = (count >= FEWEST) & (deviation > RELATIVE * np.abs(mean))
        center[s] = np.where(count > 0, mean, 0.0)
        scale[s] = np.where(own[s], deviation, 1.0)
    return Figures(center, scale, own)


def outliers(values: Floats) -> Flags:
    """(T, C): which values lie beyond 30 times the distance from the median that 99% of them keep."""
    found = np.zeros(values.shape, dtype=bool)
    for channel in range(values.shape[1]):
        column = values[:, channel]
        if not len(column) or _close(column):
            continue
        seen = column[~np.isnan(column)]
        middle = float(np.median(seen))
        usual = float(np.quantile(np.abs(seen - middle), MOST, method="lower"))
        limit = FAR * (usual or abs(middle))  # where nearly all values are equal, their size is the measure
        if limit > 0.0:
            found[:, channel] = np.abs(column - middle) > limit
    return found


def _close(column: Floats) -> bool:
    """Whether no value can be an outlier, told without sorting: one at 30 times the others' distance stands
    out from the mean distance, too, the less the fewer they are (by 18 times among a hundred)."""
    seen = ~np.isnan(column)
    count = int(seen.sum())
    if count < FEWEST:
        return True
    mean = np.where(seen, column, 0.0).sum() / count
    distance = np.where(seen, np.abs(column - mean), 0.0)
    least = 15.0 if count >= 100 else 4.0 if count >= 10 else 2.0
    return bool(distance.max() <= least * distance.sum() / count)


@dataclass(frozen=True)
class Typical:
    """Medians over the series with a scale of their own, each (C,); NaN where no series has one."""

    center: Floats
    scale: Floats
    ratio: Floats  # of scale to the center's size

    @classmethod
    def of(cls, found: Figures) -> Typical:
        """Each channel's by its own series; of a channel without one, by all of the table."""
        with np.errstate(divide="ignore"):
            ratio = found.scale / np.abs(found.center)
        columns = [found.center, found.scale, ratio]
        medians = np.full((len(columns), found.center.shape[1]), np.nan)
        for channel in range(found.center.shape[1]):
            own = found.own[:, channel]
            for row, values in zip(medians, columns, strict=True):
                if (of := values[:, channel][own] if own.any() else values[found.own]).size:
                    row[channel] = np.median(of)
        return cls(*medians)

    def borrowed(self, found: Figures, parts: list[Floats], relative: bool) -> Figures:
        """The figures, completed where a scale is not a series' own.

        The center is the mean of what is observed, else that of the other series; the scale is theirs, but no
        larger share of the value's size than of their values; without any, a tenth of the size. ``relative``:
        values are logarithms, which are no sizes.
        """
        center, scale = found.center.copy(), found.scale.copy()
        for s, c in np.argwhere(~found.own).tolist():
            observed = not np.isnan(parts[s][:, c]).all()
            if not observed and not np.isnan(self.center[c]):
                center[s, c] = self.center[c]
            scale[s, c] = self._scale(abs(float(center[s, c])), c, relative)
        return Figures(center, scale, found.own)

    def _scale(self, size: float, channel: int, relative: bool) -> float:
        theirs = float(self.scale[channel])
        if relative:
            return BY_SIZE if np.isnan(theirs) else theirs
        if np.isnan(theirs):
            return BY_SIZE * size or 1.0
        by_size = float(self.ratio[channel]) * size
        return max(min(theirs, by_size) if by_size > 0.0 else theirs, RELATIVE * size)
