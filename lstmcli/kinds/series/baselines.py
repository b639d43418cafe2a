"""Forecasts that cost nothing, made from the history alone: what a model has to beat.

All take ``history`` (B, L) in float64 with NaN where a value is missing, ``horizon`` and ``season`` (steps),
and give (B, horizon). A row without any observed value gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
MEAN_SEASONS = 7
"""Seasons that `seasonal_mean` averages: a week, where the season is a day."""


def naive(history: Array, horizon: int, season: int = 1) -> Array:
    """The last observed value."""
    last, _ = _last_observed(history)
    return np.repeat(last[:, None], horizon, axis=1)


def seasonal_naive(history: Array, horizon: int, season: int) -> Array:
    """The value one season before; where it is missing, further seasons back, then the last observed."""
    blocks = _seasons(history, season)  # (B, K, season)
    rows = blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])  # one row per place in the season
    last, _ = _last_observed(rows)
    figure = last.reshape(len(history), season)
    return _repeat(np.where(np.isnan(figure), naive(history, season), figure), horizon)


def drift(history: Array, horizon: int, season: int = 1) -> Array:
    """The line through the first and the last observed value of the history given."""
    last, end = _last_observed(history)
    first, from_end = _last_observed(history[:, ::-1])
    steps = end - (history.shape[1] - 1 - from_end)
    slope = np.where(steps > 0, last - first, 0.0) / np.maximum(steps, 1)
    ahead = history.shape[1] + np.arange(horizon) - end[:, None]
    return np.asarray(last[:, None] + slope[:, None] * ahead)


def seasonal_mean(history: Array, horizon: int, season: int) -> Array:
    """The mean of the same place in the last seven seasons; where all are missing, `seasonal_naive`."""
    blocks = _seasons(history, season)[:, -MEAN_SEASONS:]
    mean, count = _mean(blocks.transpose(0, 2, 1))
    return _repeat(np.where(count > 0, mean, seasonal_naive(history, season, season)), horizon)


BASELINES: dict[str, Callable[[Array, int, int], Array]] = {
    "naive": naive,
    "seasonal_naive": seasonal_naive,
    "drift": drift,
    "seasonal_mean": seasonal_mean,
}


def naive2(history: Array, horizon: int, season: int) -> Array:
    """M4's Naive2 of one series, (n,) to (horizon,): naive on seasonally adjusted values, reseasonalised.

    The series is adjusted (classical multiplicative decomposition) only if `is_seasonal`. Gaps are filled
    along straight lines first. Values at or below zero have no multiplicative season: naive.
    """
    values = _filled(np.asarray(history, dtype=np.float64))
    if not len(values):
        return np.full(horizon, np.nan)
    if not is_seasonal(values, season) or values.min() <= 0.0:
        return np.full(horizon, values[-1])
    factors = seasonal_factors(values, season)
    adjusted = values[-1] / factors[(len(values) - 1) % season]
    return np.asarray(adjusted * factors[(len(values) + np.arange(horizon)) % season])


def is_seasonal(values: Array, season: int) -> bool:
    """M4's test at 90%: is the autocorrelation at lag ``season`` beyond Bartlett's limit?

    Needs three seasons of complete values (n,); False for fewer, for season 1 and for a constant.
    """
    count = len(values)
    centred = values - values.mean()
    variance = float(centred @ centred)
    if season < 2 or count < 3 * season or np.ptp(values) == 0.0:
        return False
    acf = np.array([centred[lag:] @ centred[:-lag] for lag in range(1, season + 1)]) / variance
    limit = 1.645 * np.sqrt((1.0 + 2.0 * np.sum(acf[:-1] ** 2)) / count)
    return bool(abs(acf[-1]) > limit)


def seasonal_factors(values: Array, season: int) -> Array:
    """Factors (season,) of a classical multiplicative decomposition; factor i belongs to values[i::season].

    The trend is a centred moving average over one season (with half weights at both ends where ``season`` is
    even); a factor is the mean ratio of value to trend, and all are normalised to mean 1.
    """
    weights = np.ones(season)
    if season % 2 == 0:
        weights = np.concatenate(([0.5], np.ones(season - 1), [0.5]))
    trend = np.convolve(values, weights / season, mode="valid")
    half = len(weights) // 2
    ratios = np.full(len(values), np.nan)
    ratios[half : len(values) - half] = values[half : len(values) - half] / trend
    factors = np.array([np.nanmean(ratios[place::season]) for place in range(season)])
    return np.asarray(factors / factors.mean())


def _last_observed(rows: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """The last value of each row that is not NaN, and its place; NaN and 0 for a row of NaN."""
    count = rows.shape[1]
    if not count:
        return np.full(len(rows), np.nan), np.zeros(len(rows), dtype=np.int64)
    seen = ~np.isnan(rows)
    place = np.where(seen.any(axis=1), count - 1 - np.argmax(seen[:, ::-1], axis=1), 0)
    return rows[np.arange(len(rows)), place], place


def _mean(values: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Mean over the last axis of what is observed (NaN if nothing is), and how many values it has."""
    seen = ~np.isnan(values)
    count = seen.sum(axis=-1)
    total = np.where(seen, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def _seasons(history: Array, season: int) -> Array:
    """(B, L) cut into seasons (B, K, season) that end with the history, NaN before its beginning."""
    seasons = max(-(-history.shape[1] // season), 1)
    missing = seasons * season - history.shape[1]
    padded = np.pad(history, ((0, 0), (missing, 0)), constant_values=np.nan)
    return padded.reshape(len(history), seasons, season)


def _repeat(figure: Array, horizon: int) -> Array:
    """One season (B, season) repeated to (B, horizon)."""
    return figure[:, np.arange(horizon) % figure.shape[1]]


def _filled(values: Array) -> Array:
    """A series (n,) without its missing ends, gaps inside filled along straight lines."""
    seen = np.flatnonzero(~np.isnan(values))
    if not len(seen):
        return values[:0]
    return np.interp(np.arange(seen[0], seen[-1] + 1), seen, values[seen])
