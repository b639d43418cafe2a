"""lstm inspect RUN gates: how far open the gates are, how long they remember, what they do where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstmcli.cli.inspect import Json, Plot, load_run, show

Data = Annotated[Path | None, typer.Option("--data", help="Read another text, or table.")]
Split = Annotated[
    str | None, typer.Option("--split", help="val, test or train; default val for text, test for series.")
]
Tokens = Annotated[int, typer.Option("--tokens", help="Most symbols, or steps of windows, to read.")]


def command(
    context: typer.Context,
    data: Data = None,
    split: Split = None,
    tokens: Tokens = 200_000,
    characters: Annotated[
        int, typer.Option("--characters", min=0, help="Text: characters to show beside the marks.")
    ] = 8,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Gates: openness, saturation, timescales; what they do at which character.

    \b
    Examples:
      lstm inspect latest gates
      lstm inspect shakespeare gates --plot saturation.png
      lstm inspect shakespeare@last gates --data other.txt --tokens 1000000 --json
      lstm inspect etth1 gates --split val
    """
    from dataclasses import replace

    from lstmcli.pictures import check_suffix

    if plot is not None:
        check_suffix(plot)
    from lstmcli.insight.gates import inspect_gates
    from lstmcli.insight.source import Reading
    from lstmcli.telemetry.console import Console

    console = Console()
    try:
        reading = Reading(data, split, tokens, lambda *at: console.data_progress("reading", *at))
        finding = inspect_gates(load_run(context), reading)
    finally:
        console.end_data()
    show(replace(finding, shown=characters), as_json, plot)
