"""A table becomes a Stack: the series one after the other, on their grid where there are times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.table.grid import (
    Step,
    TimeGrid,
    find_step,
    find_week,
    month_day_of,
    parse_frequency,
)
from lstmcli.kinds.series.table.roles import Roles
from lstmcli.kinds.series.table.table import Table
from lstmcli.kinds.series.table.times import read_times

if TYPE_CHECKING:
    import polars as pl

    from lstmcli.kinds.series.settings import SeriesTable

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

MOST_GAPS = 100
"""A table may become so many times longer by filled gaps (and 100,000 steps)."""


@dataclass(frozen=True)
class Stack:
    """The series of a table, nothing scaled; what is missing is NaN."""

    values: Float  # (N, C)
    known: Float  # (N, K)
    past: Float  # (N, P)
    offsets: Int  # (S + 1,)
    starts: Int  # (S,)
    names: list[str]
    grid: TimeGrid | None
    static: list[Any]  # per static column: float64 (S,) or a list of S texts or None
    test_from: Int  # (S,): where the rows of the test table begin; the length where there are none
    rows: int
    gaps: int

    def only(self, kept: Int) -> Stack:
        """The series with these numbers (ascending)."""
        lengths = np.diff(self.offsets)
        inside = np.repeat(np.isin(np.arange(len(lengths)), kept), lengths)
        return replace(
            self,
            values=self.values[inside],
            known=self.known[inside],
            past=self.past[inside],
            offsets=np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64),
            starts=self.starts[kept],
            names=[self.names[number] for number in kept],
            static=[
                column[kept] if isinstance(column, np.ndarray) else [column[number] for number in kept]
                for column in self.static
            ],
            test_from=self.test_from[kept],
        )


def stack(
    table: Table,
    roles: Roles,
    frequency: str | None,
    test_row: int,
    month_day: int | None = None,
    reading: SeriesTable | None = None,
) -> Stack:
    """``test_row``: the first row of the frame that is of the test table (the number of rows: none).
    ``month_day``: that of a trained run, kept if the times allow it. ``reading``: the settings of times."""
    step = parse_frequency(frequency) if frequency else None
    counted = step is not None and step.kind == "integers"
    raw, integers = (
        _counted(table)
        if not roles.time
        else read_times(
            table,
            roles.time,
            months=step is not None and step.kind == "months",
            dayfirst=reading.dayfirst if reading else None,
            counted=counted,
            form=reading.time_format if reading else None,
        )
    )
    _check_kind(step, integers, roles)
    codes, names = _codes(table, roles.group)
    order = _order(codes, raw)
    if order is not None:
        raw, codes = raw[order], codes[order]
    if reading is not None and reading.duplicates != "error" and _repeated(raw, codes).any():
        if test_row < len(raw):
            raise DataError(
                f"data.duplicates {reading.duplicates} does not go with data.test_path", "join the rows first"
            )
        table, kept = _without_repeats(table, roles.targets, order, raw, codes, reading.duplicates)
        raw, codes, order, test_row = raw[kept], codes[kept], None, len(kept)
    at = _Rows(table, order)
    _check_duplicates(raw, codes, names, at)
    grid = _grid(raw, codes, integers, step, month_day, at)
    ticks, off = grid.split(raw)
    if off.any():
        row = int(off.argmax())
        label = np.datetime64(int(raw[row]), "us") if grid.timed else raw[row]
        raise DataError(
            f"{at.place(row)}: {label} is off the grid of {grid.frequency} steps from {grid.labels([0])[0]}",
            "correct the time, or set data.frequency to a step that all times share",
        )
    return _filled(table, roles, order, codes, ticks, names, grid, test_row, at)


def _counted(table: Table) -> tuple[Int, bool]:
    """The numbers of the rows in place of times."""
    notice(f"{table.paths[0]}: no column of times (data.time): the rows are counted, in their order")
    return np.arange(len(table.frame), dtype=np.int64), True


class _Rows:
    """Where sorted rows stand in their files."""

    def __init__(self, table: Table, order: Int | None):
        self.table, self.order = table, order

    def row(self, sorted_row: int) -> int:
        return sorted_row if self.order is None else int(self.order[sorted_row])

    def place(self, sorted_row: int) -> str:
        return self.table.place(self.row(sorted_row))


def _check_kind(step: Step | None, integers: bool, roles: Roles) -> None:
    if step is not None and integers != (step.kind == "integers"):
        found = "whole numbers" if integers else "dates"
        wanted = "such as 1i for whole numbers" if integers else "such as 1h or 1mo"
        raise DataError(
            f"data.frequency {step.name} does not fit: the times in {' + '.join(roles.time)} are {found}",
            f"set data.frequency to {wanted}, or remove it",
        )


def _codes(table: Table, group: list[str]) -> tuple[Int, list[str]]:
    """A number per row for its series, in the order of their first rows, and their names."""
    if not group:
        return np.zeros(len(table.frame), dtype=np.int64), [""]
    import polars as pl

    column = series_names(table, group)
    names = column.unique(maintain_order=True)
    return column.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64), names.to_list()


def series_names(table: Table, group: list[str]) -> pl.Series:
    """The name of each row's series; of several columns their values with a slash between.

    DataError: a row without a name, or two series of which the names so joined are the same.
    """
    import polars as pl

    for name in group:
        column = table.frame[name]
        if column.null_count():
            row = int(column.is_null().arg_max() or 0)
            raise DataError(f"{table.place(row)}: no name of a series in column {name}", "fill it in")
    if len(group) == 1:
        return table.frame[group[0]].cast(pl.String)
    joined = table.frame.select(pl.concat_str([pl.col(g).cast(pl.String) for g in group], separator="/"))
    if joined.to_series().n_unique() < table.frame.select(group).n_unique():
        raise DataError(
            f"{table.paths[0]}: columns {', '.join(group)} make the same name for different series",
            "take the slashes out of their values",
        )
    return joined.to_series()


def _order(codes: Int, raw: Int) -> Int | None:
    """How to sort by series and time; None if it is so already. A notice if times ran backwards."""
    step = np.diff(codes)
    if bool((step >= 0).all()) and bool(((np.diff(raw) >= 0) | (step > 0)).all()):
        return None
    import polars as pl

    frame = pl.DataFrame({"code": codes, "time": raw})
    order = frame.select(pl.arg_sort_by("code", "time", maintain_order=True)).to_series()
    result = order.to_numpy().astype(np.int64)
    same = np.diff(codes[result]) == 0
    backwards = int((same & (np.diff(result) < 0)).sum())
    if backwards:
        notice(f"rows are not in the order of their times ({backwards:,} go backwards): sorted")
    return result


def _repeated(raw: Int, codes: Int) -> npt.NDArray[np.bool_]:
    """(rows - 1,): which sorted rows have the time and the series of the next one."""
    found: npt.NDArray[np.bool_] = (np.diff(raw) == 0) & (np.diff(codes) == 0)
    return found


def _without_repeats(
    table: Table, targets: list[str], order: Int | None, raw: Int, codes: Int, how: str
) -> tuple[Table, Int]:
    """The rows in order, one of each time and series (the last, its targets joined), and which they are."""
    import polars as pl

    repeated = _repeated(raw, codes)
    numbers = np.concatenate([[0], np.cumsum(~repeated)])
    kept = np.flatnonzero(np.append(~repeated, True))
    sorted_rows = np.arange(len(raw)) if order is None else order
    frame = table.frame[sorted_rows[kept]]
    if how != "last":
        column = pl.col(targets)
        observed = column.count() > 0
        joined = pl.when(observed).then(column.mean() if how == "mean" else column.sum())
        every = table.frame.select(targets)[sorted_rows].with_columns(pl.Series("", numbers))
        frame = frame.with_columns(every.group_by("", maintain_order=True).agg(joined).select(targets))
    notice(
        f"{int(repeated.sum()):,} rows have the time and the series of another: joined "
        f"(data.duplicates: {how})"
    )
    return Table(frame, table.rows[sorted_rows[kept]], table.files[sorted_rows[kept]], table.paths), kept


def _check_duplicates(raw: Int, codes: Int, names: list[str], at: _Rows) -> None:
    twice = _repeated(raw, codes)
    if not twice.any():
        return
    row = int(twice.argmax())
    name = names[int(codes[row])]
    of = f" of series {name!r}" if name else ""
    raise DataError(
        f"{at.place(row + 1)}: the same time as {at.place(row)}{of} ({int(twice.sum()):,} such rows)",
        "keep one row per time, name the column that tells the series apart in data.group, or join them by "
        "data.duplicates: mean, sum or last",
    )


def _grid(
    raw: Int, codes: Int, integers: bool, step: Step | None, month_day: int | None, at: _Rows
) -> TimeGrid:
    step = step or _found_step(raw, codes, integers, at)
    first = int(raw.min())
    if integers:
        return TimeGrid(step.name, first)
    origin: datetime = np.datetime64(first, "us").astype(datetime)
    if step.kind != "months":
        return TimeGrid(step.name, origin)
    kept = TimeGrid(step.name, origin, month_day)
    if month_day is not None and not kept.split(raw)[1].any():
        return kept
    return TimeGrid(step.name, origin, month_day_of(raw))


def _found_step(raw: Int, codes: Int, integers: bool, at: _Rows) -> Step:
    try:
        return find_step(raw, codes, integers, at.place)
    except DataError:
        week = None if integers else find_week(raw, codes)
        if week is None:
            raise
        notice(f"rows keep to some days or hours of the week: steps of {week.name} (data.frequency)")
        return week


def _filled(
    table: Table,
    roles: Roles,
    order: Int | None,
    codes: Int,
    ticks: Int,
    names: list[str],
    grid: TimeGrid,
    test_row: int,
    at: _Rows,
) -> Stack:
    """Every row at its step; steps without a row are missing."""
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1])  # each series' first sorted row
    lasts = np.concatenate([firsts[1:], [len(codes)]]) - 1
    starts = ticks[firsts]
    offsets = np.concatenate([[0], np.cumsum(ticks[lasts] - starts + 1)]).astype(np.int64)
    total, gaps = int(offsets[-1]), int(offsets[-1]) - len(codes)
    if total > MOST_GAPS * len(codes) + 100_000:
        widest = int((np.diff(ticks) * (np.diff(codes) == 0)).argmax()) + 1
        raise DataError(
            f"on a grid of {grid.frequency} steps {len(codes):,} rows would become {total:,}; "
            f"the widest gap is before {at.place(widest)}",
            "correct the time there, or set a longer data.frequency",
        )
    if gaps:
        week = find_week(grid.raw(ticks), codes) if grid.timed and grid.step.kind == "fixed" else None
        better = f"; `data.frequency: {week.name}` has only the days and hours that have rows" if week else ""
        notice(
            f"{gaps:,} steps have no row: filled as missing ({len(codes):,} rows, steps of {grid.frequency})"
            + better
        )
    places = offsets[codes] + ticks - starts[codes] if gaps else None

    def placed(columns: list[str]) -> Float:
        result = np.full((total, len(columns)), np.nan)
        for number, name in enumerate(columns):
            column = table.frame[name].to_numpy()
            column = column if order is None else column[order]
            result[slice(None) if places is None else places, number] = column
        return result

    return Stack(
        placed(roles.targets),
        placed(roles.known),
        placed(roles.past),
        offsets,
        starts,
        names,
        grid,
        [_static(table, name, name in roles.text, order, codes, firsts, at) for name in roles.static],
        _test_starts(order, codes, ticks - starts[codes], lasts, test_row, at, names),
        len(codes),
        gaps,
    )


def _static(
    table: Table, name: str, text: bool, order: Int | None, codes: Int, firsts: Int, at: _Rows
) -> Any:
    """One value per series. DataError: it is not constant within one."""
    import polars as pl

    column = table.frame[name].cast(pl.String if text else pl.Float64)
    column = column if order is None else column[order]
    value = column[firsts]
    differs = ~column.eq_missing(value[codes])
    if differs.any():
        row = int(differs.arg_max() or 0)
        raise DataError(
            f"{at.place(row)}: column {name} is static, but changes from {value[int(codes[row])]!r} to "
            f"{column[row]!r} within a series",
            "name it in data.known or data.past, or correct it there",
        )
    return value.to_list() if text else value.to_numpy().astype(np.float64)


def _test_starts(
    order: Int | None, codes: Int, steps: Int, lasts: Int, test_row: int, at: _Rows, names: list[str]
) -> Int:
    """The step of each series at which the test table's rows begin."""
    lengths = steps[lasts] + 1
    if test_row >= len(codes):
        return lengths
    original = np.arange(len(codes)) if order is None else order
    test = original >= test_row
    before = test[:-1] & ~test[1:] & (np.diff(codes) == 0)
    if before.any():
        row = int(before.argmax())
        raise DataError(
            f"{at.place(row)}: a test row that is earlier than {at.place(row + 1)}",
            "the rows of data.test_path must continue the series of data.path",
        )
    counts = np.bincount(codes, weights=~test)
    if (counts == 0).any():
        name = names[int((counts == 0).argmax())]
        raise DataError(f"data.test_path has the series {name!r}, which data.path has not", "remove it")
    result = lengths.copy()
    np.minimum.at(result, codes[test], steps[test])
    return result


