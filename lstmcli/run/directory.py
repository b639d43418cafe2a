"""Run directories: making, finding, locking and listing them. No PyTorch, and nothing unpickled.

runs/<name>/
    config.yaml       the resolved config
    manifest.json     versions, device, data fingerprint, command; of these the functions below
                      read `created` (UTC, ISO 8601), `state`, `cell` and `parameters`
    metrics.jsonl     one object per logged step
    checkpoints/      see lstmcli.run.checkpoint.store
    .lock             held by the process that trains; its text is that process's id
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Any

from lstmcli.core.errors import ResourceError, RunError, UsageError
from lstmcli.core.files import name_problem, read_json, sync_folder, write_atomic, write_json_atomic
from lstmcli.core.locking import Hold, hold, is_held
from lstmcli.run.checkpoint.manifest import checkpoints, read_document

__all__ = [
    "RunDir",
    "RunSummary",
    "check_new_name",
    "create_run",
    "find_run",
    "list_runs",
    "choose_runs_folder",
    "lock",
    "runs_folder",
    "read_json",
    "split_reference",
    "write_atomic",
    "write_json_atomic",
]

_chosen: list[Path] = []
LATEST = "latest"
STATES = ("running", "complete", "interrupted", "diverged", "failed")


def runs_folder(option: bool = True) -> Path:
    """Where runs are made and looked for by name: what `choose_runs_folder` was told, else `$LSTM_RUNS`, else
    `runs` in the current folder. `option`: whether the first of these counts."""
    if option and _chosen:
        return _chosen[-1]
    return Path(os.environ.get("LSTM_RUNS") or "runs")


def choose_runs_folder(folder: Path | None) -> None:
    """Let `folder` be it in this process, as `--runs` does; None: no longer."""
    _chosen[:] = [] if folder is None else [folder]


@dataclass(frozen=True)
class RunDir:
    """The places in a run directory."""

    path: Path

    @property
    def name(self) -> str:
        return Path(os.path.abspath(self.path)).name

    @property
    def reference(self) -> str:
        """What means this run here, ready to be pasted: its name, or its path if the name finds another."""
        found = runs_folder(option=False) / self.name  # the next command may be given no --runs
        return self.name if os.path.abspath(found) == os.path.abspath(self.path) else quote(str(self.path))

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"


def create_run(config_name: str, run_name: str | None, root: Path | None = None) -> RunDir:
    """Make `root`/`run_name` (None: the folder of runs), or `<config>-<UTC time>` when no name is given.

    A directory whose process was killed before it had written a manifest holds nothing: its name is free.
    What is made outlives a power cut. Raises UsageError for a name that is taken or not plain, ResourceError
    when nothing can be written there.
    """
    if run_name is not None:
        _check_name(run_name)
    root = root or runs_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        path = _make_new(root, config_name) if run_name is None else _make_named(root / run_name)
        (path / "checkpoints").mkdir(exist_ok=True)
        sync_folder(path)
        sync_folder(root)
    except OSError as error:
        raise ResourceError(
            f"cannot make a run directory in {root}: {error.strerror or error}",
            "check that the folder may be written and that the disk has room",
        ) from error
    return RunDir(path)


def check_new_name(name: str, root: Path | None = None) -> None:
    """UsageError for a name of a new run that is taken or not plain, before anything is read for it."""
    _check_name(name)
    root = root or runs_folder()
    if os.path.lexists(root / name) and not _is_unborn(root / name):
        raise _taken(root / name)


def check_begun(run: RunDir) -> None:
    """RunError if a run was stopped before anything of it was written, so that nothing can go on."""
    if _is_unborn(run.path):
        raise RunError(
            f"run {run.path} was stopped before it began: nothing of it is there to go on with",
            f"begin it again: lstm train CONFIG --run {run.name}",
        )


def check_unbegun(run: RunDir) -> None:
    """UsageError if a run has a manifest: another process has begun it while this one made its directory."""
    if os.path.lexists(run.manifest_path):
        raise _taken(run.path)


LEFT_UNBORN = {".lock", "checkpoints", "config.yaml", ".tmp-config.yaml", ".tmp-manifest.json"}


def _is_unborn(path: Path) -> bool:
    """Whether a directory holds no more than what is there before a run's manifest, and nobody is at it."""
    try:
        if path.is_symlink() or not path.is_dir() or not set(os.listdir(path)) <= LEFT_UNBORN:
            return False
        return not (path / "checkpoints").is_symlink() and not any((path / "checkpoints").glob("*"))
    except OSError:
        return False


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"run {path} exists already; a run is never overwritten",
        f"choose another --run, or continue it with --resume {path.name}",
    )


