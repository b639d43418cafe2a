"""One time per row, from text, dates, whole numbers, or several columns; one form for a whole column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.table.table import Table

if TYPE_CHECKING:
    import polars as pl

Int = npt.NDArray[np.int64]

PARTS = ("year", "month", "day", "hour", "minute", "second")
LEAST = (None, 1, 1, 0, 0, 0)
MOST = (None, 12, 31, 23, 59, 59)
NAIVE = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y-%m")
OFFSET = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")
LATEST = 250_000_000_000_000_000  # microseconds from 1970 to the year 9892
DAY = 86_400_000_000
EXCEL = 25_569
"""Days from spreadsheets' beginning, 1899-12-30, to 1970."""
HINT = "write times as 2016-07-01, 2016-07-01 05:00:00 or 2016-07-01T05:00:00Z (year first), or whole numbers"


def read_times(
    table: Table,
    columns: list[str],
    months: bool,
    dayfirst: bool | None = None,
    counted: bool = False,
    form: str | None = None,
) -> tuple[Int, bool]:
    """Microseconds since 1970, or whole numbers (then True), of each row.

    ``months``: the frequency is of months or years, so whole numbers are years (2016) or months
    (201607). ``counted``: it is of whole numbers, which then are no times.
    ``dayfirst``, ``form``: as `data.dayfirst` and `data.time_format`. DataError: a time that is missing or
    not clear, with its row.
    """
    for name in columns:
        if (nulls := table.frame[name].is_null()).any():
            row = int(nulls.arg_max() or 0)
            raise DataError(f"{table.place(row)}: no time in column {name}", "fill it in or delete the row")
    if len(columns) == 1 and form is not None:
        return _as_stated(table, columns[0], form), False
    if len(columns) == 1:
        return column_times(table, columns[0], months, dayfirst, counted)
    if (parts := _parts(columns)) is not None:
        return _composed(table, columns, parts), False
    import polars as pl

    texts = [table.frame[name].cast(pl.String).str.strip_chars() for name in columns]
    joined = pl.select(pl.concat_str(texts, separator=" ")).to_series()
    return _text_times(joined, table, " + ".join(columns), dayfirst), False


