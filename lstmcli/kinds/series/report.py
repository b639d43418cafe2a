"""What `lstm eval` says of a forecaster, beside forecasts that cost nothing, in the same metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcli.core.errors import DataError
from lstmcli.core.tables import Table
from lstmcli.kinds.series.baselines import BASELINES, naive2
from lstmcli.kinds.series.calibration import Basis
from lstmcli.kinds.series.evaluate import Scales, add_to_board, evaluate_series, in_batches, spread
from lstmcli.kinds.series.forecaster import Forecaster, Prediction
from lstmcli.kinds.series.metrics import ScoreBoard, owa
from lstmcli.kinds.series.windows import Windows, gather

SEASONS = 7
"""Seasons of history that the baselines see at least."""
FULL = 5000
"""Series up to which Naive2, which reads all of a series, is made."""

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


@dataclass(frozen=True)
class SeriesReport:
    split: str
    horizon: int
    season: int
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    rows: list[dict[str, Any]]  # by step or by series, if asked for
    basis: Basis | None = None  # of the intervals
    point: str = "mean"  # what errors of one number are of
    reach: int = 0  # steps that the baselines see

    def to_json(self) -> dict[str, Any]:
        found = {
            "split": self.split,
            "horizon": self.horizon,
            "season": self.season,
            "point": self.point,
            **self.metrics,
            "baselines": self.baselines,
            "intervals": None if self.basis is None else self.basis._asdict(),
        }
        return found | ({"rows": self.rows} if self.rows else {})

    def _note(self) -> str:
        """What a reader must know beside the figures."""
        said = [f"Errors are those of the {self.point} that is forecast."]
        if self.basis is not None:
            of = f"of {100 * self.metrics['nominal']:g}% " if "nominal" in self.metrics else ""
            said.append(f"Intervals {of}rest on {self.basis}.")
        said.append(f"Drift is that of the last {self.reach:,} steps before each forecast.")
        return "\n".join(said)

    def tables(self) -> list[Table]:
        """The model above what costs nothing, in the same metrics; then the rows by step or series."""
        metrics = self.metrics
        windows, points = int(metrics["windows"]), int(metrics["points"])
        title = f"{windows:,} windows, {self.horizon} steps ahead, {points:,} values; season {self.season}"
        # A value near zero makes a percentage of it meaningless.
        shown = [k for k in COLUMNS if k in metrics and (k != "mape" or metrics[k] < MEANINGLESS)]
        rows = [["this model", *(_number(metrics.get(k)) for k in shown)]]
        for name, found in self.baselines.items():
            rows.append([NAMES.get(name, name), *(_number(found.get(k)) for k in shown)])
        tables = [Table(title, ["", *(k.replace("_", " ") for k in shown)], rows, self._note())]
        if self.rows:
            names = [k for k in self.rows[0] if k in ("group", "target", "step") or k in shown]
            details = [[_number(row.get(k)) for k in names] for row in self.rows]
            tables.append(Table("", names, details))
        return tables


def report_on_series(
    forecaster: Forecaster,
    windows: Windows,
    before: np.ndarray | None,
    split: str,
    by: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SeriesReport:
    """Score the forecaster and the baselines on all windows. `before` (S,): where the part of each
    series ends whose seasonal differences MASE divides by; None: at each origin. `by`: step, series, None."""
    if not len(windows):
        raise DataError(
            f"the {split} split has no window of {windows.horizon} steps",
            "give the split more steps (data.splits, data.test_length), or evaluate another one by --split",
        )
    scales = Scales(forecaster, before)
    found = evaluate_series(forecaster, windows, scales, on_progress=on_progress)
    if found is None:
        raise DataError("nothing was evaluated")
    metrics = found.board.summary()
    baselines = _baselines(forecaster, windows, scales)
    for of in (metrics, *baselines.values()):
        if "naive2" in baselines:
            reference = baselines["naive2"]
            of["owa"] = owa(of["smape"], of["mase"], reference["smape"], reference["mase"])
    return SeriesReport(
        split,
        windows.horizon,
        forecaster.panel.season,
        metrics,
        baselines,
        _rows(found.board, forecaster, by),
        None if forecaster.calibration is None else forecaster.calibration.basis,
        forecaster.point,
        _reach(forecaster),
    )


def _rows(board: ScoreBoard, forecaster: Forecaster, by: str | None) -> list[dict[str, Any]]:
    if by == "step":
        return board.by_step()
    if by != "series":
        return []
    names, targets = forecaster.panel.names, forecaster.panel.targets
    rows = []
    for row in board.by_key():
        series, channel = divmod(row.pop("key"), len(targets))
        rows.append({"group": names[series], "target": targets[channel], **row})
    return rows


def _reach(forecaster: Forecaster) -> int:
    """Steps of history that the baselines see, unless a series is shorter."""
    season = forecaster.panel.season
    return max(SEASONS * season, forecaster.context, 2 * season + 1)


def _baselines(forecaster: Forecaster, windows: Windows, scales: Scales) -> dict[str, dict[str, float]]:
    """Each baseline forecasts the same windows from the steps before them, in the table's own units."""
    panel, horizon, season = forecaster.panel, windows.horizon, forecaster.panel.season
    reach = _reach(forecaster)
    boards = {name: ScoreBoard(horizon, scales.mase.size) for name in BASELINES}
    once = len(windows) <= FULL and bool((windows.counts <= 1).all())
    if once:
        boards["naive2"] = ScoreBoard(horizon, scales.mase.size)
    for numbers in in_batches(forecaster, spread(windows, None)):
        series, origins = windows.locate(numbers)
        batch = gather(panel, series, origins, reach, horizon)
        shape, divisors = batch.target.shape, scales.at(series, origins)
        histories = np.moveaxis(batch.context, 2, 1).reshape(-1, reach)
        for name, make in BASELINES.items():
            point = np.moveaxis(make(histories, horizon, season).reshape(shape[0], shape[2], horizon), 1, 2)
            add_to_board(boards[name], series, Prediction(point, None, batch.target), divisors)
        if once:
            point = np.empty(shape)
            for k, (s, origin) in enumerate(zip(series.tolist(), origins.tolist(), strict=True)):
                begin = int(panel.offsets[s])
                for c in range(shape[2]):
                    point[k, :, c] = naive2(panel.values[begin : begin + origin, c], horizon, season)
            add_to_board(boards["naive2"], series, Prediction(point, None, batch.target), divisors)
    return {name: board.summary() for name, board in boards.items()}


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
