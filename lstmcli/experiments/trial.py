"""One trial: an ordinary run inside the experiment's directory, then the numbers that are asked of it."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lstmcli.checkpoint.manifest import checkpoints
from lstmcli.errors import DivergedError, Interrupted
from lstmcli.experiments.grid import Plan, Trial
from lstmcli.experiments.history import Found, History
from lstmcli.experiments.measure import measure_run, measure_start
from lstmcli.rundir import RunDir, read_json, write_json_atomic
from lstmcli.telemetry.console import Console
from lstmcli.training.loop import is_complete, train
from lstmcli.training.session import Session, assemble, resume, set_run_state, start
from lstmcli.training.signals import StopSignals
from lstmcli.training.task import Measured, Score, Task

RECORD, START = "trial.json", "start.json"


class Solved(Interrupted):
    """The task is solved: no need to go on."""


class OutOfTime(Interrupted):
    """The trial's minutes are over."""


class Watched:
    """A task that asks the loop to stop when the trial's minutes are over, or (if that is wanted) at the
    first evaluation that solves it."""

    def __init__(self, session: Session, plan: Plan, stop: StopSignals):
        self._task: Task = session.task
        self._stop, self._wanted = stop, plan.experiment.stop
        left = 60.0 * (plan.experiment.minutes or 1e9) - session.state.progress.seconds
        self._deadline = time.perf_counter() + left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def loss(self, step: int, carried: Any) -> Measured:
        if time.perf_counter() > self._deadline:
            self._stop.asked = self._stop.asked or OutOfTime
        return self._task.loss(step, carried)

    def evaluate(self, stop: Any) -> Score | None:
        score = self._task.evaluate(stop)
        if score is not None and self._wanted == "solved" and score.values.get("val/solved", 0.0) > 0.0:
            self._stop.asked = self._stop.asked or Solved
        return score


def run_trial(folder: Path, plan: Plan, trial: Trial, quiet: bool = False) -> dict[str, Any]:
    """Train, or go on with, the run of a trial; measure it; write and give its record.

    A loss that is not finite is a result, too: the record's state is then `diverged`.

    Raises:
        Interrupted, Terminated: asked to stop; the run is saved and can be resumed.
        LstmError: the trial cannot be made.
    """
    path = folder / trial.name
    record = {"trial": trial.name, "variant": trial.variant, "at": trial.at, "seed": trial.seed}
    began = time.perf_counter()
    with ExitStack() as stack:
        session = _session(path, trial, Console(quiet), stack)
        record |= {"parameters": session.state.model.parameter_count()}
        start_numbers, start_curves = _start_numbers(path, plan, session)
        record |= _trained(session, plan)
        record |= {"steps": session.state.progress.step, "seconds": session.state.progress.seconds}
    numbers, curves = measure_run(path, plan.experiment)
    record |= {"numbers": start_numbers | numbers, "curves": start_curves | curves}
    record |= {"seconds_all": time.perf_counter() - began}
    write_json_atomic(path / RECORD, record)
    return record


def _session(path: Path, trial: Trial, console: Console, stack: ExitStack) -> Session:
    """A new run; or the one that is there, where it left off."""
    run = RunDir(path)
    if path.is_dir() and checkpoints(run.checkpoints):
        parts = assemble(trial.config, console, read_json(run.manifest_path))
        return resume(parts, run, None, False, console, stack)
    if path.is_dir():  # killed before anything was kept
        shutil.rmtree(path)
    parts = assemble(trial.config, console)
    console.end_data()
    return start(parts, trial.name, trial.name, console, stack, root=path.parent)


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


def _trained(session: Session, plan: Plan) -> dict[str, Any]:
    """Train to the end, whichever that is: its name, and what was said."""
    solved = plan.experiment.stop == "solved" and History(session.run).solved_at is not None
    state, said, kept = "complete", None, "failed"
    try:
        if not solved and not is_complete(session):
            _train(session, plan)
        kept = "complete"
    except (Solved, OutOfTime) as end:
        state, kept = ("out of time" if isinstance(end, OutOfTime) else "complete"), "complete"
    except DivergedError as error:
        state, said, kept = "diverged", error.message, "diverged"
    except (Interrupted, KeyboardInterrupt):
        kept = "interrupted"
        raise
    finally:
        set_run_state(session.run, kept)
    return {"state": state, "message": said}


def _train(session: Session, plan: Plan) -> None:
    set_run_state(session.run, "running")
    with StopSignals() as stop, session.console:
        session.task = Watched(session, plan, stop)
        train(session, stop)
