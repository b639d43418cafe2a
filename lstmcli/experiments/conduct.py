"""Trials side by side, each in a process of its own; one that fails is reported, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstmcli.checkpoint.files import name_problem
from lstmcli.errors import LstmError, ResourceError, RunError, UsageError
from lstmcli.experiments.grid import Plan, Trial
from lstmcli.rundir import read_json
from lstmcli.training.signals import StopSignals

TRIAL_RECORD = "trial.json"
LOGS = "logs"
PATIENCE = 30.0  # seconds for a trial to save what it has
Report = Callable[[Trial, dict[str, Any]], None]


@dataclass(frozen=True)
class _Running:
    trial: Trial
    process: subprocess.Popen[bytes]


def make_folder(name: str, run: str | None, root: Path, kind: str = "experiment") -> Path:
    """The directory of a new experiment, or of another `kind` of many runs."""
    if run is not None and (problem := name_problem(run)):
        raise UsageError(f"{run!r} cannot name a directory of runs: {problem}")
    base = run or f"{kind}-{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    path = root / base
    try:
        path.mkdir(parents=True)
        (path / LOGS).mkdir()
    except FileExistsError:
        raise UsageError(
            f"{path} exists already; it is never overwritten",
            f"choose another --run, or continue it with --resume {path}",
        ) from None
    except OSError as error:
        raise ResourceError(f"cannot make {path}: {error.strerror or error}") from error
    return path


def conduct(folder: Path, plan: Plan, todo: list[Trial], jobs: int, report: Report) -> list[dict[str, Any]]:
    """Make every trial that has no record yet; all records, in the order of `todo`.

    Args:
        jobs: processes at a time; 0: none, all in this one.
        report: told of each record as it comes.

    Raises:
        Interrupted, Terminated: asked to stop; every trial has saved what it had.
    """
    records: dict[str, dict[str, Any]] = {}

    def keep(trial: Trial, record: dict[str, Any]) -> None:
        records[trial.name] = record
        report(trial, record)

    for trial in todo:
        if (known := record_of(folder, trial)) is not None:
            keep(trial, known)
    waiting = [trial for trial in todo if trial.name not in records]
    if jobs == 0:
        _in_this_process(folder, plan, waiting, keep)
    else:
        _side_by_side(folder, waiting, jobs, keep)
    return [records[trial.name] for trial in todo]


def record_of(folder: Path, trial: Trial) -> dict[str, Any] | None:
    """What a trial found, if it is done."""
    try:
        return read_json(folder / trial.name / TRIAL_RECORD)
    except RunError:
        return None


def _in_this_process(folder: Path, plan: Plan, waiting: list[Trial], report: Report) -> None:
    from lstmcli.experiments.trial import run_trial

    for trial in waiting:
        try:
            record = run_trial(folder, plan, trial, quiet=True)
        except LstmError as error:
            if error.exit_code >= 128:
                raise
            record = _failed(trial, error.message)
        report(trial, record)


def _side_by_side(folder: Path, waiting: list[Trial], jobs: int, report: Report) -> None:
    queue, running = list(waiting), list[_Running]()
    with StopSignals() as stop:
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    running.append(_begin(folder, queue.pop(0)))
                time.sleep(0.05)
                for one in [r for r in running if r.process.poll() is not None]:
                    running.remove(one)
                    _close(one)
                    report(
                        one.trial,
                        record_of(folder, one.trial) or _failed(one.trial, _last_words(folder, one.trial)),
                    )
                if stop.asked:
                    raise stop.asked(
                        f"stopped; what is done is kept in {folder}\n"
                        f"  go on with: lstm experiment --resume {folder}"
                    )
        finally:
            _end(running)


def _begin(folder: Path, trial: Trial) -> _Running:
    threads = str(trial.config.train.threads or 1)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    with _log(folder, trial).open("ab") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the trials in order.
        process = subprocess.Popen(
            _command(folder, trial),
            stdin=subprocess.PIPE,  # never written to: the trial ends when it is closed
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return _Running(trial, process)


def _command(folder: Path, trial: Trial) -> list[str]:
    return [sys.executable, "-m", "lstmcli.experiments.trial", str(folder), trial.name]


def _end(running: list[_Running]) -> None:
    """Ask every trial to save and end; end those that do not."""
    for one in running:
        one.process.terminate()
    deadline = time.perf_counter() + PATIENCE
    for one in running:
        try:
            one.process.wait(max(0.0, deadline - time.perf_counter()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        _close(one)


def _close(one: _Running) -> None:
    """Let go of the pipe that a trial lives by."""
    if one.process.stdin is not None:
        one.process.stdin.close()


def _log(folder: Path, trial: Trial) -> Path:
    (folder / LOGS).mkdir(exist_ok=True)
    return folder / LOGS / f"{trial.name}.log"


def _last_words(folder: Path, trial: Trial) -> str:
    """What a trial said before it ended without a record: the error, or else its last line."""
    lines = _log(folder, trial).read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-1:]) or "it said nothing"


def _failed(trial: Trial, said: str) -> dict[str, Any]:
    """The record of a trial that came to nothing; it is not written, so a resume tries it again."""
    names = {"trial": trial.name, "variant": trial.variant, "at": trial.at, "seed": trial.seed}
    return {**names, "state": "failed", "message": said, "numbers": {}, "curves": {}}
