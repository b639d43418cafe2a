"""lstm inspect RUN gradients: how far back gradients reach, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.inspect import Data, Json, Plot, Split, load_run, reading, show
from lstmcli.cli.options import Given, of_kinds


@of_kinds("inspect gradients")
def command(
    context: typer.Context,
    given: Given,
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
    from lstmcli.inspect.gradients import inspect_gradients

    with reading(data, split, plot, label="going back") as what:
        finding = inspect_gradients(load_run(context, given)[0], what, lags, streams, initial)
    show(finding, as_json, plot)
