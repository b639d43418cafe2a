"""A forecaster at work: a model, the figures it scales by, and the series of a table.

windows of the table -> scaled -> rows for the model -> forecast -> calibrated -> the table's own units
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.kinds.series.calibration import Calibration
from lstmcli.kinds.series.middle import mean_weights, median_of, more_levels, normal_nodes, what_point
from lstmcli.kinds.series.model import SeriesModel, SeriesShape
from lstmcli.kinds.series.normalise import Rows, normalise
from lstmcli.kinds.series.scaling import Scaler
from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.kinds.series.table.panel import Panel
from lstmcli.kinds.series.windows import WindowBatch, gather

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Prediction(NamedTuple):
    """Forecasts of B windows, with their truth; NaN where that is not known."""

    point: Floats  # (B, h, C), what `Forecaster.point` says
    quantiles: Floats | None  # (B, h, C, Q)
    actual: Floats  # (B, h, C)
    nodes: Floats | None = None  # (B, h, C, K): quantiles that the mean is made of (`more_levels`)
    mean: Floats | None = None  # (B, h, C), in the table's own units, where the forecast tells it


def series_shape(config: SeriesConfig, panel: Panel, missing: bool) -> SeriesShape:
    """What the table makes of the model."""
    settings, channels = config.forecast, len(panel.targets)
    joint = settings.channels == "joint"
    return SeriesShape(
        channels=channels if joint else 1,
        channel_ids=1 if joint else channels,
        series_ids=len(panel.names),
        calendar=2 * len(calendar_names(config, panel)),
        known=panel.known.shape[1],
        past=panel.past.shape[1],
        static=panel.static.shape[1],
        observed=missing,
        season=settings.season or panel.season,
    )


def calendar_names(config: SeriesConfig, panel: Panel) -> list[str]:
    """The features of the time that the model reads."""
    wanted = config.forecast.calendar
    if wanted is False or panel.grid is None:
        return []
    return panel.grid.calendar_names() if wanted is True else list(wanted)


class Forecaster:
    """`panel` and `scaler` are those of the series at hand; `names` are the series of training."""

    def __init__(
        self,
        config: SeriesConfig,
        model: SeriesModel,
        panel: Panel,
        scaler: Scaler,
        names: Sequence[str],
        device: torch.device | None = None,
    ):
        self.config, self.model, self.panel, self.scaler = config, model, panel, scaler
        self.names = list(names)
        self.device = device or torch.device("cpu")
        self.context, self.horizon = config.data.context_length, config.data.horizon
        self.levels = tuple(config.forecast.quantiles)
        self.point = what_point(config.forecast)
        self._more = more_levels(config.forecast)
        self.calibration: Calibration | None = None
        self.scaled = scaler.scaled(panel)
        known = {name: k for k, name in enumerate(names)}
        self._ids = np.array([known.get(name, len(names)) for name in panel.names], dtype=np.int64)
        self._calendar_names = calendar_names(config, panel)
        self._first_tick = int(panel.starts.min()) - self._reach()
        last = int((panel.starts + panel.lengths).max()) + 2 * self.horizon
        self._calendar = np.zeros((1, 0), dtype=np.float32)
        if self._calendar_names and panel.grid is not None:
            ticks = np.arange(self._first_tick, last)
            self._calendar = panel.grid.calendar(ticks, self._calendar_names)

    def over(self, panel: Panel, series: Places, origins: Places) -> Forecaster:
        """The same over another panel of the same series, scaled by what was known at these origins."""
        scaler = self.scaler.at(series, origins)
        made = Forecaster(self.config, self.model, panel, scaler, self.names, self.device)
        made.calibration = self.calibration
        return made

    def _reach(self) -> int:
        """Steps before an origin that the model reads."""
        return self.context + self.model.lag

    def batch(self, series: Places, origins: Places) -> WindowBatch:
        """Scaled windows."""
        found = gather(self.scaled, series, origins, self._reach(), self.horizon)
        if self.scaler.local is None:
            return found
        own = self.scaler.at(found.series, found.origins)
        center, scale = own.center[:, None], own.scale[:, None]
        return found._replace(
            context=(found.context - center) / scale, target=(found.target - center) / scale
        )

    def rows(self, batch: WindowBatch) -> Rows:
        """A row per window, or per window and channel where channels are independent."""
        future = [batch.known]
        if self._calendar_names:
            steps = np.arange(-self._reach(), self.horizon)
            place = np.clip(batch.ticks[:, None] + steps - self._first_tick, 0, len(self._calendar) - 1)
            future.insert(0, self._calendar[place])
        channels = batch.context.shape[2]
        independent = self.model.shape.channels == 1 and channels > 1
        rows = Rows(
            context=self._tensor(batch.context),
            target=self._tensor(batch.target),
            channel=torch.zeros(len(batch.series), dtype=torch.long, device=self.device),
            series=self._tensor(self._ids[batch.series]),
            future=self._tensor(np.concatenate(future, axis=-1)),
            past=self._tensor(batch.past),
            static=self._tensor(batch.static),
        )
        return by_channel(rows) if independent else rows

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "mps" and tensor.dtype == torch.float64:
            tensor = tensor.float()  # that device has no float64
        return tensor.to(self.device)

    def predict(self, batch: WindowBatch) -> Prediction:
        """Forecasts as the model sees values, not calibrated."""
        self.model.eval()
        return self._prediction(batch, *self.model(self.rows(batch), (*self.levels, *self._more)))

    def scored(self, batch: WindowBatch) -> tuple[float, Prediction]:
        """The loss of training beside what `predict` gives."""
        self.model.eval()
        loss, point, quantiles = self.model.scored(self.rows(batch), (*self.levels, *self._more))
        return float(loss), self._prediction(batch, point, quantiles)

    def _prediction(self, batch: WindowBatch, point: Tensor, quantiles: Tensor | None) -> Prediction:
        shape = batch.target.shape
        found = None if quantiles is None else self._by_window(quantiles, shape)
        nodes = None
        if self._more and found is not None:
            found, nodes = np.split(found, [len(self.levels)], axis=-1)
        return Prediction(self._by_window(point, shape), found, batch.target, nodes)

    def _by_window(self, values: Tensor, shape: tuple[int, ...]) -> Floats:
        """(R, h, ...) of rows as (B, h, C, ...) of windows."""
        windows, steps, channels = shape
        array: Floats = values.double().cpu().numpy()
        if array.shape[0] == windows:
            return array
        return np.moveaxis(array.reshape(windows, channels, steps, *array.shape[3:]), 1, 2)

    def window_scale(self, batch: WindowBatch) -> Floats:
        """(B, 1, C): by what a window's residuals are measured for calibration."""
        context = torch.from_numpy(batch.context)
        scale: Floats = normalise(context, self.config.forecast.normalization, self.model.lag).scale.numpy()
        return scale

    def residuals(self, batch: WindowBatch, prediction: Prediction) -> Floats:
        """(B, h, C, Q): truth less forecast at every level, in units of the window's scale; NaN where that
        scale is borrowed, so that it tells nothing of other series."""
        forecast = prediction.quantiles
        if forecast is None:
            forecast = np.repeat(prediction.point[..., None], len(self.levels), -1)
        found: Floats = (prediction.actual[..., None] - forecast) / self.window_scale(batch)[..., None]
        if self.scaler.local is not None:
            borrowed = ~self.scaler.at(batch.series, batch.origins).own
            found[np.broadcast_to(borrowed[:, None, :, None], found.shape)] = np.nan
        return found

    def finish(self, batch: WindowBatch, prediction: Prediction) -> Prediction:
        """The prediction, calibrated and in the table's own units."""
        quantiles, point = self._calibrated(batch, prediction), prediction.point
        if quantiles is not None and self.model.head.name == "quantile":
            point = median_of(quantiles, self.levels)  # as the quantiles move
        found = self.restored(batch, prediction._replace(point=point, quantiles=quantiles))
        return _whole(found) if self.config.forecast.whole_numbers else found

    def restored(self, batch: WindowBatch, prediction: Prediction) -> Prediction:
        """The prediction in the table's own units, within the bounds; with its mean."""
        scaler, each = self.scaler.at(batch.series, batch.origins), np.arange(len(batch.series))

        def bounded(values: Floats | None) -> Floats | None:
            return None if values is None else scaler.within(scaler.restore(values, each))

        point = scaler.within(scaler.restore(prediction.point, each))
        quantiles, nodes = bounded(prediction.quantiles), bounded(prediction.nodes)
        actual = scaler.restore(prediction.actual, each)
        return Prediction(point, quantiles, actual, None, self._mean(point, quantiles, nodes))

    def _mean(self, point: Floats, quantiles: Floats | None, nodes: Floats | None) -> Floats | None:
        """The mean: the point where it is one, else as quantiles imply it; None where they do not."""
        if self.point == "mean":
            return point
        weights = mean_weights(self.levels)
        if nodes is not None:
            return np.asarray(nodes @ np.array(normal_nodes()[1]))
        return None if quantiles is None or weights is None else np.asarray(quantiles @ np.array(weights))

    def _calibrated(self, batch: WindowBatch, prediction: Prediction) -> Floats | None:
        quantiles = prediction.quantiles
        if self.calibration is None:
            return quantiles
        if quantiles is None:
            quantiles = np.repeat(prediction.point[..., None], len(self.levels), -1)
        offsets = self.calibration.offsets[None, :, None, :]
        return np.sort(quantiles + offsets * self.window_scale(batch)[..., None], axis=-1)

    def forecast(self, series: Places, origins: Places) -> Prediction:
        """Forecasts of windows in the table's own units."""
        batch = self.batch(series, origins)
        return self.finish(batch, self.predict(batch))

    def sample(self, series: Places, origins: Places, count: int) -> Floats:
        """Paths (count, B, h, C) in the table's own units."""
        batch = self.batch(series, origins)
        self.model.eval()
        paths = self.model.sample(self.rows(batch), count)
        own, rows = self.scaler.at(batch.series, batch.origins), np.arange(len(batch.series))
        each = [own.within(own.restore(self._by_window(p, batch.target.shape), rows)) for p in paths]
        return np.stack(each)


def _whole(found: Prediction) -> Prediction:
    """Counts: quantiles are whole numbers; the point is, too, where it is one of them."""
    quantiles = None if found.quantiles is None else np.maximum(np.round(found.quantiles), 0.0)
    return found._replace(point=np.maximum(np.round(found.point), 0.0), quantiles=quantiles)


def by_channel(rows: Rows) -> Rows:
    """Rows of one channel each, from rows (B, steps, C): window by window, all channels."""
    windows, channels = rows.context.shape[0], rows.context.shape[2]

    def split(values: Tensor) -> Tensor:
        return values.transpose(1, 2).reshape(windows * channels, -1, 1)

    def repeat(values: Tensor) -> Tensor:
        return values.repeat_interleave(channels, 0)

    return Rows(
        context=split(rows.context),
        target=split(rows.target),
        channel=torch.arange(channels, device=rows.context.device).repeat(windows),
        series=repeat(rows.series),
        future=repeat(rows.future),
        past=repeat(rows.past),
        static=repeat(rows.static),
    )
