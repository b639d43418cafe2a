"""The picture of what a model remembers: loss by length of context, variance by number of components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.inspect.memory_finding import Curve, MemoryFinding


def memory_figure(finding: MemoryFinding) -> Figure:
    """Left: how much worse the same targets are predicted with a spoilt context. Right: the share of a
    state's variance in its leading components."""
    with picture_style():
        figure = new_figure((8.2, 3.3))
        left, right = figure.subplots(1, 2)
        _contexts(left, finding)
        _variances(right, finding)
        what = finding.about
        figure.suptitle(plain(f"{what['run']} at step {what['step']}: memory"), fontsize=10.5)
    return figure


def _contexts(axes: Axes, finding: MemoryFinding) -> None:
    beyond = "dropped" if finding.is_text else "made flat"
    _curve(axes, finding.dropped, PALETTE[0], f"all beyond is {beyond}")
    if finding.shuffled is not None:
        _curve(axes, finding.shuffled, PALETTE[1], "all beyond is shuffled")
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    unit = "symbols" if finding.is_text else "steps"
    axes.set_xlabel(f"last k {unit} as they are")
    axes.set_yscale("symlog", linthresh=finding.limit)  # straight up to what counts as no loss
    axes.axhspan(-finding.limit, finding.limit, color=INK, alpha=0.07, linewidth=0)
    lowest = min(point.value for point in finding.dropped.excess)
    axes.set_ylim(bottom=min(-finding.limit, 1.2 * lowest))
    axes.set_ylabel(f"more {finding.measure}")
    axes.set_title("how much worse than with all the context", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


def _curve(axes: Axes, curve: Curve, colour: str, label: str) -> None:
    value = np.array([point.value for point in curve.excess])
    margin = np.array([point.margin or 0.0 for point in curve.excess])
    axes.plot(curve.contexts, value, "o-", color=colour, markersize=3.5, linewidth=1.4, label=label)
    axes.fill_between(curve.contexts, value - margin, value + margin, color=colour, alpha=0.2, linewidth=0)


def _variances(axes: Axes, finding: MemoryFinding) -> None:
    for number, layer in enumerate(finding.dimensions):
        for k, (name, found) in enumerate(layer.items()):
            colour = PALETTE[number % len(PALETTE)]
            style = ("-", "--", ":", "-.")[k % 4]
            label = f"layer {number} {name}: {found.participation:.0f}"
            place = np.arange(1, len(found.shares) + 1)
            axes.plot(place, found.shares.numpy(), style, color=colour, linewidth=1.3, label=label)
    axes.axhline(0.99, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xscale("log")
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("leading components")
    axes.set_title("share of a state's variance; participation ratio", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=7.5, loc="lower right")
