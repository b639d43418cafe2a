"""lstm cells: the cells there are, and what is to be said of one of your own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.core.errors import ConfigError, UsageError
from lstmcli.core.output import print_json, print_line, print_rows

if TYPE_CHECKING:
    from lstmcli.benchmark.speed import Speed
    from lstmcli.cells.base import CellClass

WIDTH = 512
"""Units and inputs of the layer whose parameters are counted."""


def command(
    what: Annotated[str, typer.Argument(help="list, show or check.")] = "list",
    cell: Annotated[
        str | None, typer.Argument(help="show, check: a name, package.module:Class or FILE.py:Class.")
    ] = None,
    speed: Annotated[bool, typer.Option("--speed", help="list: measure each cell on this machine.")] = False,
    hidden: Annotated[int, typer.Option("--hidden", min=2, max=4096, help="check: units of the layer.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the built-in cells, show the equations of one, or check one of your own.

    \b
    Examples:
      lstm cells
      lstm cells --speed
      lstm cells show gru
      lstm cells check my_cell.py:MyCell
      lstm train CONFIG.yaml model.cell=my_cell.py:MyCell
    """
    if what not in ("list", "show", "check"):
        hint = f"lstm cells show {what}, or lstm cells check {what}"
        raise UsageError(f"there is no lstm cells {what!r}", hint)
    if what == "list" and cell is not None:
        raise UsageError(f"lstm cells list takes no cell, found {cell!r}", f"lstm cells show {cell}")
    if what != "list" and cell is None:
        raise UsageError(f"lstm cells {what}: no cell is given", f"lstm cells {what} CELL")
    if speed and what != "list":
        raise UsageError("--speed goes with lstm cells alone", "lstm cells check CELL measures it, too")
    if what == "check":
        _check(str(cell), hidden, as_json)
    elif what == "show":
        _show(str(cell), as_json)
    else:
        _list(speed, as_json)


def _list(speed: bool, as_json: bool) -> None:
    from lstmcli.cells import BUILT_IN, find_cell

    classes = {name: find_cell(name) for name in BUILT_IN}
    speeds = _measured(classes) if speed else {}
    entries = [_entry(name, cell, speeds.get(name)) for name, cell in classes.items()]
    if as_json:
        print_json({"cells": entries})
        return
    head = ["cell", "kind", "gates", "state", "parameters", "x H²"]
    print_rows([[*head, *(["symbols/s", "of lstm"] if speed else [])], *map(_row, entries)], right=4)
    print(f"parameters: of a layer with {WIDTH} inputs and {WIDTH} units; equations: lstm cells show CELL")


def _row(entry: dict[str, Any]) -> list[str]:
    texts = [entry["name"], entry["kind"], ", ".join(entry["gates"]), ", ".join(entry["state"])]
    numbers = [f"{entry['parameters']:,}", f"{entry['parameters_per_unit_squared']:.2f}"]
    if entry["speed"] is not None:
        numbers += [f"{entry['speed']['symbols_per_second']:,.0f}", f"{entry['speed']['ratio']:.2f}"]
    return texts + numbers


def _entry(name: str, cell: CellClass, speed: Speed | None = None) -> dict[str, Any]:
    from inspect import getdoc

    from lstmcli.engine.layers import layer_class

    layer = layer_class(cell)
    count = layer.cost(cell, WIDTH, WIDTH).parameters
    return {
        "name": name,
        "kind": layer.kind,
        "gates": list(getattr(cell, "gates", ())),
        "state": list(cell.state),
        "parameters": count,
        "parameters_per_unit_squared": count / WIDTH**2,
        "equations": getdoc(cell) or "",
        "speed": None if speed is None else speed._asdict(),
    }


def _measured(classes: dict[str, CellClass]) -> dict[str, Speed]:
    from lstmcli.benchmark.speed import measure

    width = max(len(name) for name in classes) + 12
    say = sys.stderr
    live = say.isatty()

    def on_progress(name: str) -> None:
        text = f"measuring: {name}"
        print(f"\r{text:{width}}" if live else text, end="" if live else "\n", file=say, flush=True)

    speeds = measure(classes, on_progress)
    if live:
        print(f"\r{'':{width}}\r", end="", file=say, flush=True)
    return speeds


def _show(name: str, as_json: bool) -> None:
    from lstmcli.cells import find_cell

    entry = _entry(name, find_cell(name))
    if as_json:
        print_json(entry)
        return
    gates, state = ", ".join(entry["gates"]) or "unnamed", ", ".join(entry["state"])
    print_line(f"{name} ({entry['kind']}; gates {gates}; state {state})")
    print_line("\n".join(f"    {line}".rstrip() for line in entry["equations"].split("\n")))
    print(
        f"{entry['parameters']:,} parameters with {WIDTH} inputs and {WIDTH} units "
        f"({entry['parameters_per_unit_squared']:.2f} H²)"
    )


def _check(name: str, hidden: int, as_json: bool) -> None:
    from lstmcli.cells import find_cell
    from lstmcli.engine.checks.check import check_cell

    cell = find_cell(name)
    verdicts = []
    for verdict in check_cell(cell, hidden):
        verdicts.append(verdict)
        if not as_json:
            print_line(str(verdict))
            sys.stdout.flush()
    failed = [verdict.check for verdict in verdicts if verdict.result == "FAILED"]
    speeds = {} if failed else _speed_of_one(name, cell)
    if as_json:
        checks = [vars(verdict) for verdict in verdicts]
        print_json({"cell": name, "passed": not failed, "checks": checks, "speed": speeds})
    elif speeds:
        print(_speed_line(speeds))
    if failed:
        tried = sum(verdict.result != "not tried" for verdict in verdicts)
        raise ConfigError(f"{name}: {len(failed)} of {tried} checks failed: {', '.join(failed)}")


def _speed_of_one(name: str, cell: CellClass) -> dict[str, Any]:
    """Speeds of the cell and of the stock LSTM; nothing where the cell does not run in that size."""
    from lstmcli.benchmark.speed import STOCK, measure
    from lstmcli.cells.registry import place_of
    from lstmcli.core.notices import notice

    try:
        measured = measure({name: cell}, rounds=9)
    except Exception as error:  # the user's own code may raise anything at all
        notice(f"the speed of {name} is not known: {place_of(error)}")
        return {}
    return {"cell": measured[name]._asdict(), "stock": measured[STOCK]._asdict()}


def _speed_line(speeds: dict[str, Any]) -> str:
    from lstmcli.benchmark.speed import BATCH, HIDDEN, STEPS

    cell, stock = speeds["cell"], speeds["stock"]
    return (
        f"{'speed':24}{cell['symbols_per_second']:,.0f} symbols/s on the path {cell['path']}, "
        f"{cell['ratio']:.2f} times the stock LSTM's {stock['symbols_per_second']:,.0f} ({stock['path']}): "
        f"forward and backward of one layer of {HIDDEN} units, {BATCH} streams, {STEPS} steps"
    )
