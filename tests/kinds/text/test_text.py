"""Prepared texts against a slow reference that reads everything at once."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lstmcli.core import progress
from lstmcli.core.errors import DataError
from lstmcli.kinds.files import reading
from lstmcli.kinds.text import preparing
from lstmcli.kinds.text import source as text
from lstmcli.kinds.text.preparing import split_edges
from lstmcli.kinds.text.settings import TextSource
from lstmcli.kinds.text.source import TextData, encode_file, prepare_text
from lstmcli.kinds.text.vocabulary import Vocabulary

Write = Callable[[str, str | bytes], Path]
Settings = Callable[..., TextSource]

SHARED = Path(__file__).parents[4] / "shared" / "data" / "text"
BOM = "\ufeff"
POEM = "Über allen Gipfeln\r\nist Ruh, 静夜思 🌙\n" * 20


def slow_prepare(parts: list[str], splits: list[float], min_count: int) -> tuple[str, dict[str, list[int]]]:
    """The vocabulary's symbols and the ids of each split that has a share."""
    whole = ""
    for part in parts:  # a document that does not end with a line end gets one before the next
        whole += "\n" * bool(whole and whole[-1] not in "\r\n") + part.removeprefix(BOM)
    pieces, start, so_far = {}, 0, Fraction(0)
    for name, share in zip(("train", "val", "test"), splits, strict=False):
        so_far += Fraction(str(share))
        stop = math.floor(len(whole) * so_far)
        if share:
            pieces[name] = whole[start:stop]
        start = stop
    counts = Counter(pieces["train"])
    symbols = "".join(sorted(c for c in counts if counts[c] >= min_count))
    ids = {c: index + 1 for index, c in enumerate(symbols)}
    return symbols, {name: [ids.get(c, 0) for c in piece] for name, piece in pieces.items()}


def splits_of(data: TextData) -> dict[str, list[int]]:
    named = {"train": data.train, "val": data.val, "test": data.test}
    return {name: ids.tolist() for name, ids in named.items() if ids is not None}


