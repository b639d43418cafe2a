"""How much of what came before a trained model uses, and in how many dimensions it keeps it: the loss of a
text by length of context, a forecaster's errors when all beyond the last k steps is made flat, the variance
of states by number of components, and the picture of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.core.errors import UsageError
from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain
from lstmcli.core.tables import Table
from lstmcli.inspect import context
from lstmcli.inspect.context import (
    Covariance,
    Dimension,
    Mean,
    contexts_up_to,
    effective_dimension,
    mean_of_blocks,
)
from lstmcli.inspect.finding import look
from lstmcli.inspect.reading import cut, read
from lstmcli.inspect.source import Reading, SeriesWindows, about, text_of, windows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.engine.layers import Trace
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.trained import Run
    from lstmcli.run.trained import TrainedRun


POSITIONS = 2000
SHUFFLED = 10
"""One in so many targets is read with shuffled contexts too: each of those costs the longest context."""
STATES = 32_768
"""Symbols over which the dimension of the states is measured."""


def inspect_memory(
    run: TrainedRun, reading: Reading, longest: int | None = None, positions: int = POSITIONS
) -> MemoryFinding:
    """Spoil the context of `positions` targets beyond each of several lengths, up to `longest`.

    Args:
        longest: default 1,000 symbols, or the whole context of a forecaster.
    """
    if (longest is not None and longest < 1) or positions < 1:
        raise UsageError(f"--{'positions' if positions < 1 else 'context'}: at least 1 is needed")
    found: MemoryFinding = look("memory", run, reading, longest, positions)
    return found


def memory_of_text(run: Run, reading: Reading, wanted: int | None, positions: int) -> MemoryFinding:
    from lstmcli.engine.hardware import choose_hardware

    ids, where = text_of(run, reading)
    longest = context.longest_context(len(ids), wanted or context.LONGEST)
    places = context.choose_targets(len(ids), positions, longest)
    few = places[:, ::SHUFFLED]
    contexts = context.contexts_up_to(longest)
    fewer = [k for k in contexts if k < longest and str(k)[0] != "3"]  # 1, 2, 5, 10, ...
    by_k = [context.thinned(places, k) for k in contexts]
    cost = sum(k * there.size for k, there in zip(contexts, by_k, strict=True))
    heard = _Progress(reading, cost + few.size * longest * len(fewer))
    model, settings = run.model, run.config.train
    hardware = choose_hardware(settings.device, settings.precision, elsewhere=True)
    model.to(hardware.device).product_dtype = hardware.product_dtype
    try:
        whole = context.carried(model, ids, places, longest)
        pairs = zip(contexts, by_k, strict=True)
        dropped = [context.dropped(model, ids, there, k, heard) for k, there in pairs]
        shuffled = [context.shuffled(model, ids, few, k, longest, run.config.seed, heard) for k in fewer]
    finally:  # the model is its owner's
        model.to("cpu").product_dtype = torch.float32
    dimensions, count = _dimensions(run, ids)
    what = about(run, where) | {
        "positions": places.size, "shuffled_positions": few.size, "longest": longest,
        "precision": hardware.precision, "states_of": count,
    }  # fmt: skip
    return MemoryFinding(
        what,
        "nats per symbol",
        mean_of_blocks(whole),
        curve_of(contexts, dropped, [context.thinned(whole, k) for k in contexts]),
        curve_of(fewer, shuffled, [whole[:, ::SHUFFLED]] * len(fewer)) if fewer else None,
        dimensions,
    )


class _Progress:
    """Counts symbols."""

    def __init__(self, reading: Reading, total: int):
        self.reading, self.done, self.total = reading, 0, total

    def __call__(self, symbols: int) -> None:
        self.done += symbols
        if self.reading.on_progress is not None:
            self.reading.on_progress(self.done, self.total)


def _dimensions(run: Run, ids: np.ndarray) -> tuple[list[dict[str, Dimension]], int]:
    part = ids[:STATES]
    sums = StateSums()
    rows = cut(len(part))
    for passage in read(run.model, part, rows):
        sums.add(passage.traces)
    return sums.dimensions(), rows.symbols


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


Float = npt.NDArray[np.float64]
BLOCKS = 10
"""Few, for neighbouring windows overlap: the intervals are between stretches of the series."""
TOGETHER = 256
"""Windows that are forecast side by side."""


def memory_of_series(run: SeriesRun, reading: Reading, longest: int | None, positions: int) -> MemoryFinding:
    """Mean absolute error of the forecast, on the scale the model is trained on, when every value before
    the last k steps is replaced by the oldest one that is kept. What is known ahead, the calendar for
    one, and past covariates stay; the model still normalises a window by its own, flattened, context."""
    steps = run.config.data.context_length // run.config.forecast.patch_length
    windows = windows_of(run, replace(reading, tokens=max(2, positions * steps)))
    longest = min(longest or run.config.data.context_length, run.config.data.context_length)
    contexts = contexts_up_to(longest)
    whole = _errors(windows, None)
    blocks = _blocks(len(whole))
    errors = []
    for number, k in enumerate(contexts):
        errors.append(_errors(windows, k)[blocks])
        if reading.on_progress is not None:
            reading.on_progress(number + 1, len(contexts))
    sums = StateSums()
    for batch in windows.batches():
        sums.add(batch.traces)
    what = about(run, windows.name) | {
        "positions": int(blocks.size), "longest": longest, "states_of": steps * len(windows.series),
    }  # fmt: skip
    whole = whole[blocks]
    return MemoryFinding(
        what,
        "mean absolute error",
        mean_of_blocks(whole),
        curve_of(contexts, errors, [whole] * len(contexts)),
        None,
        sums.dimensions(),
    )


def _blocks(count: int) -> npt.NDArray[np.int64]:
    """Numbers (blocks, per block) of neighbouring windows; a few at the end are left out."""
    blocks = min(BLOCKS, count)
    each = count // blocks
    return np.arange(blocks * each).reshape(blocks, each)


def _errors(windows: SeriesWindows, k: int | None) -> Float:
    """Mean absolute error of each window; `k`: steps of the context that are kept; None: all."""
    made, found = windows.forecaster, []
    for first in range(0, len(windows.series), TOGETHER):
        part = slice(first, first + TOGETHER)
        batch = made.batch(windows.series[part], windows.origins[part])
        if k is not None and k < batch.context.shape[1]:
            batch.context[:, :-k] = batch.context[:, -k][:, None]
        prediction = made.predict(batch)
        error = np.abs(prediction.point - prediction.actual).reshape(len(batch.series), -1)
        seen = ~np.isnan(error)
        found.append(np.where(seen, error, 0.0).sum(1) / np.maximum(seen.sum(1), 1))
    return np.concatenate(found)


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
