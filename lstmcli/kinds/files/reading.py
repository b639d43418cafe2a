"""Files are read in chunks, checked, and handed on as pieces: strings, or bytes at level bytes."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, BinaryIO

from lstmcli.core.errors import DataError, LstmError, ResourceError
from lstmcli.core.files import is_made_up
from lstmcli.core.notices import notice
from lstmcli.kinds.files.encodings import SAMPLE_BYTES, compression, damaged_utf8, recognise
from lstmcli.kinds.text.vocabulary import Level

if TYPE_CHECKING:
    from lstmcli.kinds.text.settings import TextSource

CHUNK_BYTES = 1 << 20
"""Small enough that a chunk and its ids stay in the processor's cache."""

AS_BYTES = "or read the file byte by byte: `data.level: bytes`"
SHOWN_AS = {
    "utf-16": "UTF-16", "utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE", "utf-32": "UTF-32",
    "utf-32-le": "UTF-32LE", "utf-32-be": "UTF-32BE", "gb18030": "GB18030", "latin-1": "latin1",
    "shift_jis": "SHIFT_JIS",
    "euc_jp": "EUC-JP", "euc_kr": "EUC-KR", "koi8_r": "KOI8-R", "mac_roman": "MACINTOSH", "big5": "BIG5",
}  # fmt: skip
"""Names that `iconv` knows, too."""


@dataclass(frozen=True)
class Form:
    """How the bytes of files become the symbols of a text: what `data` says of it."""

    level: Level = "characters"
    encoding: str | None = None  # None: UTF-8
    newlines: str = "keep"
    normalize: str = "none"
    separator: str | None = None

    @classmethod
    def of(cls, data: TextSource) -> Form:
        return cls(data.level, data.encoding, data.newlines, data.normalize, data.separator)

    @property
    def stated(self) -> dict[str, Any]:
        """What differs from the defaults, the level aside: such a text has other ids."""
        names = ("encoding", "newlines", "normalize")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(Form, name)}

    def shape(self, pieces: Iterable[str]) -> Iterator[str]:
        """Pieces of a text with the line ends and the normal form that are asked for."""
        if self.newlines == "unix":
            pieces = _unix(pieces)
        return iter(pieces) if self.normalize == "none" else _normal(pieces, self.normalize)

    def mark(self, last: str) -> str:
        """What stands between a file that ends with the symbol `last` and the next one."""
        if self.separator is not None:
            return self.separator
        return "" if self.level == "bytes" or last in ("\n", "\r", "\u2028", "\u2029", "\x85") else "\n"


@dataclass(frozen=True)
class FileFacts:
    """What one reading tells about a file."""

    sha256: str
    symbols: int
    bytes: int
    last: str = "\n"  # the last symbol
    crlf: int = 0  # line ends of Windows, as the file has them
    cr: int = 0  # and those of a carriage return alone


class Seen:
    """Line ends and the last symbol of the pieces that pass."""

    def __init__(self) -> None:
        self.last, self.crlf, self.cr = "", 0, 0

    def note(self, piece: str | bytes) -> None:
        if not piece:
            return
        if isinstance(piece, bytes):
            self.last = chr(piece[-1])
            return
        split = self.last == "\r" and piece[0] == "\n"  # between two pieces
        if "\r" in piece or split:
            pairs = piece.count("\r\n")
            self.crlf += pairs + split
            self.cr += piece.count("\r") - pairs - split
        self.last = piece[-1]

    def watch(self, pieces: Iterable[str]) -> Iterator[str]:
        for piece in pieces:
            self.note(piece)
            yield piece


