"""What the one number of a forecast is: a mean, a median, or a quantile; and the mean where it is another
number.

A model of quantiles says nothing of the mean, but its quantiles imply one; a mean of logarithms, taken back,
is no mean. What cannot be told is not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from lstmcli.kinds.series.settings import Forecast

Floats = npt.NDArray[np.float64]
NODES = 7
MEANS = ("mse", "gaussian", "student-t", "negative-binomial")
"""Losses of which the point is a mean, in the units that the model sees."""
SPREAD = ("gaussian", "student-t")
"""Losses of which any quantile can be had."""


def what_point(settings: Forecast) -> str:
    """`mean`, `median`, or a level such as `q0.9`."""
    blended = settings.members == "auto"  # of quantiles, whatever a member learns
    if settings.loss in MEANS and not blended:
        return "mean" if settings.transform == "none" else "median"
    levels = settings.quantiles
    if (settings.loss == "quantile" or blended) and not levels[0] <= 0.5 <= levels[-1]:
        return f"q{nearest(levels):g}"
    return "median"


def nearest(levels: Sequence[float]) -> float:
    """The level nearest to the middle."""
    return min(levels, key=lambda level: abs(level - 0.5))


def median_of(quantiles: Floats, levels: Sequence[float]) -> Floats:
    """(..., Q) to (...): the quantile at 0.5, straight between its neighbours; the nearest where all levels
    lie on one side."""
    if not levels[0] <= 0.5 <= levels[-1] or len(levels) == 1:
        return np.asarray(quantiles[..., levels.index(nearest(levels))])
    right = int(np.searchsorted(levels, 0.5))
    if levels[right] == 0.5:
        return np.asarray(quantiles[..., right])
    share = (0.5 - levels[right - 1]) / (levels[right] - levels[right - 1])
    return np.asarray((1.0 - share) * quantiles[..., right - 1] + share * quantiles[..., right])


@lru_cache(maxsize=32)
def mean_weights(levels: tuple[float, ...]) -> tuple[float, ...] | None:
    """What quantiles at these levels are weighted by to give a mean; None: they tell too little of it.

    The quantiles are taken as values of a smooth function of a normal variable z. Weights near to the mass
    around each level are made exact for 1, z and z * z (three levels or more): for 0.05, 0.5, 0.95 they are
    0.185, 0.63, 0.185 (Pearson and Tukey 1965).
    """
    if len(levels) < 2 or not levels[0] < 0.5 < levels[-1]:
        return None
    edges = np.concatenate([[0.0], (np.array(levels[1:]) + levels[:-1]) / 2.0, [1.0]])
    mass = np.diff(edges)
    z = np.array([NormalDist().inv_cdf(level) for level in levels])
    moments = np.array([1.0, 0.0, 1.0])[: min(3, len(levels))]
    powers = z[None, :] ** np.arange(len(moments))[:, None]
    lacking = np.linalg.solve((powers * mass) @ powers.T, moments - powers @ mass)
    weights = mass * (1.0 + powers.T @ lacking)
    return tuple(weights.tolist()) if (weights >= 0.0).all() else None


@lru_cache(maxsize=1)
def normal_nodes() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Levels, and weights of the quantiles at them, by Gauss and Hermite: exact for a polynomial of z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    levels = tuple(NormalDist().cdf(z) for z in nodes.tolist())
    return levels, tuple((weights / weights.sum()).tolist())


def more_levels(settings: Forecast) -> tuple[float, ...]:
    """Levels at which quantiles are needed for the mean alone."""
    needed = settings.loss in SPREAD and settings.transform != "none" and settings.members != "auto"
    return normal_nodes()[0] if needed else ()
