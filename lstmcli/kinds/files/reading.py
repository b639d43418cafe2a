"""Files are read in chunks, checked, and handed on as pieces: strings, or bytes at level bytes."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lstmcli.core.errors import DataError, LstmError, ResourceError
from lstmcli.kinds.text.vocabulary import Level

CHUNK_BYTES = 1 << 20
"""Small enough that a chunk and its ids stay in the processor's cache."""

AS_BYTES = "or read the file byte by byte: `data.level: bytes`"


@dataclass(frozen=True)
class FileFacts:
    """What one reading tells about a file."""

    sha256: str
    symbols: int
    bytes: int


def examine_file(path: Path, level: Level, on_chunk: Callable[[bytes], None]) -> FileFacts:
    """Check a whole file, and take its checksum and length. DataError as `read_pieces`."""
    digest = hashlib.sha256()
    size = 0

    def note(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        digest.update(chunk)
        on_chunk(chunk)

    symbols = sum(len(piece) for piece in read_pieces(path, level, note))
    return FileFacts(digest.hexdigest(), symbols, size)


def read_pieces(
    path: Path, level: Level, on_chunk: Callable[[bytes], None] = lambda chunk: None
) -> Iterator[str | bytes]:
    """The file's symbols, piece by piece; ``on_chunk`` sees every raw byte of it, in order.

    DataError: the file cannot be opened, is empty, or (at level characters) is not UTF-8 or holds
    a NUL. ResourceError: the disk fails while it is read.
    """
    with opened(path) as file:
        chunks = _chunks(file, on_chunk)
        pieces = chunks if level == "bytes" else _decoded(path, file, chunks, on_chunk)
        empty = True
        for piece in pieces:
            empty = empty and not piece
            yield piece
        if empty:
            raise DataError(f"{path} is empty", "a text needs at least two different symbols")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open; whatever the operating system says becomes an error for the user."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: Path, error: OSError) -> LstmError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path}", f"looked in {path.absolute().parent}")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path} is a folder", f"name its files, such as {path / '*.txt'}")
    if isinstance(error, PermissionError):
        return DataError(f"{path} cannot be read: permission denied", f"try `chmod u+r {path}`")
    return ResourceError(f"{path} cannot be read: {error.strerror or error}")


def _chunks(file: BinaryIO, on_chunk: Callable[[bytes], None]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        on_chunk(chunk)
        yield chunk


def _decoded(
    path: Path, file: BinaryIO, chunks: Iterator[bytes], on_chunk: Callable[[bytes], None]
) -> Iterator[str]:
    """Text of the chunks; a sequence cut by a border waits for its rest. Drops a BOM."""
    if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        on_chunk(codecs.BOM_UTF8)
    else:
        file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    end = file.tell()  # byte offset behind what the decoder has been given
    try:
        for chunk in chunks:
            end += len(chunk)
            text = decoder.decode(chunk)
            if (nul := chunk.find(b"\0")) >= 0:
                raise _nul(path, end - len(chunk) + nul)
            yield text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # What the decoder choked on always ends where the last chunk ends.
        raise _not_utf8(path, end - len(error.object) + error.start, error) from error


def _nul(path: Path, offset: int) -> DataError:
    where = f"byte offset {offset} (line {_line_at(path, offset)})"
    return DataError(f"{path} holds a NUL at {where}: it may not be text", f"remove it, {AS_BYTES}")


def _not_utf8(path: Path, offset: int, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(
        f"{path} is not valid UTF-8 at byte offset {offset} (line {_line_at(path, offset)}): "
        f"byte 0x{byte:02x}, {error.reason}",
        f"convert it, such as `iconv -f latin1 -t utf-8 {path.name}`, {AS_BYTES}",
    )


def _line_at(path: Path, offset: int) -> int:
    """The line, from 1, of a byte offset."""
    line = 1
    with opened(path) as file:
        while offset > 0 and (chunk := file.read(min(CHUNK_BYTES, offset))):
            line += chunk.count(b"\n")
            offset -= len(chunk)
    return line
