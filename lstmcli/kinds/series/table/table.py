"""Files become one frame; every fault names its file, row and column."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.kinds.files.reading import opened
from lstmcli.kinds.series.table.numbers import PLAIN, find_style, is_doubtful, parse, units
from lstmcli.kinds.series.table.scan import Scan, find_ragged, quiet_stderr

if TYPE_CHECKING:
    import polars as pl

SAMPLE_ROWS = 10_000
NUMERIC_SHARE = 0.9
"""A column is of numbers if so much of what is not missing in the sample is."""


@dataclass(frozen=True)
class Table:
    """The rows of all files, one file after the other."""

    frame: pl.DataFrame
    """CSV: columns of numbers as float64, all others as text; Parquet: as stored."""
    rows: npt.NDArray[np.int64]
    """(rows,): the row in its file, from 1, a header included."""
    files: npt.NDArray[np.int32]
    """(rows,): which of ``paths`` it is in."""
    paths: list[Path]

    def place(self, row: int) -> str:
        """Where row ``row`` of the frame stands, for messages."""
        return f"{self.paths[int(self.files[row])]}, row {int(self.rows[row])}"

    def joined(self, other: Table) -> Table:
        """The rows of another table with the same columns below these."""
        import polars as pl

        frame = pl.concat([self.frame, other.frame.select(self.frame.columns)], how="vertical_relaxed")
        return Table(
            frame,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.files, other.files + len(self.paths)]).astype(np.int32),
            [*self.paths, *other.paths],
        )


def missing_column(name: str, columns: Sequence[str], path: Path, setting: str) -> DataError:
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    listed = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    suggestion = f"did you mean {near[0]}? " if near else ""
    return DataError(f"{path} has no column {name!r} ({setting})", f"{suggestion}its columns are: {listed}")


def no_rows(path: Path) -> DataError:
    return DataError(f"{path} has no rows of values", "a table needs rows below its header")


def columns_of(path: Path, found: Scan) -> list[str]:
    """The names of a table's columns. DataError: a damaged Parquet file."""
    if not found.parquet:
        return found.header
    import polars as pl

    with _parquet_errors(path), opened(path) as file:
        return list(pl.read_parquet_schema(file))


def sample(path: Path, found: Scan, missing: list[str]) -> pl.DataFrame:
    """The first rows of the table; of a CSV as text."""
    import polars as pl

    if found.parquet:
        with _parquet_errors(path), opened(path) as file:
            return pl.read_parquet(file, n_rows=SAMPLE_ROWS, use_pyarrow=False)
    head = _read_csv(path, found, missing, {}, SAMPLE_ROWS)
    if all(column.null_count() == len(column) for column in head):
        raise no_rows(path)
    return head.with_columns([_read_as_numbers(column, found) for column in head])


def _read_as_numbers(column: pl.Series, found: Scan) -> pl.Series:
    """A column of the sample, as numbers where only the table's style tells that it is of them."""
    if is_numeric(column) or not is_doubtful(column):
        return column
    numbers = parse(column, found.style)
    given = column.len() - column.null_count()
    return numbers if column.len() - numbers.null_count() >= NUMERIC_SHARE * given else column


def with_style(
    path: Path, found: Scan, missing: list[str], decimal: str | None = None, thousands: str | None = None
) -> Scan:
    """The scan with the way in which the table's numbers are written, and a notice where that is not the
    usual one. ``decimal``, ``thousands``: as `data` states them. DataError: it cannot be told."""
    if found.parquet:
        return found
    stated = decimal is not None or thousands is not None
    head = _read_csv(path, found, missing, {}, SAMPLE_ROWS)
    if not stated and not any(is_doubtful(column) for column in head):
        return found
    return _styled(path, found, missing, head.columns, decimal, thousands)


def _styled(
    path: Path, found: Scan, missing: list[str], columns: list[str],
    decimal: str | None = None, thousands: str | None = None,
) -> Scan:  # fmt: skip
    """The style by all rows of these columns."""
    frame = _read_csv(path, found, missing, {}, None).select(columns)
    try:
        style = find_style(list(frame), found.separator, decimal, thousands)
    except DataError as error:
        row, _, told = error.message.partition("\0")
        raise DataError(f"{path}, row {int(row) + found.skipped + 1}: {told}", error.hint) from None
    if style != PLAIN and decimal is None and thousands is None:
        notice(f"{path}: numbers are read with {style} (data.decimal, data.thousands)")
    return replace(found, style=style, whole=True)


def numeric_columns(frame: pl.DataFrame) -> list[str]:
    """The columns of numbers in a sample, in order."""
    return [name for name in frame.columns if is_numeric(frame[name])]


def is_numeric(column: pl.Series) -> bool:
    import polars as pl

    if column.dtype != pl.String:
        return column.dtype.is_numeric() or column.dtype == pl.Boolean
    given = column.len() - column.null_count()
    numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    return given > 0 and column.len() - numbers.null_count() >= NUMERIC_SHARE * given


