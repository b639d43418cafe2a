"""How good forecasts are over the windows of a split, every window counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.kinds.series.calibration import Basis, Calibration
from lstmcli.kinds.series.forecaster import Floats, Forecaster, Places, Prediction
from lstmcli.kinds.series.metrics import ScoreBoard, mase_scale
from lstmcli.kinds.series.plot import ForecastPanel
from lstmcli.kinds.series.windows import WindowBatch, Windows

AT_ONCE = 1 << 22
"""Most numbers of context and forecast to hold for one batch."""
RESIDUALS = 1 << 24
"""Most residuals to keep for the calibration."""


@dataclass(frozen=True)
class Evaluation:
    """What a pass over the windows found."""

    board: ScoreBoard
    loss: float  # of training, where it was asked for
    calibration: Calibration | None


def spread(windows: Windows, most: int | None) -> Places:
    """The numbers of all windows, or of so many that lie evenly between the first and the last."""
    if most is None or most >= len(windows):
        return np.arange(len(windows))
    return np.linspace(0, len(windows) - 1, most).round().astype(np.int64)


def in_batches(forecaster: Forecaster, chosen: Places) -> Iterator[Places]:
    """Parts of the window numbers that fit into memory."""
    channels = len(forecaster.panel.targets)
    levels = 2 + len(forecaster.levels)
    each = channels * (forecaster.context + forecaster.model.lag + levels * forecaster.horizon)
    if forecaster.config.forecast.decoder == "recursive":
        each *= forecaster.config.forecast.samples
    size = max(1, min(1024, AT_ONCE // each))
    for first in range(0, len(chosen), size):
        yield chosen[first : first + size]


class Scales:
    """What errors are divided by, per series and channel, from what lies before `ends` (S,); where that
    is None, from what lies before each window's origin."""

    def __init__(self, forecaster: Forecaster, ends: npt.NDArray[np.int64] | None):
        panel = forecaster.panel
        self.mase = np.ones_like(forecaster.scaler.deviation)
        self._forecaster, self._by_origin = forecaster, ends is None
        self._values = forecaster.scaler.cleaned(panel)
        if ends is None:
            return
        for s, (begin, end) in enumerate(zip(panel.offsets[:-1], ends, strict=True)):
            for c in range(self.mase.shape[1]):
                self.mase[s, c] = mase_scale(self._values[begin : begin + end, c], panel.season)

    def at(self, series: Places, origins: Places) -> tuple[Floats, Floats]:
        """Deviation and seasonal difference of windows, each (B, C)."""
        panel = self._forecaster.panel
        deviation = self._forecaster.scaler.at(series, origins).deviation
        if not self._by_origin:
            return deviation, self.mase[series]
        mase = np.empty_like(deviation)
        for k, (s, origin) in enumerate(zip(series.tolist(), origins.tolist(), strict=True)):
            begin = int(panel.offsets[s])
            for c in range(mase.shape[1]):
                mase[k, c] = mase_scale(self._values[begin : begin + origin, c], panel.season)
        return deviation, mase


def add_to_board(board: ScoreBoard, series: Places, found: Prediction, scales: tuple[Floats, Floats]) -> None:
    """Count windows, channel by channel; a key is series · C + channel. `scales`: theirs, by `Scales.at`."""
    channels = found.actual.shape[2]
    deviation, mase = scales
    for c in range(channels):
        quantiles = None if found.quantiles is None else found.quantiles[:, :, c]
        board.add(
            series * channels + c,
            found.actual[:, :, c],
            found.point[:, :, c],
            deviation[:, c],
            mase[:, c],
            quantiles,
        )


