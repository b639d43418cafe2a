"""lstm cells: the cells there are."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.output import print_json


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the built-in cells with their gates, states and equations.

    \b
    Examples:
      lstm cells
      lstm train CONFIG.yaml model.cell=lstm-readable
      lstm train CONFIG.yaml model.cell=my_cell.py:MyCell
    """
    from inspect import getdoc

    from lstmcli.cells import BUILT_IN, GatedCell, find_cell

    found = []
    for name in BUILT_IN:
        cell = find_cell(name)
        found.append(
            {
                "name": name,
                "kind": "gated" if issubclass(cell, GatedCell) else "free",
                "gates": list(getattr(cell, "gates", ())),
                "state": list(cell.state),
                "equations": getdoc(cell) or "",
            }
        )
    if as_json:
        print_json({"cells": found})
        return
    for entry in found:
        gates, state = ", ".join(entry["gates"]), ", ".join(entry["state"])
        print(f"{entry['name']} ({entry['kind']}; gates {gates}; state {state})")
        print(
            "\n".join(f"    {line}".rstrip() for line in str(entry["equations"]).split("\n")),
            end="\n\n",
        )
