"""How a run went: its logged scalars as lines over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lstmcli.core.pictures import PALETTE, new_figure, picture_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 1500
"""Points of a line; more are thinned."""
PANELS: tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...] = (
    ("loss", (("train/loss", "training"), ("val/loss", "validation")), False),
    ("learning rate", (("train/learning_rate", ""),), False),
    ("gradient norm", (("train/gradient_norm", ""),), True),
)
"""Title, tags with their labels, and whether the axis is logarithmic."""


def curve(records: Sequence[dict[str, Any]], tag: str) -> tuple[list[int], list[float]]:
    """Steps and values of a tag, in order, thinned to at most `POINTS`."""
    found = [(r["step"], float(r[tag])) for r in records if isinstance(r.get(tag), (int, float))]
    found = found[:: max(1, -(-len(found) // POINTS))]
    return [step for step, _ in found], [value for _, value in found]


def curves_figure(records: Sequence[dict[str, Any]]) -> Figure | None:
    """Losses, learning rate and gradient norm; None where nothing was logged."""
    panels = [(t, tags, log) for t, tags, log in PANELS if any(curve(records, tag)[0] for tag, _ in tags)]
    if not panels:
        return None
    with picture_style():
        figure = new_figure((9.0, 2.9) if len(panels) > 1 else (6.0, 2.9))
        widths = [2.0] + [1.0] * (len(panels) - 1)
        grid = figure.subplots(1, len(panels), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
        for axes, (title, tags, log) in zip(grid, panels, strict=True):
            for colour, (tag, label) in zip(PALETTE, tags, strict=False):
                steps, values = curve(records, tag)
                mark = "o" if len(steps) < 30 and label == "validation" else None
                axes.plot(steps, values, color=colour, linewidth=1.3, marker=mark, markersize=3, label=label)
            axes.set_title(title, loc="left")
            axes.set_xlabel("step")
            if log:
                axes.set_yscale("log")
            if len(tags) > 1:
                axes.legend(frameon=False)
    return figure
