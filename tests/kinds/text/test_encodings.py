# ruff: noqa: RUF001 - letters of many scripts are what this file is about.
"""Texts as the world writes them: encodings, marks, line ends and compression, each named or read right."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from lstmcli.config.load import parse_config
from lstmcli.core.errors import ConfigError, DataError
from lstmcli.kinds.files import reading
from lstmcli.kinds.files.encodings import recognise
from lstmcli.kinds.text.settings import TextSource
from lstmcli.kinds.text.source import prepare_text

Write = Callable[[str, str | bytes], Path]
Settings = Callable[..., TextSource]

UTF16 = ["utf-16", "utf-16-le", "utf-16-be"]
TEXTS = {
    "french": (
        "L'été dernier, nous sommes allés à la forêt. Où êtes-vous, garçon ?\n",
        ["latin-1", "mac_roman", "cp850"],
    ),
    "quoted": (
        "Il a dit : \xab c\u2019est l\u2019été\u2026 \xbb \u2013 œuvre à 5 €.\n",
        ["cp1252", "mac_roman"],
    ),
    "german": ("Die Straße führt über die Brücke. Größe, Äpfel, Öl und Übermut.\n", ["latin-1", "cp850"]),
    "polish": ("Zażółć gęślą jaźń. Święty Łukasz był tutaj, proszę państwa.\n", ["cp1250", "iso8859_2"]),
    "russian": (
        "\u042f помню чудное мгновенье: передо мной явилась ты.\n",
        ["cp1251", "koi8_r", "cp866", "iso8859_5", *UTF16],
    ),
    "greek": ("Η γρήγορη καφέ αλεπού πηδάει πάνω από το σκυλί.\n", ["cp1253", *UTF16]),
    "turkish": ("Pijamalı hasta yağız şoföre çabucak güvendi. İşte böyle.\n", ["cp1254"]),
    "chinese": ("床前明月光,疑是地上霜。举头望明月,低头思故乡。你好世界。\n", ["gb18030", *UTF16]),
    "taiwan": ("床前明月光,疑是地上霜。舉頭望明月,低頭思故鄉。\n", ["big5"]),
    "japanese": (
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
        ["shift_jis", "euc_jp", *UTF16],
    ),
    "korean": (
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n",
        ["euc_kr", "utf-16-le"],
    ),
    "english": ("The quick brown fox jumps over the lazy dog.\n", [*UTF16, "utf-32"]),
}
CASES = [(name, encoding) for name, (_, encodings) in TEXTS.items() for encoding in encodings]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("name", "encoding"), CASES)
def test_each_encoding_is_recognised_and_read(
    name: str, encoding: str, ends: str, write: Write, settings: Settings
) -> None:
    text = TEXTS[name][0] * 30
    raw = text.replace("\n", ends).encode(encoding)
    path = write("a.txt", raw)
    with pytest.raises(DataError) as caught:
        prepare_text(settings(path=path))
    found = recognise(raw)
    assert found is not None
    assert f"`data.encoding: {found.encoding}`" in str(caught.value)
    for chunk in (7, 1 << 20):
        with patch.object(reading, "CHUNK_BYTES", chunk):
            data = prepare_text(
                settings(
                    path=path,
                    splits=[1.0],
                    encoding=found.encoding,
                    newlines="unix",
                    cache=path.parent / str(chunk),
                )
            )
        assert data.vocabulary.decode(data.train) == text


def test_what_is_no_text_is_not_called_one() -> None:
    assert recognise(bytes(range(256)) * 8) is None
    assert recognise(bytes(k * k * 7 % 251 for k in range(5000))) is None
    assert recognise(b"the cat\0" + b"sat on the mat " * 30) is None


def zipped(raw: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", raw)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
        ("zip", zipped),
        ("zstd", lambda raw: b"\x28\xb5\x2f\xfd" + raw),
    ],
)
def test_a_compressed_file_is_named(
    name: str,
    pack: Callable[[bytes], bytes],
    write: Write,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write("a.txt", pack(b"the cat sat on the mat\n" * 50))
    for encoding in (None, "latin-1"):
        with pytest.raises(DataError, match=f"is compressed by {name}"):
            prepare_text(settings(path=path, encoding=encoding))
    prepare_text(settings(path=path, level="bytes"))
    assert f"is compressed by {name}" in capsys.readouterr().err


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize(
    ("encoding", "content", "offset", "line"),
    [
        ("gb18030", "你好\n世".encode("gb18030") + b"\xff", 7, 2),
        ("shift_jis", "猫\n猫".encode("shift_jis") + b"\xa0\xff", 5, 2),
        ("ascii", b"abc\n\xe9", 4, 2),
        ("utf-16-le", "ab\n".encode("utf-16-le") + b"\x00\xd8a\x00", 6, 2),
    ],
)
def test_an_error_in_a_stated_encoding_is_placed_exactly(
    encoding: str, content: bytes, offset: int, line: int, chunk: int, write: Write, settings: Settings
) -> None:
    path = write("a.txt", content)
    with patch.object(reading, "CHUNK_BYTES", chunk), pytest.raises(DataError) as caught:
        prepare_text(settings(path=path, encoding=encoding))
    assert f"is not valid {encoding} at byte offset {offset} (line {line})" in str(caught.value)


def test_line_ends_are_told_and_made_one(write: Write, settings: Settings) -> None:
    path = write("a.txt", "the cat\r\nsat\ron\r\n" * 20)
    (told,) = prepare_text(settings(path=path)).notices
    assert "40 line ends of Windows" in told and "20 carriage returns" in told
    data = prepare_text(settings(path=path, newlines="unix", splits=[1.0]))
    assert data.vocabulary.decode(data.train) == "the cat\nsat\non\n" * 20
    assert data.notices == ()


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_normal_form_is_that_of_the_whole_text(
    form: str, chunk: int, write: Write, settings: Settings
) -> None:
    text = "café cafe\u0301 각 \u1100\u1161\u11a8 q\u0307\u0323\n" * 5
    path = write("a.txt", text)
    with patch.object(reading, "CHUNK_BYTES", chunk):
        data = prepare_text(settings(path=path, normalize=form, splits=[1.0]))
    assert data.vocabulary.decode(data.train) == unicodedata.normalize(form, text)  # type: ignore[arg-type]


def test_a_symbol_never_follows_one_of_another_file(write: Write, settings: Settings) -> None:
    paths = [str(write("a.txt", "abc")), str(write("b.txt", "abc\n")), str(write("c.txt", "abc"))]
    data = prepare_text(settings(path=paths, splits=[1.0]))
    assert data.vocabulary.decode(data.train) == "abc\nabc\nabc"
    data = prepare_text(settings(path=paths, splits=[1.0], separator="|"))
    assert data.vocabulary.decode(data.train) == "abc|abc\n|abc"
    ended = prepare_text(settings(path=paths[1:], splits=[1.0]))
    assert ended.fingerprint == prepare_text(settings(path=paths[1:], splits=[1.0], separator="")).fingerprint


def test_unknown_symbols_are_told_with_the_commonest(write: Write, settings: Settings) -> None:
    paths = [str(write("a.txt", "the cat sat\n" * 75)), str(write("b.txt", "ддда\n" * 20))]
    data = prepare_text(settings(path=paths))
    (told,) = data.notices
    assert "80 of the 100 symbols of the validation text (80.0%) are unknown" in told
    assert told.index("60 times") < told.index("20 times") and "(U+0434)" in told
    assert prepare_text(settings(path=paths)).notices == data.notices, "from the cache, too"
    assert prepare_text(settings(path=paths[0])).notices == ()


def test_an_encoding_that_there_is_not() -> None:
    for name in ("klingon", "rot13", "base64"):
        with pytest.raises(ConfigError, match="no such text encoding"):
            parse_config({"data": {"path": "a.txt", "encoding": name}}, "c.yaml")
    with pytest.raises(ConfigError, match="encoding has no place beside level: bytes"):
        parse_config({"data": {"path": "a.txt", "encoding": "utf-16", "level": "bytes"}}, "c.yaml")


def test_a_mark_is_dropped_in_any_encoding(write: Write, settings: Settings) -> None:
    for encoding, mark in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-8-sig", codecs.BOM_UTF8)):
        path = write(f"{encoding}.txt", mark + "the cat sat".encode(encoding.removesuffix("-sig")))
        data = prepare_text(settings(path=path, encoding=encoding, splits=[1.0]))
        assert data.vocabulary.decode(data.train) == "the cat sat"