# --- layout rows: one series per row, without times -------------------------------------------------


def stack_rows(table: Table, roles: Roles, frequency: str | None) -> Stack:
    """Series of unequal length; what is missing at the right end is beyond the series."""
    names = row_names(table, roles.group)
    cells = table.frame.select(roles.targets).to_numpy().astype(np.float64)  # (S, steps)
    observed = ~np.isnan(cells)
    steps = cells.shape[1]
    lengths = np.where(observed.any(axis=1), steps - observed[:, ::-1].argmax(axis=1), 0)
    lengths = np.maximum(lengths, 1)  # a series without a value stays, to be named and left out with others
    values = cells[np.arange(steps) < lengths[:, None]][:, None]
    static = [
        table.frame[name].to_list() if name in roles.text else table.frame[name].to_numpy().astype(np.float64)
        for name in roles.static
    ]
    nothing = np.zeros((len(values), 0))
    return Stack(
        values,
        nothing,
        nothing,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.zeros(len(names), dtype=np.int64),
        names,
        None if frequency is None else TimeGrid(frequency, 1),
        static,
        lengths.astype(np.int64),
        len(names),
        0,
    )


def row_names(table: Table, group: list[str]) -> list[str]:
    """The names of the rows' series: their numbers where no column names them."""
    if not group:
        return [str(number + 1) for number in range(len(table.frame))]
    column = series_names(table, group)
    if column.n_unique() < len(column):
        row = int((~column.is_first_distinct()).arg_max() or 0)
        raise DataError(
            f"{table.place(row)}: a second row for series {column[row]!r}", "give each series one row"
        )
    return [str(name) for name in column.to_list()]


