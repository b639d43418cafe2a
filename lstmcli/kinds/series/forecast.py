"""The forecast of each series from its end: rows for a table, panels for a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.core.tables import to_csv, write_rows
from lstmcli.kinds.series.evaluate import forecast_panel, in_batches
from lstmcli.kinds.series.forecaster import Floats, Forecaster, Places, Prediction
from lstmcli.kinds.series.plot import ForecastPanel
from lstmcli.kinds.series.table.panel import Panel

LARGEST = 12
"""Panels of a picture."""


@dataclass(frozen=True)
class Forecast:
    """S series, H steps, C channels."""

    forecaster: Forecaster
    ends: Places  # (S,) the position after each series' last observed step
    prediction: Prediction  # of all series
    samples: Floats | None  # (n, S, H, C)

    def columns(self) -> list[str]:
        names = ["group", "target", "time", "step", "mean"]
        if self.prediction.quantiles is not None:
            names += [f"q{level:g}" for level in self.forecaster.levels]
        if self.samples is not None:
            names += [f"sample{k}" for k in range(1, len(self.samples) + 1)]
        return names

    def rows(self) -> Iterator[list[Any]]:
        """One row per series, channel and step, in long format."""
        panel, point = self.forecaster.panel, self.prediction.point
        horizon = point.shape[1]
        for s, name in enumerate(panel.names):
            times = self._labels(s, horizon)
            for c, target in enumerate(panel.targets):
                for step in range(horizon):
                    row = [name, target, times[step], step + 1, _number(point[s, step, c])]
                    if self.prediction.quantiles is not None:
                        row += [_number(q) for q in self.prediction.quantiles[s, step, c]]
                    if self.samples is not None:
                        row += [_number(value) for value in self.samples[:, s, step, c]]
                    yield row

    def _labels(self, series: int, horizon: int) -> list[Any]:
        panel = self.forecaster.panel
        first = int(panel.starts[series] + self.ends[series])
        ticks = np.arange(first, first + horizon)
        return panel.grid.labels(ticks) if panel.grid is not None else ticks.tolist()

    def to_csv(self) -> str:
        return to_csv(self.columns(), self.rows())

    def write(self, path: Path) -> None:
        """As CSV or Parquet, as the name ends; whole or not at all."""
        write_rows(path, self.columns(), self.rows())

    def panels(self, most: int = LARGEST) -> list[ForecastPanel]:
        """The first few series and channels, ready to be drawn."""
        found = []
        channels = len(self.forecaster.panel.targets)
        for k in range(min(most, channels * len(self.ends))):
            s, c = divmod(k, channels)
            samples = None if self.samples is None else self.samples[:, s, :, c]
            found.append(
                forecast_panel(self.forecaster, s, int(self.ends[s]), c, self.prediction, s, samples=samples)
            )
        return found


def make_forecast(forecaster: Forecaster, horizon: int | None, samples: int, seed: int) -> Forecast:
    """Forecast every series from its last observed value on, `horizon` steps (None: as trained)."""
    ends = last_observed(forecaster.panel)
    wanted = horizon or forecaster.horizon
    torch.manual_seed(seed)
    if wanted > forecaster.horizon:
        notice(
            f"horizon {wanted} is longer than the {forecaster.horizon} steps that the run was trained for: "
            "it forecasts from its own forecasts, and the intervals are those of a last part that knows "
            "the parts before it; they are too narrow"
        )
    _tell_what_is_not_known(forecaster.panel, ends, wanted)
    _tell_borrowed(forecaster, ends)
    found = _all(forecaster, ends, wanted)
    paths = _paths(forecaster, ends, wanted, samples) if samples else None
    return Forecast(forecaster, ends, found, paths)


def _tell_what_is_not_known(panel: Panel, ends: Places, horizon: int) -> None:
    short = int((panel.lengths < ends + horizon).sum())
    if panel.known_names and short:
        notice(
            f"{', '.join(panel.known_names)} (data.known) end before the forecast of {short:,} of "
            f"{len(ends):,} series does: their mean is read there; give a table by --input whose last rows "
            "have them"
        )


def _tell_borrowed(forecaster: Forecaster, ends: Places) -> None:
    """Series that are scaled like others, for their own values have no spread."""
    own = forecaster.scaler.at(np.arange(len(ends)), ends).own
    if (lacking := np.flatnonzero(~own.all(axis=1))).size and len(ends) > 1:
        names = [forecaster.panel.names[k] for k in lacking[:5]]
        shown = ", ".join(names) + (f" and {len(lacking) - 5:,} more" if len(lacking) > 5 else "")
        notice(
            f"{len(lacking):,} of {len(ends):,} series are constant or hardly begun, so how far they spread "
            f"is taken from the others: {shown}"
        )


def last_observed(panel: Panel) -> Places:
    """Where each series' forecast begins: behind its last step with any value."""
    ends = panel.observed_ends()
    if (empty := np.flatnonzero(ends == 0)).size:
        name = panel.names[int(empty[0])]
        named = f"series {name}" if name else "the series"
        raise DataError(f"{named} has no value to forecast from", "leave it out, or fill in its values")
    return ends


