"""The cache: used when it is whole, made again when it is not, harmless to others."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmcli.core.errors import ResourceError
from lstmcli.kinds.files import cache as module
from lstmcli.kinds.text import preparing
from lstmcli.kinds.text.settings import TextSource
from lstmcli.kinds.text.source import TextData, prepare_text

Write = Callable[[str, str | bytes], Path]
Settings = Callable[..., TextSource]

POEM = "Über allen Gipfeln ist Ruh, 静夜思 🌙\n" * 50


def folder_of(settings: TextSource, prepared: TextData) -> Path:
    return Path(settings.cache) / prepared.fingerprint[:16]


def is_poem(data: TextData) -> bool:
    assert data.val is not None
    return data.vocabulary.decode([*data.train, *data.val]) == POEM


def test_a_second_start_reads_nothing(
    write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = settings(path=write("a.txt", POEM))
    first = prepare_text(data)

    def forbidden(*arguments: Any) -> Any:
        raise AssertionError("the text was read again")

    monkeypatch.setattr(module, "examine_file", forbidden)
    monkeypatch.setattr(preparing, "read_pieces", forbidden)
    second = prepare_text(data)
    assert not first.summary["cached"]
    assert second.summary["cached"]
    assert second.summary["mb_per_second"] is None
    assert first.summary["mb_per_second"] > 0
    for name in ("files", "bytes", "symbols", "unknown", "vocabulary"):
        assert first.summary[name] == second.summary[name]
    assert first.fingerprint == second.fingerprint
    assert first.vocabulary == second.vocabulary
    assert is_poem(second)


def test_other_splits_do_not_examine_the_file_again(
    write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.txt", POEM)
    prepare_text(settings(path=path))
    monkeypatch.setattr(module, "examine_file", None)
    assert not prepare_text(settings(path=path, splits=[0.5, 0.5])).summary["cached"]


def test_a_changed_file_has_another_fingerprint(write: Write, settings: Settings) -> None:
    data = settings(path=write("a.txt", POEM))
    first = prepare_text(data)
    path = write("a.txt", POEM.replace("ist", "war"))
    os.utime(path, (1e9, 1e9))  # same name and size
    second = prepare_text(data)
    assert second.fingerprint != first.fingerprint
    assert not second.summary["cached"]
    assert "war" in second.vocabulary.decode(second.train)


def test_a_file_written_just_now_is_read_again(write: Write, settings: Settings) -> None:
    """A second change within one tick of the clock would leave the same time stamp."""
    path = write("a.txt", POEM)
    now = time.time()
    os.utime(path, (now, now))
    first = prepare_text(settings(path=path))
    path.write_bytes(POEM.replace("ist", "war").encode())
    os.utime(path, (now, now))
    assert prepare_text(settings(path=path)).fingerprint != first.fingerprint


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def unlink(path: Path) -> None:
    path.unlink()


def nest(path: Path) -> None:
    path.write_text("[" * 100_000)


@pytest.mark.parametrize("damage", [cut, flip, blank, unlink, nest])
@pytest.mark.parametrize("name", ["train.ids", "val.ids", "meta.json"])
def test_a_damaged_cache_is_made_again(
    name: str, damage: Callable[[Path], None], write: Write, settings: Settings
) -> None:
    data = settings(path=write("a.txt", POEM))
    folder = folder_of(data, prepare_text(data))
    damage(folder / name)
    again = prepare_text(data)
    assert not again.summary["cached"]
    assert is_poem(again)
    assert prepare_text(data).summary["cached"]
    assert sorted(path.name for path in Path(data.cache).iterdir()) == [folder.name, "examined"]


def test_what_is_known_of_files_is_forgotten_when_damaged(write: Write, settings: Settings) -> None:
    data = settings(path=write("a.txt", POEM))
    prepare_text(data)
    for path in Path(data.cache, "examined").iterdir():
        flip(path)
    assert is_poem(prepare_text(data))


def test_another_format_is_not_used(
    write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = settings(path=write("a.txt", POEM))
    first = prepare_text(data)
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    assert not prepare_text(data).summary["cached"]
    assert prepare_text(data).summary["cached"]
    meta = json.loads((folder_of(data, first) / "meta.json").read_text())
    assert meta["format"] == module.FORMAT


def test_a_file_or_an_empty_folder_in_the_way(write: Write, settings: Settings) -> None:
    data = settings(path=write("a.txt", POEM))
    folder = folder_of(data, prepare_text(data))
    shutil.rmtree(folder)
    folder.write_text("in the way")
    assert is_poem(prepare_text(data))
    shutil.rmtree(folder)
    folder.mkdir()
    assert is_poem(prepare_text(data))


def test_half_written_folders_of_killed_processes_go_after_a_day(write: Write, settings: Settings) -> None:
    data = settings(path=write("a.txt", POEM))
    old, new = (Path(data.cache, f".{k * 8}-77-{k[0] * 8}.tmp") for k in ("0a", "1b"))
    foreign = Path(data.cache, ".mine.tmp")  # the folder may be anybody's
    for path in (old, new, foreign):
        path.mkdir(parents=True)
        (path / "train.ids").write_bytes(b"x")
    two_days_ago = time.time() - 48 * 3600
    for path in (old, foreign):
        os.utime(path, (two_days_ago, two_days_ago))
    prepare_text(data)
    assert not old.exists()
    assert new.exists() and foreign.exists()


def test_a_full_disk_says_how_much_is_needed(
    write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = settings(path=write("a.txt", POEM))

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preparing, "write_meta", full)
    with pytest.raises(ResourceError, match="No space left on device") as caught:
        prepare_text(data)
    assert f"it needs {len(POEM):,} bytes" in str(caught.value)
    assert "data.cache" in str(caught.value)
    assert caught.value.exit_code == 7
    assert [path.name for path in Path(data.cache).iterdir()] == ["examined"]


def test_a_read_only_cache_folder(write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.txt", POEM)
    prepared = prepare_text(settings(path=path))

    def read_only(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(ResourceError, match="Read-only file system; it needs"):
        prepare_text(settings(path=path, min_count=2))
    assert prepare_text(settings(path=path)).fingerprint == prepared.fingerprint


def test_a_cache_that_is_a_file(write: Write, settings: Settings) -> None:
    path = write("a.txt", POEM)
    with pytest.raises(ResourceError, match="cannot write the prepared text"):
        prepare_text(settings(path=path, cache=path))


PREPARE_WHEN_TOLD = """
import sys
from types import SimpleNamespace
from lstmcli.kinds.text.source import prepare_text
data = SimpleNamespace(
    path=sys.argv[1], cache=sys.argv[2], val_path=None, test_path=None, url=None, sha256=None,
    level="characters", splits=[0.9, 0.1], min_count=1,
    encoding=None, newlines="keep", normalize="none", separator=None,
)
print("ready", flush=True)
sys.stdin.readline()
found = prepare_text(data)
print(ascii(found.vocabulary.decode([*found.train, *found.val])), found.fingerprint)
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_prepare_at_once(write: Write, settings: Settings, damaged: bool) -> None:
    data = settings(path=write("a.txt", POEM))
    if damaged:
        blank(folder_of(data, prepare_text(data)) / "train.ids")
    command = [sys.executable, "-c", PREPARE_WHEN_TOLD, str(data.path), data.cache]
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[3])}
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    found = [worker.communicate(timeout=30)[0] for worker in workers]
    fingerprint = prepare_text(data).fingerprint
    assert found == [f"{POEM!a} {fingerprint}\n"] * 3
    assert len(list(Path(data.cache).iterdir())) == 2  # no leftovers beside `examined`


def test_the_loser_of_a_race_uses_what_the_winner_made(
    write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner's folder appears between the loser's look and its rename."""
    data = settings(path=write("a.txt", POEM))
    seal = preparing.write_meta
    others: list[TextData] = []

    def overtaken(*arguments: Any) -> None:
        seal(*arguments)
        if not others:
            monkeypatch.setattr(preparing, "write_meta", seal)
            others.append(prepare_text(data))

    monkeypatch.setattr(preparing, "write_meta", overtaken)
    mine = prepare_text(data)
    assert is_poem(mine)
    assert is_poem(others[0])
    assert Path(mine.train.filename).samefile(others[0].train.filename)
    assert len(list(Path(data.cache).iterdir())) == 2
