"""A table that nobody has described: what its columns seem to be, and settings that fit its size."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.settings import SeriesTable
from lstmcli.kinds.series.signs import Signs, read_signs
from lstmcli.kinds.series.table.grid import find_week
from lstmcli.kinds.series.table.panel import Panel, prepare_series, scanned
from lstmcli.kinds.series.table.scan import Scan
from lstmcli.kinds.series.table.table import is_numeric, load, numeric_columns, sample
from lstmcli.kinds.series.table.times import PARTS, are_times, decimal_years, parse_text, whole_numbers

if TYPE_CHECKING:
    import polars as pl

FEW, MANY = 10, 500
"""Series of a table; fewer are validated at more origins."""
ENOUGH = 200
"""Windows of validation whose choice of weights leaves intervals honest."""
FEW_DOUBLED = 0.2
"""So few rows that share their time with another are faults: of several series most rows do."""
LEAST_ROWS = 20
"""So many rows without times may be steps that are counted."""
MOST_KEYS = 8
"""Of so many columns pairs are tried as the names of series."""
TIME_NAMES = ("date", "datetime", "time", "timestamp", "ds", "t", "index", "step", "week", "month", "year")
LENGTHS = {
    "s": (120, 30),
    "d": (56, 14),
    "b": (40, 10),
    "w": (52, 13),
    "mo": (36, 12),
    "q": (16, 8),
    "y": (12, 6),
}
"""Context and horizon by the unit of the frequency."""
WORDS = {"hour": "1h", "dai": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
"""How names of files tell the frequency of layout rows."""


BESIDE = (
    "price", "prices", "promo", "promotion", "promotions", "onpromotion", "discount", "discounts",
    "holiday", "holidays", "weekday", "weekend", "month", "quarter", "year", "day", "hour", "campaign",
    "event", "events", "open", "closed", "flag", "is", "temperature", "temp", "rain", "weather", "cost",
    "budget",
)  # fmt: skip
"""Words of names of what goes with a value that is forecast ..."""
GOALS = (
    "sales", "units", "unit", "qty", "quantity", "demand", "sold", "volume", "orders", "visits",
    "visitors", "count", "counts", "load", "consumption", "revenue", "customers", "target", "y",
    "value", "rides", "passengers", "traffic", "clicks", "views",
)  # fmt: skip
"""... and of such a value."""


@dataclass(frozen=True)
class Proposal:
    """What a config needs to know of a table."""

    columns: dict[str, Any]
    """Settings of `data` about columns: layout, time, group, target, static, frequency."""
    left_out: list[str]
    """Columns that are read by nobody."""
    context: int
    horizon: int
    patch: int
    calibration: int
    """Steps that are kept for intervals alone; 0: there is no room."""
    splits: bool
    """Shares, else the last horizon of each series for test, and the one before for validation."""
    positive: bool
    """No observed value is below zero."""
    series: int
    steps: int
    """Of the median series."""
    cells: int
    """Observed values of all targets."""
    signs: Signs
    """What the training part says."""
    val_length: int
    test: int
    """Steps of the test where it is no share; 0: none."""
    val_windows: int
    """Of validation, at every origin."""
    longest: int
    """The most steps that a context can have."""
    timed: bool
    """The steps have times of their own, so there is a calendar."""


@dataclass
class _Parts:
    columns: dict[str, Any]
    left_out: list[str] = field(default_factory=list)


def propose_series(path: Path, horizon: int | None = None, test: int | None = None) -> Proposal:
    """Columns by their contents and names, lengths by the frequency and the series' length.

    DataError: the table cannot be read. UsageError: it can, but it is not clear as what.
    """
    settings = SeriesTable(path=str(path))
    missing = settings.missing
    found = scanned(path, settings, lambda label, done, total: None, short_rows=True)
    head = sample(path, found, missing)
    parts = _parts(path, found, head, missing)
    panel = _panel(path, parts.columns)
    if parts.columns["layout"] != "rows" and panel.grid is not None:
        parts.columns["frequency"] = panel.grid.frequency
    steps = int(np.median(panel.lengths))
    if steps < 4:
        raise UsageError(
            f"{path}: the series are too short to forecast: half of them have at most {steps} steps",
            "give a table with longer series, or write the config by hand (`lstm validate --schema`)",
        )
    context, horizon = lengths_for(panel, steps, horizon)
    shares = test is None and steps // 10 >= max(10 * horizon, context)
    held = horizon if test is None else test
    body = int(0.8 * steps) if shares else steps - held
    val = int(0.1 * steps) if shares else validation_for(body, horizon, len(panel.names))
    ends = np.minimum(panel.lengths, np.maximum(panel.lengths - (steps - body) - val, 3))
    signs = read_signs(panel, ends, horizon)
    context = context_for(context, signs, body - val, horizon)
    val_windows = max(1, val - horizon + 1) * len(panel.names) * len(panel.targets)
    calibration = calibration_for(body, context, horizon) if val_windows < ENOUGH else 0
    observed = panel.values[~np.isnan(panel.values)]
    return Proposal(
        parts.columns,
        parts.left_out,
        context,
        horizon,
        patch_for(context, horizon),
        calibration,
        shares,
        bool((observed >= 0).all()),
        len(panel.names),
        steps,
        len(observed),
        signs,
        val,
        held,
        val_windows,
        max(context, body - val - calibration - 2 * horizon),
        panel.grid is not None and panel.grid.timed,
    )


def validation_for(body: int, horizon: int, series: int) -> int:
    """Steps at the end of what the test leaves that choose among models: several origins of one series, one
    or two horizons of many, and never more than a fifth where that is more than the horizon."""
    wanted = 10 * horizon if series < FEW else 2 * horizon if series < MANY else horizon
    long = body // 10 if series == 1 else 0
    return max(horizon, min(max(wanted, long), body // 5))


def context_for(usual: int, signs: Signs, training: int, horizon: int) -> int:
    """Three horizons at least, and two of the longest season that is worth to be subtracted, as far as that
    leaves windows to learn from. A short series is read from its beginning: windows lack the left part of
    their context."""
    worth = [season.steps for season in signs.seasons if season.ratio < 1.0]
    wanted = max(usual, 3 * horizon, *(2 * steps for steps in worth), 1)
    room = max(training - 2 * horizon, training // 2, 1)
    shortest = min(2 * min(worth), training) if worth else 1
    context = min(wanted, max(room // 2, min(room, 3 * horizon), shortest))
    step = horizon if not worth else max(s for s in worth if s <= context or s == min(worth))
    step = step if step <= context else horizon
    return max(context - context % step, min(context, horizon))


def _panel(path: Path, columns: dict[str, Any]) -> Panel:
    """The series, on the week with gaps that their rows keep to, where they do."""
    settings = SeriesTable(path=str(path), splits=[1.0], **columns)
    panel = prepare_series(settings).panel
    grid = panel.grid
    if grid is None or not grid.timed or grid.step.kind != "fixed":
        return panel
    rows = np.isfinite(panel.values).any(axis=1)
    codes = np.repeat(np.arange(len(panel.names)), panel.lengths)
    ticks = panel.starts[codes] + np.arange(len(codes)) - panel.offsets[codes]
    week = find_week(grid.raw(ticks[rows]), codes[rows]) if not rows.all() else None
    if week is None:
        return panel
    return prepare_series(settings.model_copy(update={"frequency": week.name})).panel


def lengths_for(panel: Panel, steps: int, wanted: int | None = None) -> tuple[int, int]:
    """Context and horizon for the frequency, so short that training, validation and test fit in; the
    horizon as it is `wanted`. UsageError: the series are too short for that one."""
    unit = "" if panel.grid is None else re.sub(r"\d", "", panel.grid.frequency.split(" ")[0])
    season = panel.season
    context, horizon = LENGTHS.get(unit, (96, 24))
    if unit in ("h", "m") and 1 < season <= 96:
        context, horizon = (7 if unit == "h" else 4) * season, season
    horizon = max(1, min(horizon, steps // 8)) if wanted is None else wanted
    if steps < 2 * horizon + 2:
        raise UsageError(
            f"half of the series have at most {steps:,} steps, too few for a horizon of {horizon:,}",
            f"choose a --horizon of {max(1, steps // 8):,} or less",
        )
    context = max(1, min(context, max(steps - 3 * horizon, (steps - 2 * horizon) // 2)))
    return max(context - context % horizon, min(context, horizon)), horizon


def calibration_for(steps: int, context: int, horizon: int) -> int:
    """Three horizons, or as many steps as leave training two thirds of all; 0 where these are fewer than two
    horizons, or leave no window."""
    fits = min(3 * horizon, steps // 5)
    return fits if fits >= 2 * horizon and steps - fits - 2 * horizon >= context + 2 * horizon else 0


def patch_for(context: int, horizon: int, most: int = 24) -> int:
    """The longest patch, of at most so many steps, that divides both and leaves four in the context."""
    common = math.gcd(context, horizon)
    fits = [size for size in range(1, most + 1) if common % size == 0 and context // size >= 4]
    return max(fits, default=1)


def _parts(path: Path, found: Scan, head: pl.DataFrame, missing: list[str]) -> _Parts:
    time = time_columns(head)
    if not time:
        return _rows(path, head)
    free = [name for name in head.columns if name not in time]
    numeric = [name for name in free if name in set(numeric_columns(head))]
    frame = load(path, found, head.columns, numeric, missing, time).frame
    columns: dict[str, Any] = {"layout": "wide", "time": time[0] if len(time) == 1 else time}
    static: list[str] = []
    if frame.select(time).n_unique() < len(frame):
        group = _group(path, found, frame, time, free)
        columns |= {"layout": "long", "group": group[0] if len(group) == 1 else group}
        free = [name for name in free if name not in group]
        static = [name for name in free if _constant(frame, group, name)]
        if not set(numeric) - {*group, *static}:
            static = [name for name in static if name not in numeric]
    counters = [name for name in numeric if _counts(frame[name])]
    targets = [name for name in numeric if name in free and name not in (*counters, *static)]
    if not targets:  # nothing but a counter: then it is what there is to forecast
        targets = [name for name in counters if name in free and name not in static]
    if not targets:
        raise UsageError(f"{path}: no column of numbers is left to forecast", "write the config by hand")
    beside = _beside(targets)
    targets = [name for name in targets if name not in beside]
    columns["target"] = targets[0] if len(targets) == 1 else targets
    if beside:
        columns["past"] = beside
    if static:
        columns["static"] = static
    left_out = [name for name in free if name not in (*targets, *beside, *static)]
    _tell_roles(columns, left_out, counters)
    return _Parts(columns, left_out)


def _beside(numeric: list[str]) -> list[str]:
    """Columns of which the name says that they go with what is forecast, where another one is left for
    that."""
    found = [name for name in numeric if any(word in BESIDE for word in _words(name))]
    goals = [name for name in numeric if name not in found and any(word in GOALS for word in _words(name))]
    return found if goals and found else []


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _tell_roles(columns: dict[str, Any], left_out: list[str], counters: list[str]) -> None:
    """What each column is taken for, and why."""
    why = {
        "time": "its times",
        "group": "tells apart the rows of one time",
        "target": "to forecast: numbers that have no other part",
        "past": "read, not forecast, by what they are called; name them in data.known if you know them ahead",
        "static": "the same in all rows of a series",
    }
    for role, reason in why.items():
        if role in columns:
            given = columns[role]
            notice(f"data.{role}: {_few([given] if isinstance(given, str) else given)} ({reason})")
    for names, reason in (
        ([name for name in left_out if name in counters], "counts the rows"),
        ([name for name in left_out if name not in counters], "no numbers"),
    ):
        if names:
            notice(f"not read: {_few(names)} ({reason})")


def _few(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def time_columns(head: pl.DataFrame) -> list[str]:
    """The column of times, or those of year, month, ..., or none."""
    by_name = {name.lower(): name for name in head.columns}
    dated = [name for name in head.columns if _is_dates(head[name])]
    if dated:
        named = [name for name in dated if name.lower() in TIME_NAMES]
        return (named or dated)[:1]
    several = []
    for part in PARTS:
        if part not in by_name:
            break
        several.append(by_name[part])
    if len(several) > 1:
        return several
    for name in TIME_NAMES:
        column = by_name.get(name)
        if column is None or head[column].null_count():
            continue
        if whole_numbers(head[column]) is not None or decimal_years(head[column]) is not None:
            return [column]
    first = head.to_series(0)
    if first.null_count() == 0 and (numbers := whole_numbers(first)) is not None and are_times(numbers):
        return [head.columns[0]]
    return []


def _is_dates(column: pl.Series) -> bool:
    import polars as pl

    if column.dtype in (pl.Date, pl.Datetime):
        return True
    if column.dtype != pl.String or is_numeric(column):
        return False
    texts = column.drop_nulls().head(100)
    try:
        return len(texts) > 0 and parse_text(texts).null_count() <= 0.1 * len(texts)
    except DataError:  # the day or the month first: times, in one order or another
        return True


def _rows(path: Path, head: pl.DataFrame) -> _Parts:
    """Layout rows where the first column names series, or the columns are numbered."""
    names = head.columns
    first_is_name = not is_numeric(head.to_series(0)) and head.to_series(0).n_unique() == len(head)
    steps = names[1:] if first_is_name else names
    numbers = [re.sub(r"^\D*", "", name) for name in steps]
    numbered = len(steps) >= 4 and all(text.isdigit() for text in numbers)
    numbered &= first_is_name or len(steps) > len(head)  # a column for each step, not a row
    if not numbered and not (first_is_name and len(steps) >= 8):
        numeric = [name for name in numeric_columns(head) if not _counts(head[name])]
        if numeric and len(head) >= LEAST_ROWS:
            columns: dict[str, Any] = {
                "layout": "wide",
                "target": numeric[0] if len(numeric) == 1 else numeric,
            }
            left_out = [name for name in names if name not in numeric]
            _tell_roles(columns, left_out, left_out)
            return _Parts(columns, left_out)
        raise UsageError(
            f"{path}: no column of times was found, and the rows do not look like one series each",
            "write the config by hand and name the columns (`lstm validate --schema`)",
        )
    columns = {"layout": "rows"}
    for word, frequency in WORDS.items():
        if word in path.stem.lower():
            columns["frequency"] = frequency
    if first_is_name:
        columns["group"] = names[0]
    return _Parts(columns)


def _group(path: Path, found: Scan, frame: pl.DataFrame, time: list[str], free: list[str]) -> list[str]:
    """The columns that tell apart the rows of one time: one before two, text before whole numbers, few
    values before many.

    DataError: nearly all times are there once, so that the few others are faults, not series.
    """
    first = frame.select(time).is_duplicated()
    if int(first.sum()) <= FEW_DOUBLED * len(frame):
        rows = first.arg_true().to_list()
        value = frame.select(time).row(rows[0])
        twice = next(row for row in rows[1:] if frame.select(time).row(row) == value)
        start = 1 if found.parquet else 2
        raise DataError(
            f"{path}: rows {rows[0] + start} and {twice + start} have the same time, "
            f"{' '.join(map(str, value))} ({len(rows):,} of {len(frame):,} rows share theirs)",
            "keep one of them; or name the column that tells the series apart in data.group",
        )
    text = [name for name in free if not is_numeric(frame[name])]
    whole = [name for name in free if name not in text and whole_numbers(frame[name]) is not None]
    for names in (text, whole):
        fits = [name for name in names if frame.select([*time, name]).n_unique() == len(frame)]
        if fits:
            return [min(fits, key=lambda name: frame[name].n_unique())]
    for names in (text, [*text, *whole]):
        pairs = [
            list(pair)
            for pair in itertools.combinations(names[:MOST_KEYS], 2)
            if frame.select([*time, *pair]).n_unique() == len(frame)
        ]
        if pairs:
            return min(pairs, key=lambda pair: frame.select(pair).n_unique())
    raise UsageError(
        f"{path}: times repeat, and no column (nor two) tells the series apart",
        "add a column with a name for each series, or write the config by hand",
    )


def _constant(frame: pl.DataFrame, group: list[str], name: str) -> bool:
    """Whether a column has one value in each group."""
    return frame.select([*group, name]).n_unique() == frame.select(group).n_unique()


def _counts(column: pl.Series) -> bool:
    """Whether a column merely numbers the rows."""
    if column.null_count() or len(column) < 3:
        return False
    numbers = whole_numbers(column)
    return numbers is not None and bool((np.diff(numbers) == 1).all())
