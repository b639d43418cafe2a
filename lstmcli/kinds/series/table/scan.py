"""One pass over the bytes of a table: its checksum, its kind, and whether its rows are whole."""

from __future__ import annotations

import codecs
import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from lstmcli.core.errors import DataError
from lstmcli.core.progress import Progress
from lstmcli.kinds.files.reading import opened

CHUNK_BYTES = 1 << 20
SEPARATORS = ",;\t"
FOREIGN = {
    b"\x1f\x8b": ("a gzip archive", "unpack it first: `gunzip FILE`"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it first: `zstd -d FILE`"),
    b"BZh": ("a bzip2 archive", "unpack it first: `bunzip2 FILE`"),
    b"\xfd7zXZ": ("an xz archive", "unpack it first: `unxz FILE`"),
    b"PK\x03\x04": ("a ZIP archive or a spreadsheet", "unpack it, or export the sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet", "export the sheet as CSV (UTF-8)"),
}


@dataclass(frozen=True)
class Scan:
    """What the bytes of a file tell."""

    sha256: str
    bytes: int
    parquet: bool
    separator: str
    header: list[str]  # empty for Parquet


def scan(path: Path, progress: Progress, short_rows: bool) -> Scan:
    """Check a whole file. ``short_rows``: rows may end early.

    DataError: empty, another kind of file, not UTF-8, a NUL, no header, columns of one name, a row with
    more or fewer fields than the header.
    """
    size = path.stat().st_size if path.is_file() else 0
    with opened(path) as file:
        head = file.read(4)
        _check_kind(path, head)
        if head == b"PAR1":
            digest = hashlib.sha256(head)
            while block := file.read(CHUNK_BYTES):
                digest.update(block)
            return Scan(digest.hexdigest(), size, True, ",", [])
    separator, header = _header(path)
    counter = _Counter(path, separator.encode())
    with opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            counter.add(chunk)
            progress("reading", counter.bytes, size)
    counter.finish()
    if not counter.surely_whole(len(header)):
        find_ragged(path, separator, len(header), short_rows)
    return Scan(counter.digest.hexdigest(), counter.bytes, False, separator, header)


class _Counter:
    """Adds up chunks; an error as soon as one is not text."""

    def __init__(self, path: Path, separator: bytes):
        self.path, self.separator = path, separator
        self.digest = hashlib.sha256()
        self.bytes = self.lines = self.separators = self.quotes = self.blank = 0
        self._last = b"\n"
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def add(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        if not chunk.isascii() or self._decoder.getstate()[0]:
            try:
                self._decoder.decode(chunk)
            except UnicodeDecodeError as error:
                raise self._not_utf8(chunk, error) from error
        if (nul := chunk.find(b"\0")) >= 0:
            raise DataError(
                f"{self.path} holds a NUL in line {self.lines + 1 + chunk[:nul].count(10)}: is it text?",
                "save it as CSV in UTF-8",
            )
        self.bytes += len(chunk)
        self.lines += chunk.count(b"\n")
        self.separators += chunk.count(self.separator)
        self.quotes += chunk.count(b'"')
        self._last = chunk[-1:]

    def _not_utf8(self, chunk: bytes, error: UnicodeDecodeError) -> DataError:
        start = error.start - (len(error.object) - len(chunk))  # the decoder may hold bytes from before
        line = self.lines + 1 + chunk[: max(0, start)].count(b"\n")
        return DataError(
            f"{self.path} is not valid UTF-8 at byte offset {self.bytes + start} (line {line}): "
            f"{error.reason}",
            f"convert it, such as `iconv -f latin1 -t utf-8 {self.path.name}`",
        )

    def finish(self) -> None:
        if self._decoder.getstate()[0]:
            raise DataError(
                f"{self.path} is not valid UTF-8: it ends within a character (line {self.lines + 1})",
                "the file may be cut off: get it again",
            )
        self.lines += self._last != b"\n"

    def surely_whole(self, columns: int) -> bool:
        """Without quotes the sum of separators is right only if no row is short, or one is short and
        another long; a long one is found by the reader."""
        return self.quotes == 0 and self.separators == self.lines * (columns - 1)


def _check_kind(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(f"{path} is empty", "a table needs a header and rows below it")
    for magic, (kind, hint) in FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {kind}, not a CSV or Parquet file", hint.replace("FILE", path.name))
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(
            f"{path} is not valid UTF-8: it is UTF-16",
            f"convert it: `iconv -f utf-16 -t utf-8 {path.name}`",
        )


def _header(path: Path) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    with opened(path) as binary:
        first = binary.readline().decode("utf-8-sig", errors="replace")
    separator = max(SEPARATORS, key=first.count)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            header = next(csv.reader(file, delimiter=separator), [])
    except csv.Error as error:
        raise DataError(f"{path}: the header cannot be read: {error}", "is it a CSV file?") from error
    if not any(name.strip() for name in header):
        raise DataError(f"{path}: row 1 has no names of columns", "write a header as the first row")
    seen: dict[str, int] = {}
    for place, name in enumerate(header):
        if name in seen:
            raise DataError(
                f"{path}: row 1: columns {seen[name] + 1} and {place + 1} are both called {name!r}",
                "give every column a name of its own",
            )
        seen[name] = place
    return separator, header


def find_ragged(path: Path, separator: str, columns: int, short_rows: bool) -> None:
    """The slow way, row by row; blank lines pass."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            for row, fields in enumerate(reader, start=1):
                if len(fields) > columns or (0 < len(fields) < columns and not short_rows):
                    raise DataError(
                        f"{path}: row {row} (line {reader.line_num}) has {len(fields)} fields, "
                        f"but the header has {columns}",
                        "is there a separator too many or too few, or a quote that is not closed?",
                    )
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num} cannot be read: {error}") from error
