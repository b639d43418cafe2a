"""lstm train: from a config to a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.output import print_json
from lstmcli.cli.trust import Trust, trust_run
from lstmcli.errors import DivergedError, Interrupted, UsageError
from lstmcli.notices import notice, route_notices

if TYPE_CHECKING:
    from lstmcli.rundir import RunDir
    from lstmcli.telemetry.console import Console
    from lstmcli.training.distributed import Ranks
    from lstmcli.training.launch import Launch
    from lstmcli.training.session import Parts, Session


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A YAML file, then settings to override."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Name of the new run.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN[@STEP]", help="Go on with a run.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Resume although the data have changed.")] = False,
    trust: Trust = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained; write no run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model.

    \b
    Examples:
      lstm train configs/quickstart.yaml
      lstm train configs/shakespeare.yaml data.path=my.txt model.hidden_size=512
      lstm train configs/quickstart.yaml train.max_steps=200 --run short
      lstm train --resume latest
      lstm train --resume short train.max_steps=400
    """
    config_path, overrides = split_words(words or [])
    if resume is None and config_path is None:
        raise UsageError("no config is given", "lstm train CONFIG.yaml, or lstm train --resume RUN")
    if resume is not None and run is not None:
        raise UsageError("--run names a new run and --resume an old one: give one of them")
    if trust:
        trust_run(resume)
    from lstmcli.telemetry.console import Console
    from lstmcli.training.launch import read_launch

    launch = read_launch()
    console = Console(quiet=launch.rank > 0)
    if launch.rank > 0:
        route_notices(lambda text: None)  # rank 0 has the same to say
    if resume is not None:
        result = _resume(config_path, overrides, resume, force, dry_run, console, launch)
    else:
        result = _start(str(config_path), overrides, run, dry_run, console, launch)
    if as_json and launch.rank == 0:
        print_json(result)


def split_words(words: list[str]) -> tuple[str | None, list[str]]:
    """The config's path, if the first word is no override, and the overrides."""
    if not words or ("=" in words[0] and not words[0].endswith((".yaml", ".yml"))):
        return None, words
    for word in words[1:]:
        if "=" not in word:
            raise UsageError(f"{word!r} is not KEY=VALUE", "such as train.max_steps=1000")
    return words[0], words[1:]


def _start(
    config_path: str, overrides: list[str], name: str | None, dry_run: bool, console: Console, launch: Launch
) -> dict[str, Any]:
    from contextlib import ExitStack
    from pathlib import Path

    from lstmcli.config.load import load_config

    config = load_config(config_path, overrides)  # before torch is imported: errors come at once
    from lstmcli.training.distributed import connected
    from lstmcli.training.session import assemble, start

    with connected(launch) as ranks, ExitStack() as stack:
        if (again := ranks.share(lambda: _started_before(launch))) is not None:
            return _go_on(config_path, overrides, again, None, False, dry_run, console, ranks)
        parts = assemble(config, console, ranks=ranks)
        console.end_data()
        _describe(parts, console)
        if dry_run:
            return _plan(parts, console)
        session = start(parts, Path(config_path).stem, name, console, stack)
        return _run(session, console)


def _started_before(launch: Launch) -> RunDir | None:
    """The run that this launch made before torchrun started all ranks again, if anything of it is saved;
    if not, it is cleared away."""
    import shutil

    from lstmcli.checkpoint.manifest import checkpoints
    from lstmcli.training.launch import launched_run

    run = launched_run(launch)
    if run is None:
        return None
    if checkpoints(run.checkpoints):
        notice(f"WARNING: restart {launch.restarts} of all ranks: going on with run {run.name}")
        return run
    notice(f"WARNING: restart {launch.restarts} of all ranks: {run.name} had saved nothing and begins anew")
    shutil.rmtree(run.path)
    return None


