"""`lstm generate` of a forecaster: a table, a picture, and a small picture in the terminal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.cli.output import print_json, print_line, print_text

if TYPE_CHECKING:
    from lstmcli.kinds.series.forecast import Forecast
    from lstmcli.kinds.series.trained import SeriesRun

FEW = 3
"""Pictures in the terminal."""


def write_forecast(
    run: SeriesRun,
    horizon: int | None,
    data: Path | None,
    samples: int,
    seed: int | None,
    output: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Forecast, and write what was asked for. Without files and --json, CSV goes to standard output, or,
    on a terminal, a picture of the first series."""
    from lstmcli.kinds.series.plot import plot_forecasts

    made = run.forecast(horizon, data, samples, 0 if seed is None else seed)
    if output is not None:
        made.write(output)
    if plot is not None:
        plot_forecasts(plot, made.panels())
    if as_json:
        print_json(_result(run, made))
    elif output is None and plot is None and not sys.stdout.isatty():
        print_text(made.to_csv())
    else:
        _show(made, [path for path in (output, plot) if path is not None])


def _result(run: SeriesRun, made: Forecast) -> dict[str, Any]:
    columns = made.columns()
    rows = [dict(zip(columns, row, strict=True)) for row in made.rows()]
    return {"run": run.directory.name, "step": run.step, "rows": rows}


def _show(made: Forecast, written: list[Path]) -> None:
    from lstmcli.kinds.series.terminal_plot import terminal_plot

    width = shutil.get_terminal_size().columns
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    for panel in made.panels(FEW):
        print_text(terminal_plot(panel, width, unicode=unicode) + "\n\n")
    total = len(made.ends) * len(made.forecaster.panel.targets)
    if total > FEW:
        print(f"the first {FEW} of {total:,} series")
    for path in written:
        print_line(f"wrote {path}")
