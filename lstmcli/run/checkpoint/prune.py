"""Deleting checkpoints that are no longer wanted, and what killed processes left behind.

Call these only after a commit and while holding the run's lock: then whatever is unfinished belongs
to no living process. Each checkpoint is renamed to `.trash-...` before it is deleted, so that a
kill leaves no half of one. What cannot be deleted is told, and training goes on.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from lstmcli.core.errors import RunError
from lstmcli.core.files import remove
from lstmcli.run.checkpoint.choose import Notice
from lstmcli.run.checkpoint.manifest import OLD, checkpoints

TEMPORARY, TRASH = ".tmp-", ".trash-"


def prune(folder: Path, keep: int, protect: Collection[int], notice: Notice) -> None:
    """Delete all but the `keep` highest steps and the steps in `protect`.

    `protect` must hold the step just written, the best one and the one resumed from: a stale higher
    step, left from before a resume, takes a place among the newest but never one of theirs.
    """
    try:
        clean(folder, notice)
        steps = list(checkpoints(folder))
    except (OSError, RunError) as error:
        notice(f"WARNING: cannot prune {folder}: {error}; training goes on")
        return
    newest = steps[max(0, len(steps) - keep) :]
    _discard(folder, set(steps) - {*newest, *protect}, notice)


def discard_after(folder: Path, step: int, notice: Notice, protect: Collection[int] = ()) -> None:
    """Delete every checkpoint above `step` but those in `protect`.

    For a run resumed from an older step R: once, after its first commit at step C, call
    `discard_after(folder, R, notice, protect={C})`. What lies above R then is of a course that the
    run no longer takes; before that commit it is still the furthest point reached, and stays.
    """
    try:
        stale = [other for other in checkpoints(folder) if other > step and other not in protect]
    except RunError as error:
        notice(f"WARNING: cannot prune {folder}: {error}; training goes on")
        return
    if stale:
        steps = ", ".join(map(str, stale))
        notice(f"removing checkpoints from before the resume at step {step}: {steps}")
    _discard(folder, stale, notice)


def clean(folder: Path, notice: Notice) -> None:
    """Delete unfinished and half-deleted folders; put a checkpoint that had stepped aside back."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((TEMPORARY, TRASH)):
            _remove(path, notice)
        elif path.name.startswith(OLD):
            final = path.with_name(path.name.removeprefix(OLD))
            if final.exists():
                _remove(path, notice)
            else:
                os.rename(path, final)


def _discard(folder: Path, steps: Collection[int], notice: Notice) -> None:
    found = checkpoints(folder)
    for step in sorted(steps):
        trash = folder / f"{TRASH}{found[step].name}"
        try:
            remove(trash)
            os.rename(found[step], trash)
        except OSError as error:
            _warn(found[step], error, notice)
            continue
        _remove(trash, notice)


def _remove(path: Path, notice: Notice) -> None:
    try:
        remove(path)
    except OSError as error:
        _warn(path, error, notice)


def _warn(path: Path, error: OSError, notice: Notice) -> None:
    notice(f"WARNING: cannot remove {path}: {error.strerror or error}; training goes on")
