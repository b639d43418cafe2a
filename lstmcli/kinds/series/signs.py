"""What the training part of a table says of its series, so that settings follow from it.

A season is found by autocorrelation, and believed where subtracting it forecasts better: the last season
against the last value, over the horizon, on windows of the training part. All figures are medians over the
series (of a sample, where there are thousands), so that a few strange ones decide nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.kinds.series.table.panel import Panel

Floats = npt.NDArray[np.float64]

SAMPLE = 300
"""Most series that are looked at."""
ORIGINS = 60
"""Most windows of a series."""
CORRELATED = 0.2
"""Autocorrelation, at a season, of what its trend leaves."""
DAY, YEAR = 86_400, 365.25 * 86_400
UNITS = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": DAY,
    "b": DAY,
    "w": 7 * DAY,
    "mo": YEAR / 12,
    "q": YEAR / 4,
    "y": YEAR,
}
"""Seconds of a step."""
CYCLES = (3600, DAY, 7 * DAY, YEAR)
"""Seconds after which things come again: an hour, a day, a week, a year."""
FEWEST_SEASONS = 2.5
"""So many must lie in the training part."""
MANY_ZEROS = 0.4
TINY = 1e-8
"""Deviation of a constant, relative to its size."""


@dataclass(frozen=True)
class Season:
    """One that was found."""

    steps: int
    correlation: float
    ratio: float
    """Mean absolute error of the last season over that of the last value, at the horizon."""


@dataclass(frozen=True)
class Signs:
    seasons: tuple[Season, ...]
    """The one that forecasts best first."""
    zeros: float
    """Share of zeros among the observed values."""
    whole: bool
    """All values are whole numbers."""
    positive: bool
    """All are above zero."""
    nonnegative: bool
    spread: float
    """Orders of magnitude between the 2nd and the 98th percentile of a series' values above zero."""
    trend: float
    """How far a series' level moves in a horizon, in standard deviations of what the trend leaves."""

    @property
    def season(self) -> Season | None:
        """The main one, where it is worth to be subtracted."""
        return self.seasons[0] if self.seasons and self.seasons[0].ratio < 1.0 else None

    @property
    def counts(self) -> bool:
        """Intermittent demand: whole numbers, many of them zero."""
        return self.whole and self.nonnegative and self.zeros >= MANY_ZEROS

    @property
    def transform(self) -> str:
        """What makes values over orders of magnitude alike."""
        if self.counts or not self.nonnegative or self.spread < 0.7:
            return "none"
        return "log" if self.positive else "log1p"


def read_signs(panel: Panel, ends: npt.NDArray[np.int64], horizon: int) -> Signs:
    """Of the steps before `ends` (S,) of each series."""
    parts = _sampled(panel, ends)
    observed = np.concatenate([part[~np.isnan(part)] for part in parts]) if parts else np.zeros(1)
    longest = max((len(part) for part in parts), default=0)
    found = [_season(parts, steps, horizon) for steps in _candidates(panel, longest)]
    seasons = sorted((s for s in found if s is not None), key=lambda s: s.ratio)
    return Signs(
        tuple(seasons),
        float((observed == 0).mean()) if len(observed) else 0.0,
        bool((observed == np.round(observed)).all()),
        bool((observed > 0).all()),
        bool((observed >= 0).all()),
        _median([_orders(part) for part in parts]),
        _median([_trend(part, horizon) for part in parts]),
    )


def _sampled(panel: Panel, ends: npt.NDArray[np.int64]) -> list[Floats]:
    """Training parts of evenly spread series, channel by channel, from their first observed value on."""
    many = len(ends) * panel.values.shape[1]
    chosen = np.linspace(0, many - 1, min(many, SAMPLE)).round().astype(np.int64)
    parts = []
    for number in np.unique(chosen).tolist():
        series, channel = divmod(number, panel.values.shape[1])
        begin = int(panel.offsets[series])
        values = panel.values[begin : begin + int(ends[series]), channel]
        seen = np.flatnonzero(~np.isnan(values))
        if len(seen) >= 3:
            parts.append(values[seen[0] :])
    return parts


