"""Pictures of the inside of a model while it trains: gates over a fixed input, gradients by lag."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from lstmcli.config.schema import Config
from lstmcli.core.pictures import PALETTE, new_figure, picture_style
from lstmcli.engine.measures.gradients import Gradients, half_life

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstmcli.engine.layers import Trace

STEPS = 64
"""Steps of the fixed input."""
STREAMS = 4
"""Streams whose gradients are looked at."""
INTERVAL = 30.0
"""Seconds between two sets of pictures, at least."""
UNITS = 48
"""Units of a picture, evenly chosen among all in the order of their mean."""


class Pace:
    """Whether it is time for pictures again: never twice within `INTERVAL`, so that short runs are not
    spent on them. What is logged as numbers does not depend on it."""

    def __init__(self, config: Config):
        self._wanted = config.telemetry.tensorboard and config.telemetry.pictures
        self._drawn = -math.inf

    def due(self) -> bool:
        """True at most once per interval, and never where no pictures are wanted."""
        now = time.monotonic()
        if not self._wanted or now - self._drawn < INTERVAL:
            return False
        self._drawn = now
        return True


def half_lives(gradients: Gradients) -> dict[str, float]:
    """Scalars by tag: the lag at which the gradient of each layer's memory has halved, where it has."""
    found = {}
    for number, layer in enumerate(gradients.layers):
        lag = half_life(layer.states[layer.memory].mean(1).tolist())
        if lag is not None:
            found[f"gradients/layer{number}/half_life"] = lag
    return found


def gradients_figure(gradients: Gradients) -> Figure:
    """Mean norms by lag of every state of every layer, on a logarithmic axis."""
    with picture_style():
        figure = new_figure((5.6, 3.4))
        axes = figure.subplots()
        colours = iter(PALETTE * 8)
        for number, layer in enumerate(gradients.layers):
            for name, norms in layer.states.items():
                mean = norms.mean(1).numpy()
                label = f"layer {number}, {name}"
                axes.plot(np.maximum(mean, 1e-30), color=next(colours), linewidth=1.4, label=label)
        axes.set_yscale("log")
        axes.set(xlabel="steps before the loss", ylabel="norm of the gradient")
        axes.legend(frameon=False, fontsize=8)
    return figure


def gates_figure(traces: Sequence[Trace], symbols: Sequence[str] | None = None) -> Figure | None:
    """The forget gate (or the first gate) of each layer over time for one stream; None without gates.

    Args:
        traces: of one stream, gates (T, 1, H).
        symbols: what was read, written under the steps.
    """
    chosen = [_gate(trace) for trace in traces]
    panels = [(k, *found) for k, found in enumerate(chosen) if found is not None]
    if not panels:
        return None
    with picture_style():
        figure = new_figure((9.0, 0.8 + 2.0 * len(panels)))
        grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (number, name, values) in zip(grid, panels, strict=True):
            low = 0.0 if float(values.min()) >= 0.0 else -1.0
            colours = "viridis" if low == 0.0 else "RdBu_r"
            image = axes.imshow(
                _sorted_units(values),
                aspect="auto",
                vmin=low,
                vmax=1.0,
                cmap=colours,
                interpolation="nearest",
            )
            axes.set_title(f"layer {number}, {name} gate", loc="left")
            axes.set_yticks([])
            axes.grid(False)
            figure.colorbar(image, ax=axes, pad=0.01)
        if symbols is not None:
            grid[-1].set_xticks(range(len(symbols)), symbols, fontsize=7)
            grid[-1].tick_params(length=0)
    return figure


def _gate(trace: Trace) -> tuple[str, torch.Tensor] | None:
    """Name and values (T, H) of what is drawn of a layer."""
    if not trace.gates:
        return None
    name = "forget" if "forget" in trace.gates else next(iter(trace.gates))
    return name, trace.gates[name][:STEPS, 0]


def _sorted_units(values: torch.Tensor) -> np.ndarray:
    """(T, H) -> (units, T), from the most open unit down."""
    order = values.mean(0).argsort(descending=True)
    places = torch.linspace(0, len(order) - 1, min(UNITS, len(order))).long()
    found: np.ndarray = values[:, order[places]].T.cpu().numpy()
    return found


def shown_symbol(symbol: str) -> str:
    """A symbol as a tick's label; a dot where the picture's font may lack it."""
    named = {"\n": "\u21b5", " ": "\u2423", "\t": "\u21e5", "$": r"\$"}
    return named.get(symbol, symbol if symbol.isascii() and symbol.isprintable() else "\u00b7")
