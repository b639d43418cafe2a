"""Layout rows (one series per row, without times) becomes a Stack."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.table.grid import TimeGrid
from lstmcli.kinds.series.table.layouts import Stack, series_names
from lstmcli.kinds.series.table.roles import Roles
from lstmcli.kinds.series.table.table import Table

Float = npt.NDArray[np.float64]


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
