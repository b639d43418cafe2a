"""lstm experiment: claims put to the test, and ablations, as grids of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.trust import Trust
from lstmcli.core.errors import UsageError
from lstmcli.core.output import print_json, print_rows

if TYPE_CHECKING:
    from lstmcli.sweep.experiment import Plan
    from lstmcli.sweep.pool import Trial
    from lstmcli.sweep.results import Results


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE] [KEY=VALUE]...",
            help="An experiment by name or a file; then settings for every trial. "
            "Nothing, or list: what there is.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="How many seeds (default: those of the file).")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=0,
            help="Trials side by side (default: cores / threads of a trial); 0: in this process.",
        ),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Name of the directory under runs/.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the table and picture to this folder, too: NAME.md, NAME.png."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with an experiment's directory.")
    ] = None,
    trust: Trust = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and the file's quick settings: a look, not a result.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put a claim to the test: train every variant with several seeds, and compare.

    Every trial is an ordinary run: tensorboard --logdir runs/experiment-... shows them all.

    \b
    Examples:
      lstm experiment
      lstm experiment forget-bias
      lstm experiment copy --seeds 5 --jobs 4
      lstm experiment my-ablation.yaml train.max_steps=500
      lstm experiment --resume runs/experiment-copy-20260101-120000
    """
    name, overrides = _split(words or [])
    if name in (None, "list") and resume is None:
        _list(as_json)
        return
    plan, todo, folder = _prepare(name, overrides, seeds, quick, run, resume, trust)
    from lstmcli.run.telemetry.console import Console

    results = _conduct(plan, todo, folder, _jobs(jobs, todo), Console())
    _write(results, folder, out)
    if as_json:
        print_json({"directory": str(folder), **results.document()})
    else:
        _print(results, folder)
    _complain(results, folder)


def _complain(results: Results, folder: Path) -> None:
    """A trial that came to nothing is an error, after all that could be shown has been."""
    failed = [record for record in results.records if record["state"] == "failed"]
    if failed:
        from lstmcli.core.errors import RunError

        raise RunError(
            f"{len(failed)} of {len(results.records)} trials failed, first {failed[0]['trial']}: "
            f"{failed[0]['message'].removeprefix('error: ')}",
            f"their words are in {folder}/logs; try them again with --resume {folder}",
        )


def _split(words: list[str]) -> tuple[str | None, list[str]]:
    from lstmcli.cli.train import split_words

    return split_words(words)


def _list(as_json: bool) -> None:
    from lstmcli.sweep.experiment import experiment_files, load_experiment

    found: list[tuple[str, str, float | None]] = []
    for path in experiment_files():
        experiment, _ = load_experiment(path)
        found.append((path.stem, experiment.title, experiment.takes))
    if as_json:
        names = ("name", "title", "minutes")
        print_json({"experiments": [dict(zip(names, one, strict=True)) for one in found]})
    else:
        rows = [[name, title, f"{minutes:g} min" if minutes else ""] for name, title, minutes in found]
        print_rows([["name", "title", "on two cores"], *rows], right=2)


def _prepare(
    name: str | None,
    overrides: list[str],
    seeds: int | None,
    quick: bool,
    run: str | None,
    resume: Path | None,
    trust: bool,
) -> tuple[Plan, list[Trial], Path]:
    from lstmcli.run.directory import runs_folder
    from lstmcli.sweep.experiment import load_plan, make_plan, trials
    from lstmcli.sweep.pool import make_folder, trust_folder

    if trust and resume is None:
        raise UsageError("--trust goes with --resume: the cells of a new experiment are your own choice")
    if resume is not None:
        if name or overrides or seeds or quick or run:
            raise UsageError("--resume goes on with an experiment as it began", "give it with --jobs only")
        folder = resume if resume.is_dir() else runs_folder() / resume
        plan = load_plan(folder)
        todo = trials(plan)
        if trust:
            trust_folder(folder, {trial.config.model.cell for trial in todo})
        return plan, todo, folder
    plan, lines = make_plan(str(name), tuple(overrides), seeds, quick)
    todo = trials(plan, lines)  # every config is checked before the first one is trained
    folder = make_folder(plan.name, run, runs_folder(), "experiment")
    trust_folder(folder, {trial.config.model.cell for trial in todo})
    plan.save(folder)
    return plan, todo, folder


def _jobs(asked: int | None, todo: list[Trial]) -> int:
    if asked is not None:
        return asked
    import os

    threads = max(trial.config.train.threads or 1 for trial in todo)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def _conduct(plan: Plan, todo: list[Trial], folder: Path, jobs: int, console: Any) -> Results:
    import time

    from lstmcli.run.telemetry.console import duration
    from lstmcli.sweep.experiment import conduct
    from lstmcli.sweep.results import Results, describe

    console.line(f"{plan.experiment.title}: {len(todo)} trials, {jobs or 1} at a time, in {folder}")
    found: dict[str, dict[str, Any]] = {}
    began = time.perf_counter()

    def report(trial: Trial, record: dict[str, Any]) -> None:
        found[trial.name] = record
        console.line(f"{len(found):>3}/{len(todo)}  {trial.name}: {describe(record)}")
        console.data_progress(plan.name, len(found), len(todo))
        # A night's work can be read while it is under way, and when it is cut off.
        _write_tables(Results(plan, [found[t.name] for t in todo if t.name in found]), folder)

    console.data_progress(plan.name, 0, len(todo))
    try:
        records = conduct(folder, plan, todo, jobs, report)
    finally:
        console.end_data()
    console.line(f"done in {duration(time.perf_counter() - began)}")
    return Results(plan, records)


def _write_tables(results: Results, folder: Path) -> bytes:
    """results.json and results.md, which is returned."""
    from lstmcli.core.tables import to_markdown
    from lstmcli.run.directory import write_atomic, write_json_atomic

    page = "\n".join(to_markdown(table) for table in results.tables()).encode()
    write_json_atomic(folder / "results.json", results.document())
    write_atomic(folder / "results.md", page)
    return page


def _write(results: Results, folder: Path, out: Path | None) -> None:
    """results.json, results.md and figure.png in the directory, and by the experiment's name in `out`."""
    from lstmcli.core.errors import ResourceError
    from lstmcli.core.pictures import save_figure
    from lstmcli.run.directory import write_atomic
    from lstmcli.sweep.picture import draw

    page = _write_tables(results, folder)
    figure = draw(results)
    save_figure(figure, folder / "figure.png")
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"cannot make {out}: {error.strerror or error}") from error
        write_atomic(out / f"{results.plan.name}.md", page)
        save_figure(figure, out / f"{results.plan.name}.png")


def _print(results: Results, folder: Path) -> None:
    import sys

    from lstmcli.core.tables import to_text

    print("\n".join(to_text(table) for table in results.tables()), end="")
    print(f"wrote {folder}/results.json, results.md and figure.png", file=sys.stderr)
