"""lstm inspect RUN gates: how far open the gates are, how long they remember, what they do where."""

from __future__ import annotations

import typer

from lstmcli.cli.inspect import Data, Json, Plot, Split, Tokens, load_run, reading, show
from lstmcli.cli.options import Given, of_kinds


@of_kinds("inspect gates")
def command(
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
