"""From a config to a trained run, and from a run that was stopped on to its end.

The command line, the trials of experiments and searches, and `lstmcli.train` all go through `execute`; what
makes them different is their hooks. Several ranks of one launch call it side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lstmcli.config.schema import Config
from lstmcli.core.errors import DivergedError, Interrupted
from lstmcli.core.notices import notice
from lstmcli.run.directory import RunDir, read_json, runs_folder
from lstmcli.run.distributed import Ranks, connected
from lstmcli.run.foreign import check_reach
from lstmcli.run.hooks import Hooks
from lstmcli.run.inherit import inherit
from lstmcli.run.launch import Launch, launched_run
from lstmcli.run.loop import is_complete, train
from lstmcli.run.own_cell import cell_of_run
from lstmcli.run.plan import plan_disk
from lstmcli.run.records import config_of, read_run
from lstmcli.run.same_run import check_same_run
from lstmcli.run.session import (
    Parts,
    Session,
    assemble,
    resume,
    set_run_state,
    start,
)
from lstmcli.run.signals import StopSignals
from lstmcli.run.telemetry.console import Console


@dataclass(frozen=True)
class Job:
    """What is to be trained: a new run, or one that goes on."""

    config: Config
    name: str = "run"
    """The directory of a new run is called so, and by the time."""
    run_name: str | None = None
    """The name of that directory instead."""
    root: Path = field(default_factory=runs_folder)
    """Where it is made."""
    resumed: RunDir | None = None
    """The run that goes on; none of the above but the config counts then."""
    which: str | None = None
    """The step to go on from: a number, `best` or `last`; None: where it stopped."""
    ancestor: tuple[RunDir, str | None] | None = None
    """The run with whose weights a new one begins, and the checkpoint: a step, `best` or `last`; None: the
    best."""
    force: bool = False
    """Go on although the data have changed."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, if it was not stopped by an error."""

    run: RunDir
    numbers: dict[str, Any]
    """What `lstm train --json` prints."""
    reason: str | None = None
    """What the hook said that asked for the end; None where the budget was used up."""
    broken_log: str | None = None
    """Why part of the log is missing."""
    was_complete: bool = False
    """Nothing was left to do."""


def execute(
    job: Job, hooks: Sequence[Hooks] = (), console: Console | None = None, launch: Launch | None = None
) -> Outcome:
    """Train a run to the end of its budget. It is saved whatever happens, and can be gone on with.

    Args:
        hooks: told of what happens, and may ask for the end.
        console: where progress is shown; None: nowhere.
        launch: this process among several ranks; None: it trains alone.

    Raises:
        ConfigError, DataError, RunError, ResourceError, UsageError: it cannot begin or go on.
        DivergedError: a loss or gradient is not finite; nothing was updated with it.
        Interrupted, Terminated: a signal asked to stop; the state is saved.
    """
    console = console or Console(quiet=True)
    with connected(launch or Launch()) as ranks, ExitStack() as stack:
        job = _restarted(job, ranks)
        parts = _assemble(job, console, ranks)
        if job.resumed is None:
            session = start(parts, job.name, job.run_name, console, stack, job.root)
        else:
            session = resume(parts, job.resumed, job.which, job.force, console, stack)
        session.hooks.extend(hooks)
        return _train(session, console)


def rehearse(job: Job, console: Console | None = None, launch: Launch | None = None) -> dict[str, Any]:
    """What `execute` would train and what it would take of the disk; nothing is written."""
    console = console or Console(quiet=True)
    with connected(launch or Launch()) as ranks:
        parts = _assemble(_restarted(job, ranks), console, ranks)
        disk = plan_disk(parts, console)
    console.line(disk.describe(parts.config.train.max_minutes is not None))
    return {
        "dry_run": True,
        "parameters": parts.task.model.parameter_count(),
        **parts.task.plan(),
        "steps_per_epoch": parts.task.steps_per_epoch,
        "device": str(parts.hardware.device),
        "precision": parts.hardware.precision,
        "path": parts.path,
        **disk._asdict(),
    }


