"""lstm report: a run on one page for the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstmcli.cli.options import refuse_others
from lstmcli.cli.output import print_json, print_line
from lstmcli.cli.trust import Trust

USES: dict[str, tuple[str, ...]] = {
    "text": ("inside", "tokens"),
    "series": ("inside", "tokens"),
    "labelled": (),
    "synthetic": (),
}
"""Parameters by what a run learned."""


def command(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write it; default report.html in the run.")
    ] = None,
    evaluation: Annotated[bool, typer.Option("--eval/--no-eval", help="Evaluate the model for it.")] = True,
    inside: Annotated[
        bool, typer.Option("--inside/--no-inside", help="Look at gates and gradients for it.")
    ] = True,
    tokens: Annotated[
        int, typer.Option("--tokens", min=2, help="Symbols, or steps of windows, to look inside with.")
    ] = 50_000,
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
    from lstmcli.run.telemetry.console import Console

    console = Console()
    loaded = load(run, trust)
    refuse_others(context, loaded, USES)
    path = output or loaded.directory.path / "report.html"
    try:
        write_report(loaded, path, Wanted(evaluation, inside, tokens), console.data_progress)
    finally:
        console.end_data()
    if as_json:
        print_json({"run": loaded.directory.name, "report": str(path)})
    else:
        print_line(f"wrote {path}")
