"""What `lstm eval` and `lstm generate` do with a forecaster, and what they can be asked for."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import UsageError
from lstmcli.core.output import print_line, print_text
from lstmcli.run.kind import Evaluated, Products, Progress
from lstmcli.run.options import Chosen, Option

if TYPE_CHECKING:
    from lstmcli.kinds.series.forecast import Forecast
    from lstmcli.kinds.series.trained import SeriesRun

EVAL = (
    Option("--data", "another table", Path),
    Option("--split", "val, test or train; default test"),
    Option("--protocol", "windows (every one of the split) or gift (GIFT-Eval's); default the config's"),
    Option("--by", "a row per step or per series"),
    Option("--origins", "only the last so many of each series, a horizon apart", int, least=1),
    Option("--output", "write every forecast at every origin as .csv or .parquet", Path, short="-o"),
)
GENERATE = (
    Option("--horizon", "steps to forecast; default as trained", int, least=1),
    Option("--input", "another table, also with new series", Path),
    Option("--samples", "sample paths", int, 0, least=0),
    Option("--seed", "for the same paths again", int),
    Option("--output", "write it as .csv or .parquet", Path, short="-o"),
    Option("--plot", "draw it (.png, .pdf or .svg)", Path),
    Option("--series", "only this one is drawn"),
)
REPORT = (
    Option("--inside/--no-inside", "look at gates and gradients for it", bool, True),
    Option("--tokens", "steps of windows to look inside with", int, 50_000, least=2),
)
INIT = (
    Option("--horizon", "steps to forecast; default by the unit", int, least=1),
    Option("--minutes", "what training may take; default by size", float, least=0.05),
)
TABLES = (".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
FEW = 3
"""Pictures in the terminal."""


def is_table(file: Path) -> bool:
    """By its name; a packed table (.csv.gz) is a table, and its reader says what to do with it."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return bool(suffixes) and (
        suffixes[-1] in TABLES
        or (suffixes[-1] in PACKED and suffixes[-2:-1] != [] and suffixes[-2] in TABLES)
    )


def evaluate(run: SeriesRun, chosen: Chosen, on_progress: Progress) -> Evaluated:
    """Every window of a split, or of another table."""
    if chosen["by"] not in (None, "step", "series"):
        raise UsageError(f"--by {chosen['by']}: there are step and series")
    data, split, protocol = chosen["data"], chosen["split"] or "test", chosen["protocol"]
    if protocol not in (None, "windows", "gift"):
        raise UsageError(f"no protocol {protocol!r}", "there are windows and gift")
    if protocol == "gift" and (data or chosen["by"] or split != "test"):
        raise UsageError("--protocol gift scores the run's own test split: no --data, --by or other --split")
    origins, output = chosen["origins"], chosen["output"]
    if protocol == "gift" and (origins or output):
        raise UsageError("--protocol gift has origins of its own: no --origins or --output")
    if output is not None:
        from lstmcli.core.tables import check_file

        check_file(output)
    found = run.evaluate(data, split, chosen["by"], on_progress, protocol, origins, output)
    return Evaluated(str(data or split), found)


def write(run: SeriesRun, chosen: Chosen, as_json: bool) -> dict[str, Any]:
    """Forecast, and write what was asked for. Without files and --json, CSV goes to standard output, or,
    on a terminal, a picture of the first series."""
    from lstmcli.core.tables import check_file
    from lstmcli.kinds.series.plot import plot_forecasts

    output, plot = chosen["output"], chosen["plot"]
    if output is not None:
        check_file(output)
    if chosen["series"] is not None and plot is None:
        raise UsageError("--series says which one --plot draws", "give --plot FILE.png, too")
    made = run.forecast(chosen["horizon"], chosen["input"], chosen["samples"], chosen["seed"] or 0)
    if output is not None:
        made.write(output)
    if plot is not None:
        plot_forecasts(plot, made.panels(series=chosen["series"]))
    if as_json:
        return _document(run, made)
    if output is None and plot is None and not sys.stdout.isatty():
        print_text(made.to_csv())
    else:
        _show(made, [path for path in (output, plot) if path is not None])
    return {}


def products(run: SeriesRun) -> Products:
    """Six series for `lstm report`."""
    from lstmcli.kinds.series.plot import forecast_figure

    figure = forecast_figure(run.forecast().panels(6))
    return Products("forecasts from the end of each series", figure=figure)


def _document(run: SeriesRun, made: Forecast) -> dict[str, Any]:
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
        print_line(f"the first {FEW} of {total:,} series")
    for path in written:
        print_line(f"wrote {path}")
