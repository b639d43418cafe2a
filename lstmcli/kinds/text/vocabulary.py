"""The symbols of a text and their ids.

level       id 0                  the other ids
characters  the unknown symbol    1, 2, ...: the characters of the training text by code point
bytes       the byte 0            the id is the byte; nothing is unknown
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError, RunError

Level = Literal["characters", "bytes"]
Ids = npt.NDArray[np.unsignedinteger[Any]]

CODE_POINTS = 0x110000
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Speller(Protocol):
    """Turns ids into text one at a time, for streaming."""

    def feed(self, symbol: int) -> str:
        """The text that is certain once this id is known (perhaps none)."""

    def flush(self) -> str:
        """What an unfinished sequence leaves at the end."""


def code_points(text: str) -> npt.NDArray[Any]:
    """The code point of each character, as (len(text),) uint8 for ASCII text, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of the ids 1, 2, ... at level characters; ``symbols`` is empty at level bytes."""

    level: Level
    symbols: str = ""

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64], min_count: int) -> Vocabulary:
        """The characters that occur at least ``min_count`` times; ``counts`` is by code point."""
        return cls("characters", "".join(map(chr, np.flatnonzero(counts >= min_count))))

    @property
    def size(self) -> int:
        """How many ids there are, the unknown symbol included."""
        return 256 if self.level == "bytes" else len(self.symbols) + 1

    @property
    def unknown(self) -> int | None:
        """The id of symbols that the vocabulary does not hold."""
        return None if self.level == "bytes" else 0

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(self.size - 1)

    def encode(self, text: str | bytes) -> Ids:
        """Ids of a text, (symbols,); a character that is not known becomes the unknown id.

        At level characters, bytes are read as UTF-8. At level bytes, text becomes UTF-8, and bytes
        that the operating system could not decode (in an argument) become themselves again.
        """
        if self.level == "bytes":
            raw = text if isinstance(text, bytes) else _utf8(text)
            return np.frombuffer(raw, dtype=np.uint8)
        return self._encode_characters(text if isinstance(text, str) else _text(text))

    def _encode_characters(self, text: str) -> Ids:
        if self.dtype.itemsize == 1 and text.isascii():
            # One table look-up per byte without any index array: twice the speed of NumPy's take.
            return np.frombuffer(text.encode("ascii").translate(self._ascii_table), dtype=np.uint8)
        # Every code point is inside the table; mode "clip" only skips the check.
        return np.take(self._table, code_points(text), mode="clip")

    def unseen(self, text: str) -> list[str]:
        """The distinct characters that the vocabulary does not hold, in order of appearance."""
        if self.level == "bytes":
            return []
        return [character for character in dict.fromkeys(text) if character not in self._known]

    def in_its_form(self, text: str) -> str:
        """The text, composed or decomposed, if then more of its characters are known: é as the training text
        has it, one character or two."""
        if not self.unseen(text):
            return text
        forms = [text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]
        return min(forms, key=lambda each: sum(character not in self._known for character in each))

    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        """The text of ids: U+FFFD for the unknown symbol and for bytes that are not UTF-8."""
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        if array.size and not 0 <= array.min() <= array.max() < self.size:
            raise IndexError(f"an id is outside 0 to {self.size - 1}")
        if self.level == "bytes":
            return array.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return self._code_points[array].tobytes().decode("utf-32-le")

    def speller(self) -> Speller:
        """Text from ids, one at a time."""
        return _BytesSpeller() if self.level == "bytes" else _CharactersSpeller(self.symbols)

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "symbols": self.symbols}

    @classmethod
    def from_json(cls, found: object) -> Vocabulary:
        """The vocabulary that ``to_json`` wrote; RunError for anything else."""
        if not isinstance(found, dict) or set(found) != {"level", "symbols"}:
            raise _malformed("it must hold exactly `level` and `symbols`")
        level, symbols = found["level"], found["symbols"]
        if level not in ("characters", "bytes") or not isinstance(symbols, str):
            raise _malformed("level must be characters or bytes, and symbols a string")
        if (level == "bytes") != (symbols == ""):
            raise _malformed("there must be symbols at level characters, and none at level bytes")
        if any(first >= second for first, second in pairwise(symbols)):
            raise _malformed("the symbols are not in ascending order, each once")
        if any("\ud800" <= symbol <= "\udfff" for symbol in symbols):
            raise _malformed("a surrogate is no character")
        return cls(level, symbols)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.symbols)

    @cached_property
    def _code_points(self) -> npt.NDArray[np.uint32]:
        """The code point of each id."""
        return np.frombuffer((REPLACEMENT + self.symbols).encode("utf-32-le"), dtype="<u4")

    @cached_property
    def _table(self) -> Ids:
        """The id of each code point."""
        table = np.zeros(CODE_POINTS, dtype=self.dtype)
        table[self._code_points[1:]] = np.arange(1, self.size)
        return table

    @cached_property
    def _ascii_table(self) -> bytes:
        return self._table[:256].tobytes()


class _CharactersSpeller:
    def __init__(self, symbols: str):
        self._characters = REPLACEMENT + symbols

    def feed(self, symbol: int) -> str:
        return self._characters[symbol]

    def flush(self) -> str:
        return ""


class _BytesSpeller:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, symbol: int) -> str:
        return self._decoder.decode(bytes([symbol]))

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start + 1} of the text is a lone surrogate, which is no character",
            "remove it",
        ) from error


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text is not valid UTF-8 at byte offset {error.start}", "convert it to UTF-8"
        ) from error


def _malformed(why: str) -> RunError:
    return RunError(f"the vocabulary is malformed: {why}", "the file was damaged or edited by hand")
