"""Weights of a blend of forecasts, found on validation windows, and forecasts that are known for nothing.

Greedy selection (Caruana et al. 2004): a blend begins empty, and at each pick the forecast joins it, once
more if need be, with which its loss is lowest; the weight of a forecast is its share of the picks. To keep
chance out, it is done on several halves of the windows, and the weights are the mean over them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lstmcli.kinds.series.baselines import drift, naive, seasonal_mean, seasonal_naive

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.floating]

PICKS = 12
"""Of one selection."""
BAGS = 6
"""Halves of the windows on which it is done."""
BLOCKS = 4
"""Parts of the horizon with weights of their own ..."""
ENOUGH = 200
"""... where there are so many windows; with fewer the whole horizon has one set of weights."""
SEASONS = 40
"""Most seasons whose values make the quantiles of a season's step."""
HISTORY = 120
"""Most steps whose values make the quantiles of a history."""
FREE = (
    "last value",
    "last season",
    "drift",
    "mean of seasons",
    "quantiles of seasons",
    "quantiles of history",
)
"""Forecasts that need no learning, by the names under which they are shown."""


def pinball(truth: Array, quantiles: Array, levels: Sequence[float]) -> Array:
    """Twice the mean pinball loss over the levels: truth (...), quantiles (..., Q) -> (...)."""
    q = np.asarray(levels, dtype=quantiles.dtype)
    above = truth[..., None] - quantiles
    return np.asarray(2.0 * np.maximum(q * above, (q - 1.0) * above).mean(-1))


def blend_weights(
    forecasts: Array, truth: Array, levels: Sequence[float], scale: Array, seed: int = 0
) -> Floats:
    """Weights (h, M) for the forecasts of M members.

    Args:
        forecasts: (M, N, h, Q), of N windows.
        truth: (N, h), NaN where missing.
        scale: (N,), by which a window's errors are divided.
    """
    members, windows, horizon, _ = forecasts.shape
    finite = np.flatnonzero(np.isfinite(forecasts).all(axis=(1, 2, 3)))
    if 0 < len(finite) < members:
        weights = np.zeros((horizon, members))
        weights[:, finite] = blend_weights(forecasts[finite], truth, levels, scale, seed)
        return weights
    draw = np.random.default_rng(seed)
    halves = [draw.permutation(windows)[: max(1, (windows + 1) // 2)] for _ in range(BAGS)]
    if windows < 8:  # halves of so few would say nothing
        halves = [np.arange(windows)]
    weights = np.empty((horizon, members))
    for block in np.array_split(np.arange(horizon), min(BLOCKS, horizon) if windows >= ENOUGH else 1):
        found = [_greedy(forecasts[:, half][:, :, block], truth[half][:, block], levels, scale[half])
                 for half in halves]  # fmt: skip
        weights[block] = np.mean(found, axis=0)
    return weights


def _greedy(forecasts: Array, truth: Array, levels: Sequence[float], scale: Array) -> Floats:
    """Weights (M,) of one selection."""
    picks = np.zeros(len(forecasts))
    total = np.zeros_like(forecasts[0])
    for count in range(1, PICKS + 1):
        losses = [mean_loss(truth, (total + one) / count, levels, scale) for one in forecasts]
        best = int(np.argmin(losses))
        picks[best] += 1.0
        total = total + forecasts[best]
    return picks / PICKS


def mean_loss(truth: Array, quantiles: Array, levels: Sequence[float], scale: Array) -> float:
    """Mean over what is observed of the pinball loss in units of each window's scale; infinite where a
    forecast is not finite."""
    losses = pinball(truth, quantiles, levels) / scale[:, None]
    seen = ~np.isnan(truth)
    found = float(losses[seen].mean()) if seen.any() else 0.0
    return found if np.isfinite(found) else np.inf


def free_forecasts(
    history: Floats, horizon: int, season: int, levels: Sequence[float], spread: Floats
) -> Floats:
    """Quantiles (len(FREE), B, h, Q) of what costs nothing, from the history (B, L).

    spread: (4, h, Q), what is added to the four points at each level.
    """
    points = free_points(history, horizon, season)
    last = points[0][..., None]
    found = [*(point[..., None] + spread[k] for k, point in enumerate(points))]
    found.append(_season_quantiles(history, horizon, season, levels))
    recent = history[:, -HISTORY:]
    found.append(np.repeat(_quantiles(recent, levels)[:, None], horizon, axis=1))
    return np.stack([np.where(np.isnan(one), last, one) for one in found])


def free_points(history: Floats, horizon: int, season: int) -> list[Floats]:
    """The first four of `FREE`, each (B, h)."""
    return [make(history, horizon, season) for make in (naive, seasonal_naive, drift, seasonal_mean)]


def reach_of(season: int) -> int:
    """Steps of history that the free forecasts look at."""
    return max(HISTORY, SEASONS * season if season * SEASONS <= 4000 else 7 * season)


def _season_quantiles(history: Floats, horizon: int, season: int, levels: Sequence[float]) -> Floats:
    """For each step of the horizon the quantiles of all values at its place in the season."""
    seasons = history.shape[1] // season
    last = history[:, history.shape[1] - seasons * season :].reshape(len(history), seasons, season)
    found = _quantiles(last.transpose(0, 2, 1).reshape(-1, seasons), levels)
    return np.asarray(found.reshape(len(history), season, -1)[:, np.arange(horizon) % season])


def _quantiles(rows: Floats, levels: Sequence[float]) -> Floats:
    """(B, L) -> (B, Q) of what is observed, as np.nanquantile gives them; NaN without any."""
    ordered = np.sort(rows, axis=1)  # NaN last
    count = (~np.isnan(rows)).sum(1)
    place = np.maximum(count - 1, 0)[:, None] * np.asarray(levels)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[:, None])
    below, above = (np.take_along_axis(ordered, k, axis=1) for k in (low, high))
    return np.asarray(below + (above - below) * (place - low))
