"""One process at a time: a lock that the operating system frees when its holder dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lstmcli.core.errors import ResourceError

LOCK_FILE = ".lock"
ATTEMPTS, PAUSE = 5, 0.05
"""Tries, and seconds between them: `is_held` takes the lock for an instant to look at it."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`; ResourceError when another process has it, or it cannot be made.

    The file stays when the lock is released: to delete it would let two processes lock two files.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
    except OSError as error:
        raise ResourceError(
            f"cannot lock {folder}: {error.strerror or error}",
            "check that the folder exists and may be written",
        ) from error
    try:
        _acquire(descriptor, folder)
        with suppress(OSError):  # a full disk: the lock holds without its text
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a living process holds the lock of `folder`; never makes or changes a file."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | _NO_FOLLOW)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def _acquire(descriptor: int, folder: Path) -> None:
    for attempt in range(ATTEMPTS):
        try:
            if _try_lock(descriptor):
                return
        except OSError as error:
            raise ResourceError(f"cannot lock {folder}: {error.strerror or error}") from error
        if attempt < ATTEMPTS - 1:
            time.sleep(PAUSE)
    os.lseek(descriptor, 0, os.SEEK_SET)
    pid = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
    raise ResourceError(
        f"run {folder} is in use by another process (pid {pid})",
        "wait until it has ended, or stop it; a lock left by a dead process is free at once",
    )


def _try_lock(descriptor: int) -> bool:
    """Take the lock without waiting; False if another has it. Closing the file releases it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far off, so that others can read the text
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
