"""What is known of a model's memory: errors by length of context, and the dimensions of its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcli.core.tables import Table
from lstmcli.inspect import context
from lstmcli.inspect.context import Mean, mean_of_blocks
from lstmcli.inspect.dimension import Covariance, Dimension, effective_dimension

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstmcli.engine.layers import Trace

CLOSE, SHARE = 0.01, 0.01
"""What counts as no loss: nats, and a share of the loss."""


@dataclass(frozen=True)
class Curve:
    """Errors by length of context."""

    contexts: list[int]
    excess: list[Mean]  # over the same targets' own with all of the context
    targets: list[int]


@dataclass(frozen=True)
class MemoryFinding:
    about: dict[str, Any]
    measure: str  # what is measured: "nats per symbol", ...
    whole: Mean  # with all of the context
    dropped: Curve
    shuffled: Curve | None
    dimensions: list[dict[str, Dimension]]  # by layer and state

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = self.about | {"measure": self.measure, "whole": _mean(self.whole)}
        for name, curve in (("dropped", self.dropped), ("shuffled", self.shuffled)):
            if curve is not None:
                found[name] = {"enough": self.enough(curve), "contexts": _points(curve, self.whole.value)}
        found["dimensions"] = [
            {
                "layer": number,
                "state": name,
                "units": len(dimension.variances),
                "participation_ratio": dimension.participation,
                "components_of_99_percent": dimension.components,
                "variances": dimension.variances.tolist(),
            }
            for number, layer in enumerate(self.dimensions)
            for name, dimension in layer.items()
        ]
        return found

    def enough(self, curve: Curve) -> dict[str, int | None]:
        """The shortest contexts from which on the mean excess is within 0.01 (of text), and within 1 %."""
        excess = [point.value for point in curve.excess]
        limits = {"within_1_percent": SHARE * self.whole.value}
        if self.is_text:
            limits = {"within_0.01_nats": CLOSE} | limits
        return {name: context.enough(curve.contexts, excess, limit) for name, limit in limits.items()}

    @property
    def limit(self) -> float:
        """An excess that counts as none."""
        return CLOSE if self.is_text else SHARE * self.whole.value

    @property
    def is_text(self) -> bool:
        return self.measure == "nats per symbol"

    def tables(self) -> list[Table]:
        return [self._context_table(), self._enough_table(), self._dimension_table()]

    def _context_table(self) -> Table:
        other = self.shuffled
        by_k = {} if other is None else dict(zip(other.contexts, other.excess, strict=True))
        columns = ["last k", "loss" if self.is_text else "error", "more than with all"]
        columns += [] if other is None else ["the rest shuffled: more"]
        rows = []
        for k, excess in zip(self.dropped.contexts, self.dropped.excess, strict=True):
            row = [f"{k:,}", f"{self.whole.value + excess.value:.4f}", _signed(excess)]
            rows.append(row + ([] if other is None else [_signed(by_k[k]) if k in by_k else ""]))
        rows.append(["all", f"{self.whole.value:.4f}", *[""] * (len(columns) - 2)])
        what = self.about
        title = (
            f"{what['run']} at step {what['step']} on {what['data']}, {what['positions']:,} "
            f"{'symbols' if self.is_text else 'windows'}: {self.measure} by how much is read before"
        )
        note = "± half a 95% interval, from the means of blocks of the data; 'more': on the same targets"
        if not self.is_text:
            note += "\nthe values before the last k are replaced by the oldest one that is kept"
        if other is not None:
            note += (
                f"\nthe rest shuffled: the last {what['longest']:,} symbols are read, all but the last k in "
                f"random order ({what['shuffled_positions']:,} symbols)"
            )
        return Table(title, columns, rows, note)

    def _enough_table(self) -> Table:
        curves = {"the rest dropped" if self.is_text else "the rest made flat": self.dropped}
        if self.shuffled is not None:
            curves["the rest shuffled"] = self.shuffled
        found = {name: self.enough(curve) for name, curve in curves.items()}
        keys = list(next(iter(found.values())))
        rows = [[name, *(_lag(values[key]) for key in keys)] for name, values in found.items()]
        columns = ["", *(key.replace("_percent", "%").replace("_", " ") for key in keys)]
        return Table("context that is enough, of those measured", columns, rows)

    def _dimension_table(self) -> Table:
        rows = [
            [
                str(number),
                name,
                f"{len(found.variances):,}",
                f"{found.participation:.1f}",
                f"{found.components:,}",
            ]
            for number, layer in enumerate(self.dimensions)
            for name, found in layer.items()
        ]
        columns = ["layer", "state", "units", "participation ratio", "99% of variance"]
        note = (
            "of the covariance's eigenvalues: (sum)² / sum of squares, and how many hold 99% of their sum; "
            f"over {self.about['states_of']:,} {'symbols' if self.is_text else 'steps'}"
        )
        return Table("dimensions that the states use", columns, rows, note, left=2)

    def figures(self) -> dict[str, Figure]:
        from lstmcli.inspect.memory_figure import memory_figure

        return {"memory": memory_figure(self)}


def curve_of(contexts: list[int], losses: list[np.ndarray], whole: list[np.ndarray]) -> Curve:
    """Means and intervals of losses (blocks, per block) less those with all of the context, by context."""
    excess = [mean_of_blocks(loss - best) for loss, best in zip(losses, whole, strict=True)]
    return Curve(contexts, excess, [loss.size for loss in losses])


class StateSums:
    """The covariance of every state of every layer."""

    def __init__(self) -> None:
        self._layers: list[dict[str, Covariance]] = []

    def add(self, traces: list[Trace]) -> None:
        """Take in all steps of a window: states (T, B, H)."""
        if not self._layers:
            self._layers = [{n: Covariance(s.shape[-1]) for n, s in t.states.items()} for t in traces]
        for layer, trace in zip(self._layers, traces, strict=True):
            for name, values in trace.states.items():
                layer[name].add(values.flatten(0, 1))

    def dimensions(self) -> list[dict[str, Dimension]]:
        return [
            {name: effective_dimension(found.values) for name, found in layer.items()}
            for layer in self._layers
        ]


def _mean(mean: Mean) -> dict[str, float | None]:
    return {"mean": mean.value, "margin": mean.margin}


def _points(curve: Curve, whole: float) -> list[dict[str, Any]]:
    return [
        {"k": k, "mean": whole + excess.value, "excess": excess.value, "excess_margin": excess.margin,
         "targets": targets}
        for k, excess, targets in zip(curve.contexts, curve.excess, curve.targets, strict=True)
    ]  # fmt: skip


def _signed(mean: Mean) -> str:
    return f"{mean.value:+.4f}" + ("" if mean.margin is None else f" ±{mean.margin:.4f}")


def _lag(found: int | None) -> str:
    return "none" if found is None else f"{found:,}"
