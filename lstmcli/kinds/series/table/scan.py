"""The bytes of a table: its checksum, its dialect, and whether its rows are whole.

A table in UTF-8 with line feeds is read where it lies. One that is packed, in another encoding or with
carriage returns alone is made such a table in memory, and a notice says what was assumed.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import hashlib
import io
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.core.progress import Progress
from lstmcli.kinds.files.encodings import SAMPLE_BYTES, compression, damaged_utf8, recognise
from lstmcli.kinds.files.reading import opened
from lstmcli.kinds.series.table.numbers import PLAIN, Style

CHUNK_BYTES = 1 << 20
SEPARATORS = "\t;|,"
"""Where several fit equally well, the first is the more telling one."""
LINES = 50
"""So many of the first lines tell the separator, and whether there is a header."""
SPREADSHEET = b"\xd0\xcf\x11\xe0"
NUMBER = re.compile(
    r"[-+(]?\s?[^\w\s]{0,2}\s?\d[\d.,'\u2019\u00a0\u202f ]*(e[-+]?\d+)?\s?[^\w\s]?\)?", re.IGNORECASE
)
DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([t ,].*)?|\d{1,2}[-/. ]+[a-zäéû]{3,9}\.?[-/ ]+\d{2,4}.*|\d{8}"
    r"|\d{4}[-/ ]?[qwm]\d{1,2}|[a-zäéû]{3,9}\.? \d{1,2},? \d{4}.*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Scan:
    """What the bytes of a file tell."""

    sha256: str
    size: int  # bytes
    parquet: bool
    separator: str
    header: list[str]  # names of columns; empty for Parquet
    skipped: int = 1  # records above the values: the header, a line `sep=;`
    text: bytes | None = None  # the table as UTF-8 with line feeds, where the file is not so itself
    style: Style = PLAIN  # how its numbers are written
    whole: bool = False  # whether all of its rows told the style


@dataclass(frozen=True)
class _Opened:
    """A CSV file and what it really says."""

    path: Path
    text: bytes | None

    def lines(self) -> TextIO:
        if self.text is None:
            return open(self.path, encoding="utf-8-sig", errors="replace", newline="")
        return io.TextIOWrapper(io.BytesIO(self.text), encoding="utf-8-sig", newline="")


def scan(
    path: Path, progress: Progress, short_rows: bool, encoding: str | None = None, header: bool | None = None
) -> Scan:
    """Check a whole file. ``short_rows``: rows may end early. ``encoding``, ``header``: as in `data`.

    DataError: empty, another kind of file, an encoding that cannot be told, a NUL, no header, columns of
    one name, a row with more or fewer fields than the header.
    """
    size = path.stat().st_size if path.is_file() else 0
    with opened(path) as file:
        head = file.read(SAMPLE_BYTES)
        if not head:
            raise DataError(f"{path} is empty", "a table needs a header and rows below it")
        if head.startswith(b"PAR1"):
            digest = hashlib.sha256(head)
            while block := file.read(CHUNK_BYTES):
                digest.update(block)
            return Scan(digest.hexdigest(), size, True, ",", [])
    if _stands_as_it_is(head, encoding):
        sha256, counter = _counted(path, progress, size)
        text = None if counter.fault is None else _as_utf8(path, path.read_bytes(), encoding, counter.fault)
    else:
        raw = path.read_bytes()
        text = _as_utf8(path, _unpacked(path, raw), encoding, None)
        sha256 = hashlib.sha256(raw).hexdigest()
    if text is not None:
        counter = _Counter(path)
        counter.add(text)
    found = _Opened(path, text)
    separator, names, skipped = _columns(found, header)
    counter.finish()
    if not counter.surely_whole(separator, len(names), skipped):
        find_ragged(path, text, separator, len(names), skipped, short_rows)
    return Scan(sha256, size, False, separator, names, skipped, text)


def _stands_as_it_is(head: bytes, encoding: str | None) -> bool:
    """Whether the file may be UTF-8 with line feeds, so far as its beginning tells."""
    if encoding is not None and codecs.lookup(encoding).name != "utf-8":
        return False
    carriage_returns_alone = b"\r" in head[:-1] and b"\n" not in head
    wide = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if b"\0" in head:
        wide |= recognise(head) is not None
    return not (compression(head) or head.startswith(SPREADSHEET) or wide or carriage_returns_alone)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing reaches standard error: where the reader panics it prints a traceback of its own there,
    past Python's streams."""
    try:
        before = os.dup(2)
    except OSError:  # closed: nothing can reach it
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stderr.flush()
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


