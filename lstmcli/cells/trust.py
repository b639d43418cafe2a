"""Whose code a run may run.

A checkpoint of a run with a cell of the user's own holds that cell's source, and loading the run would run
it. That is safe only for code that this user has run before, or has read. Three things allow it:

- the original is here: the file that `model.cell` names, or the installed module, is outside the folder of
  runs and identical to the copy byte for byte (then it is the original that runs);
- the run was trained here: the cell's record is noted in `$XDG_STATE_HOME/lstmcli/trusted.json`;
- the user says so: `--trust`, or `lstmcli.load(run, trust=True)`, for this process alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from lstmcli.core.errors import LstmError
from lstmcli.core.files import read_json, write_json_atomic
from lstmcli.core.notices import notice

MOST = 1000  # records that are kept, the newest
FIELDS = ("cell", "class", "origin", "sha256")

_allowed: set[Path] = set()


def allow(run: Path) -> None:
    """The user trusts the run in this folder, as long as this process lives."""
    _allowed.add(run.resolve())


def is_allowed(run: Path) -> bool:
    return run.resolve() in _allowed


# --- what was trained here ----------------------------------------------------------------------


def state_file() -> Path:
    home = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    return folder / "lstmcli" / "trusted.json"


def remember(record: Mapping[str, str]) -> None:
    """Note that the cell of this record is trained here. What keeps it from being noted is told."""
    try:
        known = [key for key in _remembered() if key != _key(record)]
        path = state_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json_atomic(path, {"cells": [*known, _key(record)][-MOST:]})
    except (OSError, RuntimeError, LstmError) as error:  # RuntimeError: no home
        notice(
            f"that this cell is yours could not be noted ({error}); its runs will ask for --trust elsewhere"
        )


def is_remembered(record: Mapping[str, str]) -> bool:
    return _key(record) in _remembered()


def _key(record: Mapping[str, str]) -> str:
    """Of all that decides what runs: the source, and where its imports are looked for."""
    return hashlib.sha256(json.dumps([record[field] for field in FIELDS]).encode()).hexdigest()


def _remembered() -> list[str]:
    try:
        keys = read_json(state_file()).get("cells")
    except (LstmError, OSError, RuntimeError):
        return []
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


# --- the original -------------------------------------------------------------------------------


def original_of(name: str, record: Mapping[str, str], run: Path) -> Path | None:
    """The file that the copy was made of, if it is what `model.cell: name` would run and lies outside the
    folder of runs. Nothing is run to find it."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        files = [Path(where)] if record["origin"] == where else []
    else:
        files = [*module_files(where), *module_files(record["origin"])]
    runs = run.resolve().parent
    if not files or any(file.resolve().is_relative_to(runs) for file in files):
        return None
    return files[-1]


def module_files(name: str) -> list[Path]:
    """The files that importing a module runs, packages first; none if it is not here."""
    files: list[Path] = []
    path = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        try:
            spec = PathFinder.find_spec(".".join(parts[:end]), path)
        except Exception:  # finders are installed by anybody
            return []
        if spec is None:
            return []
        if spec.origin is not None and spec.has_location:
            files.append(Path(spec.origin))
        path = spec.submodule_search_locations
        if path is None and end < len(parts):
            return []
    return files
