"""How good forecasts are: sums over windows, and the metrics that follow from them.

Point metrics are means over all observed points. sMAPE, MAPE and MASE are means over the series of each
series' own mean, as in the M4 competition (Makridakis et al. 2020), so that a long series counts no more
than a short one. A key is one (series, channel) pair.

    smape   200 |a - p| / (|a| + |p|), and 0 where both are 0
    mape    100 |a - p| / |a| over points with a != 0
    mase    |a - p| / mean in-sample |y_t - y_{t-season}|  (Hyndman and Koehler 2006)
    crps    2 * mean pinball loss over the quantile levels: the CRPS approximated by a sum over levels; the
            absolute error where a forecast is a point (which is what the CRPS of a point is)
    wql     the same divided by the mean |actual|: the weighted quantile loss
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

COLUMNS = (
    "windows", "points", "magnitude", "squared", "absolute", "symmetric", "percent", "percent_points",
    "mase", "mase_points", "scaled_squared", "scaled_absolute", "scaled_points",
    "pinball", "inside", "width", "scaled_width",
)  # fmt: skip
AT = {name: place for place, name in enumerate(COLUMNS)}


class ScoreBoard:
    """Sums over windows; nothing else is kept, so any number of windows fits.

    ``keys`` is the number of (series, channel) pairs. ``quantiles`` are the levels of the forecasts,
    rising; ``level`` names the two that bound the interval of ``coverage`` and ``width`` (None: the lowest
    and the highest).
    """

    def __init__(
        self,
        horizon: int,
        keys: int,
        quantiles: Sequence[float] = (),
        level: tuple[float, float] | None = None,
    ):
        self.horizon, self.keys = horizon, keys
        self.quantiles = np.asarray(quantiles, dtype=np.float64)
        self._bounds = _bounds(list(quantiles), level)
        self._key_sums = np.zeros((keys, len(COLUMNS)))
        self._step_sums = np.zeros((horizon, len(COLUMNS)))
        self._below = np.zeros(len(self.quantiles))  # points at or below each quantile

    def add(
        self,
        key: npt.NDArray[np.int64],
        actual: Array,
        point: Array,
        scale: Array,
        mase_scale: Array,
        quantiles: Array | None = None,
    ) -> None:
        """Count a batch of windows: ``key`` (B,), ``actual`` and ``point`` (B, h), ``quantiles`` (B, h, Q).

        NaN in ``actual`` is a missing value and not counted. ``scale`` (B,) is the standard deviation of the
        training part of the key and ``mase_scale`` (B,) what `mase_scale` gives; where one of them is 0 or
        NaN, that window is left out of the metrics that divide by it.
        """
        key, actual, point = np.asarray(key), _float64(actual), _float64(point)
        self._check(key, actual, point, quantiles)
        if not len(key):
            return
        seen = ~np.isnan(actual)
        with np.errstate(all="ignore"):  # a forecast that overflows gives an infinite score, not a warning
            sums = self._point_sums(actual, point, _divisor(scale), _divisor(mase_scale))
            if quantiles is not None and len(self.quantiles):
                self._add_quantiles(sums, actual, _float64(quantiles), _divisor(scale))
        sums = np.where(seen[..., None], sums, 0.0)  # (B, h, columns)
        self._step_sums += sums.sum(axis=0)
        rows = sums.sum(axis=1)  # (B, columns)
        rows[:, AT["windows"]] = seen.any(axis=1)
        order = np.argsort(key, kind="stable")
        present, starts = np.unique(key[order], return_index=True)
        self._key_sums[present] += np.add.reduceat(rows[order], starts, axis=0)

    def summary(self) -> dict[str, float]:
        """All metrics; NaN where there is nothing to average, `crps` to `width` as the quantiles allow."""
        total = self._metrics(self._key_sums.sum(axis=0))
        for name, count in (("symmetric", "points"), ("percent", "percent_points"), ("mase", "mase_points")):
            sums, counts = self._key_sums[:, AT[name]], self._key_sums[:, AT[count]]
            means = sums[counts > 0] / counts[counts > 0]
            total[NAMES[name]] = float(means.mean()) if len(means) else math.nan
        return total

    def by_step(self) -> list[dict[str, Any]]:
        """The metrics of each step of the horizon (`step` from 1), each a mean over that step's points."""
        rows: list[dict[str, Any]] = []
        for step, sums in enumerate(self._step_sums, start=1):
            metrics = self._metrics(sums)
            del metrics["windows"]
            rows.append({"step": step} | metrics)
        return rows

    def by_key(self) -> list[dict[str, Any]]:
        """The metrics of each key that has an observed point (`key` is its index)."""
        present = np.flatnonzero(self._key_sums[:, AT["points"]])
        return [{"key": int(key)} | self._metrics(self._key_sums[key]) for key in present]

    def calibration(self) -> list[dict[str, float]]:
        """For each quantile `level` the share of observed points at or below it, `observed`."""
        points = self._key_sums[:, AT["points"]].sum()
        return [
            {"level": float(level), "observed": _ratio(count, points)}
            for level, count in zip(self.quantiles, self._below, strict=True)
        ]

    def _check(self, key: npt.NDArray[Any], actual: Array, point: Array, quantiles: Array | None) -> None:
        expected = (len(key), self.horizon)
        if actual.shape != expected or point.shape != expected:
            raise ValueError(f"actual {actual.shape} and point {point.shape} must have shape {expected}")
        shape = None if quantiles is None else quantiles.shape
        if len(self.quantiles) and shape != (*expected, len(self.quantiles)):
            raise ValueError(f"quantiles {shape} must have shape {(*expected, len(self.quantiles))}")
        if len(key) and (key.min() < 0 or key.max() >= self.keys):
            raise ValueError(f"keys must be from 0 to {self.keys - 1}; found {key.min()} to {key.max()}")

    def _point_sums(self, actual: Array, point: Array, scale: Array, mase_scale: Array) -> Array:
        """What each point adds to each column (B, h, columns); garbage where ``actual`` is NaN."""
        sums = np.zeros((*actual.shape, len(COLUMNS)))
        error, size = np.abs(actual - point), np.abs(actual)
        both, nonzero = size + np.abs(point), size > 0
        sums[..., AT["points"]] = 1.0
        sums[..., AT["magnitude"]] = size
        sums[..., AT["squared"]] = error**2
        sums[..., AT["absolute"]] = error
        sums[..., AT["symmetric"]] = np.where(both == 0, 0.0, 200.0 * error / both)
        sums[..., AT["percent"]] = np.where(nonzero, 100.0 * error / size, 0.0)
        sums[..., AT["percent_points"]] = nonzero
        for name, values, divisor in (
            ("mase", error, mase_scale), ("scaled_absolute", error, scale), ("scaled_squared", error, scale),
        ):  # fmt: skip
            usable = ~np.isnan(divisor)
            scaled = values / divisor
            sums[..., AT[name]] = np.where(usable, scaled**2 if name == "scaled_squared" else scaled, 0.0)
            sums[..., AT["mase_points" if name == "mase" else "scaled_points"]] = usable
        return sums

    def _add_quantiles(self, sums: Array, actual: Array, quantiles: Array, scale: Array) -> None:
        """Fill the columns of the quantiles in ``sums`` and count ``_below``."""
        over = actual[..., None] - quantiles  # (B, h, Q)
        pinball = np.maximum(self.quantiles * over, (self.quantiles - 1.0) * over)
        sums[..., AT["pinball"]] = pinball.mean(axis=-1)
        self._below += (over <= 0).sum(axis=(0, 1))  # NaN compares false: missing points do not count
        if self._bounds is not None:
            low, high = quantiles[..., self._bounds[0]], quantiles[..., self._bounds[1]]
            sums[..., AT["inside"]] = (actual >= low) & (actual <= high)
            sums[..., AT["width"]] = high - low
            sums[..., AT["scaled_width"]] = np.where(np.isnan(scale), 0.0, (high - low) / scale)

    def _metrics(self, sums: Array) -> dict[str, float]:
        """Metrics from one row of sums, each a mean over its points."""
        of = dict(zip(COLUMNS, sums.tolist(), strict=True))
        points, scaled = of["points"], of["scaled_points"]
        mse, mae = _ratio(of["squared"], points), _ratio(of["absolute"], points)
        metrics = {
            "windows": int(of["windows"]),
            "points": int(points),
            "mse": mse,
            "mae": mae,
            "rmse": math.sqrt(mse),
            "smape": _ratio(of["symmetric"], points),
            "mape": _ratio(of["percent"], of["percent_points"]),
            "mase": _ratio(of["mase"], of["mase_points"]),
            "scaled_mse": _ratio(of["scaled_squared"], scaled),
            "scaled_mae": _ratio(of["scaled_absolute"], scaled),
            "crps": mae,
            "wql": _ratio(of["absolute"], of["magnitude"]),
        }
        return metrics | self._quantile_metrics(of)

    def _quantile_metrics(self, of: dict[str, float]) -> dict[str, float]:
        if not len(self.quantiles):
            return {}
        points = of["points"]
        pinball = _ratio(of["pinball"], points)
        metrics = {
            "crps": 2.0 * pinball,
            "wql": _ratio(2.0 * of["pinball"], of["magnitude"]),
            "pinball": pinball,
        }
        if self._bounds is None:
            return metrics
        low, high = self._bounds
        return metrics | {
            "coverage": _ratio(of["inside"], points),
            "nominal": round(float(self.quantiles[high] - self.quantiles[low]), 12),
            "width": _ratio(of["width"], points),
            "scaled_width": _ratio(of["scaled_width"], of["scaled_points"]),
        }


