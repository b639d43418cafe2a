"""lstm inspect RUN memory: how much of what came before a model uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstmcli.cli.inspect import Json, Plot, load_run, show

Data = Annotated[Path | None, typer.Option("--data", help="Read another text, or table.")]
Split = Annotated[
    str | None, typer.Option("--split", help="val, test or train; default val for text, test for series.")
]


def command(
    context: typer.Context,
    data: Data = None,
    split: Split = None,
    longest: Annotated[
        int | None,
        typer.Option("--context", help="Longest context; default 1000 symbols, or all of a window.", min=1),
    ] = None,
    positions: Annotated[
        int, typer.Option("--positions", help="Symbols, or windows, that are predicted.", min=1)
    ] = 2000,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Memory: the loss by length of context; the dimensions that the states use.

    \b
    Examples:
      lstm inspect latest memory
      lstm inspect shakespeare memory --plot memory.png
      lstm inspect shakespeare@last memory --context 300 --positions 500 --json
    """
    from lstmcli.pictures import check_suffix

    if plot is not None:
        check_suffix(plot)
    from lstmcli.insight.memory import inspect_memory
    from lstmcli.insight.source import Reading
    from lstmcli.telemetry.console import Console

    console = Console()
    try:
        reading = Reading(data, split, 1 << 62, lambda *at: console.data_progress("reading", *at))
        finding = inspect_memory(load_run(context), reading, longest, positions)
    finally:
        console.end_data()
    show(finding, as_json, plot)
