"""What an experiment found, as one figure: each variant in a colour, each seed a thin line or a dot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain
from lstmcli.sweep.results import Results, Row, label_of, value_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEED: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.35}
MIDDLE: dict[str, Any] = {"linewidth": 1.8}
XY = tuple[list[float], list[float]]


def draw(results: Results) -> Figure:
    """The figure of an experiment, by what it measures."""
    with picture_style():
        return _kind(results)(results)


def _kind(results: Results) -> Callable[[Results], Figure]:
    measures = results.plan.experiment.measure
    if "gradients" in measures:
        return _gradients
    if "generate" in measures:
        return _waves
    values = [row.at for row in results.rows]
    if results.plan.axis:
        return _over if all(isinstance(value, (int, float)) for value in values) else _dots
    return _curves if results.has_task or measures == ["loss"] else _dots


def _pens(results: Results) -> dict[str, dict[str, Any]]:
    """How each variant is drawn. More variants than colours: the colours again, dashed."""
    variants = dict.fromkeys(row.variant for row in results.rows)
    styles, size = ("-", "--", ":"), len(PALETTE)
    return {
        variant: {"color": PALETTE[k % size], "linestyle": styles[k // size % 3]}
        for k, variant in enumerate(variants)
    }


def curve(record: dict[str, Any], tag: str, positive: bool = False) -> XY | None:
    """A curve of a trial; what is not finite is left out, and what is not positive if that is wanted."""
    curves = record.get("curves", {})
    if tag not in curves:
        return None
    pairs = zip(curves[tag]["x"], curves[tag]["y"], strict=True)
    sound = [(x, y) for x, y in pairs if y is not None and math.isfinite(y) and (y > 0.0 or not positive)]
    return [x for x, _ in sound], [y for _, y in sound]


def middle(curves: Iterable[XY], mean: Callable[[list[float]], float] = statistics.median) -> XY:
    """The median (or another mean) of several curves, where at least half of them are; a curve that ended
    early stays where it was."""
    found = [dict(zip(*xy, strict=True)) for xy in curves]
    steps = sorted({x for one in found for x in one})
    held: list[float | None] = [None] * len(found)
    xs, ys = [], []
    for x in steps:
        held = [one.get(x, before) for one, before in zip(found, held, strict=True)]
        known = [y for y in held if y is not None]
        if 2 * len(known) >= len(found):
            xs.append(x)
            ys.append(mean(known))
    return xs, ys


def _lines(axes: Axes, results: Results, rows: list[Row], tag: str, geometric: bool = False) -> None:
    """Every seed thin, the middle of a variant thick."""
    pens = _pens(results)
    mean = statistics.geometric_mean if geometric else statistics.median
    for row in rows:
        drawn = [xy for record in row.records if (xy := curve(record, tag, geometric)) and xy[0]]
        for xy in drawn:
            axes.plot(*xy, **pens[row.variant], **SEED)
        axes.plot(*middle(drawn, mean), label=plain(row.variant), **pens[row.variant], **MIDDLE)


def _curves(results: Results) -> Figure:
    """Validation by step."""
    figure = new_figure((6.4, 3.8))
    axes = figure.subplots()
    tag, label = _tag(results)
    _lines(axes, results, results.rows, tag)
    axes.set(xlabel="step", ylabel=label)
    axes.set_title(plain(results.plan.experiment.title), loc="left")
    _baseline(axes, results, tag)
    if tag == "val/accuracy":
        axes.set_ylim(top=1.01)
    if tag == "val/mse":
        axes.set_yscale("log")
    _legend(figure, axes)
    return figure


def _tag(results: Results) -> tuple[str, str]:
    """The curve that says most."""
    have = {tag for record in results.records for tag in record.get("curves", {})}
    for tag, label in (
        ("val/accuracy", "accuracy on new sequences"),
        ("val/mse", "mean squared error on new sequences"),
    ):
        if tag in have and results.has_task:
            return tag, label
    return "val/loss", "validation loss (nats)"


def _baseline(axes: Axes, results: Results, tag: str) -> None:
    """What costs nothing, as a dotted line."""
    name = "baseline_accuracy" if tag == "val/accuracy" else "baseline_mse" if tag == "val/mse" else ""
    values = [v for record in results.records if (v := value_of(record, name)) is not None]
    if values:
        axes.axhline(statistics.fmean(values), color=INK, linewidth=1.0, linestyle=":", label="baseline")


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the picture, so that it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8.5)


def _dots(results: Results) -> Figure:
    """A number of every seed: a row per variant, a panel per value of the further setting."""
    known = (n for n in results.names if any(row.spread(n) for row in results.rows))
    name = "solved_at" if results.has_task else next(known, "best_loss")
    values = list(dict.fromkeys(row.at for row in results.rows))
    variants = list(_pens(results))
    figure = new_figure((3.2 + 2.6 * len(values), 1.0 + 0.3 * len(variants)))
    panels = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
    for axes, value in zip(panels, values, strict=True):
        for row in (row for row in results.rows if row.at == value):
            _row_of_dots(axes, results, row, name, variants.index(row.variant))
        axes.set_title("" if value is None else plain(str(value)), loc="left")
        axes.set_xlabel(f"{label_of(name)}{' (x: not solved)' if results.has_task else ''}")
        _scale(axes, [v for row in results.rows if (found := row.spread(name)) for v in found.values])
    panels[0].set_yticks(range(len(variants)), [plain(variant) for variant in variants])
    panels[0].set_ylim(len(variants) - 0.5, -0.5)
    figure.suptitle(f"{plain(results.plan.experiment.title)} (dots: seeds; bar: mean)", fontsize=10)
    return figure


def _scale(axes: Axes, values: list[float]) -> None:
    """Logarithmic where one variant would else push all others into a corner."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if values and min(values) > 0 and max(values) > 5 * statistics.median(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())


