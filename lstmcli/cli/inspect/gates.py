"""lstm inspect RUN gates: how far open the gates are, how long they remember, what they do where."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.inspect import Data, Json, Plot, Split, Tokens, load_run, reading, show


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

    from lstmcli.inspect.gates import inspect_gates

    with reading(data, split, plot, tokens) as what:
        finding = inspect_gates(load_run(context, of_texts=("characters",)), what)
    show(replace(finding, shown=characters), as_json, plot)
