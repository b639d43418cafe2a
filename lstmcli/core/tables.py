"""A result as a table: for a terminal, a page of documentation, a web page, or as a file of rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from lstmcli.core.errors import UsageError
from lstmcli.core.terminal import one_line, sanitize

FILES = (".csv", ".parquet")


class Table(NamedTuple):
    """Rows of texts under named columns; the first `left` columns are flush left, the others right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""  # what a reader must know beside the figures
    left: int = 1


def to_text(table: Table) -> str:
    """Aligned columns, for a terminal or a file; what a terminal would act on becomes visible."""
    lines = [[one_line(cell) for cell in line] for line in (table.columns, *table.rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(table.columns))]
    body = [
        "  ".join(
            cell.ljust(width) if k < table.left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    parts = [sanitize(table.title)] if table.title else []
    return "\n".join([*parts, *body, *([sanitize(table.note)] if table.note else [])]) + "\n"


def to_markdown(table: Table) -> str:
    """A table of a Markdown page, with its title above and its note below."""
    rule = ["---" if k < table.left else "---:" for k in range(len(table.columns))]
    lines = [table.columns, rule, *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    parts = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*parts, body, *(["", table.note] if table.note else [])]) + "\n"


def to_html(table: Table) -> str:
    """A `<table>` with its title as caption; every text is escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        made = (
            f"<{tag}{'' if k < table.left else ' class=n'}>{escape(sanitize(cell))}</{tag}>"
            for k, cell in enumerate(cells)
        )
        return "<tr>" + "".join(made) + "</tr>"

    body = "\n".join(row(cells, "td") for cells in table.rows)
    caption = f"<caption>{escape(sanitize(table.title))}</caption>" if table.title else ""
    note = f"<p class=note>{escape(sanitize(table.note))}</p>" if table.note else ""
    head = row(table.columns, "th")
    return f"<table>{caption}<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>{note}\n"


def check_file(path: Path) -> None:
    """UsageError for a name whose kind of table cannot be written: to be known before the work is done."""
    if path.suffix.lower() not in FILES:
        raise UsageError(
            f"{path}: a table cannot be written as {path.suffix or 'a file without a suffix'}",
            f"end the name in {' or '.join(FILES)}",
        )


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV or Parquet, as the name ends; whole or not at all. UsageError, ResourceError."""
    from lstmcli.core.files import write_atomic

    check_file(path)
    if path.suffix.lower() == ".csv":
        write_atomic(path, to_csv(columns, rows).encode())
        return
    import polars as pl

    made = io.BytesIO()
    frame = pl.DataFrame(list(rows), schema=list(columns), orient="row", infer_schema_length=None)
    frame.write_parquet(made)
    write_atomic(path, made.getvalue())