def _resume(
    config_path: str | None,
    overrides: list[str],
    reference: str,
    force: bool,
    dry_run: bool,
    console: Console,
    launch: Launch,
) -> dict[str, Any]:
    from lstmcli.config.load import load_config
    from lstmcli.rundir import find_run, split_reference
    from lstmcli.training.launch import launched_run

    name, which = split_reference(reference)
    run = find_run(name)
    load_config(config_path or run.config_path, overrides)  # before torch is imported: errors come at once
    from lstmcli.training.distributed import connected

    with connected(launch) as ranks:
        again = ranks.share(lambda: launched_run(launch))
        if again is not None and again.path.resolve() == run.path.resolve():
            which = None  # what was saved since the launch counts, not the step it began with
        return _go_on(config_path, overrides, run, which, force, dry_run, console, ranks)


def _go_on(
    config_path: str | None,
    overrides: list[str],
    run: RunDir,
    which: str | None,
    force: bool,
    dry_run: bool,
    console: Console,
    ranks: Ranks,
) -> dict[str, Any]:
    from contextlib import ExitStack

    from lstmcli.cells.source import cell_of_run
    from lstmcli.config.load import load_config
    from lstmcli.rundir import read_json
    from lstmcli.training.session import assemble, check_same_run, resume

    given = load_config(config_path or run.config_path, overrides)
    check_same_run(load_config(run.config_path), given)
    with cell_of_run(given.model.cell, run.checkpoints, which or "last", notice):
        parts = assemble(given, console, read_json(run.manifest_path), ranks)
    console.end_data()
    _describe(parts, console)
    if dry_run:
        return _plan(parts, console)
    with ExitStack() as stack:
        session = resume(parts, run, which, force, console, stack)
        return _run(session, console)


def _run(session: Session, console: Console) -> dict[str, Any]:
    from lstmcli.training.loop import is_complete, train
    from lstmcli.training.session import set_run_state
    from lstmcli.training.signals import StopSignals

    run = session.run

    def note(state: str) -> None:
        if session.ranks.first:
            set_run_state(run, state)

    if is_complete(session):
        note("complete")
        console.line(f"run {run.name} is already complete at step {session.state.progress.step}")
        return outcome(session)
    note("running")
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
        note(state)
    result = outcome(session)
    _conclude(session, result, console)
    return result


def outcome(session: Session) -> dict[str, Any]:
    """What `--json` prints."""
    numbers = session.state.progress
    unit = "tokens" if session.task.unit == "symbols" else session.task.unit
    return {
        "run": session.run.name,
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
        "final": {"loss": numbers.last_val_loss},
        "checkpoint": str(session.run.checkpoints / f"step_{numbers.step:08d}"),
    }


def _plan(parts: Parts, console: Console) -> dict[str, Any]:
    from lstmcli.training.plan import plan_disk

    task = parts.task
    disk = plan_disk(parts, console)
    console.line(disk.describe(parts.config.train.max_minutes is not None))
    return {
        "dry_run": True,
        "parameters": task.model.parameter_count(),
        **task.plan(),
        "steps_per_epoch": task.steps_per_epoch,
        "device": str(parts.hardware.device),
        "precision": parts.hardware.precision,
        "path": parts.path,
        **disk._asdict(),
    }


def _describe(parts: Parts, console: Console) -> None:
    console.line(
        f"{parts.task.describe()}\n"
        f"on     {parts.hardware.device} in {parts.hardware.precision} "
        f"({parts.hardware.reason}), {parts.path} path"
    )


def _conclude(session: Session, result: dict[str, Any], console: Console) -> None:
    from lstmcli.telemetry.console import duration

    best = session.state.progress.best_loss
    said = "no validation" if best is None else f"best validation loss {best:.4f}"
    writes = "" if session.config.data.kind == "synthetic" else f"lstm generate {session.run.name} · "
    console.line(
        f"done   {result['steps']} steps, {result['epochs']:.1f} epochs in "
        f"{duration(result['seconds'])}; {said}\n"
        f"next   lstm eval {session.run.name} · {writes}tensorboard --logdir {session.run.path.parent}"
    )
    if session.logger.broken:
        console.line(f"part of the log is missing: {session.logger.broken}")
