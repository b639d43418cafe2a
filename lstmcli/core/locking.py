"""One process at a time: a lock that the operating system frees when its holder dies.

Where a file system has no such locks (Lustre without `-o flock`, some containers), a file that only one
process can make stands in for it. It says who made it: host, process id, and when that process started, so
that what a dead process left is recognised on the same host.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lstmcli.core.errors import ResourceError
from lstmcli.core.notices import notice

LOCK_FILE = ".lock"
STAND_IN = ".lock-held"
ATTEMPTS, PAUSE = 5, 0.05
"""Tries, and seconds between them: `is_held` takes the lock for an instant to look at it."""
NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, getattr(errno, "ENOTSUP", errno.EOPNOTSUPP), errno.ENOLCK}
"""What a system without locks answers."""
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Hold:
    """The lock of a folder, as long as it is held."""

    def __init__(self, folder: Path, descriptor: int):
        self._folder, self._descriptor = folder, descriptor
        # Where a file system makes up its numbers, they tell nothing.
        self._comparable = self._identity() == _identity_of(folder / LOCK_FILE)

    def problem(self) -> str | None:
        """Why the folder at this path is no longer the one that was locked, or None if it is. A lock file
        that was deleted is made anew, unless another process has done so."""
        there = _identity_of(self._folder / LOCK_FILE)
        if there is None and self._folder.is_dir() and self._take_again():
            notice(f"the lock of {self._folder} was deleted and is made anew: leave {LOCK_FILE} alone")
            return None
        if there is None:
            return f"{self._folder} is gone{self._moved()}"
        if self._comparable and there != self._identity():
            return f"another directory, or another lock, is in the place of {self._folder}{self._moved()}"
        return None

    def close(self) -> None:
        os.close(self._descriptor)

    def _identity(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def _moved(self) -> str:
        """Where the locked folder is now, where the system tells."""
        with suppress(OSError):
            now = Path(os.readlink(f"/proc/self/fd/{self._descriptor}"))
            if now.name == LOCK_FILE and now.parent != self._folder.resolve():
                return f"; what was there lies in {now.parent}"
        return ""

    def _take_again(self) -> bool:
        if self._moved():
            return False
        try:
            descriptor = os.open(
                self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666
            )
        except OSError:
            return False
        with suppress(OSError):  # where there are no locks, the file that stands in is still there
            if not _try_lock(descriptor):
                os.close(descriptor)
                return False
        _write_pid(descriptor)
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)
        return True


@contextmanager
def hold(folder: Path) -> Iterator[Hold]:
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
    held = Hold(folder, descriptor)
    stand_in = False
    try:
        stand_in = not _acquire(descriptor, folder)
        _write_pid(descriptor)
        yield held
    finally:
        held.close()
        if stand_in:
            _give_back(folder / STAND_IN)


def is_held(folder: Path) -> bool:
    """Whether a living process holds the lock of `folder`; never makes or changes a file."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | _NO_FOLLOW)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    except OSError:
        made = _read(folder / STAND_IN)
        return made is not None and not _is_dead(made)
    finally:
        os.close(descriptor)


def _write_pid(descriptor: int) -> None:
    with suppress(OSError):  # a full disk: the lock holds without its text
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()}\n".encode())


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _acquire(descriptor: int, folder: Path) -> bool:
    """Take the lock; False if the system has none, so that a file stands in for it. ResourceError if another
    process has it."""
    for attempt in range(ATTEMPTS):
        try:
            if _try_lock(descriptor):
                return True
        except OSError as error:
            if error.errno in NO_LOCKS:
                return _stand_in(folder, error)
            raise ResourceError(f"cannot lock {folder}: {error.strerror or error}") from error
        if attempt < ATTEMPTS - 1:
            time.sleep(PAUSE)
    os.lseek(descriptor, 0, os.SEEK_SET)
    pid = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
    raise _in_use(folder, f"pid {pid}", "stop it; a lock left by a dead process is free at once")


def _in_use(folder: Path, who: str, or_else: str) -> ResourceError:
    return ResourceError(
        f"run {folder} is in use by another process ({who})", f"wait until it has ended, or {or_else}"
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


# --- the file that stands in --------------------------------------------------------------------


def _stand_in(folder: Path, why: OSError) -> bool:
    """Make the file; always False, which says that it was needed."""
    notice(f"this file system has no locks ({why.strerror}): a file says who trains, {STAND_IN}")
    path = folder / STAND_IN
    for _ in range(ATTEMPTS):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666)
        except FileExistsError:
            _clear_dead(path, folder)
            continue
        except OSError as error:
            raise ResourceError(f"cannot lock {folder}: {error.strerror or error}") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(_myself()).encode())
            file.flush()
            os.fsync(descriptor)
        return False
    raise _in_use(folder, "another one is beginning", "stop it")


def _clear_dead(path: Path, folder: Path) -> None:
    """Move a dead process's file out of the way; ResourceError if its process may be alive."""
    made = _read(path)
    if made is None:  # it has just been given back, or is just being written
        time.sleep(PAUSE)
        return
    if not _is_dead(made):
        raise _in_use(folder, f"pid {made['pid']} on {made['host']}", f"delete {path} if it has died there")
    aside = path.with_name(f"{STAND_IN}-{os.getpid()}")
    with suppress(OSError):
        os.rename(path, aside)
        if _read(aside) != made:  # another process was faster, and this is its own file: give it back
            os.link(aside, path)
        aside.unlink()


def _give_back(path: Path) -> None:
    with suppress(OSError):
        if _read(path) == _myself():
            path.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(4096))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.keys() == _myself().keys() else None


def _myself() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "started": _started(os.getpid())}


def _is_dead(made: dict[str, Any]) -> bool:
    """Whether the process of this host that made a file has ended, though another may have its number."""
    if made["host"] != platform.node() or not isinstance(made["pid"], int):
        return False
    try:
        os.kill(made["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return bool(made["started"] != _started(made["pid"]))


def _started(pid: int) -> str | None:
    """When a process started, as the system counts it; None where it does not tell."""
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot}:{ticks}"
    return None
