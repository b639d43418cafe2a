"""The step between times: its canonical name, its parsing, and finding it in a column."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError

Int = npt.NDArray[np.int64]
Kind = Literal["fixed", "months", "integers"]

SECOND = 1_000_000
DAY = 86_400 * SECOND
FIXED = {"w": 7 * DAY, "d": DAY, "h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 1000, "us": 1}
MONTHS = {"y": 12, "q": 3, "mo": 1}
WORDS = {
    **{"minutely": "m", "hourly": "h", "daily": "d", "weekly": "w", "monthly": "mo", "quarterly": "q"},
    **{"yearly": "y", "annual": "y", "annually": "y", "sec": "s", "min": "m", "T": "m", "H": "h", "D": "d"},
    **{"W": "w", "MS": "mo", "ME": "mo", "QS": "q", "QE": "q", "YS": "y", "YE": "y", "Q": "q", "Y": "y"},
    **{"A": "y", "S": "s", "hour": "h", "day": "d", "week": "w", "month": "mo", "quarter": "q", "year": "y"},
}
LEAST_SHARE = 0.5
"""So much of all steps must be the commonest one: working days (4 of 5 steps are a day) pass."""


@dataclass(frozen=True)
class Step:
    """A step: ``count`` microseconds (fixed), months, or whole numbers."""

    kind: Kind
    count: int

    @property
    def name(self) -> str:
        """Canonical: 15m, 1h, 1d, 1w, 1mo, 1q, 1y, 1i; 60m is 1h, 7d is 1w, 12mo is 1y."""
        if self.kind == "integers":
            return f"{self.count}i"
        units = FIXED if self.kind == "fixed" else MONTHS
        unit = next(unit for unit, size in units.items() if self.count % size == 0)
        return f"{self.count // units[unit]}{unit}"

    @property
    def season(self) -> int:
        """Steps of the main season: a day for minutes and hours, a week for days, a year above; for
        seconds an hour; 1 where a season is no whole number of steps."""
        if self.kind == "integers":
            return 1
        if self.kind == "months":
            return _whole(12, self.count)
        if self.count % (7 * DAY) == 0:
            return max(1, 52 * 7 * DAY // self.count)
        if self.count >= DAY:
            return _whole(7 * DAY, self.count)
        return _whole(DAY if self.count >= FIXED["m"] else FIXED["h"], self.count)


def _whole(season: int, step: int) -> int:
    return season // step if season % step == 0 else 1


def parse_frequency(text: str) -> Step:
    """`15m`, `1h`, `h`, `monthly`, ...; DataError if it is none of them."""
    match = re.fullmatch(r"\s*(\d*)\s*([A-Za-z]+)\s*", text)
    unit = "" if match is None else WORDS.get(match[2], match[2])
    count = int(match[1] or 1) if match else 0
    if count > 0 and unit in FIXED:
        return Step("fixed", count * FIXED[unit])
    if count > 0 and unit in MONTHS:
        return Step("months", count * MONTHS[unit])
    if count > 0 and unit == "i":
        return Step("integers", count)
    raise DataError(
        f"data.frequency: {text!r} is no step between times",
        "write a number and a unit: s, m (minutes), h, d, w, mo (months), q, y, or i (whole numbers); "
        "such as 15m or 1mo",
    )


# --- months -------------------------------------------------------------------------------------


def month_parts(times: Int) -> tuple[Int, Int, Int, Int]:
    """Of microseconds since 1970: months since 1970-01, day (from 1), the month's length in days, and
    microseconds into the day."""
    dates = times.astype("datetime64[us]")
    months = dates.astype("datetime64[M]")
    days = dates.astype("datetime64[D]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    return months.astype(np.int64), day, month_lengths(months.astype(np.int64)), times - days_us(days)


def month_lengths(months: Int) -> Int:
    """Days of each month, counted since 1970-01."""
    start = months.astype("datetime64[M]").astype("datetime64[D]")
    end = (months + 1).astype("datetime64[M]").astype("datetime64[D]")
    lengths: Int = (end - start).astype(np.int64)
    return lengths


def days_us(days: npt.NDArray[np.datetime64]) -> Int:
    return days.astype("datetime64[us]").astype(np.int64)


def month_day_of(times: Int) -> int | None:
    """The day of the month that all times share: 31 where all of them end their month, and a day that
    a month is too short for counts as its last; None if they share none."""
    _, day, length, rest = month_parts(times)
    shared = 31 if bool((day == length).all()) else int(day.max())
    same = bool((day == np.minimum(shared, length)).all() and (rest == rest[0]).all())
    return shared if same else None


# --- finding the step ---------------------------------------------------------------------------


def find_step(times: Int, codes: Int, integers: bool, place: Callable[[int], str]) -> Step:
    """The step of sorted times (microseconds, or whole numbers) of series ``codes``.

    ``place`` tells where a row stands. DataError: no series has two rows, or the steps differ.
    """
    same = codes[1:] == codes[:-1]
    later = np.flatnonzero(same) + 1  # rows that have one before them
    if len(later) == 0:
        raise DataError(
            "the frequency cannot be found: no series has two rows", "set data.frequency, such as 1h"
        )
    steps = times[later] - times[later - 1]
    kind: Kind = "integers" if integers else "fixed"
    if not integers and int(steps.min()) >= 28 * DAY and month_day_of(times) is not None:
        kind, months = "months", month_parts(times)[0]
        steps = months[later] - months[later - 1]
    if bool((steps == steps[0]).all()):
        return Step(kind, int(steps[0]))
    step = _commonest(steps, later, kind, place)
    _same_in_all(steps, codes[later], later, step, place)
    return step


def _commonest(steps: Int, later: Int, kind: Kind, place: Callable[[int], str]) -> Step:
    sizes, counts = np.unique(steps, return_counts=True)
    size = int(sizes[counts.argmax()])
    step, share = Step(kind, size), counts.max() / counts.sum()
    odd = steps % size != 0
    if share >= LEAST_SHARE and not odd.any():
        return step
    if odd.any():
        row = int(later[odd.argmax()])
        found = Step(kind, int(steps[odd.argmax()])).name
        raise DataError(
            f"times are not regular: most steps are {step.name} ({share:.0%}), but there is one of {found} "
            f"before {place(row)}",
            f"correct the time there, or set data.frequency to a step that all times share "
            f"(such as {Step(kind, int(np.gcd.reduce(sizes))).name}; what lies between becomes missing)",
        )
    raise DataError(
        f"times are not regular: the commonest step, {step.name}, is only {share:.0%} of all steps",
        f"set data.frequency: {Step(kind, int(np.gcd.reduce(sizes))).name} "
        "to take what lies between as missing",
    )


def _same_in_all(steps: Int, codes: Int, later: Int, step: Step, place: Callable[[int], str]) -> None:
    """A series of four rows or more with no single such step has another frequency."""
    total = np.bincount(codes)
    fits = np.bincount(codes, weights=steps == step.count)
    other = (total >= 3) & (fits == 0)
    if other.any():
        row = int(np.argmax(codes == int(other.argmax())))
        raise DataError(
            f"series have different frequencies: most steps are {step.name}, but the series of "
            f"{place(int(later[row]))} has {Step(step.kind, int(steps[row])).name}",
            f"keep one frequency per file, or set data.frequency: {step.name} to take what lies between as "
            "missing",
        )