class _Counter:
    """Adds up chunks of a table, and notes where they are not UTF-8."""

    def __init__(self, path: Path):
        self.path = path
        self.bytes = self.lines = self.quotes = 0
        self.separators = dict.fromkeys(SEPARATORS, 0)
        self.fault: DataError | None = None
        self._first: bytes | None = None
        self._last = b"\n"
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def add(self, chunk: bytes) -> None:
        if not chunk.isascii() or self._decoder.getstate()[0]:
            try:
                self._decoder.decode(chunk)
            except UnicodeDecodeError as error:
                self.fault = self._not_utf8(chunk, error)
                return
        if (nul := chunk.find(b"\0")) >= 0:
            raise DataError(
                f"{self.path} holds a NUL in line {self.lines + 1 + chunk[:nul].count(10)}: is it text?",
                "save it as CSV in UTF-8, or state what it is as data.encoding",
            )
        self._note_separators(chunk)
        self.bytes += len(chunk)
        self.lines += chunk.count(b"\n")
        self.quotes += chunk.count(b'"')
        self._last = chunk[-1:]

    def _note_separators(self, chunk: bytes) -> None:
        """Only those are counted that the first line has."""
        if self._first is None:
            start = chunk.split(b"\n", 2)[:2]
            self._first = b"".join(start)
        for mark in SEPARATORS:
            if mark.encode() in self._first:
                self.separators[mark] += chunk.count(mark.encode())

    def _not_utf8(self, chunk: bytes, error: UnicodeDecodeError) -> DataError:
        start = error.start - (len(error.object) - len(chunk))  # the decoder may hold bytes from before
        line = self.lines + 1 + chunk[: max(0, start)].count(b"\n")
        return DataError(
            f"{self.path} is not valid UTF-8 at byte offset {self.bytes + start} (line {line}): "
            f"{error.reason}",
            "state its encoding, such as `data.encoding: cp1252`, or mend it there",
        )

    def finish(self) -> None:
        if self._decoder.getstate()[0]:
            raise DataError(
                f"{self.path} is not valid UTF-8: it ends within a character (line {self.lines + 1})",
                "the file may be cut off: get it again",
            )
        self.lines += self._last != b"\n"

    def surely_whole(self, separator: str, columns: int, skipped: int) -> bool:
        """Without quotes the sum of separators is right only if no row is short, or one is short and
        another long; a long one is found by the reader."""
        whole = self.separators[separator] == self.lines * (columns - 1)
        return self.quotes == 0 and whole and skipped < 2


def _counted(path: Path, progress: Progress, size: int) -> tuple[str, _Counter]:
    digest, counter = hashlib.sha256(), _Counter(path)
    with opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if counter.fault is None:
                counter.add(chunk)
                progress("reading", counter.bytes, size)
    return digest.hexdigest(), counter


# --- packed, and in other encodings -----------------------------------------------------------------