def examine_file(path: Path, form: Form, on_chunk: Callable[[bytes], None]) -> FileFacts:
    """Check a whole file, and take its checksum and length. DataError as `read_pieces`."""
    seen = Seen()
    digest = hashlib.sha256()
    size = 0

    def note(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        digest.update(chunk)
        on_chunk(chunk)

    symbols = sum(len(piece) for piece in read_pieces(path, form, note, seen))
    return FileFacts(digest.hexdigest(), symbols, size, seen.last, seen.crlf, seen.cr)


def read_pieces(
    path: Path,
    form: Form,
    on_chunk: Callable[[bytes], None] = lambda chunk: None,
    seen: Seen | None = None,
) -> Iterator[str | bytes]:
    """The file's symbols, piece by piece; ``on_chunk`` sees every raw byte of it, in order.

    DataError: the file cannot be opened, is empty, or (at level characters) is not of the
    encoding or holds a NUL. ResourceError: the disk fails while it is read.
    """
    with opened(path) as file:
        chunks = _chunks(file, on_chunk)
        seen = seen or Seen()
        packed = compression(_beginning(file))
        pieces: Iterable[str | bytes]
        if form.level == "bytes":
            if packed:
                notice(f"{path} is compressed by {packed[0]}: its bytes are read as they are, compressed")
            pieces = _noted(chunks, seen)
        else:
            if packed:
                raise _packed(path, *packed)
            pieces = form.shape(seen.watch(_decoded(path, chunks, form.encoding or "utf-8")))
        empty = True
        for piece in pieces:
            empty = empty and not piece
            yield piece
        if empty:
            raise DataError(f"{path} is empty", "a text needs at least two different symbols")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open; whatever the operating system says becomes an error for the user."""
    if os.path.exists(path) and not os.path.isdir(path) and (is_made_up(path) or not os.path.isfile(path)):
        raise DataError(f"{path} is not a regular file", "write it to a file first")
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


def _noted(chunks: Iterable[bytes], seen: Seen) -> Iterator[bytes]:
    for chunk in chunks:
        seen.note(chunk)
        yield chunk


def _beginning(file: BinaryIO) -> bytes:
    raw = file.read(16)
    file.seek(0)
    return raw


def _decoded(path: Path, chunks: Iterator[bytes], encoding: str) -> Iterator[str]:
    """Text of the chunks; a sequence cut by a border waits for its rest. Drops a byte order mark."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    utf8 = codecs.lookup(encoding).name == "utf-8"
    start, end = True, 0  # `end`: bytes that the decoder has been given
    state: tuple[bytes, int] = (b"", 0)
    chunk = b""
    try:
        for chunk in chunks:
            state = decoder.getstate() if not utf8 else state
            text = decoder.decode(chunk)
            end += len(chunk)
            if start and text:
                text, start = text.removeprefix("\ufeff"), False
            if (nul := chunk.find(b"\0") if utf8 else text.find("\0")) >= 0:
                raise _nul(path, encoding, end - len(chunk) + nul if utf8 else None)
            yield text
        state, chunk = decoder.getstate(), b""
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # What the decoder choked on ends where the last chunk ends, and begins with what was kept back.
        offset = end + len(chunk) - len(error.object) + error.start
        if utf8:
            raise _not_utf8(path, offset, error) from error
        raise _not_encoded(path, encoding, offset, error) from error


def _unix(pieces: Iterable[str]) -> Iterator[str]:
    """CRLF and CR become line feeds, pairs cut by the border of two pieces, too."""
    translator = io.IncrementalNewlineDecoder(None, translate=True)
    for piece in pieces:
        yield translator.decode(piece)
    yield translator.decode("", final=True)


def _normal(pieces: Iterable[str], form: str) -> Iterator[str]:
    """The pieces in a normal form. The end of a piece waits for what may join it: marks, and parts of a
    syllable of Hangul."""
    held = ""
    for piece in pieces:
        text = held + piece
        cut = max(len(text) - 1, 0)
        while cut > 0 and _joins(text[cut]):
            cut -= 1
        held = text[cut:]
        yield unicodedata.normalize(form, text[:cut])  # type: ignore[arg-type]
    yield unicodedata.normalize(form, held)  # type: ignore[arg-type]


def _joins(character: str) -> bool:
    return unicodedata.category(character).startswith("M") or "\u1100" <= character <= "\u11ff"


def _packed(path: Path, name: str, command: str) -> DataError:
    return DataError(
        f"{path} is compressed by {name}, no text", f"unpack it first: {command} {quote(str(path))}"
    )


def _nul(path: Path, encoding: str, offset: int | None) -> DataError:
    likely = recognise(_sample(path, 0))
    if likely is not None and encoding == "utf-8":
        hint = _advice(path, likely.encoding, likely.beginning)
    else:
        hint = f"remove it, {AS_BYTES}"
    where = "" if offset is None else f" at byte offset {offset} (line {_line_at(path, offset, encoding)})"
    return DataError(f"{path} holds a NUL{where}: it may not be {encoding.upper()} text", hint)


def _not_encoded(path: Path, encoding: str, offset: int, error: UnicodeDecodeError) -> DataError:
    line = _line_at(path, offset, encoding)
    likely = recognise(_sample(path, 0))
    hint = "state the encoding that it has: `data.encoding`; null is UTF-8"
    if likely is not None:
        hint = _advice(path, likely.encoding, likely.beginning)
    return DataError(
        f"{path} is not valid {encoding} at byte offset {offset} (line {line}): {error.reason}", hint
    )


def _not_utf8(path: Path, offset: int, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(
        f"{path} is not valid UTF-8 at byte offset {offset} (line {_line_at(path, offset)}): "
        f"byte 0x{byte:02x}, {error.reason}",
        _what_it_is(path, offset, error),
    )


def _what_it_is(path: Path, offset: int, error: UnicodeDecodeError) -> str:
    """What to do about a file that is not UTF-8, without harm to its text."""
    if error.reason == "unexpected end of data":
        return f"it ends within a character: it may have been cut; remove those last bytes, {AS_BYTES}"
    begin = _sample(path, 0)
    likely = recognise(begin) if any(byte >= 0x80 for byte in begin) else None
    around = _sample(path, max(0, offset - SAMPLE_BYTES // 2))
    if likely is None and damaged_utf8(around):
        return f"it is UTF-8 but for a few bytes: mend it there, {AS_BYTES}"
    likely = likely or recognise(around)
    if likely is not None:
        return _advice(path, likely.encoding, likely.beginning)
    return f"it has none of the usual encodings: state the one it has as `data.encoding`, {AS_BYTES}"


def _advice(path: Path, encoding: str, beginning: str) -> str:
    shown = SHOWN_AS.get(encoding, encoding)
    return (
        f"it seems to be {shown}, where it begins {beginning!r}: if so, state it by "
        f"`data.encoding: {encoding}` or convert it, "
        f"`iconv -f {shown} -t UTF-8 {quote(str(path))}`, {AS_BYTES}"
    )


def _sample(path: Path, start: int) -> bytes:
    with opened(path) as file:
        file.seek(start)
        raw = file.read(SAMPLE_BYTES)
    if start:  # begin where a line does: a character may be cut there
        raw = raw[raw.find(b"\n") + 1 :]
    return raw


def _line_at(path: Path, offset: int, encoding: str = "utf-8") -> int:
    """The line, from 1, of a byte offset."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    line = 1
    with opened(path) as file:
        while offset > 0 and (chunk := file.read(min(CHUNK_BYTES, offset))):
            line += decoder.decode(chunk).count("\n")
            offset -= len(chunk)
    return line
