"""Files that survive a crash: written whole, flushed to the disk, then renamed into place.

Nothing here knows what a checkpoint is, and nothing imports NumPy or PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lstmcli.core.errors import ResourceError, RunError

Buffer = Any
"""What `memoryview` accepts: bytes, or a C-contiguous array."""

CHUNK = 8 << 20
"""Bytes handed to the system at once; some systems refuse more than 2 GiB."""
BLOCK = 1 << 18
"""Bytes of a file that are read at once for its checksum."""
JSON_LIMIT = 64 << 20
"""Bytes of the largest JSON file that is read."""

_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def name_problem(name: str) -> str | None:
    """Why `name` cannot be one plain file name on every system, or None if it can."""
    if not name:
        return "it is empty"
    if len(name) > 100:
        return f"it has {len(name)} characters, at most 100 are allowed"
    if ".." in name or not _PLAIN.fullmatch(name):
        return "only letters, digits, '.', '_' and '-' are allowed, no '..', no '.' or '-' in front"
    if name.endswith(".") or _WINDOWS.fullmatch(name):
        return "Windows has no such file name"
    return None


def write_durably(path: Path, buffers: Iterable[Buffer]) -> tuple[int, str]:
    """Write a new file and flush it to the disk; return its size in bytes and its SHA-256.

    Hashing runs beside the writing, in a second thread: both release the interpreter's lock.
    Raises OSError; also if the file exists, so that a planted link is never followed.
    """
    views = [memoryview(buffer).cast("B") for buffer in buffers if memoryview(buffer).nbytes]
    digest = hashlib.sha256()
    hashing = threading.Thread(target=_hash, args=(digest, views))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        hashing.start()
        for view in views:
            _write_all(descriptor, view)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        if hashing.ident is not None:
            hashing.join()
    return sum(view.nbytes for view in views), digest.hexdigest()


def _hash(digest: hashlib._Hash, views: list[memoryview]) -> None:
    for view in views:
        digest.update(view)


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view[:CHUNK]) :]


def sync_file(path: Path) -> None:
    """Flush to the disk what anybody has written to a file."""
    descriptor = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, without which a rename may not outlive a power cut."""
    if sys.platform == "win32":  # folders cannot be opened there
        return
    sync_file(folder)


def remove(path: Path) -> None:
    """Delete a file, a link (never its target) or a folder with all in it; raises OSError."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def download_path(url: str, sha256: str, folder: Path) -> Path:
    """Where the file of this address and checksum lies, or will lie."""
    name = unquote(PurePosixPath(urlsplit(url).path).name)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".")[-80:]
    return Path(folder) / f"{sha256[:12]}-{plain or 'text'}"


def sha256_of(path: Path) -> str | None:
    """The checksum of a file; None where there is no readable one."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def encode_json(value: Any) -> bytes:
    """JSON text as UTF-8; floats keep every bit, and NaN is written as Python writes it."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def decode_json(data: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in `data`, which was read from `path`; RunError when it is none."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: expected a JSON object")
    return value


def write_json_atomic(path: Path, value: Any) -> None:
    """`write_atomic` of a JSON document."""
    write_atomic(path, encode_json(value))


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file: a reader, or a crash, finds the old or the new one whole.

    Raises ResourceError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        remove(temporary)
        write_durably(temporary, [data])
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        _remove_quietly(temporary)
        raise ResourceError(
            f"cannot write {path}: {error.strerror or error}",
            "check that the disk has room and that the folder may be written",
        ) from error


def _remove_quietly(path: Path) -> None:
    with suppress(OSError):  # the first error is the one to tell
        remove(path)


def is_made_up(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to what the system makes up while it is read: that may have no end, or wait for
    ever, though it looks like an ordinary file."""
    try:
        return os.path.realpath(path).startswith(("/proc/", "/sys/"))
    except (OSError, ValueError):  # a name that no file can have
        return False


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of an ordinary file of at most `limit` bytes; RunError for anything else."""
    try:
        if path.is_symlink():
            raise RunError(f"{path} is a symbolic link, which is refused")
        if not path.exists():
            raise RunError(f"{path} is missing")
        if not path.is_file():
            raise RunError(f"{path} is not an ordinary file")
        if (size := path.stat().st_size) > limit:
            raise RunError(f"{path} is damaged: {size:,} bytes, at most {limit:,} expected")
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; RunError when the file is missing or damaged."""
    return decode_json(read_regular(path, JSON_LIMIT), path)
