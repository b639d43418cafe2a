"""lstm inspect RUN gradients: how far back gradients reach, and why."""

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
    lags: Annotated[
        int | None,
        typer.Option("--lags", help="Steps to go back; default 200, or twice the window of training.", min=1),
    ] = None,
    streams: Annotated[
        int, typer.Option("--streams", help="Positions in the data to go back from.", min=1)
    ] = 128,
    initial: Annotated[
        bool, typer.Option("--initial", help="Beside it the same model before its first update.")
    ] = False,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Gradients by lag, half-life, Lyapunov exponents: how far back a loss reaches.

    \b
    Examples:
      lstm inspect latest gradients
      lstm inspect shakespeare gradients --initial --plot gradients.png
      lstm inspect shakespeare@last gradients --lags 1000 --streams 64 --json
    """
    from lstmcli.pictures import check_suffix

    if plot is not None:
        check_suffix(plot)
    from lstmcli.insight.gradients import inspect_gradients
    from lstmcli.insight.source import Reading
    from lstmcli.telemetry.console import Console

    console = Console()
    try:
        reading = Reading(data, split, 1 << 62, lambda *at: console.data_progress("going back", *at))
        finding = inspect_gradients(load_run(context), reading, lags, streams, initial)
    finally:
        console.end_data()
    show(finding, as_json, plot)
