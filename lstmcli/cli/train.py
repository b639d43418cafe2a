"""lstm train: from a config to a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.output import print_json
from lstmcli.errors import DivergedError, Interrupted, UsageError

if TYPE_CHECKING:
    from lstmcli.telemetry.console import Console
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
    from lstmcli.telemetry.console import Console

    console = Console(quiet=False)
    if resume is not None:
        result = _resume(config_path, overrides, resume, force, dry_run, console)
    else:
        result = _start(str(config_path), overrides, run, dry_run, console)
    if as_json:
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
    config_path: str, overrides: list[str], name: str | None, dry_run: bool, console: Console
) -> dict[str, Any]:
    from contextlib import ExitStack
    from pathlib import Path

    from lstmcli.config.load import load_config

    config = load_config(config_path, overrides)  # before torch is imported: errors come at once
    from lstmcli.training.session import assemble, start

    parts = assemble(config, console)
    console.end_data()
    _describe(parts, console)
    if dry_run:
        return _plan(parts)
    with ExitStack() as stack:
        session = start(parts, Path(config_path).stem, name, console, stack)
        return _run(session, console)


def _resume(
    config_path: str | None,
    overrides: list[str],
    reference: str,
    force: bool,
    dry_run: bool,
    console: Console,
) -> dict[str, Any]:
    from contextlib import ExitStack

    from lstmcli.config.load import load_config
    from lstmcli.notices import notice
    from lstmcli.rundir import find_run, read_json, split_reference

    name, which = split_reference(reference)
    run = find_run(name)
    stored = load_config(run.config_path)
    given = load_config(config_path or run.config_path, overrides)
    from lstmcli.cells.source import cell_of_run
    from lstmcli.training.session import assemble, check_same_run, resume

    check_same_run(stored, given)
    with cell_of_run(given.model.cell, run.checkpoints, which or "last", notice):
        parts = assemble(given, console, read_json(run.manifest_path))
    console.end_data()
    _describe(parts, console)
    if dry_run:
        return _plan(parts)
    with ExitStack() as stack:
        session = resume(parts, run, which, force, console, stack)
        return _run(session, console)


def _run(session: Session, console: Console) -> dict[str, Any]:
    from lstmcli.training.loop import is_complete, train
    from lstmcli.training.session import set_run_state
    from lstmcli.training.signals import StopSignals

    run = session.run
    if is_complete(session):
        set_run_state(run, "complete")
        console.line(f"run {run.name} is already complete at step {session.state.progress.step}")
        return outcome(session)
    set_run_state(run, "running")
    console.line(f"run {run.name} in {run.path}")
    state = "failed"
    try:
        with StopSignals() as stop, console:
            train(session, stop)
        state = "complete"
    except (Interrupted, KeyboardInterrupt):
        state = "interrupted"
        raise
    except DivergedError:
        state = "diverged"
        raise
    finally:
        set_run_state(run, state)
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


def _plan(parts: Parts) -> dict[str, Any]:
    task = parts.task
    numbers = sum(p.numel() * p.element_size() for p in task.model.parameters())
    keep = parts.config.checkpoint.keep + 1
    copies = 3 + (parts.config.train.average is not None)  # weights, Adam's two moments, the average
    return {
        "dry_run": True,
        "parameters": task.model.parameter_count(),
        **task.plan(),
        "steps_per_epoch": task.steps_per_epoch,
        "device": str(parts.hardware.device),
        "precision": parts.hardware.precision,
        "path": parts.path,
        "checkpoint_bytes": copies * numbers * keep,
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
    console.line(
        f"done   {result['steps']} steps, {result['epochs']:.1f} epochs in "
        f"{duration(result['seconds'])}; {said}\n"
        f"next   lstm eval {session.run.name} · lstm generate {session.run.name} · "
        f"tensorboard --logdir {session.run.path.parent}"
    )
    if session.logger.broken:
        console.line(f"part of the log is missing: {session.logger.broken}")
