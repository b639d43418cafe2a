"""lstm tune: better settings for a config, and its learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstmcli.cli.trust import Trust
from lstmcli.core.errors import UsageError
from lstmcli.core.output import print_json, print_line

if TYPE_CHECKING:
    from lstmcli.config.schema import Config
    from lstmcli.sweep.search import Outcome, Plan

DEFAULT_MINUTES = 60.0


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A config, then settings for every trial."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="YAML: settings, each with a range or a list; default: by the data."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Budget of all trials; default 60.")
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Budget in trials.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Trials side by side; 0: in this process.")] = 1,
    run: Annotated[str | None, typer.Option("--run", help="Name of the directory under runs/.")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with a search.")
    ] = None,
    trust: Trust = False,
    rates: Annotated[
        bool,
        typer.Option("--learning-rates", help="Only a range test: the loss while the rate rises."),
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write the picture: FILE.png, .svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search for better settings: each trial is an ordinary run, judged by its validation loss, and ended
    early if it is worse than half of the others were at that point.

    \b
    Examples:
      lstm tune configs/shakespeare-fast.yaml --minutes 60
      lstm tune my.yaml --space space.yaml --trials 20 --jobs 2 train.max_steps=500
      lstm tune my.yaml --learning-rates --plot rates.png
      lstm tune --resume runs/tune-my-20260101-120000 --minutes 30
    """
    if plot is not None:
        from lstmcli.core.pictures import check_suffix

        check_suffix(plot)
    if rates:
        _test_rates(words or [], plot, as_json)
        return
    plan, folder = _prepare(words or [], space, minutes, trials, jobs, run, resume, trust)
    _search(plan, folder, plot, as_json)


def _config(words: list[str]) -> tuple[str, Config]:
    from lstmcli.cli.train import split_words
    from lstmcli.config.load import load_config

    path, overrides = split_words(words)
    if path is None:
        raise UsageError("no config is given", "lstm tune CONFIG.yaml")
    return path, load_config(path, overrides)


def _test_rates(words: list[str], plot: Path | None, as_json: bool) -> None:
    from lstmcli.core.pictures import save_figure
    from lstmcli.core.tables import to_text
    from lstmcli.inspect.rates import rate_test
    from lstmcli.run.telemetry.console import Console

    _, config = _config(words)
    console = Console()
    try:
        found = rate_test(config, on_progress=lambda d, t: console.data_progress("rising rates", d, t))
    finally:
        console.end_data()
    if plot is not None:
        save_figure(found.figure(), plot)
    if as_json:
        print_json(found.document())
    else:
        print_line("\n".join(to_text(table) for table in found.tables()).rstrip("\n"))


def _prepare(
    words: list[str],
    space: Path | None,
    minutes: float | None,
    trials: int | None,
    jobs: int,
    run: str | None,
    resume: Path | None,
    trust: bool,
) -> tuple[Plan, Path]:
    from dataclasses import replace

    from lstmcli.run.directory import runs_folder
    from lstmcli.sweep.pool import make_folder, trust_folder
    from lstmcli.sweep.search import Plan, load_optuna, load_plan
    from lstmcli.sweep.space import check_space, default_space, load_space

    load_optuna()
    if trust and resume is None:
        raise UsageError("--trust goes with --resume: the cell of a new search is your own choice")
    if resume is not None:
        if words or space or run:
            raise UsageError("--resume goes on with a search as it began", "give it with a budget and --jobs")
        resume = resume if resume.is_dir() else runs_folder() / resume
        plan = load_plan(resume)
        if trust:
            trust_folder(resume, plan.cells)
        budget = (minutes, trials) if minutes or trials else (plan.minutes, plan.trials)
        return replace(plan, minutes=budget[0], trials=budget[1], jobs=jobs), resume
    path, config = _config(words)
    found = load_space(space) if space is not None else default_space(config)
    check_space(config, found)
    if minutes is None and trials is None:
        minutes = DEFAULT_MINUTES
    plan = Plan(Path(path).stem, config, found, minutes, trials, jobs)
    folder = make_folder(plan.name, run, runs_folder(), kind="tune")
    (folder / "configs").mkdir()
    trust_folder(folder, plan.cells)
    plan.save(folder)
    return plan, folder


def _search(plan: Plan, folder: Path, plot: Path | None, as_json: bool) -> None:
    from lstmcli.core.pictures import save_figure
    from lstmcli.core.tables import to_text
    from lstmcli.run.directory import write_json_atomic
    from lstmcli.run.telemetry.console import Console
    from lstmcli.sweep.search import Results, search

    console = Console()
    budget = f"{plan.minutes:g} minutes" if plan.minutes else f"{plan.trials} trials"
    console.line(f"searching {', '.join(plan.space)} for {budget}, in {folder}")

    def report(outcome: Outcome) -> None:
        console.line(_told(outcome))

    results = Results(plan.space, search(folder, plan, report))
    write_json_atomic(folder / "results.json", results.document())
    figure = results.figure()
    save_figure(figure, folder / "figure.png")
    if plot is not None:
        save_figure(figure, plot)
    if as_json:
        print_json({"directory": str(folder), **results.document()})
        return
    print_line("\n".join(to_text(table) for table in results.tables()).rstrip("\n"))
    if (folder / "best.yaml").exists():
        console.line(f"next   lstm train {folder / 'best.yaml'}")


def _told(outcome: Outcome) -> str:
    from lstmcli.sweep.search import shown

    settings = ", ".join(f"{k.split('.', 1)[-1]} {shown(v)}" for k, v in outcome.settings.items())
    loss = "" if outcome.loss is None else f" {outcome.loss:.4f}"
    said = f": {outcome.message}" if outcome.message else ""
    return f"{outcome.number:>4}  {outcome.state}{loss} in {outcome.seconds:.0f} s ({settings}){said}"
