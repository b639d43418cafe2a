"""TimeGrid: regular steps, a tick number for every time and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.table.frequency import (
    DAY,
    FIXED,
    Step,
    days_us,
    month_lengths,
    month_parts,
    parse_frequency,
)

Int = npt.NDArray[np.int64]

PERIODS = {"second": 60, "minute": 60, "hour": 24, "weekday": 7, "day": 31, "month": 12, "quarter": 4}
PERIODS["yearday"] = 366


@dataclass(frozen=True)
class TimeGrid:
    """Regular steps: tick k is the time ``origin`` + k steps.

    ``origin`` is a datetime (with an offset: converted to UTC; without one: as it stands), or an int
    where times are whole numbers. A frequency of time with an int origin means that the step is known
    but the times are not: ticks are then labelled by number and have no calendar.

    Months, quarters and years fall on ``month_day``, or on the last day of shorter months: 31 is the
    month's end. None: the origin's day, or 31 if the origin ends its month.
    """

    frequency: str
    origin: datetime | int
    month_day: int | None = None

    def __post_init__(self) -> None:
        step = parse_frequency(self.frequency)
        object.__setattr__(self, "frequency", step.name)
        origin = self.origin
        if isinstance(origin, datetime):
            if step.kind == "integers":
                raise DataError(
                    f"data.frequency {step.name} is for whole numbers, but the times are dates",
                    "give a step of time, such as 1h",
                )
            if origin.tzinfo is not None:
                object.__setattr__(self, "origin", origin.astimezone(UTC).replace(tzinfo=None))
        if self.timed and step.kind == "months" and self.month_day is None:
            _, day, length, _ = month_parts(np.array([self._start]))
            object.__setattr__(self, "month_day", 31 if day[0] == length[0] else int(day[0]))

    @property
    def step(self) -> Step:
        return parse_frequency(self.frequency)

    @property
    def timed(self) -> bool:
        """Whether ticks are times, not mere numbers."""
        return isinstance(self.origin, datetime)

    @property
    def season(self) -> int:
        """Steps of the main season: 24 for 1h, 7 for 1d, 52 for 1w, 12 for 1mo, ..."""
        return self.step.season

    @property
    def _start(self) -> int:
        """The origin in microseconds since 1970, or the number that it is."""
        if isinstance(self.origin, datetime):
            return int(np.datetime64(self.origin, "us").astype(np.int64))
        return int(self.origin)

    @property
    def _number_step(self) -> int:
        step = self.step
        return step.count if step.kind == "integers" else 1

    def raw(self, ticks: npt.ArrayLike) -> Int:
        """Times as microseconds since 1970, or whole numbers; any shape."""
        numbers = np.asarray(ticks, dtype=np.int64)
        if not self.timed:
            return self._start + numbers * self._number_step
        step = self.step
        if step.kind == "fixed":
            return self._start + numbers * step.count
        month, _, _, rest = (int(part[0]) for part in month_parts(np.array([self._start])))
        months = month + numbers * step.count
        assert self.month_day is not None  # set at the start for months
        day = np.minimum(self.month_day, month_lengths(months)) - 1
        result: Int = days_us(months.astype("datetime64[M]").astype("datetime64[D]")) + day * DAY + rest
        return result

    def times(self, ticks: npt.ArrayLike) -> npt.NDArray[Any]:
        """datetime64[us], or int64 where ticks are numbers; any shape."""
        raw = self.raw(ticks)
        return raw.astype("datetime64[us]") if self.timed else raw

    def labels(self, ticks: npt.ArrayLike) -> list[str]:
        """As they are written in CSV: 2016-07-01 where there is no time of day, else
        2016-07-01 05:00:00, with decimals for steps below a second."""
        times = self.times(np.ravel(np.asarray(ticks, dtype=np.int64)))
        if not self.timed:
            return [str(number) for number in times.tolist()]
        step, whole_days = self.step, self._start % DAY == 0
        if whole_days and (step.kind == "months" or step.count % DAY == 0):
            return [str(label) for label in np.datetime_as_string(times, unit="D").tolist()]
        unit: Any = "us" if self._start % FIXED["s"] or step.count % FIXED["s"] else "s"
        return [str(label).replace("T", " ") for label in np.datetime_as_string(times, unit=unit).tolist()]

    def split(self, raw: Int) -> tuple[Int, npt.NDArray[np.bool_]]:
        """Ticks of raw times, and which of them are off the grid."""
        step = self.step
        if not self.timed or step.kind == "fixed":
            size = step.count if self.timed else self._number_step
            ticks = (raw - self._start) // size
        else:
            first = month_parts(np.array([self._start]))[0]
            ticks = (month_parts(raw)[0] - first) // step.count
        return ticks, self.raw(ticks) != raw

    def ticks(self, times: npt.ArrayLike) -> Int:
        """The inverse of `times`; DataError if one is off the grid."""
        given = np.asarray(times)
        raw = given.astype("datetime64[us]").astype(np.int64) if self.timed else given.astype(np.int64)
        ticks, off = self.split(raw)
        if off.any():
            wrong = np.ravel(given)[np.ravel(off).argmax()]
            raise DataError(
                f"{wrong} is not on the grid of {self.frequency} steps from {self.labels([0])[0]}",
                "correct the time, or set data.frequency",
            )
        return ticks

    def calendar_names(self) -> list[str]:
        """Features that vary at this frequency, the fastest first."""
        step = self.step
        if not self.timed or step.kind == "integers":
            return []
        if step.kind == "months":
            return ["month"] if step.count % 12 else []
        names = ["day", "month"]
        for name, length in (
            ("weekday", 7 * DAY),
            ("hour", DAY),
            ("minute", FIXED["h"]),
            ("second", FIXED["m"]),
        ):
            if step.count % length:
                names.insert(0, name)
        return names

    def calendar(self, ticks: npt.ArrayLike, names: list[str] | None = None) -> npt.NDArray[np.float32]:
        """Sine and cosine of each feature in its period, (..., 2 * len(names)); sines and cosines of a
        feature stand side by side."""
        chosen = self.calendar_names() if names is None else names
        unknown = [name for name in chosen if name not in PERIODS]
        if unknown:
            raise DataError(f"there is no calendar feature {unknown[0]}", f"choose from {', '.join(PERIODS)}")
        if chosen and not self.timed:
            raise DataError("the times of these series are not known", "set forecast.calendar: false")
        raw = self.raw(ticks)
        angles = [2 * np.pi / PERIODS[name] * _feature(raw, name) for name in chosen]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        stacked = np.stack(waves, axis=-1) if waves else np.zeros((*raw.shape, 0))
        return stacked.astype(np.float32)


def _feature(raw: Int, name: str) -> npt.NDArray[np.float64]:
    """Each feature from 0 on."""
    if name in ("second", "minute", "hour"):
        unit = {"second": FIXED["s"], "minute": FIXED["m"], "hour": FIXED["h"]}[name]
        return (raw // unit % PERIODS[name]).astype(np.float64)
    if name == "weekday":
        return ((raw // DAY + 3) % 7).astype(np.float64)  # 1970-01-01 was a Thursday; Monday is 0
    dates = raw.astype("datetime64[us]")
    if name == "yearday":
        year = dates.astype("datetime64[Y]").astype("datetime64[D]")
        days: npt.NDArray[np.float64] = (dates.astype("datetime64[D]") - year).astype(np.float64)
        return days
    months, day, _, _ = month_parts(raw)
    values = {"day": day - 1, "month": months % 12, "quarter": months % 12 // 3}
    return values[name].astype(np.float64)