def _all(forecaster: Forecaster, ends: Places, horizon: int) -> Prediction:
    """Predictions of all series; parts beyond the trained horizon follow from the median so far."""
    parts = []
    current, at = forecaster, ends
    for done in range(0, horizon, forecaster.horizon):
        found = _once(current, at)
        parts.append(found)
        if done + forecaster.horizon < horizon:
            current, at = _extended(current, at, found.point), at + forecaster.horizon
    point = np.concatenate([p.point for p in parts], axis=1)[:, :horizon]
    actual = np.concatenate([p.actual for p in parts], axis=1)[:, :horizon]
    if parts[0].quantiles is None:
        return Prediction(point, None, actual)
    quantiles = np.concatenate([p.quantiles for p in parts if p.quantiles is not None], axis=1)
    return Prediction(point, quantiles[:, :horizon], actual)


def _once(forecaster: Forecaster, at: Places) -> Prediction:
    found = [forecaster.forecast(series, at[series]) for series in in_batches(forecaster, np.arange(len(at)))]
    quantiles = [p.quantiles for p in found if p.quantiles is not None]
    return Prediction(
        np.concatenate([p.point for p in found]),
        np.concatenate(quantiles) if quantiles else None,
        np.concatenate([p.actual for p in found]),
    )


def _paths(forecaster: Forecaster, ends: Places, horizon: int, count: int) -> Floats:
    """Sample paths; beyond the trained horizon each path goes on from itself."""
    everything = np.arange(len(ends))
    first = np.concatenate(
        [forecaster.sample(part, ends[part], count) for part in in_batches(forecaster, everything)], axis=1
    )
    if horizon <= forecaster.horizon:
        return first[:, :, :horizon]
    paths = []
    for path in first:
        steps, current, at = [path], forecaster, ends
        for _ in range(forecaster.horizon, horizon, forecaster.horizon):
            current, at = _extended(current, at, steps[-1]), at + forecaster.horizon
            parts = in_batches(current, everything)
            steps.append(np.concatenate([current.sample(p, at[p], 1) for p in parts], axis=1)[0])
        paths.append(np.concatenate(steps, axis=1)[:, :horizon])
    return np.stack(paths)


def _extended(forecaster: Forecaster, ends: Places, values: Floats) -> Forecaster:
    """The forecaster over series that go on with the given values (S, h, C) behind `ends`."""
    panel, steps = forecaster.panel, values.shape[1]
    lengths = panel.lengths
    longer = np.maximum(lengths, ends + steps)
    offsets = np.concatenate([[0], np.cumsum(longer)])
    total = int(offsets[-1])

    def widened(old: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
        new = np.full((total, old.shape[1]), fill, dtype=old.dtype)
        for s, begin in enumerate(panel.offsets[:-1]):
            new[offsets[s] : offsets[s] + lengths[s]] = old[begin : begin + lengths[s]]
        return new

    joined = widened(panel.values, np.nan)
    for s, end in enumerate(ends):
        joined[offsets[s] + end : offsets[s] + end + steps] = values[s]
    new = replace(
        panel, values=joined, offsets=offsets, known=widened(panel.known, 0.0), past=widened(panel.past, 0.0)
    )
    return forecaster.over(new, np.arange(len(ends)), ends)  # scaled by what was observed, not by forecasts


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
