"""lstm inspect RUN gates, gradients, memory: how far open the gates are and how long they remember; how far
back gradients reach, and why; how much of what came before a model uses."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.inspect import Data, Json, Plot, Split, Tokens, load_run, reading, show
from lstmcli.cli.options import Given, of_kinds


@of_kinds("inspect gates")
def gates(
    context: typer.Context,
    given: Given,
    data: Data = None,
    split: Split = None,
    tokens: Tokens = 200_000,
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

    from lstmcli.inspect.gates import inspect_gates

    with reading(data, split, plot, tokens) as what:
        run, chosen = load_run(context, given)
        finding = inspect_gates(run, what)
    show(replace(finding, shown=chosen.get("characters", finding.shown)), as_json, plot)


@of_kinds("inspect gradients")
def gradients(
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


@of_kinds("inspect memory")
def memory(
    context: typer.Context,
    given: Given,
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
    from lstmcli.inspect.memory import inspect_memory

    with reading(data, split, plot) as what:
        finding = inspect_memory(load_run(context, given)[0], what, longest, positions)
    show(finding, as_json, plot)
