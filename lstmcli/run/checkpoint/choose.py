"""Which checkpoint to use: a step that was named must be sound; else damage is stepped over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lstmcli.core.errors import RunError, UsageError
from lstmcli.run.checkpoint.manifest import checkpoints, read_document
from lstmcli.run.checkpoint.read import verify

Notice = Callable[[str], None]
"""Tells the user one sentence on standard error."""


def latest_valid(folder: Path, notice: Notice) -> Path:
    """The sound checkpoint with the highest step; each damaged one above it is told to `notice`.

    RunError when there is none.
    """
    found = checkpoints(folder)
    damage = []
    for path in reversed(found.values()):
        problems = verify(path)
        if not problems:
            return path
        damage.append(problems[0])
        notice(f"WARNING: checkpoint {path.name} is damaged and passed over: {problems[0]}")
    if damage:
        raise RunError(f"no sound checkpoint in {folder}: " + "; ".join(damage))
    raise RunError(
        f"no checkpoint in {folder}",
        f"the run ended before its first one: lstm train --resume {folder.parent.name} begins it again",
    )


def resolve(folder: Path, which: str | None, notice: Notice) -> Path:
    """The checkpoint that a user means by a step, `last`, `best`, or None: the best if the run has
    one, else the last. What is best stands in the document of the newest sound checkpoint, under
    document["best"]["step"].

    RunError when a step that was named is missing or damaged; a best one that is missing or damaged
    gives way to the last with a notice. UsageError when `which` is no such word.
    """
    if which is not None and which not in ("best", "last"):
        return _exact(folder, which)
    last = latest_valid(folder, notice)
    if which == "last":
        return last
    best = _best_step(read_document(last))
    if best is None:
        if which == "best":
            notice(f"WARNING: no best checkpoint is known yet; using the last, {last.name}")
        return last
    path = checkpoints(folder).get(best)
    if path == last:
        return last
    problem = _problem(path)
    if path is None or problem:
        notice(f"WARNING: the best checkpoint, step {best}: {problem}; using the last, {last.name}")
        return last
    return path


def _problem(path: Path | None) -> str:
    if path is None:
        return "it is missing"
    return "; ".join(verify(path))


def _exact(folder: Path, which: str) -> Path:
    if not (which.isascii() and which.isdigit() and len(which) <= 18):
        raise UsageError(f"{which!r} is no checkpoint", "name a step, `best` or `last`")
    found = checkpoints(folder)
    path = found.get(int(which))
    if path is None:
        steps = ", ".join(map(str, found)) or "none"
        raise RunError(f"no checkpoint of step {int(which)} in {folder}", f"there are: {steps}")
    if problems := verify(path):
        raise RunError(problems[0], "use RUN@last for the newest sound checkpoint")
    return path


def _best_step(document: dict[str, Any]) -> int | None:
    best = document.get("best")
    step = best.get("step") if isinstance(best, dict) else None
    return step if isinstance(step, int) and not isinstance(step, bool) else None
