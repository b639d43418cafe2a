"""Numbers as the world writes them: one way for a whole table, found from all of its columns.

`1.234` is 1234 in Berlin and a little more than 1 in London, and nothing in the cell says which. What can be
told is told by other cells: a second mark, another number of digits, a zero before the mark. Where all cells
of a table allow both, the separator of the fields decides (a comma between fields is no decimal comma), or
the table is refused with the cell and the setting that decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from lstmcli.core.errors import DataError

if TYPE_CHECKING:
    import polars as pl

SHARE = 0.9
"""A column is of numbers if so much of what is not missing is."""
BLANKS = " \t\u00a0\u202f"
"""That may stand around a number."""
ENOUGH = 30
"""Of so many numbers with decimals some would have fewer than three digits behind the mark."""
CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|BRL|CAD|AUD|SEK|NOK|DKK|PLN|CZK|HUF|RUB|TRY|MXN|ZAR|KRW|R\\$|Rs|kr|zł|Kč"
UNIT = rf"(?:[$€£¥₹₩₽]|{CODES})"
MARKS = {"": "", ".": r"\.", ",": ",", " ": "[ \u00a0\u202f\u2009]", "'": "['\u2019]"}
"""How a mark of thousands is written."""


@dataclass(frozen=True)
class Style:
    """How a table writes numbers."""

    decimal: str = "."
    thousands: str = ""  # none, or one of MARKS

    @property
    def digits(self) -> str:
        """Digits with their marks, as a pattern."""
        mark, point = MARKS[self.thousands], re.escape(self.decimal)
        whole = rf"(?:[1-9]\d{{0,2}}(?:{mark}\d{{2,3}})*{mark}\d{{3}}|\d+)" if mark else r"\d+"
        return rf"(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"

    @property
    def pattern(self) -> str:
        """A whole cell: brackets (of what is owed), a sign, a unit before or behind."""
        return (
            rf"^(?<owed>\()?\s*(?<sign>[+\-\u2212]?)\s*(?<before>{UNIT})?\s*(?<later>[+\-\u2212]?)(?<digits>{self.digits})"
            rf"\s*(?<behind>%|{UNIT})?\s*(?<closed>\))?$"
        )

    def __str__(self) -> str:
        shown = {"": "", " ": ", blanks between thousands", "'": ", apostrophes between thousands"}
        between = shown.get(self.thousands, f", `{self.thousands}` between thousands")
        return f"decimal {'point' if self.decimal == '.' else 'comma'}{between}"


PLAIN = Style()
STYLES = [
    Style(point, mark) for point, mark in product(".,", ("", ".", ",", " ", "'")) if point != mark
]  # those that assume least come first


def parse(texts: pl.Series, style: Style) -> pl.Series:
    """Float64; null where a text is no number written so."""
    import polars as pl

    stripped = texts.str.strip_chars(BLANKS)
    plain = stripped.cast(pl.Float64, strict=False) if style == PLAIN else None
    if plain is not None and plain.null_count() == texts.null_count():
        return plain
    parts = _parts(texts, style)
    digits = parts["digits"]
    if style.thousands:
        digits = digits.str.replace_all(MARKS[style.thousands], "")
    numbers = digits.str.replace(style.decimal, ".", literal=True).cast(pl.Float64, strict=False)
    filled = parts.select(pl.all().fill_null(""))
    before, later = (pl.col(name).is_in(["-", "\u2212"]) for name in ("sign", "later"))
    minus = filled.select(before ^ later ^ (pl.col("owed") == "(")).to_series()
    odd = filled.select((pl.col("owed") == "(") != (pl.col("closed") == ")")).to_series()
    signed = pl.when(odd).then(None).when(minus).then(-numbers).otherwise(numbers)
    numbers = pl.select(signed.alias(texts.name)).to_series()
    return numbers if plain is None else plain.zip_with(plain.is_not_null(), numbers)


def units(texts: pl.Series, style: Style) -> pl.Series:
    """The currency or per-cent sign of each text; empty where there is none."""
    import polars as pl

    return (
        _parts(texts, style)
        .select(pl.col("before").fill_null("") + pl.col("behind").fill_null(""))
        .to_series()
    )


def _parts(texts: pl.Series, style: Style) -> pl.DataFrame:
    """The groups of the style's pattern, a column each; null where a text does not fit it."""
    return texts.str.strip_chars(BLANKS).str.extract_groups(style.pattern).struct.unnest()


