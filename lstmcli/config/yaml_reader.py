"""Strict YAML: a text becomes plain values, each with the line and column where it stands.

Scalars follow YAML 1.2's core schema, not YAML 1.1 as PyYAML does by itself:
`1e-4`, `1e5`, `.5` and `5.` are floats; `yes`, `no`, `on` and `off` are text; `010` is ten (octal
is `0o10`, hexadecimal `0x10`). A UTF-8 byte-order mark is accepted.
Refused, with line and column: tags, anchors, aliases, merge keys, directives, a second document,
duplicate keys, keys that are not text, NaN and infinity, integers beyond 64 bits, and what is
nested deeper than 50 or holds more than 10,000 values.
Only PyYAML's event parser is used, so no text can name an object to be built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import yaml

from lstmcli.core.errors import ConfigError
from lstmcli.core.files import is_made_up

MAX_BYTES = 256 * 1024  # far above any config; the pure Python parser takes about 1 s for 1 MB
MAX_DEPTH = 50
MAX_VALUES = 10_000

Path = tuple[str | int, ...]  # ("data", "splits", 0)
Place = tuple[int, int]  # line and column, both from 1

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# What PyYAML says, and what it means to the author of a config.
_SYNTAX = (
    ("found character '\\t'", "a tab is not allowed here: use spaces"),
    ("cannot start any token", "a value cannot begin with this character: put it in quotes"),
    ("mapping values are not", "a `:` is not expected here: check the indentation and the quotes"),
    ("expected the node content", "a value is missing before this"),
    ("sequence entries are not allowed", "a list of `- ` items must begin on a line of its own"),
    ("expected <block end>", "this does not fit what is above it: check indentation and quotes"),
    ("could not find expected ':'", "a `:` is missing after this key"),
    ("found unexpected end of stream", "this quote is never closed"),
    ("expected ',' or", "a comma or the closing bracket is missing before this"),
    ("expected alphabetic or numeric", "text that begins with * or & must be put in quotes"),
    ("undefined tag handle", "tags are not supported"),
    ("expected '<document start>'", "the config has ended before this: check the indentation"),
)

_UNREADABLE = object()  # stands where a value could not be read


@dataclass(frozen=True)
class Problem:
    path: Path
    text: str
    place: Place | None = None


@dataclass
class Reading:
    """Plain values (dict, list, str, int, float, bool, None) and all that was wrong with them."""

    value: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    """Where the key of a setting stands, and where its value begins."""
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[Path] = field(default_factory=set)
    """What has no value because of a problem, so that nobody complains about it twice."""

    def place(self, path: Path, at_key: bool) -> Place | None:
        """Where a value stands (or its key); of something that is not there, what it would be in."""
        first, second = (self.keys, self.values) if at_key else (self.values, self.keys)
        parts = (path[:end] for end in range(len(path), -1, -1))
        return next((found for part in parts if (found := first.get(part) or second.get(part))), None)


def read_text(path: str | PathLike[str]) -> str:
    """The text of a file.

    Raises ConfigError if it is missing, a directory, unreadable, too large, not UTF-8 or binary.
    """
    if is_made_up(path):
        raise ConfigError(f"{path}: no ordinary file", "Give the path of a YAML file.")
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(f"{path}: {reason}", "Give the path of a YAML file.") from None
    if len(raw) > MAX_BYTES:
        hint = "Is this the data rather than the config?"
        raise ConfigError(f"{path}: larger than {MAX_BYTES:,} bytes", hint)
    return _decode(raw, str(path))


def _decode(raw: bytes, where: str) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place_of(raw[: error.start].decode("utf-8"))
        utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        found = "UTF-16" if utf16 else f"byte 0x{raw[error.start]:02X}"
        message = f"{where}:{line}:{column}: not UTF-8: {found} at offset {error.start}"
        raise ConfigError(message, "Save the file as UTF-8 text.") from None
    if bad := _UNPRINTABLE.search(text):
        line, column = _place_of(text[: bad.start()])
        offset = len(text[: bad.start()].encode())
        message = f"{where}:{line}:{column}: control character {bad[0]!a} at offset {offset}"
        raise ConfigError(message, "A config is plain text; is this a binary file?")
    return text  # PyYAML skips a byte-order mark


def _place_of(before: str) -> Place:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def read_yaml(text: str, depth: int = 0) -> Reading:
    """Read one value; never raises for what the text holds. ``depth``: how deep it will be put."""
    reader = _Reader(depth)
    try:
        reader.read(text)
    except _Stop as stop:
        reader.out.problems.append(stop.problem)
        reader.out.value = _UNREADABLE
    return _checked(reader.out)


def read_file(path: str | PathLike[str]) -> Reading:
    """The value of a file that is no config. ConfigError names all that is wrong with it as YAML."""
    reading = read_yaml(read_text(path))
    told = []
    for problem in reading.problems:
        position = f":{problem.place[0]}:{problem.place[1]}" if problem.place else ""
        name = f" {'.'.join(map(str, problem.path))}:" if problem.path else ""
        told.append(f"{path}{position}:{name} {problem.text}")
    if told:
        raise ConfigError("\n".join(told))
    return reading


def from_values(document: Any) -> Reading:
    """Values that are parsed already; checked in the same way, and copied."""
    return _checked(Reading(value=document))


def plain_scalar(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes, by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base) if len(text) < 300 else 2**999  # refused later, too
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class _Stop(Exception):
    """What follows this problem cannot be read."""

    def __init__(self, text: str, place: Place | None):
        super().__init__(text)
        self.problem = Problem((), text, place)


class _Reader:
    """Events to values; recursion is bounded by MAX_DEPTH."""

    def __init__(self, depth: int):
        self.out = Reading()
        self.depth = depth
        self.count = 0

    def read(self, text: str) -> None:
        try:
            self.loader: Any = yaml.SafeLoader(text)
        except yaml.YAMLError:
            raise _Stop("a control character is not allowed here", None) from None
        self._next()  # the stream's start
        if isinstance(start := self._next(), yaml.StreamEndEvent):  # only blanks and comments
            return self.out.values.update({(): (1, 1)})
        if start.version or start.tags:
            self._problem((), "directives such as %YAML are not supported", start)
        self.out.value = self._value(self._next(), ())
        self._next()  # the document's end
        if not isinstance(extra := self._next(), yaml.StreamEndEvent):
            self._problem((), "a second document begins here; a config is one", extra)

    def _next(self) -> Any:
        try:
            return self.loader.get_event()
        except yaml.MarkedYAMLError as error:
            raise _syntax_error(error) from None
        except (yaml.YAMLError, ValueError, OverflowError):  # PyYAML does not check \U escapes
            raise _Stop("this is not valid YAML", _place(self.loader.get_mark())) from None

    def _problem(self, path: Path, text: str, event: Any) -> Any:
        self.out.problems.append(Problem(path, text, _place(event.start_mark)))
        return _UNREADABLE

    def _value(self, event: Any, path: Path) -> Any:
        self.count += 1
        place = _place(event.start_mark)
        if self.count > MAX_VALUES:
            raise _Stop(f"more than {MAX_VALUES:,} values", place)
        if self.depth + len(path) > MAX_DEPTH:
            raise _Stop(f"nested deeper than {MAX_DEPTH}", place)
        self.out.values.setdefault(path, place)
        if isinstance(event, yaml.AliasEvent):
            text = f"the alias *{str(event.anchor)[:60]} is not supported: write it out, or in quotes"
            return self._problem(path, text, event)
        if event.anchor is not None:
            self._problem(path, f"anchors such as &{event.anchor[:60]} are not supported", event)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")[:60]
            self._problem(path, f"tags such as {tag} are not supported", event)
        value: Any = None
        if isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style else plain_scalar(event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        return value if event.tag is None else _UNREADABLE

    def _sequence(self, path: Path) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key is None:
                self._value(self._next(), (*path, "?"))
                self.out.unreadable.add((*path, "?"))
                continue
            here, place = (*path, key), _place(event.start_mark)
            if key in values:
                lines = f"lines {self.out.keys[here][0]} and {place[0]}"
                self._problem(here, f"the key is set twice, in {lines}", event)
            self.out.keys.setdefault(here, place)
            values.setdefault(key, self._value(self._next(), here))
        return values

    def _key(self, event: Any, path: Path) -> str | None:
        """The text of a key, or None after saying what is wrong with it."""
        key = self._value(event, (*path, "?"))
        if isinstance(event, yaml.ScalarEvent) and event.style is None and key == "<<":
            self._problem(path, "merge keys (<<) are not supported: write the settings out", event)
        elif isinstance(key, str):
            return key
        elif key is not _UNREADABLE:
            self._problem(path, "a key must be text: put it in quotes", event)
        return None


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _syntax_error(error: yaml.MarkedYAMLError) -> _Stop:
    problem = str(error.problem)
    began_earlier = re.search("expected ':'|end of stream|alphabetic", problem)
    mark = (error.context_mark if began_earlier else None) or error.problem_mark
    text = next((ours for words, ours in _SYNTAX if words in problem), problem)
    return _Stop(text, _place(mark) if mark else None)


def _checked(reading: Reading) -> Reading:
    """Copy the values, leaving None where they are unreadable or not allowed."""

    def refuse(path: Path, *texts: str) -> None:
        reading.unreadable.add(path)
        place = reading.values.get(path)
        reading.problems.extend(Problem(path, text, place) for text in texts)

    def copy(value: Any, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            return refuse(path, f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, Mapping):
            if any(not isinstance(key, str) or _wrong_scalar(key) for key in value):
                return refuse(path, "a key must be text, without halves of surrogate pairs")
            return {key: copy(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [copy(item, (*path, index)) for index, item in enumerate(value)]
        if value is _UNREADABLE:
            return refuse(path)
        return value if (wrong := _wrong_scalar(value)) is None else refuse(path, wrong)

    reading.value = copy(reading.value, ())
    return reading


def _wrong_scalar(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "the number is not finite (NaN and infinity are not allowed)"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "the number is beyond 64 bits (put it in quotes if it is meant as text)"
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        return "the text holds half of a surrogate pair"
    if value is not None and not isinstance(value, str | int | float):
        return f"this {type(value).__name__} is not a value that a config can hold"
    return None
