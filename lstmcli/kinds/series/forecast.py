"""The forecast of each series from its end: rows for a table, panels for a picture."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.notices import notice
from lstmcli.core.tables import to_csv, write_rows
from lstmcli.kinds.series.evaluate import forecast_panel, in_batches
from lstmcli.kinds.series.forecaster import Floats, Forecaster, Places, Prediction
from lstmcli.kinds.series.plot import ForecastPanel
from lstmcli.kinds.series.table.panel import Panel

if TYPE_CHECKING:
    import polars as pl

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
        names = ["group", "target", "time", "step", *middles(self.forecaster, self.prediction)]
        if self.prediction.quantiles is not None:
            names += [f"q{level:g}" for level in self.forecaster.levels]
        if self.samples is not None:
            names += [f"sample{k}" for k in range(1, len(self.samples) + 1)]
        return names

    def frame(self) -> pl.DataFrame:
        """`rows` as a frame of polars; `.to_pandas()` makes one of pandas of it."""
        import polars as pl

        return pl.DataFrame(list(self.rows()), schema=self.columns(), orient="row", infer_schema_length=None)

    def rows(self) -> Iterator[list[Any]]:
        """One row per series, channel and step, in long format."""
        panel, columns = self.forecaster.panel, list(middles(self.forecaster, self.prediction).values())
        horizon = self.prediction.point.shape[1]
        for s, name in enumerate(panel.names):
            times = self._labels(s, horizon)
            for c, target in enumerate(panel.targets):
                for step in range(horizon):
                    row = [
                        name,
                        target,
                        times[step],
                        step + 1,
                        *(number(values[s, step, c]) for values in columns),
                    ]
                    if self.prediction.quantiles is not None:
                        row += [number(q) for q in self.prediction.quantiles[s, step, c]]
                    if self.samples is not None:
                        row += [number(value) for value in self.samples[:, s, step, c]]
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

    def panels(self, most: int = LARGEST, series: str | None = None) -> list[ForecastPanel]:
        """The first few series and channels, or those of one series, ready to be drawn.

        UsageError: there is no such series.
        """
        found = []
        channels, names = len(self.forecaster.panel.targets), self.forecaster.panel.names
        if series is not None and series not in names:
            near = ", ".join(difflib.get_close_matches(series, names, n=3) or names[:5])
            raise UsageError(f"there is no series {series!r}", f"such as {near}")
        first = 0 if series is None else channels * names.index(series)
        last = channels * len(self.ends) if series is None else first + channels
        for k in range(first, min(first + most, last)):
            s, c = divmod(k, channels)
            samples = None if self.samples is None else self.samples[:, s, :, c]
            found.append(
                forecast_panel(self.forecaster, s, int(self.ends[s]), c, self.prediction, s, samples=samples)
            )
        return found


def middles(forecaster: Forecaster, prediction: Prediction) -> dict[str, Floats]:
    """The columns of one number: the mean, and the median where no quantile says it."""
    found = {} if prediction.mean is None else {"mean": prediction.mean}
    of_quantiles = forecaster.model.head.name == "quantile" and 0.5 in forecaster.levels
    if forecaster.point == "median" and not of_quantiles:
        found["median"] = prediction.point
    return found


def make_forecast(forecaster: Forecaster, horizon: int | None, samples: int, seed: int) -> Forecast:
    """Forecast every series from its last observed value on, `horizon` steps (None: as trained)."""
    ends = last_observed(forecaster.panel)
    wanted = horizon or forecaster.horizon
    torch.manual_seed(seed)
    if forecaster.point not in ("mean", "median"):
        notice(
            f"the quantiles {', '.join(f'{q:g}' for q in forecaster.levels)} say nothing of the middle: no "
            "mean and no median is given (forecast.quantiles with levels on both sides of 0.5 have them)"
        )
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
    return _joined(parts, axis=1, length=horizon)


def _joined(parts: list[Prediction], axis: int, length: int | None = None) -> Prediction:
    """Predictions of further windows (axis 0) or further steps (1) as one, of the first `length` steps."""
    fields: dict[str, Any] = {}
    for name, of in zip(Prediction._fields, zip(*parts, strict=True), strict=True):
        arrays = [array for array in of if array is not None]
        fields[name] = np.concatenate(arrays, axis=axis)[:, :length] if arrays else None
    return Prediction(**fields)


def _once(forecaster: Forecaster, at: Places) -> Prediction:
    batches = in_batches(forecaster, np.arange(len(at)))
    return _joined([forecaster.forecast(series, at[series]) for series in batches], axis=0)


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


def number(value: Any) -> float | None:
    """As a cell; None where it is not finite."""
    number = float(value)
    return number if np.isfinite(number) else None