def _unpacked(path: Path, raw: bytes) -> bytes:
    """The file within a packed one; a file that is not packed as it is."""
    if raw.startswith(SPREADSHEET):
        raise DataError(f"{path} is a spreadsheet, not a CSV or Parquet file", "export the sheet as CSV")
    packed = compression(raw)
    if packed is None:
        return raw
    name = packed[0].split(" ")[0]
    ways: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress, "bzip2": bz2.decompress, "xz": lzma.decompress, "zip": _only_member,
        "zstd": _from_zstd,
    }  # fmt: skip
    if name not in ways:
        raise DataError(f"{path} is packed by {packed[0]}", f"unpack it first: `{packed[1]} {path.name}`")
    try:
        text = ways[name](raw)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        hint = f"it may be damaged or cut off: get it again, or see what `{packed[1]} {path.name}` says"
        hint = "export the sheet as CSV" if name == "zip" else hint
        raise DataError(f"{path} is packed by {name}, and cannot be unpacked: {error}", hint) from error
    if not text:
        raise DataError(f"{path}: the table in it is empty", "a table needs a header and rows below it")
    return text


def _only_member(raw: bytes) -> bytes:
    """ValueError: a spreadsheet or another archive with more than one file."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
        if len(names) != 1:
            sheet = "[Content_Types].xml" in names or "mimetype" in names
            raise ValueError("it is a spreadsheet or document" if sheet else f"it holds {len(names)} files")
        return archive.read(names[0])


def _from_zstd(raw: bytes) -> bytes:
    """ValueError: damaged, or not of UTF-8 within."""
    import polars as pl

    if sys.version_info >= (3, 14):
        from compression import zstd  # in the standard library since then

        return bytes(zstd.decompress(raw))
    try:
        with quiet_stderr():
            return "\n".join(pl.read_lines(io.BytesIO(raw)).to_series().to_list()).encode()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _as_utf8(path: Path, raw: bytes, encoding: str | None, fault: DataError | None) -> bytes:
    """The text as UTF-8 with line feeds; ``fault``: why it is not UTF-8, where that is known."""
    if encoding is None:
        encoding = _encoding_of(path, raw, fault)
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} is not {encoding} at byte offset {error.start} (line {line}): {error.reason}",
            "state the encoding that it has as data.encoding",
        ) from error
    if "\r" in text and "\n" not in text:
        notice(f"{path}: each carriage return is read as the end of a line")
        text = text.replace("\r", "\n")
    return text.encode()


def _encoding_of(path: Path, raw: bytes, fault: DataError | None) -> str:
    """By a mark or by what its lines beyond ASCII say, with a notice. DataError: it cannot be told."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        fault = fault or DataError(f"{path} is not valid UTF-8 at byte offset {error.start}: {error.reason}")
    else:
        if b"\0" not in raw[:SAMPLE_BYTES]:
            return "utf-8"
    beyond = b"\n".join(line for line in raw[: 64 * SAMPLE_BYTES].split(b"\n") if not line.isascii())
    likely = recognise(raw[:SAMPLE_BYTES]) or recognise(beyond[:SAMPLE_BYTES])
    if likely is None or (fault is not None and damaged_utf8(beyond[:SAMPLE_BYTES])):
        raise fault or DataError(f"{path} holds a NUL: is it text?", "state what it is as data.encoding")
    wrong = "" if likely.encoding.startswith("utf") else "; if that is wrong, state it as data.encoding"
    notice(f"{path} is read as {likely.encoding}{wrong}")
    return likely.encoding


# --- columns ----------------------------------------------------------------------------------------


def _columns(found: _Opened, header: bool | None) -> tuple[str, list[str], int]:
    """The separator, the names of the columns, and how many records stand above the values."""
    path = found.path
    with found.lines() as file:
        lines = [
            line for _, line in zip(range(LINES), iter(lambda: file.readline(1 << 16), ""), strict=False)
        ]
    stated = re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE) if lines else None
    separator = stated[1] if stated else _separator(lines)
    try:
        with found.lines() as file:
            reader = csv.reader(file, delimiter=separator)
            rows = [row for _, row in zip(range(LINES), reader, strict=False)][1 if stated else 0 :]
    except csv.Error as error:
        raise DataError(f"{path}: the header cannot be read: {error}", "is it a CSV file?") from error
    names = rows[0] if rows else []
    if not any(name.strip() for name in names):
        raise DataError(f"{path}: row 1 has no names of columns", "write a header as the first row")
    values = _values_above(rows) if header is None else []
    if _counting(values):
        shown = ", ".join(names[:3])
        notice(
            f"{path}: its first row ({shown}) is read as names of columns (data.header: false: it is none)"
        )
        values = []
    if header is False or values:
        names = [f"column{place + 1}" for place in range(max(map(len, rows)))]
        if header is None:
            notice(
                f"{path} has no header: its columns are called {names[0]} to {names[-1]} "
                "(data.header: true if its first row is one)"
            )
        return separator, names, 1 if stated else 0
    return separator, _named(path, names), 2 if stated else 1