def continued(stacked: Stack, test: Stack) -> Stack:
    """Layout rows: the test table's values behind the last observed ones of the same series."""
    position = {name: number for number, name in enumerate(stacked.names)}
    unknown = [name for name in test.names if name not in position]
    if unknown:
        raise DataError(
            f"data.test_path has the series {unknown[0]!r}, which data.path has not",
            "remove it, or rename it",
        )
    pieces: list[Float] = []
    tails = {position[name]: number for number, name in enumerate(test.names)}
    for number in range(len(stacked.names)):
        pieces.append(stacked.values[stacked.offsets[number] : stacked.offsets[number + 1]])
        if number in tails:
            tail = tails[number]
            pieces.append(test.values[test.offsets[tail] : test.offsets[tail + 1]])
    if len(tails) < len(stacked.names):
        notice(f"{len(stacked.names) - len(tails):,} series have no row in data.test_path: they have no test")
    before = np.diff(stacked.offsets)
    lengths = before.copy()
    lengths[list(tails)] += np.diff(test.offsets)[list(tails.values())]
    values = np.concatenate(pieces)
    nothing = np.zeros((len(values), 0))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Stack(
        values, nothing, nothing, offsets, stacked.starts, stacked.names, stacked.grid, stacked.static,
        before, stacked.rows, stacked.gaps,
    )  # fmt: skip
