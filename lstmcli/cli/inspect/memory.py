"""lstm inspect RUN memory: how much of what came before a model uses."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.inspect import Data, Json, Plot, Split, load_run, reading, show
from lstmcli.cli.options import Given, of_kinds


@of_kinds("inspect memory")
def command(
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