def load(
    path: Path, found: Scan, columns: list[str], numeric: list[str], missing: list[str], texts: list[str]
) -> Table:
    """These columns of the table, those in ``numeric`` as finite float64 or null.

    ``texts``: those whose absence means a blank line. DataError: text or an infinity in a column of
    numbers, no rows, a damaged file.
    """
    frame = (
        _load_parquet(path, columns) if found.parquet else _load_csv(path, found, columns, numeric, missing)
    )
    rows = np.arange(len(frame), dtype=np.int64) + (1 if found.parquet else found.skipped + 1)
    if texts and not found.parquet and frame[texts[0]].null_count():
        import polars as pl

        kept = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
        frame, rows = frame.filter(kept), rows[kept.to_numpy()]
    if len(frame) == 0:
        raise no_rows(path)
    table = Table(frame, rows, np.zeros(len(frame), dtype=np.int32), [path])
    try:
        numbers = _as_numbers(table, numeric, found)
    except DataError:  # of a number that the sample did not have
        again = found if found.parquet or found.whole else _styled(path, found, missing, numeric)
        if again.style == found.style:
            raise
        return load(path, again, columns, numeric, missing, texts)
    if not (found.parquet or found.whole) and any(_changes(table.frame[name]) for name in numeric):
        again = _styled(path, found, missing, numeric)
        if again.style != found.style:
            return load(path, again, columns, numeric, missing, texts)
    return Table(numbers, table.rows, table.files, table.paths)


def _changes(column: pl.Series) -> bool:
    """Whether numbers are whole in the sample and not below it: 1.234 there may be 1234."""
    if len(column) <= SAMPLE_ROWS or not column.dtype.is_float():
        return False
    head = column.head(SAMPLE_ROWS)
    return bool((head == head.round(0)).all()) and not bool((column == column.round(0)).all())


def _load_parquet(path: Path, columns: list[str]) -> pl.DataFrame:
    import polars as pl

    with _parquet_errors(path), opened(path) as file:
        return pl.read_parquet(file, columns=columns, use_pyarrow=False)


def _load_csv(
    path: Path, found: Scan, columns: list[str], numeric: list[str], missing: list[str]
) -> pl.DataFrame:
    """All columns are parsed, so that the reader finds rows that are too long; numbers as such where
    the whole column allows it, else as text that `_as_numbers` looks at."""
    import polars as pl

    types: dict[str, type[pl.DataType]] = dict.fromkeys(numeric if found.style == PLAIN else [], pl.Float64)
    try:
        return _read_csv(path, found, missing, types, None).select(columns)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return _read_csv(path, found, missing, {}, None).select(columns)


def _read_csv(
    path: Path, found: Scan, missing: list[str], types: dict[str, type[pl.DataType]], rows: int | None
) -> pl.DataFrame:
    import polars as pl

    schema = {name: types.get(name, pl.String) for name in found.header}
    try:
        return pl.read_csv(
            path if found.text is None else io.BytesIO(found.text),
            separator=found.separator,
            schema=schema,
            has_header=False,  # the header is read by scan.py; here columns go by their places
            skip_rows=found.skipped,
            missing_columns="insert",  # where the first row is short or blank
            null_values=list({"", *missing}),
            n_rows=rows,
            truncate_ragged_lines=rows is not None,
        )
    except pl.exceptions.NoDataError:
        raise no_rows(path) from None
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError) as error:
        if types:
            raise
        find_ragged(path, found.text, found.separator, len(found.header), found.skipped, short_rows=False)
        raise DataError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}") from error


def _as_numbers(table: Table, numeric: list[str], found: Scan) -> pl.DataFrame:
    """The frame with these columns as float64."""
    import polars as pl

    changed = []
    for name in numeric:
        column = table.frame[name]
        if column.dtype == pl.String:
            numbers = parse(column, found.style)
            wrong = numbers.is_null() & column.is_not_null()
            if wrong.any():
                raise _no_number(table, name, int(wrong.arg_max() or 0))
            _check_units(table, name, found)
        elif column.dtype.is_numeric() or column.dtype == pl.Boolean or column.dtype == pl.Null:
            numbers = column.cast(pl.Float64)
        else:
            raise DataError(
                f"{table.paths[0]}: column {name} is of {column.dtype}, not of numbers",
                "choose another column",
            )
        if (infinite := numbers.is_infinite()).any():
            row = int(infinite.arg_max() or 0)
            raise DataError(
                f"{table.place(row)}: column {name}: the value is infinite",
                "write a number, or leave the cell empty if the value is missing",
            )
        changed.append(numbers.alias(name))
    return table.frame.with_columns(changed)


def _check_units(table: Table, name: str, found: Scan) -> None:
    """A currency or per-cent sign is left out where every number has the same one."""
    import polars as pl

    column = table.frame[name]
    if column.str.strip_chars(" \t").cast(pl.Float64, strict=False).null_count() == column.null_count():
        return
    given = column.is_not_null()
    signs = units(column, found.style)
    first = str(signs.filter(given)[0])
    other = given & (signs != first)
    if other.any():
        row = int(other.arg_max() or 0)
        raise DataError(
            f"{table.place(row)}: column {name}: {str(column[row])!r} has the unit {signs[row] or 'none'!r}, "
            f"but rows above have {first or 'none'!r}",
            "give all numbers of a column one unit, or none",
        )
    if first:
        notice(f"{table.paths[0]}: column {name}: the sign {first} is left out ({column.drop_nulls()[0]!r})")


def _no_number(table: Table, name: str, row: int) -> DataError:
    value = str(table.frame[name][row])
    shown = value if len(value) <= 60 else value[:57] + "..."
    hint = "correct it there, or name it in data.missing if it stands for a missing value"
    if any(mark in value for mark in ",. '"):
        hint = "write all numbers in one way, or state it by data.decimal and data.thousands"
    return DataError(f"{table.place(row)}: column {name}: {shown!r} is not a number", hint)


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Whatever the reader says of a damaged file becomes a DataError."""
    import polars as pl

    try:
        with quiet_stderr():
            yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, not of what the file says
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise DataError(
            f"{path} cannot be read as Parquet: {reason}", "it may be damaged: write it again"
        ) from error