def _restarted(job: Job, ranks: Ranks) -> Job:
    """The job as it stands after torchrun has started all ranks again: what they had saved goes on."""
    launch, resumed = ranks.launch, job.resumed
    if resumed is None:
        run = _shared(ranks, lambda: launched_run(launch, job.root))
        if run is not None:
            notice(f"WARNING: restart {launch.restarts} of all ranks: going on with run {run.name}")
        return job if run is None else replace(job, resumed=run)
    run = _shared(ranks, lambda: launched_run(launch, resumed.path.parent))
    if run is None or run.path.resolve() != resumed.path.resolve():
        return job
    return replace(job, which=None)  # what was saved since the launch counts, not the step it began with


def _shared(ranks: Ranks, find: Callable[[], RunDir | None]) -> RunDir | None:
    """The run that rank 0 finds, on every rank."""

    def path() -> str | None:
        found = find()
        return None if found is None else str(found.path)

    found = ranks.share(path)
    return None if found is None else RunDir(Path(found))


def _assemble(job: Job, console: Console, ranks: Ranks) -> Parts:
    run = job.resumed
    if run is None:
        parts = assemble(job.config, console, ranks=ranks)
        if job.ancestor is not None:
            parts = replace(parts, heritage=inherit(parts.task, parts.config, *job.ancestor))
    else:
        manifest, stored = read_run(run), config_of(run)
        check_same_run(stored, job.config, run)
        manifest["folder"] = check_reach(run, manifest, stored, job.config)
        with cell_of_run(job.config.model.cell, run.checkpoints, job.which or "last", notice):
            parts = assemble(job.config, console, manifest, ranks)
    console.end_data()
    console.line(
        f"{parts.task.describe()}\n"
        f"on     {parts.hardware.device} in {parts.hardware.precision} "
        f"({parts.hardware.reason}), {parts.path} path"
        + (f"\n{parts.heritage.describe()}" if parts.heritage is not None else "")
    )
    return parts


def _train(session: Session, console: Console) -> Outcome:
    run = session.run
    reasons = [hook.on_start(session) for hook in session.hooks]
    reason = session.ranks.share(lambda: next(filter(None, reasons), None))
    if reason is not None or is_complete(session):
        _note(session, "complete")
        console.line(f"run {run.name} is already complete at step {session.state.progress.step}")
        return Outcome(run, _numbers(session), reason, was_complete=True)
    _note(session, "running")
    console.line(f"run {run.name} in {run.path}")
    state = "failed"
    try:
        with StopSignals(session.ranks.many) as stop, console:
            train(session, stop)
        state = "complete"
    except (Interrupted, KeyboardInterrupt):
        state = "interrupted"
        raise
    except DivergedError:
        state = "diverged"
        raise
    finally:
        _note(session, state)
    return Outcome(run, _numbers(session), stop.reason, session.broken_log())


def _note(session: Session, state: str) -> None:
    if session.ranks.first:
        set_run_state(session, state)


def _numbers(session: Session) -> dict[str, Any]:
    numbers = session.state.progress
    unit = "tokens" if session.task.unit == "symbols" else session.task.unit
    heritage = read_json(session.run.manifest_path).get("from") if session.inherited else None
    return {
        "run": session.run.name,
        **({} if heritage is None else {"from": {k: heritage.get(k) for k in ("run", "step", "loss")}}),
        "steps": numbers.step,
        "epochs": numbers.step / session.task.steps_per_epoch,
        unit: numbers.tokens,
        f"{unit}_per_second": numbers.tokens / max(numbers.seconds, 1e-9),
        "seconds": numbers.seconds,
        "parameters": session.state.model.parameter_count(),
        "device": str(session.hardware.device),
        "precision": session.hardware.precision,
        "path": session.path,
        "best": {"step": numbers.best_step, "loss": numbers.best_loss},
        "judged": session.task.judged(),
        "final": {"loss": numbers.last_val_loss},
        "checkpoint": str(session.run.checkpoints / f"step_{numbers.step:08d}"),
    }
