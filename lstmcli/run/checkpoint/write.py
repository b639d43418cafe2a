"""Saving: a checkpoint is there whole or not at all, and never in place of a better one."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from lstmcli.core.errors import ResourceError
from lstmcli.core.files import (
    Buffer,
    encode_json,
    name_problem,
    remove,
    sync_folder,
    write_durably,
)
from lstmcli.run.checkpoint.codec import encode, entry_of
from lstmcli.run.checkpoint.manifest import (
    DOCUMENT,
    FORMAT_VERSION,
    MANIFEST,
    MODEL,
    OLD,
    RESERVED,
    STATE,
    step_name,
)
from lstmcli.run.checkpoint.snapshot import MODEL_PREFIX, Snapshot


def save_checkpoint(folder: Path, snapshot: Snapshot) -> Path:
    """Write `snapshot` to `folder`/step_...; return that path once it is safe on the disk.

    Call it only while holding the run's lock. Raises ResourceError when the disk is full or cannot
    be written: then the temporaries are gone and every earlier checkpoint is untouched.
    """
    final = folder / step_name(snapshot.step)
    temporary = folder / f".tmp-{final.name}"
    parts = _encode(snapshot)
    try:
        folder.mkdir(exist_ok=True)  # but no run directory that was deleted or moved meanwhile
        remove(temporary)
        temporary.mkdir()
        _write_parts(temporary, parts, snapshot.step)
        _commit(temporary, final)
    except BaseException as error:  # an interrupt must not leave half a checkpoint behind either
        with suppress(OSError):
            remove(temporary)
        if not isinstance(error, OSError):
            raise
        raise _explain(error, final, parts) from error
    with suppress(OSError):  # the next prune tries again
        remove(folder / (OLD + final.name))
    return final


def _encode(snapshot: Snapshot) -> dict[str, list[Buffer]]:
    """The content of every file but the manifest, as buffers."""
    model: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name, tensor in snapshot.tensors.items():
        if name.startswith(MODEL_PREFIX):
            model[name.removeprefix(MODEL_PREFIX)] = entry_of(tensor)
        else:
            state[name] = entry_of(tensor)
    parts = {MODEL: encode(model), STATE: encode(state)}
    parts[DOCUMENT] = [encode_json(snapshot.document)]
    for name, text in snapshot.files.items():
        if name in RESERVED or name_problem(name):
            raise ValueError(f"a checkpoint cannot hold a file named {name!r}")
        parts[name] = [text.encode()]
    return parts


def _write_parts(folder: Path, parts: dict[str, list[Buffer]], step: int) -> None:
    records = {}
    for name, buffers in parts.items():
        size, sha256 = write_durably(folder / name, buffers)
        records[name] = {"size": size, "sha256": sha256}
    manifest = {"format_version": FORMAT_VERSION, "step": step, "files": records}
    write_durably(folder / MANIFEST, [encode_json(manifest)])
    sync_folder(folder)


def _commit(temporary: Path, final: Path) -> None:
    """Rename into place. A checkpoint of the same step first steps aside as `.old-...`, which
    readers take for it as long as `final` is missing: at no moment is there none."""
    aside = final.with_name(OLD + final.name)
    if final.exists():
        remove(aside)
        os.rename(final, aside)
    os.rename(temporary, final)
    sync_folder(final.parent)


def _explain(error: OSError, final: Path, parts: dict[str, list[Buffer]]) -> ResourceError:
    needed = sum(memoryview(buffer).nbytes for buffers in parts.values() for buffer in buffers)
    free = "unknown"
    with suppress(OSError):
        free = f"{shutil.disk_usage(final.parent).free:,}"
    return ResourceError(
        f"cannot save checkpoint {final}: {error.strerror or error};"
        f" bytes needed: {needed:,}, bytes free: {free}",
        "the earlier checkpoints are untouched: make room (or mend the folder), then resume",
    )