NAMES = {"symmetric": "smape", "percent": "mape", "mase": "mase"}


def mase_scale(history: Array, season: int) -> float:
    """Mean |y_t - y_{t-season}| over the in-sample ``history`` (n,), pairs with a missing value left out.

    A history without such a pair is measured with season 1; NaN if that has none either.
    """
    history = _float64(history)
    for lag in (season, 1):
        difference = np.abs(history[lag:] - history[:-lag])
        difference = difference[~np.isnan(difference)]
        if len(difference):
            return float(difference.mean())
    return math.nan


def owa(smape: float, mase: float, naive2_smape: float, naive2_mase: float) -> float:
    """M4's overall weighted average: sMAPE and MASE, each relative to Naive2's, averaged; NaN where Naive2
    is exact, for nothing can be divided by its error."""
    if not (naive2_smape and naive2_mase):
        return math.nan
    return (smape / naive2_smape + mase / naive2_mase) / 2.0


def _bounds(quantiles: list[float], level: tuple[float, float] | None) -> tuple[int, int] | None:
    """Places of the two quantiles that make the interval; None if there are not two."""
    if sorted(set(quantiles)) != quantiles or any(not 0.0 < q < 1.0 for q in quantiles):
        raise ValueError(f"quantiles must rise between 0 and 1; found {quantiles}")
    if level is None:
        return (0, len(quantiles) - 1) if len(quantiles) > 1 else None
    if any(bound not in quantiles for bound in level) or level[0] >= level[1]:
        raise ValueError(f"level {level} must be two rising levels of the quantiles {quantiles}")
    return quantiles.index(level[0]), quantiles.index(level[1])


def _divisor(scale: Array) -> Array:
    """``scale`` (B,) as a column (B, 1), NaN where nothing can be divided by it."""
    scale = _float64(scale)[:, None]
    return np.where(np.isfinite(scale) & (scale > 0), scale, np.nan)


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else math.nan


def _float64(values: Any) -> Array:
    return np.asarray(values, dtype=np.float64)