def evaluate_series(
    forecaster: Forecaster,
    windows: Windows,
    scales: Scales,
    most: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    with_loss: bool = False,
    calibrate: str | None = None,
) -> Evaluation | None:
    """Forecast windows and score them in the table's own units. None when `stop` asked to end early.

    `calibrate`: the part that the windows are of; leave the forecasts as the model makes them, and find what
    would calibrate them.
    """
    keys = forecaster.scaler.deviation.size
    chosen = spread(windows, most)
    has_spread = forecaster.model.head.quantiles is not None or (
        not calibrate and forecaster.calibration is not None
    )
    board = ScoreBoard(forecaster.horizon, keys, forecaster.levels if has_spread else ())
    losses, kept, seen = [], [], []
    room = RESIDUALS // max(1, len(forecaster.panel.targets) * forecaster.horizon * len(forecaster.levels))
    keep = set(spread(windows, room).tolist()) if calibrate and room < len(chosen) else None
    with torch.no_grad():
        for numbers in in_batches(forecaster, chosen):
            if stop():
                return None
            series, origins = windows.locate(numbers)
            batch = forecaster.batch(series, origins)
            if with_loss:
                loss, prediction = forecaster.scored(batch)
                losses.append((loss, len(numbers)))
            else:
                prediction = forecaster.predict(batch)
            if calibrate:
                residuals = forecaster.residuals(batch, prediction)
                mine = slice(None) if keep is None else [k for k, n in enumerate(numbers) if int(n) in keep]
                kept.append(residuals[mine])
                seen.append(_cells(forecaster, batch, residuals)[mine])
                restored = forecaster.restored(batch, prediction)
            else:
                restored = forecaster.finish(batch, prediction)
            add_to_board(board, series, restored, scales.at(series, origins))
            if on_progress is not None:
                on_progress(int(numbers[-1]) + 1, len(windows))
    calibration = None
    if calibrate and kept:
        residuals, cells = np.concatenate(kept), np.concatenate(seen)
        basis = Basis(calibrate, len(residuals), len(np.unique(cells[cells >= 0])))
        calibration = Calibration.fit(residuals, forecaster.levels, basis)
    count = sum(n for _, n in losses)
    loss = sum(value * n for value, n in losses) / count if count else float("nan")
    return Evaluation(board, loss, calibration)


def _cells(forecaster: Forecaster, batch: WindowBatch, residuals: Floats) -> npt.NDArray[np.int64]:
    """(B, h, C): which value of the panel each residual is of; -1 where there is none."""
    channels = residuals.shape[2]
    steps = forecaster.panel.offsets[batch.series] + batch.origins
    cells = (steps[:, None] + np.arange(residuals.shape[1]))[..., None] * channels + np.arange(channels)
    return np.where(np.isnan(residuals[..., 0]), -1, cells)


def forecast_panels(
    forecaster: Forecaster, series: Places, origins: Places, history: int | None = None
) -> list[ForecastPanel]:
    """The forecasts of windows, one channel each (the channels in turn), ready to be drawn."""
    found = forecaster.forecast(series, origins)
    panels = []
    for k, (s, origin) in enumerate(zip(series.tolist(), origins.tolist(), strict=True)):
        channel = k % len(forecaster.panel.targets)
        panels.append(forecast_panel(forecaster, s, origin, channel, found, k, history))
    return panels


def forecast_panel(
    forecaster: Forecaster,
    series: int,
    origin: int,
    channel: int,
    found: Prediction,
    row: int,
    history: int | None = None,
    samples: npt.NDArray[np.float64] | None = None,
) -> ForecastPanel:
    """One forecast as a picture: row `row` of `found`, after the last `history` steps."""
    panel = forecaster.panel
    first = max(0, origin - (history or 2 * forecaster.horizon + forecaster.context // 2))
    begin = int(panel.offsets[series])
    values = panel.values[begin + first : begin + origin, channel]
    start = int(panel.starts[series])
    before = np.arange(start + first, start + first + len(values))
    after = np.arange(start + origin, start + origin + found.point.shape[1])
    times = panel.grid.times if panel.grid is not None else (lambda ticks: ticks)
    quantiles = found.quantiles
    levels = forecaster.levels
    bands = []
    median = found.point[row, :, channel]
    if quantiles is not None:
        mine = quantiles[row, :, channel]
        for low in range(len(levels) // 2):
            high = len(levels) - 1 - low
            label = f"{100 * (levels[high] - levels[low]):.0f}%"
            bands.append((mine[:, low], mine[:, high], label))
        if 0.5 in levels:
            median = mine[:, levels.index(0.5)]
    actual = found.actual[row, :, channel]
    name = " ".join(part for part in (panel.names[series], panel.targets[channel]) if part)
    return ForecastPanel(
        title=name,
        history_times=times(before),
        history=values,
        times=times(after),
        median=median,
        bands=bands,
        actual=None if np.isnan(actual).all() else actual,
        samples=samples,
    )
