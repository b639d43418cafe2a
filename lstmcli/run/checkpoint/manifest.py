"""What a checkpoint folder looks like, and reading its files only after they proved sound.

    checkpoints/step_00001000/
        model.safetensors    weights; names without the leading "model.", as a plain state_dict
        state.safetensors    every other tensor, under its full name
        state.json           the document: all that is no tensor
        vocab.json, ...      small text files
        manifest.json        {"format_version", "step", "files": {name: {"size", "sha256"}}},
                             written last: a folder without it was never finished

Beside them there may be folders that a killed process left: `.tmp-*` (unfinished) and `.trash-*`
(half deleted), which count for nothing, and `.old-step_*`, a whole checkpoint that was about to be
replaced by another of the same step and stands in for it while `step_*` is missing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from lstmcli.core.errors import RunError
from lstmcli.core.files import decode_json, name_problem, read_json, read_regular
from lstmcli.core.memory import require

FORMAT_VERSION = 2
"""1: the vectors of a gated cell have each other's names (`RecurrentModel.former_names`)."""
MODEL, STATE, DOCUMENT, MANIFEST = (
    "model.safetensors",
    "state.safetensors",
    "state.json",
    "manifest.json",
)
RESERVED = (MODEL, STATE, DOCUMENT, MANIFEST)
OLD = ".old-"

_FOLDER = re.compile(r"(?:\.old-)?step_(\d{8,18})", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """What the manifest says of one file."""

    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The step of a checkpoint, its files by name, and the format that it was written in."""

    step: int
    files: dict[str, FileRecord]
    format_version: int = FORMAT_VERSION

    @property
    def text_files(self) -> list[str]:
        return [name for name in self.files if name not in RESERVED]


def step_name(step: int) -> str:
    return f"step_{step:08d}"


def step_of(path: Path) -> int | None:
    """The step in a checkpoint folder's name, or None if the folder is named otherwise."""
    match = _FOLDER.fullmatch(path.name)
    step = int(match[1]) if match else None
    return step if step is not None and path.name.endswith(step_name(step)) else None


def checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoint of each step, lowest first, sound or not; links are passed over."""
    found: dict[int, Path] = {}
    try:
        for path in folder.iterdir():
            step = step_of(path)
            if step is None or path.is_symlink() or not path.is_dir():
                continue
            if step not in found or not path.name.startswith(OLD):
                found[step] = path
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"cannot read {folder}: {error.strerror or error}") from error
    return dict(sorted(found.items()))


def read_manifest(path: Path) -> Manifest:
    """The manifest of the checkpoint in folder `path`; RunError when missing, damaged or newer."""
    if not path.is_dir():
        raise RunError(f"checkpoint {path} does not exist")
    file = path / MANIFEST
    content = read_json(file)
    version = _version(content.get("format_version"), file)
    step, files = content.get("step"), content.get("files")
    if not _is_count(step) or not isinstance(files, dict):
        raise RunError(f"{file} is damaged: no step, or no list of files")
    if step_of(path) not in (None, step):
        raise RunError(f"{file} is damaged: it says step {step} in a folder named {path.name}")
    if missing := {MODEL, STATE, DOCUMENT} - files.keys():
        raise RunError(f"{file} is damaged: it does not list {min(missing)}")
    return Manifest(step, {name: _record(name, value, file) for name, value in files.items()}, version)


def _version(version: object, file: Path) -> int:
    if not _is_count(version) or version == 0:
        raise RunError(f"{file} is damaged: no format_version")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{file} has format version {version}; this lstmcli reads versions 1 to {FORMAT_VERSION}",
            "it was written by a newer lstmcli (or is damaged): install that one to read it",
        )
    return version


def _record(name: str, value: object, file: Path) -> FileRecord:
    if name == MANIFEST or (problem := name_problem(name)):
        reason = "a manifest does not list itself" if name == MANIFEST else problem
        raise RunError(f"{file} names a file {name!r}, which is refused: {reason}")
    size, sha256 = (value.get("size"), value.get("sha256")) if isinstance(value, dict) else (0, 0)
    if not _is_count(size) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise RunError(f"{file} is damaged: no size or SHA-256 of {name}")
    return FileRecord(size, sha256)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_size(path: Path, record: FileRecord) -> None:
    """RunError if a file is missing or has not the size that the manifest says."""
    try:
        size = path.lstat().st_size
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if size < record.size and not path.is_symlink():
        raise RunError(f"{path} is truncated: {size:,} of {record.size:,} bytes")
    if size > record.size and not path.is_symlink():
        raise RunError(f"{path} is damaged: {size:,} bytes, {record.size:,} expected")


def read_file(path: Path, record: FileRecord) -> bytes:
    """The bytes of a checkpoint's file; RunError unless their size and SHA-256 are right."""
    check_size(path, record)
    require(2 * record.size, f"reading {path}", "read it on a machine with more memory")
    data = read_regular(path, record.size)
    if (found := hashlib.sha256(data).hexdigest()) != record.sha256:
        raise RunError(
            f"{path} is damaged: its SHA-256 differs ({found[:12]}..., not {record.sha256[:12]}...)"
        )
    return data


def read_text(path: Path, record: FileRecord) -> str:
    try:
        return read_file(path, record).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is damaged: not UTF-8 at byte {error.start:,}") from error


def read_document(path: Path) -> dict[str, Any]:
    """The document of checkpoint `path`, at little cost: of tensors only the size is checked."""
    manifest = read_manifest(path)
    for name, record in manifest.files.items():
        check_size(path / name, record)
    return decode_json(read_file(path / DOCUMENT, manifest.files[DOCUMENT]), path / DOCUMENT)
