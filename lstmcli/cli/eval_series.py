"""The table that `lstm eval` prints for a forecaster."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lstmcli.cli.output import print_rows

if TYPE_CHECKING:
    from lstmcli.inference.series.report import SeriesReport

COLUMNS = (
    "mse", "mae", "rmse", "scaled_mse", "scaled_mae", "smape", "mape", "mase", "owa", "crps",
    "coverage", "width",
)  # fmt: skip
MEANINGLESS = 1e4  # percent
NAMES = {
    "naive": "last value",
    "seasonal_naive": "last season",
    "drift": "last value and drift",
    "seasonal_mean": "mean of the last seasons",
    "naive2": "Naive2",
}


def print_series(about: dict[str, Any], report: SeriesReport) -> None:
    """The model above what costs nothing, in the same metrics; then the rows of `--by`."""
    metrics = report.metrics
    print(f"{about['run']} at step {about['step']} on {about['split']}")
    windows, points = int(metrics["windows"]), int(metrics["points"])
    print(f"{windows:,} windows, {report.horizon} steps ahead, {points:,} values; season {report.season}\n")
    # A value near zero makes a percentage of it meaningless.
    shown = [k for k in COLUMNS if k in metrics and (k != "mape" or metrics[k] < MEANINGLESS)]
    rows = [["", *(k.replace("_", " ") for k in shown)]]
    rows.append(["this model", *(_number(metrics.get(k)) for k in shown)])
    for name, found in report.baselines.items():
        rows.append([NAMES.get(name, name), *(_number(found.get(k)) for k in shown)])
    print_rows(rows)
    if report.rows:
        names = [k for k in report.rows[0] if k in ("group", "target", "step") or k in shown]
        print()
        print_rows([names, *([_number(row.get(k)) for k in names] for row in report.rows)])


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if value == 0.0 or 0.001 <= abs(value) < 10.0:
        return f"{value:.3f}"
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:.3e}"
