"""The step between times, found in a column or written by name, and the grid of ticks that it makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError

Int = npt.NDArray[np.int64]
Kind = Literal["fixed", "months", "integers", "weekly"]

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
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONDAY = 4 * DAY  # 1970-01-05
LEAST_WEEKS = 3
"""A week in which something never happens shows after so many of them."""
LEAST_SHARE = 0.5
"""So much of all steps must be the commonest one: working days (4 of 5 steps are a day) pass."""


@dataclass(frozen=True)
class Step:
    """A step: ``count`` microseconds (fixed), months, or whole numbers; weekly: microseconds, of which only
    those that begin at ``slots`` of the week are there (numbered from Monday's first)."""

    kind: Kind
    count: int
    slots: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Canonical: 15m, 1h, 1d, 1w, 1mo, 1q, 1y, 1i; 60m is 1h, 7d is 1w, 12mo is 1y; 1b is Monday to
        Friday, `1d mon-sat` and `1h mon-fri 09:00-16:00` other weeks with gaps."""
        if self.kind == "integers":
            return f"{self.count}i"
        if self.kind == "weekly":
            return _week_name(self)
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
        if self.kind == "weekly":
            days = len({slot // (DAY // self.count) for slot in self.slots})
            return len(self.slots) if self.count == DAY else max(1, len(self.slots) // days)
        if self.count % (7 * DAY) == 0:
            return max(1, 52 * 7 * DAY // self.count)
        if self.count >= DAY:
            return _whole(7 * DAY, self.count)
        return _whole(DAY if self.count >= FIXED["m"] else FIXED["h"], self.count)


def _whole(season: int, step: int) -> int:
    return season // step if season % step == 0 else 1


def parse_frequency(text: str) -> Step:
    """`15m`, `1h`, `h`, `monthly`, `1b`, `1d mon-sat`, ...; DataError if it is none of them."""
    if (weekly := _parse_week(text)) is not None:
        return weekly
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
        "such as 15m or 1mo; 1b for Monday to Friday, `1d mon-sat` for other days of the week",
    )


# --- weeks with gaps ----------------------------------------------------------------------------


def _parse_week(text: str) -> Step | None:
    """`1b`, `1d mon-sat`, `1d mon,wed`, `1h mon-fri 09:00-16:00; sat 09:00-12:00`; None: no such text."""
    words = "1d mon-fri" if text.strip().lower() in ("b", "1b") else text.strip().lower()
    match = re.fullmatch(r"(\d*)(d|h|m)\s+([a-z].*)", words)
    size = int(match[1] or 1) * FIXED[match[2]] if match else 0
    if match is None or size == 0 or DAY % size:
        return None
    slots: set[int] = set()
    for part in match[3].split(";"):
        found = re.fullmatch(r"([a-z,-]+)(?:\s+(\d\d):(\d\d)-(\d\d):(\d\d))?", part.strip())
        days = _days_named(found[1]) if found else set()
        if found is None or not days:
            return None
        first, last = 0, DAY // size - 1
        if found[2]:
            minutes = [int(found[k]) * 60 + int(found[k + 1]) for k in (2, 4)]
            first, last = (minute * FIXED["m"] // size for minute in minutes)
        if last >= DAY // size:
            return None
        slots |= {day * (DAY // size) + slot for day in days for slot in range(first, last + 1)}
    return Step("weekly", size, tuple(sorted(slots))) if slots else None


def _days_named(text: str) -> set[int]:
    """Days of the week, Monday 0, of `mon-fri` or `mon,wed`; empty: it names none."""
    days: set[int] = set()
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or any(end not in WEEK for end in ends):
            return set()
        first, last = WEEK.index(ends[0]), WEEK.index(ends[-1])
        days |= {(first + k) % 7 for k in range((last - first) % 7 + 1)}
    return days


def _week_name(step: Step) -> str:
    a_day = DAY // step.count
    hours: dict[tuple[int, int], list[int]] = {}
    for day in sorted({slot // a_day for slot in step.slots}):
        inside = [slot % a_day for slot in step.slots if slot // a_day == day]
        hours.setdefault((inside[0], inside[-1]), []).append(day)
    if step.count == DAY and step.slots == (0, 1, 2, 3, 4):
        return "1b"
    parts = []
    for (first, last), days in hours.items():
        clock = "" if (first, last) == (0, a_day - 1) else f" {_clock(first, step)}-{_clock(last, step)}"
        parts.append(_named_days(days) + clock)
    return f"{Step('fixed', step.count).name} {'; '.join(parts)}"


def _clock(slot: int, step: Step) -> str:
    minute = slot * step.count // FIXED["m"]
    return f"{minute // 60:02}:{minute % 60:02}"


def _named_days(days: list[int]) -> str:
    together = days[-1] - days[0] == len(days) - 1
    if len(days) > 2 and together:
        return f"{WEEK[days[0]]}-{WEEK[days[-1]]}"
    return ",".join(WEEK[day] for day in days)


def find_week(times: Int, codes: Int) -> Step | None:
    """The days of the week (and the hours of each) that sorted times (microseconds) of series ``codes`` keep
    to; None: they keep to none, or have not been seen for long enough to tell.

    An hour that is merely often missing is no gap of the week: that a slot without a row had one by chance
    every week must be unlikely, given how many rows the other slots lack.
    """
    within = np.diff(times)[np.diff(codes) == 0]
    within = within[within > 0]
    size = int(np.gcd.reduce(within)) if len(within) else 0
    if size == 0 or size % FIXED["m"] or bool((within % (7 * DAY) == 0).all()):
        return None
    size = int(np.gcd(size, DAY))
    numbers = (times - MONDAY) // size
    if bool((times % size != times[0] % size).any()):
        return None
    a_week, a_day = 7 * DAY // size, DAY // size
    seen = np.zeros(a_week, dtype=bool)
    seen[np.unique(numbers % a_week)] = True
    for day in seen.reshape(7, a_day):  # a break within a day is not of the week
        if (inside := np.flatnonzero(day)).size:
            day[inside[0] : inside[-1] + 1] = True
    step = Step("weekly", size, tuple(np.flatnonzero(seen).tolist()))
    firsts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    lasts = np.concatenate([firsts[1:], [len(codes)]]) - 1
    weeks = float((numbers[lasts] - numbers[firsts]).max()) / a_week
    if len(step.slots) == a_week or weeks < LEAST_WEEKS:
        return None
    room = _week_ticks(times[lasts], step) - _week_ticks(times[firsts], step) + 1
    lacking = 1.0 - len(np.unique(numbers * (int(codes.max()) + 1) + codes)) / float(room.sum())
    return step if a_week * max(lacking, 0.0) ** int(weeks) < 0.01 and lacking < LEAST_SHARE else None


def _week_ticks(times: Int, step: Step) -> Int:
    """The number of each time among the slots since Monday, 1970-01-05; of one between two, the later's."""
    a_week = 7 * DAY // step.count
    numbers = (times - MONDAY) // step.count
    places = np.searchsorted(np.array(step.slots), numbers % a_week)
    ticks: Int = numbers // a_week * len(step.slots) + places
    return ticks


def _week_times(ticks: Int, step: Step) -> Int:
    """The inverse, without what the times have beyond a whole step."""
    slots = np.array(step.slots, dtype=np.int64)
    week, place = np.divmod(ticks, len(slots))
    times: Int = MONDAY + week * 7 * DAY + slots[place] * step.count
    return times


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


# --- the grid ---------------------------------------------------------------------------------------

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
        if step.kind == "weekly":
            first = int(_week_ticks(np.array([self._start]), step)[0])
            return _week_times(first + numbers, step) + self._start % step.count
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
        elif step.kind == "weekly":
            ticks = _week_ticks(raw, step) - _week_ticks(np.array([self._start]), step)
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
