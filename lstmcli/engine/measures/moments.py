"""Means, variances and covariances over a stream, as exact as over all values at once.

Each window is centred on its own mean and then joined to what came before (Chan, Golub and LeVeque
1983), so that nothing cancels however long the stream is.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Mean and variance of each of `size` variables, float64."""

    def __init__(self, size: int):
        self.count = 0
        self.mean = torch.zeros(size, dtype=torch.float64)
        self._squares = torch.zeros(size, dtype=torch.float64)  # sum of squared deviations

    def add(self, values: Tensor) -> None:
        """Take (N, size) in."""
        self.join(*_centred(values.double()))

    def join(self, mean: Tensor, centred: Tensor) -> None:
        """Take the mean (size,) of N values in, and the values (N, size) less it."""
        new = len(centred)
        total = self.count + new
        step = mean - self.mean
        self._squares += centred.square().sum(0) + step.square() * (self.count * new / total)
        self.mean += step * (new / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """(size,), of the population."""
        return self._squares / self.count


class Correlations:
    """Pearson's correlation of each of F features with each of `units` units, float64."""

    def __init__(self, features: int, units: int):
        self.features, self.units = Moments(features), Moments(units)
        self._products = torch.zeros(features, units, dtype=torch.float64)

    def add(self, features: Tensor, units: Tensor) -> None:
        """Take (N, F) and (N, units) in."""
        x_mean, x = _centred(features.double())
        y_mean, y = _centred(units.double())
        before, new = self.units.count, len(units)
        steps = torch.outer(x_mean - self.features.mean, y_mean - self.units.mean)
        self._products += x.T @ y + steps * (before * new / (before + new))
        self.features.join(x_mean, x)
        self.units.join(y_mean, y)

    @property
    def values(self) -> Tensor:
        """(F, units); 0 where a feature or a unit never changes."""
        found = self._products / self.units.count
        found /= _divisor(self.features).unsqueeze(1) * _divisor(self.units)
        return found.clamp(-1.0, 1.0)


def _divisor(moments: Moments) -> Tensor:
    """The standard deviation of each variable; infinite for one that changes by rounding at most."""
    deviation = moments.variance.sqrt()
    return torch.where(deviation > 1e-12 * moments.mean.abs(), deviation, torch.inf)


def _centred(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (size,) of (N, size) float64 values, and the values less their mean."""
    mean = values.mean(0)
    return mean, values - mean
