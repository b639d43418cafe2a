"""Pictures of what units track."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.inspect.units import UnitsFinding

Floats = npt.NDArray[np.float64]


def units_figure(finding: UnitsFinding) -> Figure:
    """The correlations of all units with each feature, the best one named."""
    features = finding.sums.varying()
    with picture_style():
        figure = new_figure((7.2, 0.34 * len(features) + 1.1))
        axes = figure.subplots()
        for place, feature in enumerate(features):
            _strip(axes, finding, place, feature)
        axes.set_yticks(range(len(features)), [plain(finding.names[f]) for f in features])
        axes.set(xlim=(-1.1, 1.1), xticks=(-1, -0.5, 0, 0.5, 1), ylim=(len(features) - 0.4, -0.6))
        by_chance = "" if finding.sums.chance(0) is None else "; grey: within chance"
        axes.set_xlabel(f"correlation of each unit with the feature, the best one named{by_chance}")
        axes.set_title(plain(finding.title()), loc="left", fontsize=9.5)
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def _strip(axes: Axes, finding: UnitsFinding, place: int, feature: int) -> None:
    """One feature: a line of dots, a colour per layer and state, spread a little in height."""
    keys = list(finding.sums.values().items())
    chance = finding.sums.chance(feature)
    if chance is not None:
        axes.barh(place, 2 * chance, left=-chance, height=0.8, color="#E8E8E8", zorder=1.1)
    for k, ((layer, state), values) in enumerate(keys):
        heights = place + (k - (len(keys) - 1) / 2) * 0.7 / len(keys)
        axes.scatter(
            values[feature], np.full(values.shape[1], heights), s=5, alpha=0.4, linewidths=0, zorder=2,
            color=PALETTE[k % len(PALETTE)], label=f"layer {layer} {state}",
        )  # fmt: skip
    best = finding.sums.best(feature, 1)[0]
    names = [key for key, _ in keys]
    height = place + (names.index((best.layer, best.state)) - (len(keys) - 1) / 2) * 0.7 / len(keys)
    side = 1 if best.correlation >= 0 else -1
    axes.annotate(
        f"{best.layer}:{best.unit}", (best.correlation, height), (4 * side, 0), textcoords="offset points",
        ha="left" if side > 0 else "right", va="center", fontsize=7.5, color=INK,
    )  # fmt: skip


def followed_figure(series: Floats, unit: Floats, title: str) -> Figure:
    """A few windows of a series (n, T), each with the unit's state over it (n, T)."""
    count = len(series)
    with picture_style():
        figure = new_figure((7.2, 1.5 * count + 0.6))
        grid = figure.subplots(count, 1, squeeze=False, sharex=True).ravel()
        for axes, values, states in zip(grid, series, unit, strict=True):
            axes.plot(values, color=INK, linewidth=1.1, label="series, as the model reads it")
            other = axes.twinx()
            other.plot(states, color=PALETTE[1], linewidth=1.3)
            other.grid(False)
            other.tick_params(axis="y", colors=PALETTE[1])
            axes.plot([], [], color=PALETTE[1], linewidth=1.3, label=plain(title))
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
        grid[-1].set_xlabel("steps of the window")
    return figure
