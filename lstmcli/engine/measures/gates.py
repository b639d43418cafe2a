"""What the gates of each layer do: over one window while training, and over a whole stream of windows.

A gate is shut below 0.1 and open above 0.9. An activation that goes below 0, such as the input to an
LSTM's cell (its "cell" gate), is saturated below -0.9 and above 0.9.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.moments import Moments

STREAMS = 8
"""Streams of a batch that are looked at while training: T·8·H values say enough and cost little."""
SHUT, OPEN = 0.1, 0.9
ALWAYS = 0.99
"""A unit's gate is always shut, or always open, if it is so in this share of the steps."""
QUANTILES = (0.1, 0.5, 0.9)


def log_retention(forget: Tensor) -> Tensor:
    """ln f, finite for a gate that is shut."""
    return forget.clamp_min(1e-7).log()


def unit_timescales(mean_log: Tensor) -> Tensor:
    """Steps after which a unit has forgotten all but 1/e, -1 over the mean of ln f, per unit (H,).

    What is kept over many steps is the product of the gates, so their geometric mean is the right one.
    """
    return -1.0 / mean_log.clamp_max(-1e-7)


# --- one window, as scalars by tag -------------------------------------------------------------


def gate_statistics(traces: list[Trace]) -> dict[str, float]:
    """Scalars by tag for what each layer did, as in evaluation (no dropout).

    Per layer and gate: mean and the shares that are shut and wide open; of an activation that goes below
    0 its spread alone. For a forget gate its timescale in steps; for a cell state its norm. A layer has at
    most 14 of them in any built-in cell.
    """
    scalars: dict[str, float] = {}
    for number, trace in enumerate(traces):
        scalars |= {f"gates/layer{number}/{k}": v for k, v in layer_statistics(trace).items()}
    return scalars


def layer_statistics(trace: Trace) -> dict[str, float]:
    """The scalars of one layer, without the layer's name."""
    scalars: dict[str, float] = {}
    for name, values in trace.gates.items():
        scalars |= {f"{name}/{k}": v for k, v in _gate(values).items()}
        if name == "forget":
            scalars |= {f"forget/{k}": v for k, v in timescales(values).items()}
    if "cell" in trace.states:
        # L2 norm over the units, mean over steps and streams
        scalars["cell_state/norm"] = float(trace.states["cell"].norm(dim=-1).mean())
    return scalars


def _gate(values: Tensor) -> dict[str, float]:
    if float(values.min()) < 0.0:
        return {"std": float(values.std(correction=0))}
    return {
        "mean": float(values.mean()),
        "low": float((values < SHUT).float().mean()),
        "high": float((values > OPEN).float().mean()),
    }


def timescales(forget: Tensor) -> dict[str, float]:
    """The 10th, 50th and 90th percentile over units of their timescales, for f (T, B, H)."""
    tau = unit_timescales(log_retention(forget).flatten(0, 1).mean(0))
    low, middle, high = torch.quantile(tau, tau.new_tensor(QUANTILES)).tolist()
    return {"timescale_p10": low, "timescale_p50": middle, "timescale_p90": high}


# --- a stream of windows, unit by unit ---------------------------------------------------------


class GateSums:
    """One gate of one layer over a stream. Everything is per unit, (H,), and in float64."""

    def __init__(self, name: str, units: int):
        self.name = name
        self.moments = Moments(units)
        self.least = float("inf")
        self._low, self._low_signed, self._high, self._small, self._logs = torch.zeros(
            5, units, dtype=torch.float64
        )

    def add(self, values: Tensor) -> None:
        """Take (T, B, H) in."""
        flat = values.flatten(0, 1).cpu()
        self.moments.add(flat)
        self.least = min(self.least, float(flat.min()))
        self._low += (flat < SHUT).sum(0)
        self._low_signed += (flat < -OPEN).sum(0)
        self._high += (flat > OPEN).sum(0)
        self._small += (flat.abs() < SHUT).sum(0)
        if self.name == "forget":
            self._logs += log_retention(flat.double()).sum(0)

    @property
    def signed(self) -> bool:
        return self.least < 0.0

    @property
    def mean(self) -> float:
        """Over steps and units."""
        return float(self.moments.mean.mean())

    @property
    def deviation(self) -> float:
        """Over steps and units."""
        spread = self.moments.mean.var(correction=0) + self.moments.variance.mean()
        return float(spread.sqrt())

    @property
    def left(self) -> Tensor:
        """Share of the steps in which each unit is saturated on the left: shut, or below -0.9."""
        shut: Tensor = self._low_signed if self.signed else self._low
        return shut / self.moments.count

    @property
    def right(self) -> Tensor:
        """Share of the steps in which each unit is above 0.9."""
        share: Tensor = self._high / self.moments.count
        return share

    @property
    def dead(self) -> int:
        """Units that are within 0.1 of nought (almost) always."""
        return int((self._small >= ALWAYS * self.moments.count).sum())

    @property
    def always_open(self) -> int:
        return int((self.right >= ALWAYS).sum())

    @property
    def timescales(self) -> Tensor | None:
        """Of each unit in steps; None for a gate that is no forget gate."""
        return unit_timescales(self._logs / self.moments.count) if self.name == "forget" else None


class StateSums:
    """One state of one layer over a stream."""

    def __init__(self, name: str, units: int):
        self.name = name
        self.moments = Moments(units)
        self.largest = 0.0
        self._norms = 0.0

    def add(self, values: Tensor) -> None:
        """Take (T, B, H) in."""
        flat = values.flatten(0, 1).cpu()
        self.moments.add(flat)
        self.largest = max(self.largest, float(flat.abs().max()))
        self._norms += float(flat.double().norm(dim=-1).sum())

    @property
    def norm(self) -> float:
        """L2 norm over the units, mean over the steps."""
        return self._norms / self.moments.count

    @property
    def rms(self) -> float:
        """Root mean square over steps and units."""
        return float((self.moments.variance + self.moments.mean.square()).mean().sqrt())


class LayerSums:
    """Gates and states of one layer over a stream, known from the first window."""

    def __init__(self) -> None:
        self.gates: dict[str, GateSums] = {}
        self.states: dict[str, StateSums] = {}

    def add(self, trace: Trace) -> None:
        for name, values in trace.gates.items():
            self.gates.setdefault(name, GateSums(name, values.shape[-1])).add(values)
        for name, values in trace.states.items():
            self.states.setdefault(name, StateSums(name, values.shape[-1])).add(values)


def add_all(layers: list[LayerSums], traces: Iterable[Trace]) -> None:
    """Take one window of every layer in; `layers` is filled at the first."""
    for number, trace in enumerate(traces):
        if number == len(layers):
            layers.append(LayerSums())
        layers[number].add(trace)
