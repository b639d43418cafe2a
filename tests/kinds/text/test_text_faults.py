"""Texts that cannot be used: one message with file, place and remedy, and nothing left behind."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmcli.core.errors import DataError, LstmError, ResourceError
from lstmcli.kinds.files import reading
from lstmcli.kinds.text.settings import TextSource
from lstmcli.kinds.text.source import encode_file, prepare_text
from lstmcli.kinds.text.vocabulary import Vocabulary

Write = Callable[[str, str | bytes], Path]
Settings = Callable[..., TextSource]


def message_of(data: TextSource, exit_code: int = 4) -> str:
    with pytest.raises(LstmError) as caught:
        prepare_text(data)
    assert caught.value.exit_code == exit_code
    prepared = Path(data.cache)
    assert not list(prepared.glob("*.tmp")) + list(prepared.glob(".*")), "leftovers in the cache"
    return str(caught.value)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize(
    ("content", "offset", "line", "byte"),
    [
        (b"ab\xffcd", 2, 1, "0xff"),
        (b"caf\xe9 au lait", 3, 1, "0xe9"),
        (b"a\nb\r\n\xc3\xa9\xc3(", 7, 3, "0xc3"),
        (b"\xef\xbb\xbfab\n\n\x80", 7, 3, "0x80"),
        ("静夜".encode()[:-1], 3, 1, "0xe5"),
        (b"surrogate \xed\xa0\x80", 10, 1, "0xed"),
        (b"\xff\xfea\x00b\x00", 0, 1, "0xff"),
    ],
)
def test_invalid_utf8_is_placed_exactly(
    content: bytes,
    offset: int,
    line: int,
    byte: str,
    chunk: int,
    write: Write,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    path = write("a.txt", content)
    message = message_of(settings(path=path))
    assert f"{path} is not valid UTF-8 at byte offset {offset} (line {line}): byte {byte}" in message
    assert "`data.level: bytes`" in message
    with pytest.raises(DataError, match=f"byte offset {offset} "):
        encode_file(path, Vocabulary("characters", "ab"))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_nul_is_placed_exactly(
    start: bytes, chunk: int, write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    path = write("a.txt", start + b"a\nb\nc\0d")
    message = message_of(settings(path=path))
    assert f"{path} holds a NUL at byte offset {5 + len(start)} (line 3)" in message
    assert "`data.level: bytes`" in message


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file(content: bytes, write: Write, settings: Settings) -> None:
    full, empty = write("a.txt", "abc" * 10), write("b.txt", content)
    assert f"{empty} is empty" in message_of(settings(path=empty))
    assert f"{empty} is empty" in message_of(settings(path=[str(full), str(empty)]))
    assert f"{empty} is empty" in message_of(settings(path=full, val_path=empty))
    with pytest.raises(DataError, match="is empty"):
        encode_file(empty, Vocabulary("characters", "ab"))


@pytest.mark.parametrize("level", ["characters", "bytes"])
def test_one_symbol_only(write: Write, settings: Settings, level: str) -> None:
    path = write("a.txt", "a" * 100)
    message = message_of(settings(path=path, level=level))
    assert "repeats the single symbol 'a'" in message
    assert "one symbol only" not in message
    late = write("b.txt", "a" * 99 + "b")
    assert "repeats the single symbol" in message_of(settings(path=late, level=level))


def test_a_min_count_that_leaves_nothing(write: Write, settings: Settings) -> None:
    path = write("a.txt", "aab" * 10)
    message = message_of(settings(path=path, min_count=50, splits=[1.0]))
    assert "data.min_count = 50" in message
    assert "occurs 20 times" in message
    assert prepare_text(settings(path=path, min_count=11, splits=[1.0])).train[:3].tolist() == [
        1,
        1,
        0,
    ]


def test_a_split_without_two_symbols(write: Write, settings: Settings) -> None:
    path = write("a.txt", "abcdefghij")
    message = message_of(settings(path=path))
    assert "the val split has 1 of the text's 10 symbols" in message
    assert "other data.splits than [0.9, 0.1]" in message
    short = write("b.txt", "a")
    message = message_of(settings(path=path, val_path=short))
    assert "the val split has 1 of the text's 1 symbols" in message
    assert "data.splits" not in message


def test_missing_files_and_folders(tmp_path: Path, settings: Settings, write: Write) -> None:
    assert "there is no file" in message_of(settings(path=tmp_path / "none.txt"))
    assert "is a folder" in message_of(settings(path=tmp_path))
    path = write("a.txt", "abc" * 10)
    message = message_of(settings(path=path, test_path=tmp_path / "none.txt"))
    assert message.startswith("data.test_path: there is no file")
    vocabulary = Vocabulary("characters", "ab")
    with pytest.raises(DataError, match="there is no file"):
        encode_file(tmp_path / "none.txt", vocabulary)
    with pytest.raises(DataError, match="is a folder"):
        encode_file(tmp_path, vocabulary)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (PermissionError(13, "Permission denied"), DataError, "permission denied"),
        (OSError(5, "Input/output error"), ResourceError, "Input/output error"),
    ],
)
def test_an_unreadable_file(
    error: OSError,
    kind: type[LstmError],
    said: str,
    write: Write,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write("a.txt", "abc" * 10)
    really_open = builtins.open

    def failing(name: Any, *arguments: Any, **options: Any) -> Any:
        if Path(name) == path:
            raise error
        return really_open(name, *arguments, **options)

    monkeypatch.setattr(builtins, "open", failing)
    message = message_of(settings(path=path), kind.exit_code)
    assert f"{path} cannot be read: {said}" in message


@pytest.mark.parametrize("stage", ["reading", "counting", "encoding"])
def test_a_file_that_changes_while_it_is_read(stage: str, write: Write, settings: Settings) -> None:
    path = write("a.txt", "abc" * 100)
    data = settings(path=path)

    heard: list[str] = []

    def meddle(label: str, done: int, total: int) -> None:
        heard.append(label)
        if heard.count(stage) == 1 and label == stage:
            with open(path, "ab") as file:
                file.write(b"d")

    with pytest.raises(DataError, match="changed while it was read"):
        prepare_text(data, meddle)
    os.utime(path, (1e9, 1e9))
    assert prepare_text(data).summary["bytes"] == path.stat().st_size
