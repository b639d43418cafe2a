"""Times as people write them: one order of the parts for a whole column, told in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Int = npt.NDArray[np.int64]

MONTHS = {
    1: "jan ene gen", 2: "feb fev fév", 3: "mar mär mrz", 4: "apr avr abr", 5: "may mai mei mag",
    6: "jun juin giu", 7: "jul juil lug", 8: "aug aoû aou ago", 9: "sep set", 10: "oct okt ott", 11: "nov",
    12: "dec dez dic déc",
}  # fmt: skip
"""How the names of months begin in English, German, French, Spanish, Italian, Portuguese and Dutch."""
DAY = r"^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[,.]?\s+)?"
CLOCK = (
    r"(?:(?:[t,]\s*|\s+)(?<hour>\d{1,2})(?:[:.](?<minute>\d{2})(?:[:.](?<second>\d{2})(?:[.,](?<fraction>\d{1,9}))?)?)?"
    r"\s*(?<half>[ap]\.?m\.?)?)?\s*(?<zone>z|utc|gmt|[+-]\d{2}(?::?\d{2})?)?$"
)
NAME = r"(?<name>[a-zäéû]{3,12})\.?"
YEAR = r"(?<year>\d{4}|\d{2})"
DATES = {
    "year first, as 2020-12-31": r"(?<year>\d{4})[-/.](?<month>\d{1,2})[-/.](?<day>\d{1,2})",
    "NUMBERS": r"(?<one>\d{1,2})(?<mark>[-/.])(?<two>\d{1,2})[-/.](?<year>\d{4}|\d{2})",
    "day and name of the month, as 31 Dec 2020": rf"(?<day>\d{{1,2}})[-/ .]+{NAME}[-/ ,.]+{YEAR}",
    "name of the month and day, as Dec 31, 2020": rf"{NAME}[-/ ]+(?<day>\d{{1,2}})(?:[a-z]{{2}})?,?\s+{YEAR}",
    "quarters, as 2020Q4": r"(?<year>\d{4})[-/ ]?q(?<quarter>[1-4])",
    "quarters, as Q4 2020": r"q(?<quarter>[1-4])[-/ ]?(?<year>\d{4})",
    "ISO weeks, as 2020-W53": r"(?<year>\d{4})[- ]?w(?<week>\d{1,2})(?:-?(?<weekday>[1-7]))?",
    "months, as 2020M12": r"(?<year>\d{4})m(?<month>\d{1,2})",
    "months, as 2020-12": r"(?<year>\d{4})[-/.](?<month>\d{1,2})",
    "months, as 12/2020": r"(?<month>\d{1,2})[-/.](?<year>\d{4})",
    "months, as 2020 Dec": rf"(?<year>\d{{4}})[-/ ]?{NAME}",
    "months, as Dec 2020": rf"{NAME}[-/ ,]*(?<year>\d{{4}})",
}
ORDERS = {True: "day first, as 31/12/2020", False: "month first, as 12/31/2020"}


@dataclass(frozen=True)
class Written:
    """What a column of texts says."""

    times: Int  # microseconds since 1970; 0 where wrong
    wrong: npt.NDArray[np.bool_]  # texts that are no such time
    form: str  # the order of the parts, in words
    offsets: Int  # microseconds that each text's zone is ahead of UTC; 0 where none is written


def read_written(texts: pl.Series, dayfirst: bool | None = None) -> Written | None:
    """The form that fits most of the texts (those that it does not fit are `wrong`); None: none fits half.

    ``dayfirst``: whether 01/02/2020 is in February; None: found from the whole column. DataError: both
    orders would fit every text, or neither does.
    """
    import polars as pl

    lowered = texts.str.strip_chars().str.to_lowercase()
    fitting = {
        form: int(lowered.head(1000).str.contains(DAY + date + CLOCK).sum()) for form, date in DATES.items()
    }
    form = max(fitting, key=lambda name: fitting[name])
    if fitting[form] * 2 < len(texts.head(1000)) or not len(texts):
        return None
    parts = lowered.str.extract_groups(DAY + DATES[form] + CLOCK).struct.unnest()
    wrong = ~lowered.str.contains(DAY + DATES[form] + CLOCK).fill_null(value=False).to_numpy()

    def part(name: str, default: int) -> Int:
        if name not in parts.columns:
            return np.full(len(texts), default)
        numbers = parts[name].replace("", None).cast(pl.Int64, strict=False).fill_null(default)
        return numbers.to_numpy().astype(np.int64)

    year, month, day = part("year", 1970), part("month", 1), part("day", 1)
    year = np.where(year < 69, year + 2000, np.where(year < 100, year + 1900, year))
    if form == "NUMBERS":
        one, two = part("one", 1), part("two", 1)
        first = _day_first(texts, one[~wrong], two[~wrong], dayfirst, str(parts["mark"].drop_nulls()[0]))
        form, (day, month) = ORDERS[first], (one, two) if first else (two, one)
    if "quarter" in parts.columns:
        month = part("quarter", 1) * 3 - 2
    if "name" in parts.columns:
        month = _months(parts["name"])
    hour, half = part("hour", 0), parts["half"].fill_null("")
    afternoon = half.str.starts_with("p").to_numpy()
    wrong |= (half != "").to_numpy() & ((hour < 1) | (hour > 12))
    hour = np.where((half != "").to_numpy(), hour % 12 + 12 * afternoon, hour)
    minute, second = part("minute", 0), part("second", 0)
    wrong |= (hour > 24) | ((hour == 24) & ((minute > 0) | (second > 0))) | (minute > 59) | (second > 59)
    weekly = "week" in parts.columns
    days, off = _weeks(year, part("week", 1), part("weekday", 1)) if weekly else _days(year, month, day)
    fraction = parts["fraction"].fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).to_numpy()
    times = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction
    wrong |= off
    offsets = _offsets(parts["zone"])
    return Written(np.where(wrong, 0, times - offsets), wrong, form, offsets)


def _day_first(texts: pl.Series, one: Int, two: Int, dayfirst: bool | None, mark: str) -> bool:
    if dayfirst is not None:
        return dayfirst
    day_fits, month_fits = bool((two <= 12).all()), bool((one <= 12).all())
    if day_fits and month_fits and mark == ".":
        return True  # no country writes month.day.year
    if day_fits and month_fits:
        raise DataError(
            f"times such as {texts[0]!r} may have the day or the month first: both fit all {len(texts):,}",
            "set data.dayfirst: true (31/12/2020) or false (12/31/2020)",
        )
    if day_fits == month_fits:
        late, early = int((one > 12).argmax()), int((two > 12).argmax())
        raise DataError(
            f"times have the day first ({texts[late]!r}) as well as the month first ({texts[early]!r})",
            "write all of them in one order",
        )
    return day_fits


def _months(names: pl.Series) -> Int:
    """1 to 12 by how the names begin; 0: no month."""
    short = {text: number for number, all_ in MONTHS.items() for text in all_.split()}
    found = {}
    for name in names.drop_nulls().unique():
        fits = [number for text, number in short.items() if name.startswith(text)]
        found[name] = fits[0] if fits else 0
    return np.array([found.get(name, 0) for name in names.to_list()], dtype=np.int64)


def _days(year: Int, month: Int, day: Int) -> tuple[Int, npt.NDArray[np.bool_]]:
    """Days since 1970, and which are no date."""
    wrong = (month < 1) | (month > 12) | (day < 1) | (year < 1)
    months = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    return first + day - 1, wrong | (day > length)


def _weeks(year: Int, week: Int, weekday: Int) -> tuple[Int, npt.NDArray[np.bool_]]:
    """Days since 1970 of ISO weeks: the first one of a year holds 4 January."""
    fourth, _ = _days(np.concatenate([year, year + 1]), np.ones(2 * len(year)).astype(int), np.array([4]))
    monday = fourth - (fourth + 3) % 7
    start, following = monday[: len(year)], monday[len(year) :]
    days = start + 7 * (week - 1) + weekday - 1
    return days, (week < 1) | (start + 7 * (week - 1) >= following)


def _offsets(zones: pl.Series) -> Int:
    """Microseconds ahead of UTC."""
    found = {"": 0}
    for text in zones.fill_null("").unique():
        match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})?", text)
        minutes = int(match[2]) * 60 + int(match[3] or 0) if match else 0
        found[text] = minutes * 60_000_000 * (-1 if text.startswith("-") else 1)
    return np.array([found[text] for text in zones.fill_null("").to_list()], dtype=np.int64)
