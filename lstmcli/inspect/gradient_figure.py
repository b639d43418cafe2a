"""The picture of gradients by lag: what comes back, what explains it, and the recurrence's spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.inspect.gradient_views import View
    from lstmcli.inspect.gradients import GradientsFinding

MOST_LAYERS = 4
LOWEST = 1e-9
"""Of the largest norm in a panel: below, a curve says no more than that nothing comes back."""
GREY = "#888888"


def gradients_figure(finding: GradientsFinding) -> Figure:
    """Per layer the exact norms (left) and the explanations of the memory's (right); below, exponents and
    singular values. The first layers where there are many."""
    layers = min(len(finding.first.layers), MOST_LAYERS)
    with picture_style():
        figure = new_figure((8.2, 2.5 * (layers + 1) + 0.4))
        grid = figure.subplots(layers + 1, 2, squeeze=False)
        for number in range(layers):
            _exact(grid[number][0], finding, number)
            _explained(grid[number][1], finding, number)
            for axes in grid[number]:
                axes.set_xlabel(f"{finding.about['unit']} back" if number == layers - 1 else "")
        _exponents(grid[layers][0], finding.views)
        _singular(grid[layers][1], finding.views)
        what = finding.about
        title = f"{what['run']} at step {what['step']}: norm of the gradient by lag"
        figure.suptitle(plain(title), fontsize=10.5)
    return figure


def _exact(axes: Axes, finding: GradientsFinding, number: int) -> None:
    highest = 0.0
    for name, view in reversed(finding.views.items()):
        states = view.gradients.layers[number].states
        for k, (state, norms) in enumerate(states.items()):
            colour, mean = PALETTE[k % len(PALETTE)], norms.mean(1)
            highest = max(highest, float(mean.max()))
            if name == "initial":
                _line(axes, mean, colour, f"{state}, initial", style=":", width=1.2)
                continue
            _line(axes, mean, colour, state, width=1.6)
            low, high = torch.quantile(norms, norms.new_tensor([0.1, 0.9]), dim=1)
            axes.fill_between(
                np.arange(len(low)), _drawn(low), _drawn(high), color=colour, alpha=0.13, linewidth=0
            )
    _finish(axes, finding, highest, f"layer {number}: exact, mean and 10% to 90%")


def _explained(axes: Axes, finding: GradientsFinding, number: int) -> None:
    layer = finding.first.layers[number]
    exact = layer.states[layer.memory].mean(1)
    _line(axes, exact, PALETTE[list(layer.states).index(layer.memory)], f"{layer.memory}: exact", width=1.6)
    if layer.chain is not None:
        _line(axes, layer.chain.mean(1), PALETTE[2], "chain of one-step derivatives", style="--")
    if layer.forget_gates is not None:
        _line(axes, layer.forget_gates.mean(1), PALETTE[3], "forget gates alone", style="-.")
    _finish(axes, finding, float(exact.max()), f"layer {number}: what explains it")


def _line(axes: Axes, mean: Tensor, colour: str, label: str, style: str = "-", width: float = 1.3) -> None:
    axes.plot(_drawn(mean), color=colour, label=label, linestyle=style, linewidth=width)


def _drawn(norms: Tensor) -> np.ndarray:
    """Zeros, which a logarithmic axis has not, as gaps."""
    values: np.ndarray = norms.numpy()
    return np.where(values > 0.0, values, np.nan)


def _finish(axes: Axes, finding: GradientsFinding, highest: float, title: str) -> None:
    axes.set_yscale("log")
    axes.set_xlim(0, finding.lags)
    if highest > 0.0:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], LOWEST * highest))
    if finding.window <= finding.lags:
        axes.axvline(finding.window, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate(
            "window of training", (finding.window, 0.03), xycoords=("data", "axes fraction"),
            xytext=(3, 0), textcoords="offset points", va="bottom", fontsize=7, color=INK,
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=7.5, loc="best")


def _exponents(axes: Axes, views: dict[str, View]) -> None:
    axes.axhline(0.0, color=INK, linewidth=0.8)
    for name, view in views.items():
        if (found := view.spectrum.exponents) is None:
            continue
        place = np.arange(1, len(found.mean) + 1)
        colour = PALETTE[0] if name == "trained" else GREY
        for each in found.by_stream:
            axes.plot(place, each, ".", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
        axes.plot(place, found.mean, "o-", color=colour, markersize=4, linewidth=1.0, label=name)
    axes.set_title("leading Lyapunov exponents, nats per step", loc="left", fontsize=9)
    _name(axes, views, "number")


def _singular(axes: Axes, views: dict[str, View]) -> None:
    for name, view in views.items():
        if (values := view.spectrum.singular) is None:
            continue
        low, median, high = torch.quantile(values, values.new_tensor([0.1, 0.5, 0.9]), dim=0)
        place, colour = np.arange(1, len(median) + 1), PALETTE[0] if name == "trained" else GREY
        axes.fill_between(place, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(place, median, color=colour, linewidth=1.4, label=name)
    if axes.lines:
        axes.axhline(1.0, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0.0)
    else:
        axes.text(0.5, 0.5, "the state is too large for its Jacobian", ha="center", transform=axes.transAxes)
    axes.set_title("singular values of the Jacobian of a step", loc="left", fontsize=9)
    _name(axes, views, "number")


def _name(axes: Axes, views: dict[str, View], label: str) -> None:
    axes.set_xlabel(label)
    if len(views) > 1 and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=7.5)
