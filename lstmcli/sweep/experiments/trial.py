"""One trial: an ordinary run inside the experiment's directory, then the numbers that are asked of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lstmcli.core.errors import DivergedError
from lstmcli.run.directory import RunDir, read_json, write_json_atomic
from lstmcli.run.execute import Job, execute
from lstmcli.run.hooks import Evaluation, Hooks
from lstmcli.run.session import Session
from lstmcli.run.telemetry.console import Console
from lstmcli.sweep.experiments.grid import Plan, Trial
from lstmcli.sweep.experiments.history import Found, History
from lstmcli.sweep.experiments.measure import measure_run, measure_start

RECORD, START = "trial.json", "start.json"
SOLVED, OUT_OF_TIME = "solved", "out of time"


class Watch(Hooks):
    """Measures the untrained model, and ends the run when its minutes are over, or (if that is wanted) when
    its task is solved."""

    session: Session
    start: Found

    def __init__(self, path: Path, plan: Plan):
        self._path, self._plan = path, plan

    def on_start(self, session: Session) -> str | None:
        self.session = session
        self.start = _start_numbers(self._path, self._plan, session)
        left = 60.0 * (self._plan.experiment.minutes or 1e9) - session.state.progress.seconds
        self._deadline = time.perf_counter() + left
        # Killed after it was solved, but before it had a record: it does not train on.
        return SOLVED if self._until_solved and History(session.run).solved_at is not None else None

    def on_step(self, step: int, done: float) -> str | None:
        return OUT_OF_TIME if time.perf_counter() > self._deadline else None

    def on_evaluation(self, evaluation: Evaluation) -> str | None:
        solved = evaluation.values.get("val/solved", 0.0) > 0.0
        return SOLVED if self._until_solved and solved else None

    @property
    def _until_solved(self) -> bool:
        return self._plan.experiment.stop == "solved"


def run_trial(folder: Path, plan: Plan, trial: Trial, quiet: bool = False) -> dict[str, Any]:
    """Train, or go on with, the run of a trial; measure it; write and give its record.

    A loss that is not finite is a result, too: the record's state is then `diverged`.

    Raises:
        Interrupted, Terminated: asked to stop; the run is saved and can be resumed.
        LstmError: the trial cannot be made.
    """
    path = folder / trial.name
    record = {"trial": trial.name, "variant": trial.variant, "at": trial.at, "seed": trial.seed}
    began, watch = time.perf_counter(), Watch(path, plan)
    state, said = "complete", None
    try:
        if execute(_job(path, trial), [watch], Console(quiet)).reason == OUT_OF_TIME:
            state = OUT_OF_TIME
    except DivergedError as error:
        state, said = "diverged", error.message
    trained = watch.session.state
    record |= {"parameters": trained.model.parameter_count(), "state": state, "message": said}
    record |= {"steps": trained.progress.step, "seconds": trained.progress.seconds}
    numbers, curves = measure_run(path, plan.experiment)
    record |= {"numbers": watch.start[0] | numbers, "curves": watch.start[1] | curves}
    record |= {"seconds_all": time.perf_counter() - began}
    write_json_atomic(path / RECORD, record)
    return record


def _job(path: Path, trial: Trial) -> Job:
    """A new run; or the one that is there, where it left off."""
    run = RunDir(path)
    if run.manifest_path.exists():
        return Job(trial.config, resumed=run)
    return Job(trial.config, trial.name, trial.name, path.parent)


def _start_numbers(path: Path, plan: Plan, session: Session) -> Found:
    """What is measured of the untrained model: kept beside the run, for a resume has it no longer."""
    kept = path / START
    if kept.exists():
        found = read_json(kept)
        return found["numbers"], found["curves"]
    numbers, curves = measure_start(session.task, plan.experiment)
    if numbers:
        write_json_atomic(kept, {"numbers": numbers, "curves": curves})
    return numbers, curves