def _candidates(panel: Panel, longest: int) -> list[int]:
    """Steps of the cycles that the clock knows, and of the strongest peak of the autocorrelation if there is
    no clock."""
    found: list[float] = [panel.season]
    grid = panel.grid
    match = re.fullmatch(r"(\d+)([a-z]+)", grid.frequency.split(" ")[0]) if grid is not None else None
    if match is not None and match[2] in UNITS:
        step = int(match[1]) * UNITS[match[2]]
        found += [cycle / step for cycle in CYCLES]
        if " " in grid.frequency or match[2] == "b":  # type: ignore[union-attr]  # a week with gaps
            found = [panel.season]
    steps = {round(value) for value in found if value >= 2}
    return sorted(m for m in steps if m * FEWEST_SEASONS <= longest)


def _season(parts: list[Floats], steps: int, horizon: int) -> Season | None:
    """Whether the series come again after so many steps."""
    long = [part for part in parts if len(part) >= FEWEST_SEASONS * steps]
    correlations = [c for part in long if (c := _correlation(part, steps)) is not None]
    if not correlations or float(np.median(correlations)) < CORRELATED:
        return None
    ratios = [r for part in long if (r := _ratio(part, steps, horizon)) is not None]
    return Season(steps, float(np.median(correlations)), float(np.median(ratios)) if ratios else 1.0)


def _correlation(values: Floats, lag: int) -> float | None:
    """Autocorrelation of what a straight line leaves; None where that is nothing."""
    seen = ~np.isnan(values)
    time = np.arange(len(values), dtype=np.float64)
    slope, level = np.polyfit(time[seen], values[seen], 1)
    rest = np.where(seen, values - slope * time - level, np.nan)
    product = rest[lag:] * rest[:-lag]
    variance = float(np.nanmean(rest**2))
    both = ~np.isnan(product)
    if variance <= (TINY * float(np.nanmax(np.abs(values)))) ** 2 or both.sum() < 3:
        return None
    return float(product[both].mean() / variance)


def _ratio(values: Floats, season: int, horizon: int) -> float | None:
    """Error of the last season over that of the last value, over the horizon, at later origins."""
    first = max(season, len(values) // 2)
    origins = np.unique(np.linspace(first, len(values) - horizon, ORIGINS).round().astype(np.int64))
    origins = origins[origins >= first]
    if not len(origins) or len(values) - horizon < first:
        return None
    ahead = np.arange(horizon)
    truth = values[origins[:, None] + ahead]
    last = values[origins - 1][:, None]
    before = values[origins[:, None] - season + ahead % season]
    naive, seasonal = (np.abs(truth - forecast) for forecast in (last, before))
    both = ~np.isnan(naive) & ~np.isnan(seasonal)
    total = float(naive[both].sum())
    return float(seasonal[both].sum()) / total if total > 0.0 else None


def _orders(values: Floats) -> float:
    above = values[values > 0]
    if len(above) < 5:
        return 0.0
    low, high = np.quantile(above, [0.02, 0.98])
    return float(np.log10(high / low))


def _trend(values: Floats, horizon: int) -> float:
    seen = ~np.isnan(values)
    time = np.arange(len(values), dtype=np.float64)[seen]
    slope, level = np.polyfit(time, values[seen], 1)
    rest = float((values[seen] - slope * time - level).std())
    size = float(np.nanmax(np.abs(values)))
    return abs(float(slope)) * horizon / rest if rest > TINY * size else 0.0


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else 0.0


def as_words(signs: Signs) -> dict[str, Any]:
    """What was found, for a person."""
    return {
        "seasons": ", ".join(
            f"{s.steps} (autocorrelation {s.correlation:.2f}, error {s.ratio:.2f} of the last value's)"
            for s in signs.seasons
        )
        or "none",
        "values": (
            f"{100 * signs.zeros:.0f}% zeros, {'whole' if signs.whole else 'fractional'}, "
            f"{signs.spread:.1f} orders of magnitude"
        ),
    }
