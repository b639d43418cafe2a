"""What is added to quantiles so that as many values lie below them as they say.

Split conformal prediction (Vovk et al. 2005; Romano et al. 2019 for quantiles), one level at a time: the
offset of a level is a quantile of truth less forecast over windows that the model was not fitted to. Of n
values the rank ceil((n + 1) · level) covers a new one as often as it should; n counts the values, not the
windows that share them. All of it in units of a window's scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FEWEST = 200
"""Values of a step below which all steps, and both sides of the median, are calibrated together."""
PARTS = {"calibration": "steps that nothing was learned from or chosen on", "val": "the validation part"}
"""What a calibration can rest on, in words."""


class Basis(NamedTuple):
    """What the intervals rest on."""

    part: str  # of the series: calibration, or val
    origins: int  # windows
    values: int  # different ones

    def __str__(self) -> str:
        of = f"{self.origins:,} origin{'s' if self.origins != 1 else ''}, {self.values:,} values"
        return f"{PARTS[self.part]} ({of})"


class Calibration(NamedTuple):
    offsets: Floats  # (h, Q)
    basis: Basis | None = None

    @classmethod
    def from_json(cls, offsets: Any, basis: Any = None) -> Calibration | None:
        """What a checkpoint holds: a list of rows, or null; and what it rests on, where it says so."""
        found = None if basis is None else Basis(**basis)
        return None if offsets is None else cls(np.asarray(offsets, dtype=np.float64), found)

    @classmethod
    def fit(cls, residuals: Floats, levels: Sequence[float], basis: Basis | None = None) -> Calibration:
        """residuals (N, h, C, Q) of (truth - quantile) / window scale, NaN where the truth is missing."""
        steps = residuals.shape[1]
        by_step = residuals.transpose(1, 3, 0, 2).reshape(steps, len(levels), -1)
        if by_step.shape[-1] >= FEWEST:
            found = [[conformal(r, q) for r, q in zip(rows, levels, strict=True)] for rows in by_step]
            return cls(np.array(found), basis)
        spread = _spread(by_step[:, min(range(len(levels)), key=lambda k: abs(levels[k] - 0.5))])
        scores = (by_step / spread[:, None, None]).transpose(1, 0, 2).reshape(len(levels), -1)
        offsets = []
        for k, level in enumerate(levels):
            both = _both_sides(scores, levels, k)
            sides = len(both) // scores.shape[1]
            offsets.append(conformal(both, level, None if basis is None else sides * basis.values))
        return cls(spread[:, None] * np.array(offsets), basis)


def conformal(scores: Floats, level: float, count: int | None = None) -> float:
    """What to add to a quantile at `level` so that it covers a new value that often.

    Args:
        scores: truth less forecast, NaN left out; 0 of none.
        count: how many of the scores are different values; None: all.

    Beyond the largest score, where few values leave no rank for the level, the normal distribution says how
    much further it lies.
    """
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return 0.0
    if level < 0.5:
        return -conformal(-scores, 1.0 - level, count)
    values = min(len(scores), count or len(scores))
    rank = math.ceil(round((values + 1) * level, 9)) if level > 0.5 else (values + 1) * level
    found = float(np.quantile(scores, min(1.0, (rank - 1) / max(values - 1, 1))))
    if rank <= values:
        return found
    normal = NormalDist()
    further = normal.inv_cdf(level) - normal.inv_cdf(max(values / (values + 1), 0.5))
    return float(scores.max()) + max(further, 0.0) * float(scores.std() if values > 1 else abs(scores).max())


def _both_sides(scores: Floats, levels: Sequence[float], place: int) -> Floats:
    """A level's scores, and, turned round, those of the level that mirrors it, (2n,) or (n,)."""
    opposite = [k for k, level in enumerate(levels) if abs(level + levels[place] - 1.0) < 1e-9]
    return np.concatenate([scores[place], *(-scores[k] for k in opposite)])


def _spread(residuals: Floats) -> Floats:
    """(h,): how far the truth lies from the forecast at each step of residuals (h, n): the mean distance,
    made to rise with the step where it does not by itself; 1 where nothing tells."""
    seen = ~np.isnan(residuals)
    counts = seen.sum(axis=1)
    means = np.where(seen, np.abs(residuals), 0.0).sum(axis=1) / np.maximum(counts, 1)
    rising = isotonic(means, counts.astype(np.float64))
    return np.where(rising > 0.0, rising, 1.0) if (rising > 0.0).all() else np.ones_like(rising)


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The rising sequence (n,) nearest to the values by weighted squares: neighbours that fall are pooled
    (Ayer et al. 1955). Values of weight 0 take their pool's."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pool = (value, weight, 1)
        while pools and (pools[-1][0] >= pool[0] or pool[1] == 0.0 or pools[-1][1] == 0.0):
            mean, before, many = pools.pop()
            total = before + pool[1]
            joined = (mean * before + pool[0] * pool[1]) / total if total else 0.0
            pool = (joined, total, many + pool[2])
        pools.append(pool)
    return np.repeat([mean for mean, _, _ in pools], [many for _, _, many in pools])
