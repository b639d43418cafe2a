"""Panel: all series in arrays, ready for windows; and how a table becomes one."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.core.progress import Progress, throttled
from lstmcli.kinds.files.sources import download, expanded, find_files
from lstmcli.kinds.series.table.covariates import coded_static, fit_scaler, fit_static, scaled
from lstmcli.kinds.series.table.grid import TimeGrid
from lstmcli.kinds.series.table.layouts import Stack, continued, stack, stack_rows
from lstmcli.kinds.series.table.roles import Roles, assign_roles
from lstmcli.kinds.series.table.scan import Scan, scan
from lstmcli.kinds.series.table.splits import split_ends
from lstmcli.kinds.series.table.table import Table, columns_of, load, missing_column, sample, with_style

if TYPE_CHECKING:
    from lstmcli.kinds.series.settings import SeriesTable

Int = npt.NDArray[np.int64]
FORMAT = 1
READING = ("layout", "time", "target", "group", "frequency", "season", "known", "past", "static", "missing")
DIALECT = (
    "dayfirst",
    "encoding",
    "header",
    "decimal",
    "thousands",
    "calibration_length",
    "time_format",
    "duplicates",
)
"""Settings of reading that count only where they are given, so that older runs know their data."""
SPLITTING = ("splits", "val_length", "test_length")


@dataclass(frozen=True)
class Panel:
    """S series of C channels on one grid; treat the arrays as read-only."""

    values: npt.NDArray[np.float64]
    """(N, C): all series one after the other; NaN where missing or a gap."""
    offsets: Int
    """(S + 1,): series s is values[offsets[s] : offsets[s + 1]]."""
    starts: Int
    """(S,): tick of its first step; 0 where there is no grid."""
    names: list[str]
    """Of the series; "" for the one series of a wide table."""
    targets: list[str]
    """Of the C channels; ["value"] for layout rows."""
    grid: TimeGrid | None
    """None: layout rows without a frequency. Layout rows with one: a grid of numbered steps, 1, 2, ..."""
    season: int
    """Steps of the main season."""
    known: npt.NDArray[np.float32]
    """(N, K): z-scores by the training part; 0 where missing."""
    known_names: list[str]
    past: npt.NDArray[np.float32]
    """(N, P): the same."""
    static: npt.NDArray[np.float32]
    """(S, F): z-scores and one-hot codes."""
    static_names: list[str]

    @property
    def lengths(self) -> Int:
        """(S,): steps of each series."""
        return np.diff(self.offsets)

    def observed_ends(self) -> Int:
        """(S,): the position behind each series' last step with an observed target; 0 without any.
        Behind it lie future rows, which have covariates only."""
        return observed_ends(self.values, self.offsets)


@dataclass(frozen=True)
class SeriesData:
    """Series ready for training: the panel, and where its parts end.

    Positions within each series, (S,): training is [0, train_end), validation [val_begin, val_end),
    test [val_end, test_end); equal where a part is absent. What lies between training and validation
    calibrates intervals.
    """

    panel: Panel
    train_end: Int
    val_begin: Int
    val_end: Int
    test_end: Int
    fingerprint: str
    summary: dict[str, Any]
    """files, bytes, rows, series, targets, steps, missing (share of target cells), gaps, frequency,
    season, splits (steps of train, val, test), shortest, longest, seconds."""
    reading: dict[str, Any]

    def meta(self) -> dict[str, Any]:
        """Plain JSON: all that another file needs to be read in the same way (see `read_series`)."""
        return json.loads(json.dumps(self.reading))  # type: ignore[no-any-return]


def observed_ends(values: npt.NDArray[np.float64], offsets: Int) -> Int:
    step = np.arange(1, len(values) + 1, dtype=np.int64)
    last = np.maximum.reduceat(np.where(np.isnan(values).all(axis=1), 0, step), offsets[:-1])
    return np.maximum(last - offsets[:-1], 0)


def prepare_series(settings: SeriesTable, progress: Progress | None = None) -> SeriesData:
    """The series of the configured table, and where their parts end.

    ``progress`` hears (label, bytes done, bytes in total). DataError: the package's rules.
    ResourceError: no network, or a disk that fails.
    """
    report, started = throttled(progress), time.perf_counter()
    files = _main_files(settings, report)
    tests = [] if settings.test_path is None else find_files(settings.test_path, "data.test_path")
    scans = _scans([*files, *tests], settings, report, None)
    _check_sha256(settings, files, scans)
    roles = assign_roles(settings, sample(files[0], scans[0], settings.missing), files[0])
    stacked = _stacked(settings, roles, files, tests, scans)
    stacked, ends = _with_values(stacked, roles, files[0])
    parts = split_ends(settings, ends, np.minimum(stacked.test_from, ends) if tests else None)
    reading = _fitted(settings, roles, stacked, parts[0])
    panel = _panel(stacked, reading)
    summary = {
        "files": len(scans),
        "bytes": sum(found.size for found in scans),
        **_summary(panel, stacked, parts),
        "seconds": time.perf_counter() - started,
    }
    return SeriesData(panel, *parts, _fingerprint(settings, files, scans), summary, reading)


def read_series(settings: SeriesTable, path: Path, meta: dict[str, Any]) -> Panel:
    """Another table for a trained run: new series, new times, the same columns.

    Scaling and categories are those of ``meta``. Rows at the end without targets but with `known`
    columns stay (see `Panel.observed_ends`). DataError: as for `prepare_series`; a table without the
    target columns is an error, too.
    """
    path = find_files(str(path), "data")[0]
    found = _scans([path], settings, throttled(None), meta["layout"])[0]
    roles = assign_roles(settings, sample(path, found, settings.missing), path, meta)
    frequency = meta["frequency"]
    table = _loaded(path, found, roles, settings)
    if roles.layout == "rows":
        stacked = stack_rows(table, roles, frequency)
    else:
        stacked = stack(table, roles, frequency, len(table.frame), meta["month_day"], reading=settings)
    stacked, _ = _with_values(stacked, roles, path)
    _tell_new(stacked.names, meta["names"])
    return _panel(stacked, meta)


def _with_values(stacked: Stack, roles: Roles, path: Path) -> tuple[Stack, Int]:
    """Without the series that have no value at all, which are named; and where the others end (S,).

    DataError: none has a value.
    """
    ends = observed_ends(stacked.values, stacked.offsets)
    if not ends.any():
        channels = ", ".join(roles.channels)
        raise DataError(
            f"{path}: every target is missing ({channels}): no value to forecast from", "fill in its values"
        )
    if (empty := np.flatnonzero(ends == 0)).size:
        notice(f"{path}: left out, as they have no value: series {_named(stacked.names, empty)}")
        stacked, ends = stacked.only(np.flatnonzero(ends)), ends[ends > 0]
    _tell_empty(stacked, roles)
    return stacked, ends


def _tell_empty(stacked: Stack, roles: Roles) -> None:
    """Cells of `known` columns that are empty, and the first of them."""
    for number, name in enumerate(roles.known):
        empty = np.flatnonzero(np.isnan(stacked.known[:, number]))
        if len(empty) <= stacked.gaps:
            continue
        series = int(np.searchsorted(stacked.offsets, empty[0], side="right")) - 1
        where = f" of series {stacked.names[series]}" if stacked.names[series] else ""
        if stacked.grid is not None:
            tick = stacked.starts[series] + empty[0] - stacked.offsets[series]
            where += f" at {stacked.grid.labels([int(tick)])[0]}"
        notice(
            f"column {name} (data.known) is empty in {len(empty):,} of {len(stacked.known):,} steps, "
            f"first{where}: its mean is read there"
        )


def _tell_new(names: list[str], known: list[str]) -> None:
    """Series that the run was not trained on."""
    seen = set(known)
    new = np.array([number for number, name in enumerate(names) if name not in seen], dtype=np.int64)
    if new.size and known != [""]:
        few = _named(known, np.arange(len(known)))
        notice(
            f"{new.size:,} of {len(names):,} series are unknown to this run, so nothing that it learned of a "
            f"single series is used for them: {_named(names, new)}; it was trained on {few}"
        )


def _named(names: list[str], which: Int, most: int = 5) -> str:
    shown = ", ".join(repr(names[int(number)]) for number in which[:most])
    return shown + (f" and {len(which) - most:,} more" if len(which) > most else "")


# --- from settings to files ---------------------------------------------------------------------


def _main_files(settings: SeriesTable, report: Progress) -> list[Path]:
    if settings.path is not None:
        return find_files(settings.path, "data.path")
    if settings.url is None or settings.sha256 is None:
        raise DataError("there is no table", "give data.path, or data.url with its sha256")
    folder = expanded(settings.cache, "data.cache") / "downloads"
    return [download(settings.url, settings.sha256, folder, report)]


def _scans(paths: list[Path], settings: SeriesTable, report: Progress, layout: str | None) -> list[Scan]:
    rows = (layout or settings.layout) == "rows" or (settings.layout == "auto" and settings.time is None)
    return [scanned(path, settings, report, short_rows=rows) for path in paths]


def scanned(path: Path, settings: SeriesTable, report: Progress, short_rows: bool) -> Scan:
    """What the bytes of a table tell, read as the settings say, and the way of its numbers."""
    found = scan(path, report, short_rows, settings.encoding, settings.header)
    return with_style(path, found, settings.missing, settings.decimal, settings.thousands)


def _check_sha256(settings: SeriesTable, files: list[Path], scans: list[Scan]) -> None:
    if settings.sha256 is None:
        return
    if len(files) != 1:
        raise DataError(
            f"data.sha256 is the checksum of one file, but there are {len(files)}",
            "remove data.sha256, or join the files into one",
        )
    if scans[0].sha256 != settings.sha256:
        raise DataError(
            f"{files[0]} has the SHA-256 {scans[0].sha256}, but data.sha256 is {settings.sha256}",
            "the file is not the one that the config was written for: replace it, or data.sha256",
        )


def _stacked(
    settings: SeriesTable, roles: Roles, files: list[Path], tests: list[Path], scans: list[Scan]
) -> Stack:
    count = len(files)
    table = _joined(files, scans[:count], roles, settings)
    if roles.layout != "rows":
        rows = len(table.frame)
        if tests:
            table = table.joined(_joined(tests, scans[count:], roles, settings))
        return stack(table, roles, settings.frequency, rows, reading=settings)
    stacked = stack_rows(table, roles, settings.frequency)
    if not tests:
        return stacked
    head = sample(tests[0], scans[count], settings.missing)
    test_roles = assign_roles(settings, head, tests[0])
    test = _joined(tests, scans[count:], test_roles, settings)
    return continued(stacked, stack_rows(test, test_roles, settings.frequency))


def _joined(files: list[Path], scans: list[Scan], roles: Roles, settings: SeriesTable) -> Table:
    table = _loaded(files[0], scans[0], roles, settings)
    for path, found in zip(files[1:], scans[1:], strict=True):
        table = table.joined(_loaded(path, found, roles, settings))
    return table


def _loaded(path: Path, found: Scan, roles: Roles, settings: SeriesTable) -> Table:
    columns = columns_of(path, found)
    for name in roles.columns:
        if name not in columns:
            raise missing_column(name, columns, path, "needed as in the first file")
    marks = [*roles.time, *roles.group] or roles.targets
    return load(path, found, roles.columns, roles.numeric, settings.missing, marks)


# --- from the stack to the panel ----------------------------------------------------------------


def _fitted(settings: SeriesTable, roles: Roles, stacked: Stack, train_end: Int) -> dict[str, Any]:
    """What `SeriesData.meta` keeps."""
    lengths = np.diff(stacked.offsets)
    position = np.arange(len(stacked.values)) - np.repeat(stacked.offsets[:-1], lengths)
    training = position < np.repeat(train_end, lengths)
    grid = stacked.grid
    return {
        "format": FORMAT,
        "layout": roles.layout,
        "targets": roles.channels,
        "names": stacked.names,
        "frequency": None if grid is None else grid.frequency,
        "month_day": None if grid is None else grid.month_day,
        "season": settings.season or (1 if grid is None else grid.season),
        "known": fit_scaler(roles.known, stacked.known, training),
        "past": fit_scaler(roles.past, stacked.past, training),
        "static": fit_static(roles.static, roles.text, stacked.static),
    }


def _panel(stacked: Stack, meta: dict[str, Any]) -> Panel:
    static, static_names = coded_static(stacked.static, meta["static"], len(stacked.names))
    return Panel(
        stacked.values,
        stacked.offsets,
        stacked.starts,
        stacked.names,
        list(meta["targets"]),
        stacked.grid,
        int(meta["season"]),
        scaled(stacked.known, meta["known"]),
        [column["name"] for column in meta["known"]],
        scaled(stacked.past, meta["past"]),
        static,
        static_names,
    )


def _summary(panel: Panel, stacked: Stack, parts: tuple[Int, Int, Int, Int]) -> dict[str, Any]:
    train, begin, val, test = parts
    return {
        "rows": stacked.rows,
        "series": len(panel.names),
        "targets": panel.targets,
        "steps": len(panel.values),
        "missing": float(np.isnan(panel.values).mean()),
        "gaps": stacked.gaps,
        "frequency": None if panel.grid is None else panel.grid.frequency,
        "season": panel.season,
        "splits": {
            "train": int(train.sum()),
            "val": int((val - begin).sum()),
            "test": int((test - val).sum()),
        },
        "shortest": int(panel.lengths.min()),
        "longest": int(panel.lengths.max()),
    }


def _fingerprint(settings: SeriesTable, files: list[Path], scans: list[Scan]) -> str:
    """Of the files' contents, their roles, and all settings that say how they are read."""
    checksums = [found.sha256 for found in scans]
    facts: dict[str, Any] = {
        "format": FORMAT,
        "path": checksums[: len(files)],
        "test": checksums[len(files) :],
    }
    facts |= {name: getattr(settings, name) for name in (*READING, *SPLITTING)}
    facts |= {name: value for name in DIALECT if (value := getattr(settings, name)) not in (None, "error")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
