"""Faults of the machine, made for real: small and read-only disks, limits on files and memory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def mount(*words: str) -> None:
    """`mount WORDS`; the test is skipped where that is not allowed."""
    try:
        done = subprocess.run(["mount", *words], capture_output=True)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")


@pytest.fixture
def disk() -> Iterator[Callable[..., Path]]:
    """Puts a file system of so many bytes in memory at a place."""
    mounted: list[Path] = []

    def make(place: Path, size: int) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
        mounted.append(place)
        return place

    yield make
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes a mounted disk read-only: permissions alone do not stop the superuser."""
    changed: list[Path] = []

    def make(place: Path) -> None:
        mount("-o", "remount,ro", str(place))
        changed.append(place)

    yield make
    for place in changed:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=False)
