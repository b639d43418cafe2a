"""Trials side by side in worker processes; one that fails is reported, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any, cast

from lstmcli.core.errors import LstmError, ResourceError, RunError, UsageError
from lstmcli.core.files import name_problem
from lstmcli.run.directory import read_json
from lstmcli.run.signals import StopSignals
from lstmcli.sweep import SAFELY
from lstmcli.sweep.experiments.grid import Plan, Trial

TRIAL_RECORD = "trial.json"
LOGS = "logs"
PATIENCE = 30.0  # seconds for a trial to save what it has
Report = Callable[[Trial, dict[str, Any]], None]


class _Worker:
    """A process that makes trials (see worker.py), and the one that it makes now."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process = process
        self.trial: Trial | None = None

    @property
    def told(self) -> IO[bytes]:
        """A line for every trial that is over; its end when the process ends."""
        return cast(IO[bytes], self.process.stdout)

    def give(self, trial: Trial) -> None:
        self.trial = trial
        with suppress(BrokenPipeError):  # it has died: the end of what it tells says so
            to = cast(IO[bytes], self.process.stdin)
            to.write(f"{trial.name}\n".encode())
            to.flush()

    def end(self) -> None:
        """Let go of the pipe that it lives by, and wait for it."""
        with suppress(BrokenPipeError):
            cast(IO[bytes], self.process.stdin).close()
        self.process.wait()
        self.told.close()


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
    # All variants with one seed before any with the next: what is cut off can be compared already.
    waiting.sort(key=lambda trial: plan.experiment.seeds.index(trial.seed))
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


def log_of(folder: Path, name: str) -> Path:
    """Where a worker writes what a trial says."""
    return folder / LOGS / f"{name}.log"


def _in_this_process(folder: Path, plan: Plan, waiting: list[Trial], report: Report) -> None:
    from lstmcli.sweep.experiments.trial import run_trial

    for trial in waiting:
        try:
            record = run_trial(folder, plan, trial, quiet=True)
        except LstmError as error:
            if error.exit_code >= 128:
                raise
            record = _failed(trial, error.message)
        report(trial, record)


def _side_by_side(folder: Path, waiting: list[Trial], jobs: int, report: Report) -> None:
    """Workers make one trial after the other: starting a process costs more than a small trial does."""
    queue, workers = list(waiting), list[_Worker]()
    with StopSignals() as stop, DefaultSelector() as selector:

        def begin() -> None:
            worker = _begin(folder, waiting)
            workers.append(worker)
            selector.register(worker.told, EVENT_READ, worker)
            worker.give(queue.pop(0))

        try:
            for _ in range(min(jobs, len(queue))):
                begin()
            while any(worker.trial for worker in workers):
                for key, _ in selector.select(0.2):
                    worker: _Worker = key.data
                    alive, trial = worker.told.readline() != b"", worker.trial
                    if trial is not None:
                        worker.trial = None
                        record = record_of(folder, trial)
                        report(trial, record or _failed(trial, last_words(folder, trial.name)))
                    if alive and queue:
                        worker.give(queue.pop(0))
                        continue
                    selector.unregister(worker.told)
                    workers.remove(worker)
                    worker.end()
                    if queue:
                        begin()
                if stop.asked:
                    raise stop.asked(
                        f"stopped; what is done is kept in {folder}\n"
                        f"  go on with: lstm experiment --resume {folder}"
                    )
        finally:
            _stop(workers)


def _begin(folder: Path, trials: list[Trial]) -> _Worker:
    threads = str(max(trial.config.train.threads or 1 for trial in trials))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    (folder / LOGS).mkdir(exist_ok=True)
    with (folder / LOGS / "workers.log").open("ab") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the trials in order.
        process = subprocess.Popen(
            _command(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return _Worker(process)


def _command(folder: Path) -> list[str]:
    return [sys.executable, *SAFELY, "-m", "lstmcli.sweep.experiments.worker", str(folder)]


def _stop(workers: list[_Worker]) -> None:
    """Ask every trial to save and end; end those that do not."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.perf_counter() + PATIENCE
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline - time.perf_counter()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
        worker.end()


def last_words(folder: Path, name: str) -> str:
    """What a trial said before it ended without a record: the error, or else its last line."""
    try:
        text = log_of(folder, name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    lines = text.splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-1:]) or "it said nothing"


def _failed(trial: Trial, said: str) -> dict[str, Any]:
    """The record of a trial that came to nothing; it is not written, so a resume tries it again."""
    names = {"trial": trial.name, "variant": trial.variant, "at": trial.at, "seed": trial.seed}
    return {**names, "state": "failed", "message": said, "numbers": {}, "curves": {}}