def is_doubtful(texts: pl.Series) -> bool:
    """Whether a column of texts may be of numbers that are written otherwise than computers do, or in which
    every point may stand between thousands."""
    import polars as pl

    given = texts.drop_nulls()
    if not given.len():
        return False
    first = given.head(200).str.strip_chars(" \t")
    if first.cast(pl.Float64, strict=False).null_count() == 0:
        for cells in (first, given):  # most columns are told by a few cells
            pointed = cells.filter(cells.str.contains(".", literal=True))
            if not pointed.str.contains(r"^\s*[+-]?[1-9]\d{0,2}(\.\d{3})+\s*$").all():
                return False
        return pointed.len() > 0
    if given.cast(pl.Float64, strict=False).null_count() == 0:
        return False
    likely = [style for style in STYLES if _fitting(first, style) >= SHARE / 2 * first.len()]
    return any(_fitting(given, style) >= SHARE * given.len() for style in likely)


def find_style(columns: list[pl.Series], separator: str, decimal: str | None, thousands: str | None) -> Style:
    """The style that fits the most cells of all columns of texts; among equals the one that assumes least.

    ``decimal``, ``thousands``: as `data` states them. DataError: a mark may be of decimals as well as of
    thousands; its message begins with the row (from 0) and the column.
    """
    allowed = [
        style for style in STYLES if decimal in (None, style.decimal) and thousands in (None, style.thousands)
    ] or [Style(decimal or ".", thousands or "")]
    counted = {column.name: [_fitting(column, style) for style in allowed] for column in columns}
    given = {column.name: column.len() - column.null_count() for column in columns}
    numeric = {name: fits for name, fits in counted.items() if max(fits) >= SHARE * given[name] > 0}
    totals = [sum(fits[k] for fits in numeric.values()) for k in range(len(allowed))]
    best = [style for style, total in zip(allowed, totals, strict=True) if total == max(totals)]
    for mark in ".,":
        as_decimal = [style for style in best if style.decimal == mark]
        as_thousands = [style for style in best if style.thousands == mark]
        marked = [c for c in columns if c.name in numeric and c.str.contains(mark, literal=True).any()]
        if as_decimal and as_thousands and marked:
            between = _between_thousands(marked, mark, separator)
            best = as_thousands if between else as_decimal
    return best[0]


def _fitting(column: pl.Series, style: Style) -> int:
    return int(column.str.strip_chars(BLANKS).str.contains(style.pattern).sum())


def _between_thousands(columns: list[pl.Series], mark: str, separator: str) -> bool:
    """Whether a mark that may be both is one of thousands.

    Numbers with a fixed number of decimals all have the mark; numbers without trailing zeros have three
    digits behind it in nine of ten cases only: a column in which neither is so has thousands.
    """
    import polars as pl

    for column in columns:
        cells = column.drop_nulls()
        marked = cells.filter(cells.str.contains(mark, literal=True))
        ends_in_zero = marked.str.contains("0[^0-9]*$").any()
        if marked.len() < cells.len() and (ends_in_zero or marked.n_unique() >= ENOUGH):
            return True
    if separator == ",":
        return mark == ","
    if (separator, mark) in ((";", ","), ("\t", "."), ("|", ".")):
        return False
    column = columns[0]
    row = int(column.str.contains(mark, literal=True).fill_null(value=False).arg_max() or 0)
    cell = str(column[row])
    whole = pl.Series([cell]).str.replace_all(re.escape(mark), "")[0]
    other = {".": ",", ",": "."}[mark]
    raise DataError(
        f"{row}\0column {column.name}: {cell!r} may be {whole} or {cell.replace(mark, '.')}: "
        "every number of the table allows both",
        f"set data.decimal: '{other}' (then it is {whole}) or data.decimal: '{mark}'",
    )
