"""Reading: nothing of a checkpoint is used before its size and SHA-256 proved right."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lstmcli.core.errors import RunError
from lstmcli.core.files import decode_json
from lstmcli.run.checkpoint.codec import Entry, count_non_finite, decode, to_numpy, to_torch
from lstmcli.run.checkpoint.manifest import (
    DOCUMENT,
    MODEL,
    STATE,
    Manifest,
    read_file,
    read_manifest,
    read_text,
)
from lstmcli.run.checkpoint.snapshot import MODEL_PREFIX, Snapshot


def read_checkpoint(
    path: Path,
    *,
    tensors: Literal["all", "model"] = "all",
    framework: Literal["torch", "numpy"] = "torch",
) -> Snapshot:
    """The checkpoint in folder `path`; with `tensors="model"` the training state is not read.

    Raises RunError naming the file and the reason when anything of it is missing or damaged, or
    when a weight is NaN or infinite. Files that the manifest does not list are
    never opened. NumPy has no bfloat16, so framework="numpy" refuses such tensors.
    """
    manifest = read_manifest(path)
    entries = _model(path, manifest)
    if tensors == "all":
        entries |= _state(path, manifest)
    document = decode_json(read_file(path / DOCUMENT, manifest.files[DOCUMENT]), path / DOCUMENT)
    files = {name: read_text(path / name, manifest.files[name]) for name in manifest.text_files}
    tensors_found = _convert(entries, framework, path)
    return Snapshot(manifest.step, tensors_found, document, files, manifest.format_version)


def _model(path: Path, manifest: Manifest) -> dict[str, Entry]:
    file = path / MODEL
    entries = decode(read_file(file, manifest.files[MODEL]), file)
    for name, entry in entries.items():
        if count := count_non_finite(entry):
            raise RunError(
                f"{file}: tensor {name} holds {count:,} values that are NaN or infinite",
                "the run had diverged: use an earlier checkpoint, RUN@STEP",
            )
    return {MODEL_PREFIX + name: entry for name, entry in entries.items()}


def _state(path: Path, manifest: Manifest) -> dict[str, Entry]:
    return decode(read_file(path / STATE, manifest.files[STATE]), path / STATE)


def _convert(entries: dict[str, Entry], framework: str, path: Path) -> dict[str, Any]:
    if framework == "torch":
        return {name: to_torch(entry) for name, entry in entries.items()}
    for name, entry in entries.items():
        if entry.dtype == "bfloat16":
            raise RunError(f"{path}: tensor {name} is bfloat16, which only PyTorch can read")
    return {name: to_numpy(entry) for name, entry in entries.items()}


def verify(path: Path) -> list[str]:
    """Everything that is wrong with the checkpoint in folder `path`; empty if it is sound."""
    try:
        manifest = read_manifest(path)
    except RunError as error:
        return [error.message]
    problems = []
    for name in manifest.files:
        try:
            _check(path, name, manifest)
        except RunError as error:
            problems.append(error.message)
    return problems


def _check(path: Path, name: str, manifest: Manifest) -> None:
    if name == MODEL:
        _model(path, manifest)
    elif name == STATE:
        _state(path, manifest)
    elif name == DOCUMENT:
        decode_json(read_file(path / name, manifest.files[name]), path / name)
    else:
        read_text(path / name, manifest.files[name])
