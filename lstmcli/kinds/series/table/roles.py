"""What each column of a table is, from the settings and the first rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.table.table import is_numeric, missing_column, numeric_columns

if TYPE_CHECKING:
    import polars as pl

    from lstmcli.kinds.series.settings import SeriesTable


@dataclass(frozen=True)
class Roles:
    """The parts of the columns. Layout rows: ``targets`` are the columns of the steps, in order."""

    layout: str  # long, wide or rows
    time: list[str]
    group: list[str]
    targets: list[str]
    known: list[str]
    past: list[str]
    static: list[str]
    text: list[str]  # of static, those of categories

    @property
    def numeric(self) -> list[str]:
        """The columns of numbers."""
        return [
            *self.targets,
            *self.known,
            *self.past,
            *(name for name in self.static if name not in self.text),
        ]

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        return [*self.time, *self.group, *self.targets, *self.known, *self.past, *self.static]

    @property
    def channels(self) -> list[str]:
        """The names of the target channels."""
        return ["value"] if self.layout == "rows" else self.targets


def assign_roles(
    settings: SeriesTable, head: pl.DataFrame, path: Path, meta: dict[str, Any] | None = None
) -> Roles:
    """The parts of the columns of a table that begins with the rows ``head``.

    ``meta``: of a trained run (`SeriesData.meta`), which then says layout, targets and categories.
    DataError: a column that is missing or has two parts, a setting that does not fit the layout, no
    numeric column.
    """
    layout = meta["layout"] if meta else layout_of(settings)
    time = [settings.time] if isinstance(settings.time, str) else list(settings.time or [])
    group = [settings.group] if isinstance(settings.group, str) else list(settings.group or [])
    _check_layout(layout, time, group, settings)
    columns = head.columns
    if layout == "rows" and not group and not is_numeric(head.to_series(0)):
        group = [columns[0]]
    parts = {"time": time, "group": group, "known": settings.known}
    parts |= {"past": settings.past, "static": settings.static}
    target = meta["targets"] if meta and layout != "rows" else settings.target
    parts["target"] = [target] if isinstance(target, str) else list(target or [])
    _check_columns(parts, columns, path)
    if not parts["target"]:
        taken = {name for names in parts.values() for name in names}
        parts["target"] = _left_over(head, taken, layout, path)
    if meta:
        text = [one["name"] for one in meta["static"] if one["kind"] == "text"]
    else:
        text = [name for name in settings.static if not is_numeric(head[name])]
    named = {name: parts[name] for name in ("known", "past", "static")}
    return Roles(layout=layout, time=time, group=group, targets=parts["target"], text=text, **named)


def layout_of(settings: SeriesTable) -> str:
    if settings.layout != "auto":
        return settings.layout
    if settings.time is None:
        return "rows"
    return "wide" if settings.group is None else "long"


def _check_layout(layout: str, time: list[str], group: list[str], settings: SeriesTable) -> None:
    if layout == "rows" and time:
        raise DataError(
            "data.time is given, but layout rows has no times", "remove data.time, or set data.layout: long"
        )
    if layout == "rows" and (settings.known or settings.past):
        raise DataError(
            "data.known and data.past need a value per step, which layout rows has no place for",
            "use layout long: one row per time and series",
        )
    if layout == "long" and not time:
        raise DataError("layout long needs data.time", "name the column of times")
    if (
        layout == "wide"
        and not time
        and settings.frequency is not None
        and not settings.frequency.endswith("i")
    ):
        raise DataError(
            f"data.frequency {settings.frequency} needs data.time",
            "name the column of times; without one the rows are counted (frequency 1i)",
        )
    if layout == "long" and not group:
        raise DataError("layout long needs data.group", "name the column that tells the series apart")
    if layout == "wide" and group:
        raise DataError("layout wide has no data.group", "remove it, or set data.layout: long")


def _check_columns(parts: dict[str, list[str]], columns: list[str], path: Path) -> None:
    part_of: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name not in columns:
                raise missing_column(name, columns, path, f"data.{part}")
            if name in part_of:
                both = (
                    f"data.{part_of[name]} and data.{part}" if part_of[name] != part else f"data.{part} twice"
                )
                raise DataError(f"column {name!r} is in {both}", "a column has one part")
            part_of[name] = part


def _left_over(head: pl.DataFrame, taken: set[str], layout: str, path: Path) -> list[str]:
    """Numeric columns without a part; layout rows: all columns without one."""
    free = [name for name in head.columns if name not in taken]
    if layout == "rows":
        chosen = free
    else:
        numeric = set(numeric_columns(head))
        chosen = [name for name in free if name in numeric]
        if left := [name for name in free if name not in numeric]:
            notice(f"{path}: left out, as not of numbers: {', '.join(left)}")
    if not chosen:
        raise DataError(
            f"{path} has no column of numbers to forecast (data.target)",
            f"its columns are: {', '.join(head.columns[:12])}",
        )
    return chosen