def _row_of_dots(axes: Axes, results: Results, row: Row, name: str, place: int) -> None:
    colour, spread = _pens(results)[row.variant]["color"], row.spread(name)
    if spread is not None:
        axes.plot(spread.values, [place] * len(spread.values), "o", color=colour, markersize=4, alpha=0.6)
        axes.plot([spread.mean], [place], "|", color=colour, markersize=14, markeredgewidth=2)
    if results.has_task:
        ended = [r["steps"] for r in row.records if not value_of(r, "solved_at") and r.get("steps")]
        axes.plot(ended, [place] * len(ended), "x", color=colour, markersize=6, markeredgewidth=1.4)


def _over(results: Results) -> Figure:
    """Steps to solve (or the number that is shown first) against the values of the further setting."""
    figure = new_figure((6.4, 3.8))
    axes = figure.subplots()
    steps = results.has_task and results.names[:1] != ["solved_length"]
    name = "solved_at" if steps else results.names[0]
    values = results.plan.experiment.over[str(results.plan.axis)]
    if min(values) > 0:
        axes.set_xscale("log")
    axes.set_xticks(values, [str(v) for v in values])
    axes.minorticks_off()
    variants = _pens(results)
    for place, variant in enumerate(variants):
        _line_over(axes, results, variant, name, _beside(values, place, len(variants)))
    axes.set(xlabel=str(results.plan.axis), ylabel=f"{label_of(name)}{' (x: not solved)' if steps else ''}")
    axes.set_title(plain(results.plan.experiment.title), loc="left")
    _legend(figure, axes)
    return figure


def _beside(values: list[float], place: int, count: int) -> dict[float, float]:
    """Where a variant's marks stand: a little beside the value, lest they hide one another."""
    shift = (place - (count - 1) / 2.0) * 0.02
    wide = max(values) - min(values) or 1.0
    if min(values) > 0:
        return {value: value * (max(values) / min(values)) ** shift for value in values}
    return {value: value + shift * wide for value in values}


def _line_over(axes: Axes, results: Results, variant: str, name: str, x: dict[float, float]) -> None:
    """Dots for seeds, a line through their medians, and a cross where a task was not solved."""
    pen = _pens(results)[variant]
    colour = pen["color"]
    rows = [row for row in results.rows if row.variant == variant]
    dots = [
        (x[row.at], value) for row in rows for r in row.records if (value := value_of(r, name)) is not None
    ]
    axes.plot([a for a, _ in dots], [b for _, b in dots], "o", color=colour, ms=4, alpha=0.45)
    line = [(x[row.at], spread.median) for row in rows if (spread := row.spread(name))]
    xs, ys = [a for a, _ in line], [b for _, b in line]
    axes.plot(xs, ys, label=plain(variant), **pen, **MIDDLE)
    if name == "solved_at":
        records = [(row.at, record) for row in rows for record in row.records]
        ended = [(x[at], r["steps"]) for at, r in records if not value_of(r, "solved_at") and r.get("steps")]
        crosses = [a for a, _ in ended], [b for _, b in ended]
        axes.plot(*crosses, "x", color=colour, markersize=6, markeredgewidth=1.4)


def _gradients(results: Results) -> Figure:
    """The gradient's norm by lag, untrained and trained."""
    figure = new_figure((7.6, 3.8))
    panels = figure.subplots(1, 2, sharey=True)
    parts = (("start_gradient_by_lag", "at the start"), ("gradient_by_lag", "after training"))
    for axes, (tag, title) in zip(panels, parts, strict=True):
        _lines(axes, results, results.rows, tag, geometric=True)
        axes.set(yscale="log", xlabel="lag (steps)")
        axes.set_title(title, loc="left")
    panels[0].set_ylabel("norm of the loss's gradient, lag 0 = 1")
    figure.suptitle(plain(results.plan.experiment.title), fontsize=10)
    _legend(figure, panels[1])
    return figure


def _waves(results: Results) -> Figure:
    """The truth, and how each variant goes on by itself."""
    shapes = list(dict.fromkeys(row.at for row in results.rows))
    figure = new_figure((7.6, 1.0 + 2.2 * len(shapes)))
    grid = figure.subplots(len(shapes), 1, squeeze=False)
    pens = _pens(results)
    for axes, shape in zip(grid[:, 0], shapes, strict=True):
        rows = [row for row in results.rows if row.at == shape]
        truth = next((xy for row in rows for r in row.records if (xy := curve(r, "wave_truth"))), None)
        if truth:
            axes.plot(*truth, color=INK, linewidth=1.0, linestyle=":", label="truth")
        for row in rows:
            xy = next((xy for r in row.records if (xy := curve(r, "wave_made"))), None)
            if xy:
                axes.plot(*xy, linewidth=1.2, label=plain(row.variant), **pens[row.variant])
        axes.set_title("" if shape is None else plain(str(shape)), loc="left")
    grid[-1, 0].set_xlabel("step; from 0 on the model reads what it has written")
    _legend(figure, grid[0, 0])
    return figure