def column_times(
    table: Table, name: str, months: bool, dayfirst: bool | None, counted: bool = False
) -> tuple[Int, bool]:
    """The same for one column without missing times."""
    import polars as pl

    column = table.frame[name]
    if column.dtype.is_temporal() and column.dtype != pl.Time and column.dtype != pl.Duration:
        return _stored(column, table, name), False
    numbers = whole_numbers(column)
    if numbers is None and (years := decimal_years(column)) is not None:
        notice(f"{table.paths[0]}: column {name} is read as times: decimal years, as 1949.083 for 1949-02")
        return years, False
    if numbers is None:
        return _text_times(column.cast(pl.String), table, name, dayfirst), False
    if months and bool(((numbers >= 1000) & (numbers <= 9999)).all()):
        return _from_parts([numbers]), False
    if months and bool(((numbers >= 100_001) & (numbers <= 999_912)).all()):
        return _checked(table, [name], [numbers // 100, numbers % 100]), False
    dates = (numbers >= 10_000_101) & (numbers <= 99_991_231)
    parts = [numbers // 10_000, numbers // 100 % 100, numbers % 100]
    if bool(dates.all()) and _first_wrong(parts) is None:
        return _from_parts(parts), False
    if counted or (found := _coded(numbers)) is None:
        return numbers, True
    times, form = found
    notice(
        f"{table.paths[0]}: column {name} is read as times: {form} (data.frequency: 1i takes it as numbers)"
    )
    return times, False


def _as_stated(table: Table, name: str, form: str) -> Int:
    """Times in the form that `data.time_format` states."""
    import polars as pl

    texts = table.frame[name].cast(pl.String).str.strip_chars()
    if form == "excel":
        days = texts.cast(pl.Float64, strict=False)
        found = ((days - EXCEL) * 86_400).round(0).cast(pl.Int64) * 1_000_000
    else:
        try:
            found = texts.str.to_datetime(form, strict=False, time_unit="us").to_physical().cast(pl.Int64)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"data.time_format {form!r}: {error}", "use the codes of strftime") from None
    if found.null_count():
        row = int(found.is_null().arg_max() or 0)
        raise DataError(
            f"{table.place(row)}: column {name}: {texts[row]!r} is not written as data.time_format "
            f"{form!r} says", "correct it there, or data.time_format",
        )  # fmt: skip
    return np.asarray(found.to_numpy(), dtype=np.int64)


def decimal_years(column: pl.Series) -> Int | None:
    """Microseconds since 1970 of 1949.0, 1949.083, ...: years and twelfths or quarters of them, rounded in
    any way; None: they are not."""
    import polars as pl

    if column.dtype == pl.String:
        if not column.head(1).str.contains(r"^\s*\d{4}\.\d+\s*$").any():
            return None
        column = column.str.strip_chars().cast(pl.Float64, strict=False)
    if not column.dtype.is_float() or column.null_count() or len(column) < 3:
        return None
    values = column.to_numpy()
    months = np.round(values * 12.0)
    near = bool((np.abs(values * 12.0 - months) < 0.13).all()) and bool(
        ((values > 1500) & (values < 2200)).all()
    )
    steps = np.unique(np.diff(np.sort(np.unique(months))))
    if not near or not len(steps) or int(steps[0]) not in (1, 3, 4, 6):
        return None
    whole = months.astype(np.int64)
    return _from_parts([whole // 12, whole % 12 + 1])


def _coded(numbers: Int) -> tuple[Int, str] | None:
    """Microseconds since 1970 of numbers that can hardly be counts, and in words what they are; None: counts.

    Months and hours are so only where all numbers are, and some year ends among them; seconds where all
    are from 1990 to 2100.
    """
    if bool(((numbers >= 180_001) & (numbers <= 220_053)).all()):
        parts = [numbers // 100, numbers % 100]
        several = len(np.unique(parts[0])) > 1
        if several and _first_wrong(parts) is None:
            return _from_parts(parts), "months, as 202012"
        weeks = numbers % 100
        if several and bool(((weeks >= 1) & (weeks <= 53)).all()):
            days, off = _weeks(parts[0], weeks, np.ones_like(weeks))
            return None if off.any() else (days * DAY, "ISO weeks, as 202053 (its Monday)")
        return None
    if bool(((numbers >= 1_800_001) & (numbers <= 2_200_366)).all()):
        year, day = numbers // 1000, numbers % 1000
        first, _ = _days(year, np.ones_like(year), np.ones_like(year))
        following, _ = _days(year + 1, np.ones_like(year), np.ones_like(year))
        if bool(((day >= 1) & (first + day - 1 < following)).all()) and len(np.unique(day)) > 2:
            return (first + day - 1) * DAY, "days of the year, as 2020366"
    if bool(((numbers >= 1_800_010_100) & (numbers <= 2_200_123_123)).all()):
        parts = [numbers // 1_000_000, numbers // 10_000 % 100, numbers // 100 % 100, numbers % 100]
        if _first_wrong(parts) is None:
            return _from_parts(parts), "hours, as 2020123123"
    for unit, scale in (("seconds", 1_000_000), ("milliseconds", 1000), ("microseconds", 1)):
        least, most = 631_152_000 * 1_000_000 // scale, 4_102_444_800 * 1_000_000 // scale
        if bool(((numbers >= least) & (numbers <= most)).all()):
            return numbers * scale, f"Unix {unit} (UTC)"
    return None


def are_times(numbers: Int) -> bool:
    """Whether whole numbers can hardly be anything but dates (20201231) or Unix times."""
    dates = (numbers >= 18_000_101) & (numbers <= 22_001_231)
    parts = [numbers // 10_000, numbers // 100 % 100, numbers % 100]
    return bool(dates.all() and _first_wrong(parts) is None) or bool(
        (numbers > 1e9).all() and _coded(numbers)
    )


def _stored(column: pl.Series, table: Table, name: str) -> Int:
    """Microseconds since 1970 of dates and timestamps as a Parquet file stores them. By arithmetic: for what
    lies outside the calendar the library ends in a panic."""
    import polars as pl

    stored = column.to_physical().to_numpy().astype(np.int64)
    unit = "d" if column.dtype == pl.Date else getattr(column.dtype, "time_unit", "us")
    scale, divisor = {"d": (86_400_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}[unit]
    bad = np.abs(stored // divisor) > LATEST // scale
    if bad.any():
        raise DataError(
            f"{table.place(int(bad.argmax()))}: column {name}: the time is outside the calendar", HINT
        )
    return stored * scale // divisor


def whole_numbers(column: pl.Series) -> Int | None:
    """The column as integers, or None where it is not all whole numbers."""
    import polars as pl

    if column.dtype == pl.String:
        head = column.head(1).str.strip_chars()
        if head.len() and head.cast(pl.Int64, strict=False).null_count():
            return None  # cheap: most times begin with a date
        column = column.str.strip_chars()
    if column.dtype.is_float() and not bool((column == column.round(0)).all()):
        return None
    if not (column.dtype == pl.String or column.dtype.is_numeric()):
        return None
    numbers = column.cast(pl.Int64, strict=False)
    return None if numbers.null_count() else numbers.to_numpy().astype(np.int64)


def _text_times(texts: pl.Series, table: Table, name: str, dayfirst: bool | None) -> Int:
    """ISO by the library, which is fast; all else by its parts."""
    times = _by_formats(texts)
    nulls = times.is_null().to_numpy()
    if not nulls.any():
        return _local_days(texts, times.to_numpy().astype(np.int64), table, name)
    try:
        found = read_written(texts, dayfirst)
    except DataError as error:
        raise DataError(f"{table.paths[0]}: column {name}: {error.message}", error.hint) from None
    wrong = nulls if found is None else found.wrong
    if wrong.any():
        row = int(wrong.argmax())
        among = f" ({found.form})" if found is not None else ""
        raise DataError(f"{table.place(row)}: column {name}: {texts[row]!r} is not a time{among}", HINT)
    assert found is not None  # without a form all nulls are wrong
    if not found.form.startswith("year first"):  # as ISO has it: nothing was guessed
        notice(f"{table.paths[0]}: column {name} is read as times: {found.form}")
    return _local_days(texts, found.times, table, name)


def _local_days(texts: pl.Series, times: Int, table: Table, name: str) -> Int:
    """The times, or those of the clock on the wall where these alone are one time of day: days that begin at
    local midnight are 23 or 25 hours long where clocks change."""
    if times[0] % DAY == 0 and not (times % DAY).any():
        return times
    if (
        not texts.head(1).str.contains(r"[+-]\d{2}:?\d{2}\s*$").any()
        or (found := read_written(texts)) is None
    ):
        return times
    local = times + found.offsets
    if (
        found.wrong.any()
        or (local % DAY != local[0] % DAY).any()
        or (found.offsets == found.offsets[0]).all()
    ):
        return times
    notice(
        f"{table.paths[0]}: column {name} has local times of several offsets: read as local days, "
        "and forecasts are written without an offset"
    )
    return local


def parse_text(texts: pl.Series) -> pl.Series:
    """Microseconds since 1970; null for what is no time in the form of most of the texts."""
    times = _by_formats(texts)
    if times.null_count() == 0:
        return times
    import polars as pl

    found = read_written(texts)
    if found is None:
        return times
    return pl.select(pl.when(pl.lit(pl.Series(~found.wrong))).then(pl.Series(found.times))).to_series()


def _by_formats(texts: pl.Series) -> pl.Series:
    import polars as pl

    times: pl.Series | None = None
    for form in (*NAIVE, *OFFSET):
        zone = "UTC" if form.endswith("z") else None
        found = texts.str.to_datetime(form, strict=False, time_unit="us", time_zone=zone)
        found = found.to_physical().cast(pl.Int64)
        times = found if times is None else times.zip_with(times.is_not_null(), found)
        if times.null_count() == 0:
            break
    assert times is not None  # there are formats
    return times


# --- several columns ----------------------------------------------------------------------------


def _parts(columns: list[str]) -> list[str] | None:
    """The columns in the order year, month, ... if that is what they are called."""
    named = {name.lower(): name for name in columns}
    used = PARTS[: len(columns)]
    return [named[part] for part in used] if set(named) == set(used) else None


def _composed(table: Table, columns: list[str], parts: list[str]) -> Int:
    numbers = []
    for name in parts:
        found = whole_numbers(table.frame[name])
        if found is None:
            row = _first_text(table, name)
            value = table.frame[name][row]
            raise DataError(
                f"{table.place(row)}: column {name}: {value!r} is not a whole number", "correct it there"
            )
        numbers.append(found)
    return _checked(table, parts, numbers)


def _first_text(table: Table, name: str) -> int:
    import polars as pl

    column = table.frame[name]
    if column.dtype.is_float():
        return int((column != column.round(0)).arg_max() or 0)
    return int(column.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False).is_null().arg_max() or 0)


def _checked(table: Table, names: list[str], numbers: list[Int]) -> Int:
    if (row := _first_wrong(numbers)) is not None:
        found = "-".join(str(int(part[row])) for part in numbers)
        raise DataError(f"{table.place(row)}: {found} is no date (column {' + '.join(names)})", HINT)
    return _from_parts(numbers)


def _first_wrong(numbers: list[Int]) -> int | None:
    """The first row whose parts make no date, such as 30 February."""
    wrong = np.zeros(len(numbers[0]), dtype=bool)
    for part, least, most in zip(numbers, LEAST, MOST, strict=False):
        if least is not None and most is not None:
            wrong |= (part < least) | (part > most)
    wrong |= (numbers[0] < 1) | (numbers[0] > 9999)
    if not wrong.any() and len(numbers) > 2:
        months = (numbers[0] - 1970) * 12 + numbers[1] - 1
        ends = (months + 1).astype("datetime64[M]").astype("datetime64[D]")
        wrong = numbers[2] > (ends - months.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    return int(wrong.argmax()) if wrong.any() else None


def _from_parts(numbers: list[Int]) -> Int:
    zero = np.zeros_like(numbers[0])
    given = [*numbers, *(zero + (least or 0) for least in LEAST[len(numbers) :])]
    year, month, day, hour, minute, second = given
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    return np.asarray(((days * 24 + hour) * 60 + minute) * 60 + second, dtype=np.int64) * 1_000_000


# --- as people write them ---------------------------------------------------------------------------

MONTHS = {
    1: "jan ene gen", 2: "feb fev fév", 3: "mar mär mrz", 4: "apr avr abr", 5: "may mai mei mag",
    6: "jun juin giu", 7: "jul juil lug", 8: "aug aoû aou ago", 9: "sep set", 10: "oct okt ott", 11: "nov",
    12: "dec dez dic déc",
}  # fmt: skip
"""How the names of months begin in English, German, French, Spanish, Italian, Portuguese and Dutch."""
WEEKDAY = r"^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[,.]?\s+)?"
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
        form: int(lowered.head(1000).str.contains(WEEKDAY + date + CLOCK).sum())
        for form, date in DATES.items()
    }
    form = max(fitting, key=lambda name: fitting[name])
    if fitting[form] * 2 < len(texts.head(1000)) or not len(texts):
        return None
    parts = lowered.str.extract_groups(WEEKDAY + DATES[form] + CLOCK).struct.unnest()
    wrong = ~lowered.str.contains(WEEKDAY + DATES[form] + CLOCK).fill_null(value=False).to_numpy()

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
