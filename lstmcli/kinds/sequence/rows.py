"""Tables with a column of classes become sequences: a text per row, or a series per group.

A small real table of texts and classes that every Python has: which package of its standard library a
line of code comes from.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.progress import Progress
from lstmcli.kinds.files.reading import opened
from lstmcli.kinds.files.sources import STDLIB_LEFT_OUT
from lstmcli.kinds.sequence.batch import Ints
from lstmcli.kinds.series.table.scan import scan
from lstmcli.kinds.series.table.table import Table, columns_of, load, missing_column, numeric_columns, sample
from lstmcli.kinds.series.table.times import read_times

if TYPE_CHECKING:
    from lstmcli.kinds.sequence.settings import LabelledSeries, LabelledTexts


JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class TextRows:
    """Texts with their classes, in the order of the file; labels are None where there is no such column."""

    texts: list[str]
    labels: list[str] | None
    sha256: str


@dataclass(frozen=True)
class SeriesRows:
    """Series with their classes, in the order of their first rows."""

    values: npt.NDArray[np.float64]  # (N, C): one after the other; NaN where missing
    offsets: Ints  # (S + 1,)
    names: list[str]
    labels: list[str] | None
    columns: list[str]  # of the C numbers
    sha256: str


def read_texts(path: Path, settings: LabelledTexts, report: Progress, labelled: bool = True) -> TextRows:
    """The texts of a CSV, TSV, Parquet or JSON Lines file; `labelled`: its classes must be there.

    DataError: a column that is missing, a row without a text or class, a damaged file.
    """
    wanted = {"data.text": settings.text} | ({"data.label": str(settings.label)} if labelled else {})
    if path.suffix.lower() in JSON_LINES:
        rows, places, sha256 = _json_lines(path, wanted)
    else:
        table, sha256 = _table(path, wanted, report)
        rows = [_as_texts(table, name) for name in wanted.values()]
        places = [int(row) for row in table.rows]
    for setting, name, column in zip(wanted, wanted.values(), rows, strict=True):
        if (empty := next((k for k, value in enumerate(column) if not value), None)) is not None:
            what = "text" if setting == "data.text" else "class"
            raise DataError(
                f"{path}, row {places[empty]}: no {what} in column {name}", "fill it in or delete the row"
            )
    return TextRows(rows[0], rows[1] if labelled else None, sha256)


def _table(path: Path, wanted: dict[str, str], report: Progress) -> tuple[Table, str]:
    """The wanted columns as text."""
    found = scan(path, report, short_rows=False)
    columns = columns_of(path, found)
    for setting, name in wanted.items():
        if name not in columns:
            raise missing_column(name, columns, path, setting)
    return load(path, found, list(dict.fromkeys(wanted.values())), [], [], []), found.sha256


def _as_texts(table: Table, name: str) -> list[str]:
    import polars as pl

    return table.frame[name].cast(pl.String).fill_null("").to_list()


def _json_lines(path: Path, wanted: dict[str, str]) -> tuple[list[list[str]], list[int], str]:
    """Columns, the line of each row, and the checksum."""
    with opened(path) as file:
        raw = file.read()
    columns: list[list[str]] = [[] for _ in wanted]
    places = []
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        row = _json_object(line, path, number)
        places.append(number)
        for column, (setting, name) in zip(columns, wanted.items(), strict=True):
            if name not in row:
                raise missing_column(name, list(row), Path(f"{path}, line {number}"), setting)
            value = row[name]
            column.append("" if value is None else value if isinstance(value, str) else json.dumps(value))
    if not places:
        raise DataError(f"{path} has no rows", 'a line per row: {"text": ..., "label": ...}')
    return columns, places, hashlib.sha256(raw).hexdigest()


def _json_object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number} is not JSON: {error}", "write one object per line") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number} is no JSON object", 'such as {"text": "...", "label": "..."}')
    return row


def read_groups(
    path: Path,
    settings: LabelledSeries,
    report: Progress,
    labelled: bool = True,
    columns: Sequence[str] | None = None,
) -> SeriesRows:
    """The series of a table in long layout, one per group, in the order of `data.time` where it is given.

    `columns`: those of numbers; None: by `data.target`, else every numeric one. DataError: a column that
    is missing, a group with two classes.
    """
    if isinstance(settings.group, list):
        raise DataError("data.group names several columns", "one column names the series that are classified")
    group, label = str(settings.group), str(settings.label)
    times = [settings.time] if isinstance(settings.time, str) else list(settings.time or [])
    found = scan(path, report, short_rows=False)
    known = columns_of(path, found)
    named = {"data.group": [group], "data.time": times, "data.label": [label] if labelled else []}
    target = settings.target
    named["data.target"] = list(columns or ([target] if isinstance(target, str) else target or []))
    for setting, names in named.items():
        if wrong := next((name for name in names if name not in known), None):
            raise missing_column(wrong, known, path, setting)
    roles = {group, label, *times}
    if not named["data.target"]:
        named["data.target"] = [
            n for n in numeric_columns(sample(path, found, settings.missing)) if n not in roles
        ]
    numbers = named["data.target"]
    if not numbers:
        raise DataError(
            f"{path} has no numeric column beside {', '.join(sorted(roles))}", "name them in data.target"
        )
    read = list(dict.fromkeys([*roles.intersection(known), *numbers]))
    table = load(path, found, read, numbers, settings.missing, [group])
    return _grouped(table, found.sha256, group, label if labelled else None, times, numbers)


def _grouped(
    table: Table, sha256: str, group: str, label: str | None, times: list[str], numbers: list[str]
) -> SeriesRows:
    keys = _as_texts(table, group)
    first = {name: number for number, name in enumerate(dict.fromkeys(keys))}
    codes = np.array([first[name] for name in keys], dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    if times:
        moments, _ = read_times(table, times, months=False)
        order = np.lexsort((moments, codes))
    values = table.frame.select(numbers).to_numpy()[order].astype(np.float64)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int64)
    labels = None if label is None else _constant(table, label, codes, list(first))
    return SeriesRows(values, offsets, list(first), labels, numbers, sha256)


def _constant(table: Table, label: str, codes: Ints, names: Sequence[str]) -> list[str]:
    """The class of each group. DataError: none, or two."""
    found: dict[int, str] = {}
    for row, (code, value) in enumerate(zip(codes.tolist(), _as_texts(table, label), strict=True)):
        if not value:
            raise DataError(f"{table.place(row)}: no class in column {label}", "fill it in or delete the row")
        if found.setdefault(code, value) != value:
            raise DataError(
                f"{table.place(row)}: group {names[code]} has the classes {found[code]} and {value}",
                "a series has one class: correct it, or split the group",
            )
    return [found[code] for code in range(len(names))]


def lengths_of(texts: Iterable[str]) -> Ints:
    return np.fromiter((len(text) for text in texts), dtype=np.int64)


PACKAGES = (
    "asyncio",
    "ctypes",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "xml",
)
SHORTEST, LONGEST = 20, 100
"""Characters of a line without its indentation."""
MOST = 1500
"""Lines of a package, evenly spread, so that no class is rare."""


def package_lines() -> TextRows:
    """Lines of code with their package: each once, none that two packages share, without indentation and
    comments."""
    by_package = {name: _lines(name) for name in PACKAGES}
    owners: dict[str, int] = {}
    for lines in by_package.values():
        for line in lines:
            owners[line] = owners.get(line, 0) + 1
    texts, labels = [], []
    for name, lines in by_package.items():
        own = [line for line in lines if owners[line] == 1]
        chosen = [own[k * len(own) // MOST] for k in range(MOST)] if len(own) > MOST else own
        texts += chosen
        labels += [name] * len(chosen)
    if not texts:
        raise DataError("data.source: this Python has no source of its packages", "give data.path instead")
    return TextRows(texts, labels, hashlib.sha256("\n".join(texts).encode()).hexdigest())


def _lines(package: str) -> list[str]:
    root = Path(sysconfig.get_path("stdlib"), package)
    files = [path for path in root.rglob("*.py") if not STDLIB_LEFT_OUT.intersection(path.parts)]
    found: dict[str, None] = {}
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        found |= dict.fromkeys(filter(_is_code, _stripped(path)))
    return list(found)


def _stripped(path: Path) -> list[str]:
    """The lines of a file; none of one that is not UTF-8."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []


def _is_code(line: str) -> bool:
    return SHORTEST <= len(line) <= LONGEST and not line.startswith("#") and line.isprintable()