def _check_name(name: str) -> None:
    problem = f"`{LATEST}` means the newest run" if name == LATEST else name_problem(name)
    if problem:
        raise UsageError(f"{name!r} cannot name a run: {problem}", "such as: --run lstm-2x256")


def _make_named(path: Path) -> Path:
    try:
        path.mkdir()
    except FileExistsError:
        if not _is_unborn(path):
            raise _taken(path) from None
    return path


def _make_new(root: Path, config_name: str) -> Path:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", config_name).strip("-")[:60] or "run"
    base = f"{stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    number = 1
    while True:  # two runs may start in the same second: only mkdir knows who was first
        path = root / (base if number == 1 else f"{base}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
        number += 1


def find_run(text: str, root: Path | None = None) -> RunDir:
    """The run that `text` means: `latest`, a name under `root`, or the path of a directory.

    `latest` is the run created last, by the time in its manifest (its directory's time where there
    is no sound manifest), whatever happened in it since. A name that leads through a symbolic link
    is refused. Raises RunError, with the nearest names, when there is no such run.
    """
    root = root or runs_folder()
    if text == LATEST:
        return _latest(root)
    if name_problem(text) is None and os.path.lexists(root / text):
        if (root / text).is_symlink():
            hint = "give the path of the run itself"
            raise RunError(f"run {root / text} is a symbolic link, which is refused", hint)
        path = root / text
    else:
        path = Path(text)
    if not text or not os.path.isdir(path):
        raise RunError(f"there is no run {text!r} in {root}", _suggest(text, root))
    if not _is_run(path):
        raise RunError(
            f"{path} is no run: it has no manifest.json, config.yaml or checkpoints",
            _suggest(text, root),
        )
    for name in ("checkpoints", "manifest.json", "config.yaml", "metrics.jsonl"):
        if (path / name).is_symlink():
            raise RunError(
                f"{path / name} is a symbolic link, which is refused", "put what it points to in its place"
            )
    return RunDir(path)


def _latest(root: Path) -> RunDir:
    runs = [(_created(run), run.name, run) for run in _runs(root)]
    if not runs:
        raise RunError(f"there is no run in {root}", "train one: lstm train CONFIG")
    return max(runs, key=lambda item: item[:2])[2]


def _suggest(text: str, root: Path) -> str:
    names = [run.name for run in _runs(root)]
    near = difflib.get_close_matches(Path(text).name, names, n=3, cutoff=0.5)
    return f"did you mean: {', '.join(near)}" if near else "`lstm runs` lists the runs there are"


def _is_run(path: Path) -> bool:
    return any(os.path.lexists(path / n) for n in ("manifest.json", "config.yaml", "checkpoints"))


def _runs(root: Path) -> list[RunDir]:
    """Every run in `root`, by name; other folders, hidden ones and links are passed over."""
    with suppress(OSError):
        return [
            RunDir(path)
            for path in sorted(root.iterdir())
            if name_problem(path.name) is None
            and not path.is_symlink()
            and os.path.isdir(path)
            and _is_run(path)
        ]
    return []


def created_now(root: Path) -> str:
    """The time for a new run's manifest: now, or just after the newest run there is, so that the order of
    runs is the order in which they were made though the clock was set back."""
    now = datetime.now(UTC)
    newest = max((_created(run) for run in _runs(root) if run.manifest_path.exists()), default=0.0)
    with suppress(OverflowError, OSError, ValueError):  # a time that no calendar holds orders nothing
        now = max(now, datetime.fromtimestamp(newest, UTC) + timedelta(microseconds=1))
    return now.isoformat(timespec="microseconds")


def _created(run: RunDir) -> float:
    """Seconds since 1970."""
    with suppress(RunError, LookupError, ValueError, TypeError, AttributeError, OverflowError):
        text = read_json(run.manifest_path)["created"].replace("Z", "+00:00")
        time_ = datetime.fromisoformat(text)
        return (time_ if time_.tzinfo else time_.replace(tzinfo=UTC)).timestamp()
    with suppress(OSError):
        return run.path.stat().st_mtime
    return 0.0


def split_reference(text: str) -> tuple[str, str | None]:
    """`RUN@STEP` to RUN and STEP (a number, `best` or `last`), or None where there is no `@STEP`.

    An `@` in a folder's name, as in `a@b/run`, is part of the path. Raises UsageError.
    """
    run, at, step = text.rpartition("@")
    if not at or "/" in step or os.sep in step:
        return text, None
    number = step.isascii() and step.isdigit() and len(step) <= 18
    if not run or not (number or step in ("best", "last")):
        hint = "write RUN@STEP, where STEP is a number, `best` or `last`: my-run@1000"
        raise UsageError(f"{text!r} does not name a run and a step", hint)
    return run, step


def lock(run: RunDir) -> AbstractContextManager[Hold]:
    """Keep every other process from training in `run` while the context lasts.

    Entering it raises ResourceError, naming the process, when another one has the lock.
    """
    return hold(run.path)


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs; None where it is not known."""

    name: str
    path: Path
    state: str  # running, complete, interrupted, diverged, failed, empty or damaged
    step: int | None = None
    best_loss: float | None = None  # document["best"]["loss"] of the newest checkpoint
    age_seconds: float = 0.0  # since it was created
    cell: str | None = None
    parameters: int | None = None
    problem: str | None = None  # what is damaged


def list_runs(root: Path | None = None) -> list[RunSummary]:
    """Every run in `root`, the newest first; a damaged run says so and never raises.

    A run whose manifest says `running` though no process holds its lock was killed: `interrupted`.
    Of the newest checkpoint only the sizes and the document are checked, so that listing is quick.
    """
    runs = sorted(_runs(root or runs_folder()), key=lambda run: (_created(run), run.name), reverse=True)
    return [summary_of(run) for run in runs]


def summary_of(run: RunDir) -> RunSummary:
    """How a run stands; never raises."""
    age = max(0.0, time.time() - _created(run))
    manifest: dict[str, Any] = {}
    document: dict[str, Any] = {}
    step = None
    problem = None
    try:
        found = checkpoints(run.checkpoints)
        if not found and not os.path.lexists(run.manifest_path):
            return RunSummary(run.name, run.path, "empty", age_seconds=age)
        manifest = read_json(run.manifest_path)
        step = max(found, default=None)
        document = read_document(found[step]) if step is not None else {}
        state = _state(run, manifest)
    except RunError as error:
        state, problem = "damaged", error.message
    if state == "running" or step is None:
        step = _last_logged_step(run) or step
    best = document.get("best")
    return RunSummary(
        run.name,
        run.path,
        state,
        step,
        _number(best.get("loss")) if isinstance(best, dict) else None,
        age,
        manifest["cell"] if isinstance(manifest.get("cell"), str) else None,
        _integer(manifest.get("parameters")),
        problem,
    )


def _state(run: RunDir, manifest: dict[str, Any]) -> str:
    state = manifest.get("state")
    if state not in STATES:
        raise RunError(f"{run.manifest_path} is damaged: unknown state {state!r}")
    return "interrupted" if state == "running" and not is_held(run.path) else str(state)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, int):
        return float(value) if abs(value) < 1 << 53 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _last_logged_step(run: RunDir) -> int | None:
    """The step of the last whole line of metrics.jsonl; only the end of the file is read."""
    with suppress(OSError), run.metrics_path.open("rb") as file:
        file.seek(max(0, run.metrics_path.stat().st_size - (64 << 10)))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, RecursionError, LookupError, TypeError):
                if (step := _integer(json.loads(line)["step"])) is not None:
                    return step
    return None
