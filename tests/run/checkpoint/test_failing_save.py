"""A save that fails leaves the earlier checkpoints as they were and says how much room it needs."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lstmcli.core.errors import ResourceError
from lstmcli.run.checkpoint import write
from lstmcli.run.checkpoint.store import (
    Snapshot,
    latest_valid,
    read_checkpoint,
    save_checkpoint,
    verify,
)

SMALL, LARGE = 1000, 1_000_000  # float32 values


def large(step: int) -> Snapshot:
    return Snapshot(step, {"model.w": np.ones(LARGE, np.float32)}, {"fill": 2})


def small(step: int) -> Snapshot:
    return Snapshot(step, {"model.w": np.ones(SMALL, np.float32)}, {"fill": 1})


def check_failed_save(folder: Path, step: int) -> ResourceError:
    """A large save at `step` fails; what was there before is sound, and nothing else is left."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ResourceError) as caught:
        save_checkpoint(folder, large(step))
    assert caught.value.exit_code == 7
    assert sorted(path.name for path in folder.iterdir()) == before
    path = latest_valid(folder, print)
    assert verify(path) == [] and read_checkpoint(path, framework="numpy").document["fill"] == 1
    return caught.value


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting is not allowed here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("step", [1, 2], ids=["same step", "next step"])
def test_full_disk(tiny_disk: Path, step: int) -> None:
    folder = tiny_disk / "checkpoints"
    save_checkpoint(folder, small(1))
    error = check_failed_save(folder, step)
    assert "No space left on device" in error.message and f"step_0000000{step}" in error.message
    needed, free = re.findall(r"bytes (?:needed|free): ([\d,]+)", error.message)
    assert int(needed.replace(",", "")) > 4 * LARGE > (1 << 20) > int(free.replace(",", "")) > 0


def test_full_disk_from_the_first_byte(tiny_disk: Path) -> None:
    folder = tiny_disk / "checkpoints"
    save_checkpoint(folder, small(1))
    with pytest.raises(OSError), (tiny_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            assert file.write(bytes(4096))
    check_failed_save(folder, 2)


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_failing_save import check_failed_save, save_checkpoint, small
folder = Path(sys.argv[1])
save_checkpoint(folder, small(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for step in (1, 2):
    print(check_failed_save(folder, step))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_file_size_limit(folder: Path) -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-B", "-c", LIMITED, str(folder), str(here)]
    done = subprocess.run(command, cwd=here.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large; bytes needed: 4,000,") == 2


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync", "rename"])
@pytest.mark.parametrize("step", [1, 2], ids=["same step", "next step"])
def test_any_call_may_fail_at_any_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, step: int
) -> None:
    original = getattr(os, call)
    failures = 0
    for number in range(100):
        folder.mkdir(parents=True, exist_ok=True)
        for path in list(folder.iterdir()):
            write.remove(path)
        save_checkpoint(folder, small(1))
        count = -1

        def failing(*args, number=number, **options):
            nonlocal count
            count += 1
            if count == number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            try:
                save_checkpoint(folder, small(step))
            except ResourceError:
                failures += 1
        assert verify(latest_valid(folder, print)) == []
        assert not list(folder.glob(".tmp-*"))
        if count < number:
            break
    assert failures


def test_an_interrupt_leaves_no_half_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(folder, small(1))
    original = os.fsync

    def interrupted(descriptor: int) -> None:
        original(descriptor)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, small(2))
    assert [path.name for path in folder.iterdir()] == ["step_00000001"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(ResourceError, match="cannot save checkpoint"):
        save_checkpoint(tmp_path / "checkpoints", small(1))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs names of open files")
def test_everything_is_on_the_disk_before_the_rename_and_the_rename_before_the_return(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was flushed, so the order of flushes and renames is what counts."""
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def renamed(source: Path, target: Path) -> None:
        rename(source, target)
        events.append(f"rename to {target.name}")

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    names = {path.name for path in save_checkpoint(folder, small(1)).iterdir()}
    assert set(events[: len(names)]) == names and events[len(names) - 1] == "manifest.json"
    ending = [".tmp-step_00000001", "rename to step_00000001", "checkpoints"]
    assert events[len(names) :] == ending
