"""How many dimensions of its state a layer uses.

The eigenvalues λ of the covariance of a state over a text are the variances along its principal
components. Two numbers say how evenly they share: the participation ratio (Σλ)² / Σλ², which is n for n
equal ones and 1 where one has it all, and the number of leading components that hold 99 % of Σλ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Covariance:
    """Of `size` variables over a stream of values, float64; each part is centred on its own mean and joined
    to what came before (Chan, Golub and LeVeque 1983)."""

    def __init__(self, size: int):
        self.count = 0
        self.mean = torch.zeros(size, dtype=torch.float64)
        self._products = torch.zeros(size, size, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take (N, size) in."""
        values = values.detach().double().cpu()
        mean, new = values.mean(0), len(values)
        centred = values - mean
        step, total = mean - self.mean, self.count + len(values)
        self._products += centred.T @ centred + torch.outer(step, step) * (self.count * new / total)
        self.mean += step * (new / total)
        self.count = total

    @property
    def values(self) -> Tensor:
        """(size, size), of the population."""
        return self._products / self.count


class Dimension(NamedTuple):
    """The eigenvalues of a covariance, and how many of them matter."""

    variances: Tensor  # (size,), descending, none below 0
    participation: float  # 0 where nothing varies
    components: int  # that hold 99 % of the variance

    @property
    def shares(self) -> Tensor:
        """(size,): how much of the variance the first 1, 2, ... components hold."""
        total = self.variances.sum()
        return self.variances.cumsum(0) / total if total > 0 else torch.ones_like(self.variances)


def effective_dimension(covariance: Tensor, share: float = 0.99) -> Dimension:
    """Of a covariance matrix (size, size)."""
    variances = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0.0)
    total = float(variances.sum())
    if total <= 0.0:
        return Dimension(variances, 0.0, 0)
    held = variances.cumsum(0) >= share * total * (1.0 - 1e-12)
    return Dimension(variances, total**2 / float(variances.square().sum()), 1 + int(held.int().argmax()))
