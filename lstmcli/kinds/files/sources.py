"""Where the text lies: a setting becomes local files."""

from __future__ import annotations

import difflib
import glob
import os
import stat
import sysconfig
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lstmcli.core.errors import DataError
from lstmcli.core.files import download_path, is_made_up
from lstmcli.core.notices import notice
from lstmcli.kinds.files.download import download

if TYPE_CHECKING:
    from lstmcli.config.data import Files
    from lstmcli.config.schema import Config

C = TypeVar("C", bound="Config")
D = TypeVar("D", bound="Files")

__all__ = ["download", "download_path", "find_files", "stdlib_files"]

MOST_MATCHES = 20_000
"""Names that a pattern may match: it would else walk through a whole disk before anybody hears of it."""
STDLIB_CAP_BYTES = 8_000_000
STDLIB_LEFT_OUT = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo")
) | {"__pycache__"}


def find_files(setting: str | list[str], what: str) -> list[Path]:
    """The files that a path, a glob pattern or a list of either names, each once.

    A list keeps its order; the matches of one pattern are sorted by code point (``**`` goes into
    subfolders). A name that exists is taken as it stands, even with ``[`` in it. ``what`` is the
    setting's name for the message. DataError: missing, a folder, no regular file, out of reach.
    """
    patterns = [setting] if isinstance(setting, str) else setting
    if not patterns:
        raise DataError(f"{what} is an empty list", "name at least one file")
    found: dict[Path, Path] = {}
    for pattern in patterns:
        for path in _matches(pattern, what):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def found_again(data: D, folder: object, hint: str) -> D:
    """The settings of a run, with relative paths that lead to nothing here looked for in `folder`, where the
    run began; then the cache is the one there, too.

    Raises:
        DataError: a file is in neither place; `hint` says how to name it.
    """
    if not isinstance(folder, str) or os.path.abspath(folder) == os.getcwd():
        return data
    changed: dict[str, object] = {}
    for name in ("path", "val_path", "test_path"):
        given = getattr(data, name, None)
        paths = [given] if isinstance(given, str) else given or []
        found = [_here_or_there(path, folder, f"data.{name}", hint) for path in paths]
        if found != paths:
            changed[name] = found
    if changed and os.path.isdir(cache := os.path.join(folder, data.cache)):
        changed["cache"] = cache
    return data.model_copy(update=changed) if changed else data


def with_files_found(config: C, folder: object) -> C:
    """The config of a resumed run that began in `folder`, whose files may be found there alone."""
    from lstmcli.config.data import Files

    assert isinstance(config.data, Files)
    data = found_again(config.data, folder, "name the files where they are: data.path=PATH")
    return config.model_copy(update={"data": data})


def _here_or_there(path: str, folder: str, what: str, hint: str) -> str:
    if _is_there(here := str(expanded(path, what))) or os.path.isabs(here):
        return path
    if not _is_there(there := os.path.join(folder, path)):
        raise DataError(
            f"{what}: there is no file {path}, neither here nor in {folder}, where the run began", hint
        )
    notice(f"{what}: {path} is read where the run began: {there}")
    return there


def _is_there(path: str) -> bool:
    return os.path.lexists(path) or bool(glob.glob(path, recursive=True))


def expanded(pattern: str, what: str) -> Path:
    """The path with `~` and `~name` replaced; DataError if there is no such user."""
    try:
        return Path(pattern).expanduser()
    except RuntimeError as error:
        raise DataError(f"{what}: {pattern}: {error}", "write the path out") from error


def _matches(pattern: str, what: str) -> list[Path]:
    path = expanded(pattern, what)
    kind = _kind(path, what)
    if kind == "file":
        return [path]
    if kind == "folder":
        raise DataError(f"{what}: {pattern} is a folder", f"name its files: {path / '*.txt'}")
    if kind == "other":
        raise DataError(f"{what}: {pattern} is not a regular file", "write it to a file first")
    found = list(islice(glob.iglob(str(path), recursive=True), MOST_MATCHES + 1))
    if len(found) > MOST_MATCHES:
        raise DataError(f"{what}: {pattern} matches more than {MOST_MATCHES:,} names", "narrow it down")
    matches = [Path(match) for match in sorted(found)]
    files = [match for match in matches if _kind(match, what) == "file"]
    if not files:
        raise _nothing(pattern, path, what)
    return files


def _kind(path: Path, what: str) -> str | None:
    """file, folder, other, or None for what does not exist."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{what}: {str(path)!r} cannot be read: {reason}") from error
    if stat.S_ISREG(mode):
        return "other" if is_made_up(path) else "file"
    return "folder" if stat.S_ISDIR(mode) else "other"


def _nothing(pattern: str, path: Path, what: str) -> DataError:
    parts = path.absolute().parts
    fixed = [part for part in parts if not glob.has_magic(part)]
    if len(fixed) < len(parts):  # the folder above the first part with a wildcard
        first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        folder, message = Path(*parts[:first]), f"{what}: no file matches {pattern}"
    else:
        folder, message = path.absolute().parent, f"{what}: there is no file {pattern}"
    if not folder.is_dir():
        return DataError(message, f"there is no folder {folder} either")
    near = difflib.get_close_matches(path.name, os.listdir(folder), n=1)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    return DataError(message, f"looked in {folder}{suggestion}")


def stdlib_files() -> list[Path]:
    """The source files of the running Python's standard library, in a fixed order.

    Sorted by path (posix, relative, by code point), without installed packages, tests and
    IDLE; files that are empty or not plain UTF-8 text are left out. The list ends before the first
    file that would bring it above STDLIB_CAP_BYTES, so one Python version always gives one text.
    """
    root = Path(sysconfig.get_path("stdlib"))
    chosen: list[Path] = []
    total = 0
    for path in sorted(_python_files(root), key=lambda path: path.relative_to(root).as_posix()):
        size = _plain_text_size(path)
        if total + size > STDLIB_CAP_BYTES:
            break
        if size:
            chosen.append(path)
            total += size
    if not chosen:
        raise DataError(
            f"data.source: this Python has no standard library source in {root}",
            "give data.path instead",
        )
    return chosen


def _python_files(root: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in STDLIB_LEFT_OUT]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return found


def _plain_text_size(path: Path) -> int:
    """The size in bytes; 0 for what is no UTF-8 text or cannot be read."""
    try:
        raw = path.read_bytes()
        raw.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return 0
    return 0 if b"\0" in raw else len(raw)
