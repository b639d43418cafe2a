"""lstm train: from a config to a run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from lstmcli.cli.trust import Trust, trust_run
from lstmcli.core.errors import UsageError
from lstmcli.core.notices import route_notices
from lstmcli.core.output import print_json
from lstmcli.core.terminal import console_lost

if TYPE_CHECKING:
    from lstmcli.config.schema import Config
    from lstmcli.run.directory import RunDir
    from lstmcli.run.execute import Outcome
    from lstmcli.run.telemetry.console import Console


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A YAML file, then settings to override."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Name of the new run.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN[@STEP]", help="Go on with a run.")
    ] = None,
    ancestor: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN[@STEP]", help="Begin a new run with the weights of another."),
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
      lstm train my.yaml --from shakespeare train.learning_rate=5e-4
    """
    config_path, overrides = split_words(words or [])
    if resume is None and config_path is None:
        raise UsageError("no config is given", "lstm train CONFIG.yaml, or lstm train --resume RUN")
    if resume is not None and run is not None:
        raise UsageError("--run names a new run and --resume an old one: give one of them")
    if resume is not None and ancestor is not None:
        raise UsageError("--from begins a new run and --resume goes on with an old one: give one of them")
    if trust:
        trust_run(resume)
    resumed, which = (None, None) if resume is None else _find(resume)
    source = None if ancestor is None else _find(ancestor)
    from lstmcli.run.launch import read_launch

    launch = read_launch()
    if run is not None and not dry_run and launch.size == 1 and not launch.restarts:
        _check_name(run)  # several ranks find out together, or the others would wait for one that has gone
    config = _read(config_path, resumed, overrides)  # before torch is imported: errors come at once
    from lstmcli.run.execute import Job, execute, rehearse
    from lstmcli.run.telemetry.console import Console

    console = Console(quiet=launch.rank > 0)
    if launch.rank > 0:
        route_notices(lambda text: None)  # rank 0 has the same to say
    name = Path(config_path or "").stem
    job = Job(config, name, run, resumed=resumed, which=which, ancestor=source, force=force)
    if dry_run:
        result = rehearse(job, console, launch)
    else:
        outcome = execute(job, (), console, launch)
        result = outcome.numbers
        _conclude(outcome, config, console)
    if as_json and launch.rank == 0:
        print_json(result)


def _check_name(name: str) -> None:
    from lstmcli.run.directory import check_new_name

    check_new_name(name)


def _find(reference: str) -> tuple[RunDir, str | None]:
    from lstmcli.run.directory import check_begun, find_run, split_reference

    name, which = split_reference(reference)
    run = find_run(name)
    check_begun(run)
    return run, which


def _read(config_path: str | None, resumed: RunDir | None, overrides: list[str]) -> Config:
    from lstmcli.config.load import load_config
    from lstmcli.run.records import config_of

    if config_path is None and resumed is not None:
        config_of(resumed)  # what is wrong in a run is no fault of a config's
        config_path = str(resumed.config_path)
    return load_config(config_path or "", overrides, of_run=resumed is not None)


def split_words(words: list[str]) -> tuple[str | None, list[str]]:
    """The config's path, if the first word is no override, and the overrides."""
    if not words or ("=" in words[0] and not words[0].endswith((".yaml", ".yml"))):
        return None, words
    for word in words[1:]:
        if "=" not in word:
            raise UsageError(f"{word!r} is not KEY=VALUE", "such as train.max_steps=1000")
    return words[0], words[1:]


def _conclude(outcome: Outcome, config: Config, console: Console) -> None:
    if outcome.was_complete:
        return
    from lstmcli.run.kind import kind_of
    from lstmcli.run.telemetry.console import duration

    run, result, best = outcome.run, outcome.numbers, outcome.numbers["best"]["loss"]
    said = "no validation" if best is None else f"best validation loss {best:.4f}"
    if best is not None and result["judged"]:
        said += f" (on {result['judged']}: lstm eval reads all)"
    writes = "" if not kind_of(config).writes else f"lstm generate {run.reference} · "
    console.line(
        f"done   {result['steps']} steps, {result['epochs']:.1f} epochs in "
        f"{duration(result['seconds'])}; {said}\n"
        f"next   lstm eval {run.reference} · {writes}tensorboard --logdir "
        f"{quote(str(run.path.parent))}"
    )
    if outcome.broken_log:
        console.line(f"part of the log is missing: {outcome.broken_log}")
    if lost := console_lost():
        console.line(f"part of what was said here is missing: {lost}")
