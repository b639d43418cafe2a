"""Which unit tracks what: correlations of every unit's states with features, over a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.moments import Correlations


class Tracking(NamedTuple):
    """A unit's state and its correlation with a feature."""

    layer: int
    unit: int
    state: str
    correlation: float


class UnitSums:
    """Correlations with F features over a stream, in memory that does not grow with it.

    `chance` keeps also the correlations with the features of another row, which read something else:
    what the best of so many units reaches by chance.
    """

    def __init__(self, features: int, chance: bool = False):
        self.features, self._chance = features, chance
        self._sums: dict[tuple[int, str], Correlations] = {}  # by layer and state

    def add(self, features: Tensor, traces: Iterable[Trace]) -> None:
        """Take one window in: features (T, B, F) after each step."""
        if self._chance:
            features = torch.cat([features, features.roll(1, dims=1)], dim=-1)
        flat = features.flatten(0, 1).double()
        for layer, trace in enumerate(traces):
            for state, values in trace.states.items():
                units = values.flatten(0, 1).cpu()
                if (layer, state) not in self._sums:
                    self._sums[layer, state] = Correlations(flat.shape[1], units.shape[1])
                self._sums[layer, state].add(flat, units)

    def values(self) -> dict[tuple[int, str], Tensor]:
        """Correlations (F, H) by layer and state."""
        return {key: sums.values[: self.features] for key, sums in self._sums.items()}

    def feature_means(self) -> Tensor:
        """(F,)"""
        return next(iter(self._sums.values())).features.mean[: self.features]

    def varying(self) -> list[int]:
        """The features that change at all."""
        variance = next(iter(self._sums.values())).features.variance[: self.features]
        return [k for k, v in enumerate(variance.tolist()) if v > 0.0]

    def best(self, feature: int, count: int) -> list[Tracking]:
        """The units that track a feature best, by absolute correlation; a unit with several states by
        the state that does it best."""
        found: dict[tuple[int, int], Tracking] = {}
        for (layer, state), values in self.values().items():
            row = values[feature]
            for index in row.abs().argsort(descending=True)[:count].tolist():
                new = Tracking(layer, index, state, float(row[index]))
                old = found.get((layer, index))
                if old is None or abs(new.correlation) > abs(old.correlation):
                    found[layer, index] = new
        return sorted(found.values(), key=lambda t: -abs(t.correlation))[:count]

    def chance(self, feature: int) -> float | None:
        """The best absolute correlation of any unit with the feature of another row."""
        if not self._chance:
            return None
        place = self.features + feature
        return max(float(sums.values[place].abs().max()) for sums in self._sums.values())

    def of_unit(self, layer: int, index: int) -> dict[str, Tensor]:
        """Correlations of one unit with every feature, (F,), by state."""
        return {state: v[:, index] for (number, state), v in self.values().items() if number == layer}
