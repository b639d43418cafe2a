"""Figures by the protocol of GIFT-Eval (Aksu et al. 2024), in which pretrained forecasters are compared.

The windows lie one horizon apart at the end of each series, none overlaps another, and all that comes before
a window may be read for its forecast.

    MASE   mean over all values of |value - median| / s, with s the mean of |y_t - y_{t-m}| over all that
           comes before the window; m is the season of the frequency, 1 for days and weeks
    CRPS   mean weighted quantile loss: 2 · the sum of the pinball losses at the levels .1 to .9, over 9 times
           the sum of the values' sizes

Both are also given relative to the seasonal naive forecast, whose quantiles all are its one value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import ConfigError, DataError
from lstmcli.core.tables import Table
from lstmcli.kinds.series.evaluate import in_batches, spread
from lstmcli.kinds.series.forecaster import Forecaster
from lstmcli.kinds.series.table.grid import TimeGrid
from lstmcli.kinds.series.table.panel import SeriesData
from lstmcli.kinds.series.windows import Windows

Floats = npt.NDArray[np.float64]
LEVELS = tuple(k / 10 for k in range(1, 10))
MOST_WINDOWS, SHARE = 20, 0.1
"""A tenth of the shortest series is the test, in at most so many windows."""
SEASONS = {"s": 3600, "m": 1440, "h": 24, "d": 1, "b": 5, "w": 1, "mo": 12, "q": 4, "y": 1}
"""Steps of the season by the unit of the frequency, as GluonTS has them."""


def window_count(shortest: int, horizon: int) -> int:
    """How many windows the protocol takes of each series; `shortest`: steps of the shortest."""
    return min(MOST_WINDOWS, max(1, math.ceil(SHARE * shortest / horizon)))


def gift_season(grid: TimeGrid | None) -> int:
    """The season that MASE is scaled by; 1 without a frequency."""
    found = re.fullmatch(r"(\d+)([a-z]+)", grid.frequency.split(" ")[0]) if grid is not None else None
    if found is None:
        return 1
    season, count = SEASONS.get(found[2], 1), int(found[1])
    return season // count if season % count == 0 else 1


def gift_windows(data: SeriesData, context: int, horizon: int) -> Windows:
    """The windows of the test split, one horizon apart, the last at its end. DataError: there are none."""
    count = (data.test_end - data.val_end) // horizon
    if not count.any():
        raise DataError(
            f"the test split has no window of {horizon} steps",
            "give it some, such as data.test_length: a multiple of data.horizon",
        )
    return Windows(data.panel, data.test_end - count * horizon, data.test_end, context, horizon, horizon)


@dataclass(frozen=True)
class GiftReport:
    """Two figures of the model and of the seasonal naive forecast."""

    horizon: int
    season: int
    windows: int
    mase: float
    crps: float
    naive: tuple[float, float]  # MASE, CRPS

    def to_json(self) -> dict[str, Any]:
        return {
            "protocol": "gift",
            "horizon": self.horizon,
            "season": self.season,
            "windows": self.windows,
            "mase": self.mase,
            "crps": self.crps,
            "relative": dict(zip(("mase", "crps"), self.relative, strict=True)),
            "baselines": {"seasonal_naive": dict(zip(("mase", "crps"), self.naive, strict=True))},
        }

    @property
    def relative(self) -> tuple[float, float]:
        """MASE and CRPS over those of the seasonal naive forecast; NaN where that is exact."""
        mase, crps = self.naive
        return self.mase / mase if mase else np.nan, self.crps / crps if crps else np.nan

    def tables(self) -> list[Table]:
        title = f"GIFT-Eval: {self.windows:,} windows, {self.horizon} steps ahead; season {self.season}"
        rows = [
            ["this model", f"{self.mase:.4f}", f"{self.crps:.4f}", *(f"{v:.3f}" for v in self.relative)],
            ["last season", *(f"{v:.4f}" for v in self.naive), "1.000", "1.000"],
        ]
        return [Table(title, ["", "MASE", "CRPS", "relative MASE", "relative CRPS"], rows)]


class _Sums:
    """What the two figures are made of."""

    def __init__(self) -> None:
        self.errors: list[Floats] = []
        self.loss = self.size = 0.0

    def add(self, truth: Floats, quantiles: Floats, scale: float) -> None:
        """One window of one channel: truth (h,), quantiles (h, 9)."""
        with np.errstate(all="ignore"):  # a constant past has no scale, and such a window no MASE
            errors = np.abs(truth - quantiles[:, 4]) / scale
        self.errors.append(errors[np.isfinite(errors)])
        seen = ~np.isnan(truth)
        above = truth[seen, None] - quantiles[seen]
        levels = np.array(LEVELS)
        self.loss += float(np.maximum(levels * above, (levels - 1.0) * above).sum()) * 2.0 / len(LEVELS)
        self.size += float(np.abs(truth[seen]).sum())

    def figures(self) -> tuple[float, float]:
        errors = np.concatenate(self.errors)
        return float(errors.mean()) if len(errors) else np.nan, self.loss / self.size if self.size else np.nan


def gift_report(
    forecaster: Forecaster, windows: Windows, on_progress: Callable[[int, int], None] | None = None
) -> GiftReport:
    """Score the forecaster on these windows. ConfigError: it does not give the levels that are scored."""
    places = _places(forecaster.levels)
    panel, horizon, season = forecaster.panel, windows.horizon, gift_season(forecaster.panel.grid)
    model, naive = _Sums(), _Sums()
    for numbers in in_batches(forecaster, spread(windows, None)):
        series, origins = windows.locate(numbers)
        found = forecaster.forecast(series, origins)
        for k, (s, origin) in enumerate(zip(series.tolist(), origins.tolist(), strict=True)):
            begin = int(panel.offsets[s])
            for c in range(panel.values.shape[1]):
                past = panel.values[begin : begin + origin, c]
                truth = panel.values[begin + origin : begin + origin + horizon, c]
                scale = _mean_change(past, season)
                if found.quantiles is None:
                    quantiles = np.repeat(found.point[k, :, c, None], len(LEVELS), 1)
                else:
                    quantiles = found.quantiles[k, :, c][:, places]
                model.add(truth, quantiles, scale)
                naive.add(truth, np.repeat(_last_season(past, horizon, season)[:, None], 9, 1), scale)
        if on_progress is not None:
            on_progress(int(numbers[-1]) + 1, len(windows))
    return GiftReport(horizon, season, len(windows), *model.figures(), naive.figures())


def _places(levels: tuple[float, ...]) -> list[int]:
    found = [next((k for k, have in enumerate(levels) if abs(have - level) < 1e-9), -1) for level in LEVELS]
    if -1 in found:
        lacking = ", ".join(f"{level:g}" for level, place in zip(LEVELS, found, strict=True) if place < 0)
        raise ConfigError(
            f"protocol gift scores the levels .1 to .9, but forecast.quantiles lacks {lacking}",
            "train with forecast.quantiles: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]",
        )
    return found


def _mean_change(past: Floats, season: int) -> float:
    """Mean absolute seasonal difference of what is observed; NaN without any pair."""
    change = np.abs(past[season:] - past[:-season])
    change = change[~np.isnan(change)]
    return float(change.mean()) if len(change) else np.nan


def _last_season(past: Floats, horizon: int, season: int) -> Floats:
    """The seasonal naive forecast (h,); a missing value is the last one before it, as GluonTS has it."""
    seen = np.maximum.accumulate(np.where(np.isnan(past), 0, np.arange(len(past))))
    filled = past[seen]
    if season > len(filled):
        return np.repeat(filled[-1], horizon)
    return np.asarray(filled[len(filled) - season + np.arange(horizon) % season])
