"""lstm report: a run on one page for the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstmcli.cli.options import Given, of_kinds
from lstmcli.cli.trust import Trust
from lstmcli.core.output import print_json, print_line


@of_kinds("report")
def command(
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    given: Given,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write it; default report.html in the run.")
    ] = None,
    evaluation: Annotated[bool, typer.Option("--eval/--no-eval", help="Evaluate the model for it.")] = True,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the path as JSON.")] = False,
) -> None:
    """Write one web page about a run: curves, evaluation, samples or forecasts, gates, gradients, config.
    It needs no network and can be sent to anybody.

    \b
    Examples:
      lstm report latest
      lstm report shakespeare --output shakespeare.html --no-eval
    """
    from lstmcli.api import load
    from lstmcli.inspect.report import Wanted, write_report
    from lstmcli.run.kind import kind_of
    from lstmcli.run.telemetry.console import Console

    console = Console()
    loaded = load(run, trust)
    kind = kind_of(loaded.config)
    chosen = given.of(loaded, kind)
    path = output or loaded.directory.path / "report.html"
    try:
        write_report(loaded, path, Wanted(evaluation, **chosen), console.data_progress)
    finally:
        console.end_data()
    if as_json:
        print_json({"run": loaded.directory.name, "report": str(path)})
    else:
        print_line(f"wrote {path}")