@hypothesis_settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(
        st.text(st.sampled_from("aab\n\réß静夜\u0800😀\U0010ffff\ufeff"), min_size=1, max_size=40),
        min_size=1,
        max_size=3,
    ),
    bom=st.booleans(),
    splits=st.sampled_from([[1.0], [0.9, 0.1], [0.5, 0.0, 0.5], [0.4, 0.3, 0.3], [0.3, 0.3]]),
    min_count=st.integers(1, 3),
    chunk=st.integers(1, 9),
)
def test_any_text_in_any_chunks_is_prepared_as_by_the_reference(
    parts: list[str], bom: bool, splits: list[float], min_count: int, chunk: int
) -> None:
    parts = [BOM * bom + part for part in parts]
    symbols, expected = slow_prepare(parts, splits, min_count)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(reading, "CHUNK_BYTES", chunk),
        patch.object(preparing, "PAIRS_FROM", 2),
    ):
        paths = [Path(folder, f"{index}.txt") for index in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            path.write_bytes(part.encode("utf-8"))
        data = TextSource(
            path=[str(path) for path in paths], splits=splits, min_count=min_count, cache=folder
        )
        empty = "" in [part.removeprefix(BOM) for part in parts]
        too_short = min(map(len, expected.values())) < 2
        if too_short or len(set(expected["train"])) < 2 or empty:
            with pytest.raises(DataError):
                prepare_text(data)
            return
        found = prepare_text(data)
        assert found.vocabulary.symbols == symbols
        assert splits_of(found) == expected
        assert found.summary["symbols"] == {name: len(ids) for name, ids in expected.items()}
        assert found.summary["unknown"] == {name: ids.count(0) for name, ids in expected.items()}
        assert found.summary["files"] == len(parts)
        assert found.summary["bytes"] == sum(path.stat().st_size for path in paths)


@hypothesis_settings(deadline=None, max_examples=50)
@given(raw=st.binary(min_size=4, max_size=300), chunk=st.integers(1, 50))
def test_at_level_bytes_anything_is_read_as_it_is(raw: bytes, chunk: int) -> None:
    stop = len(raw) * 7 // 10
    with tempfile.TemporaryDirectory() as folder, patch.object(reading, "CHUNK_BYTES", chunk):
        Path(folder, "a.bin").write_bytes(raw)
        data = TextSource(path=f"{folder}/a.bin", level="bytes", splits=[0.7, 0.3], cache=folder)
        if len(set(raw[:stop])) < 2 or len(raw) - stop < 2:
            with pytest.raises(DataError):
                prepare_text(data)
            return
        found = prepare_text(data)
        assert splits_of(found) == {"train": list(raw[:stop]), "val": list(raw[stop:])}
        assert found.vocabulary == Vocabulary("bytes")
        assert found.summary["unknown"] == {"train": 0, "val": 0}
        assert encode_file(Path(folder, "a.bin"), found.vocabulary).tolist() == list(raw)


def test_counting_pairs_agrees_with_counting_bytes() -> None:
    rng = np.random.default_rng(1)
    for size in (preparing.PAIRS_FROM, preparing.PAIRS_FROM + 1):
        raw = rng.integers(0, 256, size).astype(np.uint8)
        np.testing.assert_array_equal(preparing._histogram(raw.tobytes()), np.bincount(raw))


@pytest.mark.parametrize("level", ["characters", "bytes"])
def test_three_files_decode_to_what_they_hold(write: Write, settings: Settings, level: str) -> None:
    """Whatever is in the cache is the text, to the last character."""
    for index in range(3):
        write(f"{index}.txt", POEM * (index + 1))
    pattern = write("0.txt", POEM).parent / "*.txt"
    for _ in range(2):
        data = prepare_text(settings(path=pattern, level=level, splits=[0.6, 0.2, 0.2]))
        assert data.val is not None
        assert data.test is not None
        joined = np.concatenate([data.train, data.val, data.test])
        assert data.vocabulary.decode(joined) == POEM * 6
    assert data.summary["cached"]


def test_the_order_of_a_glob_is_the_order_of_the_text(write: Write, settings: Settings) -> None:
    write("b.txt", "bbbb")
    path = write("a.txt", "aaaa").parent / "?.txt"
    data = prepare_text(settings(path=path, splits=[1.0], separator=""))
    assert data.vocabulary.decode(data.train) == "aaaabbbb"
    assert data.val is None
    assert data.test is None


def test_separate_files_leave_the_training_text_whole(write: Write, settings: Settings) -> None:
    train, val = write("train.txt", "abcabc"), write("val.txt", "abxay")
    data = prepare_text(settings(path=train, val_path=val, splits=[0.5, 0.5]))
    assert data.vocabulary.symbols == "abc"
    assert splits_of(data) == {"train": [1, 2, 3, 1, 2, 3], "val": [1, 2, 0, 1, 0]}
    assert data.summary["unknown"] == {"train": 0, "val": 2}
    data = prepare_text(settings(path=train, test_path=val))
    assert data.val is None
    assert splits_of(data)["test"] == [1, 2, 0, 1, 0]
    data = prepare_text(settings(path=train, val_path=val, test_path=[str(train), str(val)], separator=""))
    assert splits_of(data)["test"] == [1, 2, 3, 1, 2, 3, 1, 2, 0, 1, 0]
    assert data.summary["files"] == 4


def test_line_ends_stay_and_the_byte_order_mark_goes(write: Write, settings: Settings) -> None:
    one = write("1.txt", BOM + "a\r\nb\n")
    two = write("2.txt", BOM + BOM + "c\r")
    data = prepare_text(settings(path=[str(one), str(two)], splits=[1.0]))
    assert data.vocabulary.decode(data.train) == "a\r\nb\n" + BOM + "c\r"
    assert encode_file(one, data.vocabulary).tolist() == data.vocabulary.encode("a\r\nb\n").tolist()


def test_ids_are_read_only_maps_of_the_smallest_type(write: Write, settings: Settings) -> None:
    data = prepare_text(settings(path=write("a.txt", POEM)))
    assert isinstance(data.train, np.memmap)
    assert data.train.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        data.train[0] = 0
    many = "".join(chr(0x4E00 + index) for index in range(300))
    assert prepare_text(settings(path=write("b.txt", many))).train.dtype == np.uint16


@pytest.mark.parametrize(
    ("symbols", "shares", "edges"),
    [
        (10, [0.7, 0.2, 0.1], [0, 7, 9, 10]),
        (10, [1 / 3, 1 / 3, 1 / 3], [0, 3, 6, 10]),
        (10, [0.25, 0.25], [0, 2, 5]),
        (1_115_394, [0.9, 0.1], [0, 1_003_854, 1_115_394]),
    ],
)
def test_split_edges(symbols: int, shares: list[float], edges: list[int]) -> None:
    assert split_edges(symbols, shares) == edges


def test_the_fingerprint_follows_contents_and_settings_but_not_names(
    write: Write, settings: Settings
) -> None:
    one, same, other = write("1.txt", POEM), write("2.txt", POEM), write("3.txt", POEM + "!")
    prints = [
        prepare_text(settings(path=one)).fingerprint,
        prepare_text(settings(path=other)).fingerprint,
        prepare_text(settings(path=one, splits=[0.8, 0.2])).fingerprint,
        prepare_text(settings(path=one, min_count=2)).fingerprint,
        prepare_text(settings(path=one, level="bytes")).fingerprint,
        prepare_text(settings(path=one, val_path=other)).fingerprint,
        prepare_text(settings(path=one, test_path=other)).fingerprint,
        prepare_text(settings(path=[str(one), str(other)])).fingerprint,
        prepare_text(settings(path=[str(other), str(one)])).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(each) == 64 for each in prints)
    assert prepare_text(settings(path=same)).fingerprint == prints[0]
    separate = prepare_text(settings(path=one, val_path=other, splits=[0.5, 0.5])).fingerprint
    assert separate == prints[5]


def test_a_checksum_of_the_path_is_compared(write: Write, settings: Settings) -> None:
    path = write("a.txt", POEM)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    prepare_text(settings(path=path, sha256=right))
    with pytest.raises(DataError, match=f"{right}.*{'0' * 64}"):
        prepare_text(settings(path=path, sha256="0" * 64))
    other = write("b.txt", POEM)
    with pytest.raises(DataError, match="one file, but there are 2"):
        prepare_text(settings(path=[str(path), str(other)], sha256=right))


def test_a_url_is_downloaded_into_the_cache_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fake(url: str, sha256: str, folder: Path, report: object) -> Path:
        path = text.download_path(url, sha256, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(POEM.encode())
        calls.append(path)
        return path

    monkeypatch.setattr(text, "download", fake)
    monkeypatch.setattr("lstmcli.kinds.files.cache.RACY_NANOSECONDS", 0)
    sha256 = hashlib.sha256(POEM.encode()).hexdigest()
    data = settings(url="https://example.org/poem.txt", sha256=sha256)
    first, second = prepare_text(data), prepare_text(data)
    assert first.fingerprint == second.fingerprint
    assert [path.parent for path in calls] == [tmp_path / "cache" / "downloads"]
    calls[0].write_bytes(POEM.encode()[1:])
    assert prepare_text(data).fingerprint == first.fingerprint
    assert len(calls) == 2


def test_the_standard_library_as_a_text(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstmcli.kinds.files.sources.STDLIB_CAP_BYTES", 300_000)
    first, second = (prepare_text(settings(source="python-stdlib")) for _ in range(2))
    assert "import" in first.vocabulary.decode(first.train)
    assert first.fingerprint == second.fingerprint
    assert second.summary["cached"]


def test_progress_names_the_stages_and_reaches_the_end(write: Write, settings: Settings) -> None:
    heard: list[tuple[str, int, int]] = []
    path = write("a.txt", POEM)
    prepare_text(settings(path=path), lambda *told: heard.append(told))
    size = path.stat().st_size
    assert [label for label, _, _ in heard] == ["reading", "counting", "encoding"]
    assert heard[0] == ("reading", size, size)
    assert heard[-1] == ("encoding", size, size)


def test_progress_comes_at_most_twenty_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 10, 0.001).tolist())
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    heard: list[Any] = []
    report = progress.throttled(lambda *told: heard.append(told))
    for done in range(2000):
        report("reading", done, 0)
    assert 35 <= len(heard) <= 41
    assert time.monotonic() >= 2


def test_encode_file_marks_what_the_vocabulary_lacks(write: Write) -> None:
    vocabulary = Vocabulary("characters", "ab")
    with patch.object(reading, "CHUNK_BYTES", 2):
        assert encode_file(write("a.txt", "b😀aé"), vocabulary).tolist() == [2, 0, 1, 0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample texts are not here")
def test_tiny_shakespeare(settings: Settings) -> None:
    sha256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    data = prepare_text(settings(path=SHARED / "tinyshakespeare.txt", sha256=sha256))
    assert len(data.vocabulary.symbols) == 65
    assert data.summary["symbols"] == {"train": 1_003_854, "val": 111_540}
    assert data.summary["unknown"] == {"train": 0, "val": 0}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sample texts are not here")
def test_tang_poetry(settings: Settings) -> None:
    path = SHARED / "tang_poetry.txt"
    data = prepare_text(settings(path=path, splits=[1.0]))
    assert len(data.vocabulary.symbols) == 5387
    assert data.vocabulary.decode(data.train) == path.read_bytes().decode("utf-8")
