"""lstm bench: this tool beside plain PyTorch, on this machine; and what its intervals cover."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lstmcli.core.errors import UsageError
from lstmcli.core.output import print_json, print_line, print_rows
from lstmcli.core.tables import to_text


def command(
    what: Annotated[str, typer.Argument(help="train, generate, cells, series, intervals or forecast.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="forecast: the tables of the benchmark.")
    ] = None,
    hidden: Annotated[int, typer.Option("--hidden", min=1, help="Units per layer.")] = 512,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Layers.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Streams (train).")] = 64,
    window: Annotated[int, typer.Option("--window", min=1, help="Symbols per window (train).")] = 128,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Measurements of each side.")] = 7,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    path: Annotated[str, typer.Option("--path", help="auto, fused, engine or loop.")] = "auto",
    telemetry: Annotated[
        bool, typer.Option("--telemetry", help="Measure what gate statistics cost instead.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="forecast: the seed of every run.")] = 1,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.05, help="forecast: what each may take; default as by lstm init."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CONFIG", help="forecast: this config; repeated.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="forecast: differs from what lstm init writes."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--runs", help="forecast: keep the runs in this folder.")
    ] = None,
    series: Annotated[int, typer.Option("--series", min=1, help="Of each kind (intervals).")] = 40,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates for each series (intervals).")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure speed against a plain nn.LSTM loop of the same shapes, the two in turn; or what intervals
    cover.

    \b
    Examples:
      lstm bench train
      lstm bench train --telemetry
      lstm bench generate --json
      lstm bench cells --rounds 3
      lstm bench series
      lstm bench intervals --series 8
      lstm bench forecast gift --json
    """
    if what not in ("train", "generate", "cells", "series", "intervals", "forecast"):
        raise UsageError(
            f"there is no bench {what!r}",
            "there are train, generate, cells, series, intervals and forecast",
        )
    if (what == "forecast") != (folder is not None):
        raise UsageError("lstm bench forecast needs the FOLDER of its tables, and no other bench has one")
    if folder is not None:
        _forecast(folder, seed, minutes, only or [], settings or [], keep, as_json)
        return
    if precision not in ("auto", "fp32", "bf16") or path not in ("auto", "fused", "engine", "loop"):
        raise UsageError("--precision is auto, fp32 or bf16; --path is auto, fused, engine or loop")
    from lstmcli.benchmark.compare import Shape, bench_generate, bench_telemetry, bench_train

    shape = Shape(hidden, layers, batch, window)
    if what == "generate":
        result = bench_generate(shape, 2000, rounds)
    elif what == "cells":
        from lstmcli.benchmark.cells import bench_cells

        result = bench_cells(shape, rounds)
    elif what == "series":
        from lstmcli.benchmark.series import bench_series

        result = bench_series(rounds)
    elif what == "intervals":
        result = _intervals(series, steps)
    elif telemetry:
        result = bench_telemetry(shape, rounds)
    else:
        result = bench_train(shape, rounds, precision, path)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _forecast(
    folder: Path,
    seed: int,
    minutes: float | None,
    only: list[str],
    settings: list[str],
    runs: Path | None,
    as_json: bool,
) -> None:
    from lstmcli.benchmark.forecast import bench_forecast, table_of
    from lstmcli.core.notices import notice

    result = bench_forecast(folder, seed, minutes, only, settings, runs, notice)
    if as_json:
        print_json(result)
    else:
        print_line(to_text(table_of(result)))


def _intervals(series: int, steps: int) -> dict[str, Any]:
    from lstmcli.benchmark.intervals import bench_intervals
    from lstmcli.core.notices import route_notices
    from lstmcli.kinds.series.proposal import series_config
    from lstmcli.run.telemetry.console import Console

    console = Console()
    route_notices(lambda text: None)  # of each small run
    try:
        return bench_intervals(series_config, series, steps, console.data_progress)
    finally:
        console.end_data()
        route_notices(None)


def _print(result: dict[str, Any]) -> None:
    for name, value in result.items():
        if name in ("cells", "kinds"):
            _print_cells(name.removesuffix("s"), value)
        elif isinstance(value, dict):
            print(name)
            for inner, number in value.items():
                print(f"  {inner:26} {_shown(number)}")
        else:
            print(f"{name:28} {_shown(value)}")


def _print_cells(name: str, cells: dict[str, dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(k for found in cells.values() for k in found))
    rows = [[name, *(_shown(found.get(k, "")) for k in columns)] for name, found in cells.items()]
    print_rows([[name, *(k.replace("_", " ") for k in columns)], *rows])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 100 else f"{value:,.0f}"
    return "" if value is None else str(value)
