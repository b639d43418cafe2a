"""The course of a run: which checkpoints are its own after it was set back to an earlier one.

`--resume RUN@20` of a run that has a checkpoint of step 40 takes another course from step 20 on, and its
log is cut there at once. Checkpoint 40 is deleted by the first commit of the new course, not before. So
that a kill in between leaves no doubt, the manifest says, before the log is cut, which checkpoints are of
the old course:

    "set_back": {"to": 20, "left": {"30": <SHA-256 of its manifest.json>, "40": ...}}

Another `--resume RUN` then goes on from the newest checkpoint that is not among them, and one of the same
step that was written since is not taken for the old one. `--resume RUN@40` still goes there.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from lstmcli.core.errors import LstmError, RunError
from lstmcli.core.files import JSON_LIMIT, read_json, read_regular, write_json_atomic
from lstmcli.core.notices import notice
from lstmcli.run.checkpoint.manifest import MANIFEST
from lstmcli.run.checkpoint.store import checkpoints, discard_after, resolve
from lstmcli.run.checkpoint.store import verify as problems_of
from lstmcli.run.directory import RunDir

KEY = "set_back"


def choose_checkpoint(run: RunDir, manifest: dict[str, Any], which: str | None) -> Path | None:
    """The checkpoint to go on from; None for the beginning, where a run was stopped before its first one.
    RunError where a step that was named has none, or all are damaged."""
    if which in (None, "last") and not checkpoints(run.checkpoints):
        notice(f"{run.name} was stopped before its first checkpoint: it begins again at step 0")
        return None
    left = left_behind(run, manifest)
    if which not in (None, "last") or not left:
        return resolve(run.checkpoints, which or "last", notice)
    found = {step: path for step, path in checkpoints(run.checkpoints).items() if step not in left}
    for step in sorted(found, reverse=True):
        problems = problems_of(found[step])
        if not problems:
            steps = ", ".join(map(str, sorted(left)))
            notice(
                f"WARNING: this run was set back to step {manifest[KEY]['to']} and goes on from step "
                f"{step}; of its earlier course there is still: {steps} (--resume {run.name}@STEP goes there)"
            )
            return found[step]
        notice(f"WARNING: checkpoint {found[step].name} is damaged and passed over: {problems[0]}")
    raise RunError(
        f"no sound checkpoint in {run.checkpoints} of the course that {run.name} was set back to",
        f"go on with the earlier course: --resume {run.name}@{max(left)}",
    )


def left_behind(run: RunDir, manifest: dict[str, Any]) -> set[int]:
    """Steps whose checkpoints are of a course that the run no longer takes."""
    noted = manifest.get(KEY)
    left = noted.get("left") if isinstance(noted, dict) else None
    if not isinstance(left, dict):
        return set()
    there = checkpoints(run.checkpoints)
    return {step for step, path in there.items() if left.get(str(step), "") == _identity(path)}


def set_back(run: RunDir, manifest: dict[str, Any], step: int) -> dict[str, Any]:
    """The manifest of the run that goes on from `step`."""
    left = left_behind(run, manifest)
    if left and step not in left and step > manifest[KEY]["to"]:
        # The new course has a checkpoint, but its process did not live to clear the old one away.
        own = checkpoints(run.checkpoints).keys() - left
        discard_after(run.checkpoints, manifest[KEY]["to"], notice, protect=own)
    there = checkpoints(run.checkpoints)
    later = {str(other): _identity(path) for other, path in there.items() if other > step}
    rest = {key: value for key, value in manifest.items() if key != KEY}
    return rest | ({KEY: {"to": step, "left": later}} if later else {})


def settle(run: RunDir) -> None:
    """The old course is gone; nothing needs to be known of it. What stays in the manifest does no harm."""
    with suppress(LstmError):
        manifest = read_json(run.manifest_path)
        if KEY in manifest:
            del manifest[KEY]
            write_json_atomic(run.manifest_path, manifest)


def _identity(path: Path) -> str | None:
    """Of a checkpoint's content; None where it has no readable manifest."""
    try:
        return hashlib.sha256(read_regular(path / MANIFEST, JSON_LIMIT)).hexdigest()
    except RunError:
        return None