def _separator(lines: list[str]) -> str:
    """The one that divides all of the first lines into as many fields; else what the first has most."""
    first, fitting = lines[0] if lines else "", dict[str, int]()
    for mark in SEPARATORS:
        if mark not in first:
            continue
        try:
            rows = list(csv.reader(lines, delimiter=mark))
        except csv.Error:
            continue
        counts = [len(row) for row in rows if row]
        whole = counts if len(lines) < LINES else counts[:-1]  # a quoted field may go on below
        if len(whole) > 1 and whole[0] > 1 and len(set(whole)) == 1:
            fitting[mark] = sum('"' in field for row in rows for field in row)
    if fitting:  # a quote within a field speaks of another separator
        return min(fitting, key=lambda mark: fitting[mark])
    return max(",;\t|", key=first.count)


def _values_above(rows: list[list[str]]) -> list[str]:
    """Cells of the first row where it may be one of values: what below it is a number or a date is so there,
    too. Else none."""
    first, below = rows[0], [row for row in rows[1:] if any(row)]
    kinds = [_kind([row[place] for row in below if place < len(row)]) for place in range(len(first))]
    valued = [place for place, kind in enumerate(kinds) if kind is not None and first[place].strip()]
    if any(_kind([first[place]]) != kinds[place] for place in valued):
        return []
    return [first[place].strip() for place in valued]


def _kind(cells: list[str]) -> str | None:
    given = [cell.strip() for cell in cells if cell.strip()]
    for name, form in (("date", DATE), ("number", NUMBER)):
        if given and sum(form.fullmatch(cell) is not None for cell in given) >= 0.9 * len(given):
            return name
    return None


def _counting(names: list[str]) -> bool:
    """Names that count: 0, 1, 2 or 1990, 2000, 2010."""
    if not names or not all(name.isdigit() for name in names):
        return False
    numbers = [int(name) for name in names]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return (len(steps) == 1 and (len(numbers) > 2 or steps == {1})) or (not steps and numbers[0] < 3000)


def _named(path: Path, header: list[str]) -> list[str]:
    """The names; of several without one, each is called by its place."""
    nameless = [place for place, name in enumerate(header) if not name.strip()]
    if len(nameless) > 1:
        header = [name if name.strip() else f"column{place + 1}" for place, name in enumerate(header)]
        notice(f"{path}: {len(nameless)} columns have no name: called {header[nameless[0]]} and so on")
    seen: dict[str, int] = {}
    for place, name in enumerate(header):
        if name in seen:
            raise DataError(
                f"{path}: row 1: columns {seen[name] + 1} and {place + 1} are both called {name!r}",
                "give every column a name of its own",
            )
        seen[name] = place
    return header


def find_ragged(
    path: Path, text: bytes | None, separator: str, columns: int, skipped: int, short_rows: bool
) -> None:
    """The slow way, row by row; blank lines pass."""
    with _Opened(path, text).lines() as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            for row, fields in enumerate(reader, start=1):
                if row < skipped:
                    continue  # a line `sep=;`
                if len(fields) > columns or (0 < len(fields) < columns and not short_rows):
                    raise DataError(
                        f"{path}: row {row} (line {reader.line_num}) has {len(fields)} fields, "
                        f"but the {'header' if skipped else 'first row'} has {columns}",
                        "is there a separator too many or too few, or a quote that is not closed?",
                    )
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num} cannot be read: {error}") from error
