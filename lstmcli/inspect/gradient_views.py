"""What a person reads of gradients by lag: what is measured of one model, in a text and in windows of
series, its tables, and the picture of what comes back, what explains it, and the recurrence's spectrum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain
from lstmcli.core.tables import Table
from lstmcli.engine.measures import gradients as measures
from lstmcli.engine.measures.gradients import Gradients, LayerGradients
from lstmcli.engine.measures.jacobian import (
    MOST_NUMBERS,
    Exponents,
    lyapunov_exponents,
    singular_values,
    state_size,
    step_jacobian,
)
from lstmcli.engine.stack import Stack, StackState
from lstmcli.inspect.reading import after
from lstmcli.kinds.series.inside import series_gradient_norms
from lstmcli.kinds.series.normalise import Rows
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.model import TextModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.config.schema import Config
    from lstmcli.inspect.gradients import GradientsFinding
    from lstmcli.kinds.series.model import SeriesModel


def tables(finding: GradientsFinding) -> list[Table]:
    by_layer = [_by_lag(finding, number) for number in range(len(finding.first.layers))]
    by_layer[-1] = by_layer[-1]._replace(note=_note(finding))
    return [*by_layer, _reach(finding), _system(finding)]


def shown_lags(lags: int, window: int) -> list[int]:
    """The lags of a table's rows."""
    return sorted({lag for lag in (*measures.LAGS, window) if lag <= lags} | {lags})


def _by_lag(finding: GradientsFinding, number: int) -> Table:
    layers = {name: view.gradients.layers[number] for name, view in finding.views.items()}
    own = layers["trained"]
    columns = {name: norms.mean(1) for name, norms in own.states.items()}
    columns[f"{own.memory} median"] = own.states[own.memory].median(1).values
    if own.chain is not None:
        columns["chain"] = own.chain.mean(1)
    if own.forget_gates is not None:
        columns["forget gates"] = own.forget_gates.mean(1)
    if "initial" in layers:
        initial = {f"initial {name}": norms.mean(1) for name, norms in layers["initial"].states.items()}
        columns |= initial
    rows = [
        [str(lag), *(f"{float(norms[lag]):.1e}" for norms in columns.values())]
        for lag in shown_lags(finding.lags, finding.window)
    ]
    what = finding.about
    loss = "symbol's loss" if what["unit"] == "symbols" else "forecast's loss"
    title = (
        f"layer {number}: norm of the gradient of a {loss} with respect to the states k {what['unit']} before"
    )
    if number == 0:
        title = (
            f"{what['run']} at step {what['step']} on {what['data']}, mean over {what['positions']:,} "
            f"positions\n\n{title}"
        )
    return Table(title, ["k", *columns], rows, left=0)


def _note(finding: GradientsFinding) -> str:
    layer = finding.first.layers[-1]
    lines = [f"{', '.join(layer.states)}: exact, along every path, as backpropagation sends it back"]
    memory = layer.memory
    lines.append(
        f"chain: along the {memory} state alone, one-step derivatives d{memory}(t)/d{memory}(t-1) multiplied"
    )
    if layer.forget_gates is not None:
        lines.append("forget gates: their product alone, the constant error carousel")
    if "initial" in finding.views:
        lines.append("initial: the same model before its first update")
    return "\n".join(lines)


def _reach(finding: GradientsFinding) -> Table:
    unit, before = finding.about["unit"], finding.views.get("initial")
    columns = ["layer", "state", "half-life", "99% within"]
    columns += ["in window", "on average"] if finding.truncated else []
    columns += [] if before is None else ["initial half-life", "99% within"]
    rows = []
    for number, layer in enumerate(finding.first.layers):
        for name, norms in layer.states.items():
            mean = norms.mean(1).tolist()
            row = [str(number), name, *_lengths(mean)]
            if finding.truncated:
                row += [f"{share:.1%}" for share in measures.share_within(mean, finding.window)]
            if before is not None:
                row += _lengths(before.gradients.layers[number].states[name].mean(1).tolist())
            rows.append(row)
    note = (
        f"half-life: {unit} until the norm is half of what it is at k = 0; 99% within: so many {unit} hold "
        f"99% of the sum\nof the norms up to k = {finding.lags}"
    )
    if finding.truncated:
        note += (
            "; in window: the share of that sum that training reaches from the last step of\n"
            f"its window of {finding.window}, and on average over its steps"
        )
    return Table("how far back gradients reach", columns, rows, note, left=2)


def _lengths(mean: list[float]) -> list[str]:
    return [_half(mean), str(measures.lag_holding(mean))]


def _half(mean: list[float]) -> str:
    lag = measures.half_life(mean)
    return f"> {len(mean) - 1}" if lag is None else f"{lag:.1f}"


def _system(finding: GradientsFinding) -> Table:
    document = finding.document()
    views = {name: document[name] for name in finding.views}
    rows = [["numbers in a state", *(f"{view['state_size']:,}" for view in views.values())]]
    count = max((len(v["lyapunov"]["exponents"]) for v in views.values() if v["lyapunov"]), default=0)
    rows += [
        [f"Lyapunov exponent {k + 1}", *(_exponent(view["lyapunov"], k) for view in views.values())]
        for k in range(count)
    ]
    rows.append(["a change of the state fades by 1/e in", *(_memory(v["lyapunov"]) for v in views.values())])
    for k in (0, 1, 9):
        cells = [_singular(view["singular_values"], k) for view in views.values()]
        if any(cells):
            place = {0: "largest", 1: "second"}.get(k, f"{k + 1}th")
            rows.append([f"{place} singular value of a step", *cells])
    above = [view["singular_values"] for view in views.values()]
    if any(above):
        rows.append(["singular values above 1", *(f"{v['above_1']:.1%}" if v else "" for v in above)])
    note = (
        "exponents in nats per step, ± their standard error; singular values of the Jacobian of one step: "
        "median (p10 to p90)"
    )
    if any("more than" in cell for cell in rows[count + 1]):
        note += (
            "\nmore than: the leading exponents have not settled within the steps of this measurement, and "
            "were rising"
        )
    if not any(above):
        note += "\n(singular values are for smaller states: the whole Jacobian is needed)"
    return Table("the recurrence as a dynamical system", ["", *views], rows, note)


def _exponent(found: dict[str, Any] | None, k: int) -> str:
    if found is None or k >= len(found["exponents"]):
        return ""
    value, errors = found["exponents"][k], found["standard_errors"]
    return f"{value:+.4f}" + (f" ±{errors[k]:.4f}" if errors else "")


def _memory(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    largest, errors = found["exponents"][0], found["standard_errors"]
    if largest >= 0:
        return "never: it grows"
    settled = found["drift"][0] < max(0.1 * -largest, 2.0 * errors[0] if errors else 0.0)
    return f"{'' if settled else 'more than '}{-1.0 / largest:,.1f} steps"


def _singular(found: dict[str, Any] | None, k: int) -> str:
    if found is None or k >= len(found["median"]):
        return ""
    return f"{found['median'][k]:.2f} ({found['p10'][k]:.2f} to {found['p90'][k]:.2f})"


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
        _singular_values(grid[layers][1], finding.views)
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


def _singular_values(axes: Axes, views: dict[str, View]) -> None:
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


WARM_UP = 256
"""Symbols that set the state before the first one that a gradient is taken at."""
TOGETHER = 32
"""Streams that go backwards side by side: some 40 KB each per step of a 2 x 512 LSTM."""
EXPONENTS, BURN_IN, STRETCH = 8, 300, 300
"""Directions with random starts take some hundred steps to turn where those lie that fade the slowest."""
ORBITS = 4
"""Streams along which exponents and Jacobians are computed."""
Heard = Callable[[int], None]
"""Hears how many streams have been followed since it last heard."""


@dataclass(frozen=True)
class Spectrum:
    """One model's recurrence along a few streams."""

    size: int  # numbers in a stream's state
    exponents: Exponents | None  # None: the cell has no forward-mode derivative
    singular: Tensor | None  # (positions, size), float64, descending; None: the state is too large


@dataclass(frozen=True)
class View:
    """What was measured of one model."""

    gradients: Gradients
    spectrum: Spectrum


@dataclass(frozen=True)
class Passages:
    """Where gradients are taken: the symbols ids[start : start + warm_up + lags + 2] of each start."""

    ids: np.ndarray
    starts: np.ndarray
    warm_up: int
    lags: int

    @classmethod
    def of(cls, ids: np.ndarray, lags: int, streams: int) -> Passages:
        """Evenly spread; of a short text fewer lags, and before that a shorter warm-up."""
        if len(ids) < 4:
            raise DataError(f"the text to read has {len(ids)} symbols; at least 4 are needed")
        if (most := len(ids) - 2) < lags:
            notice(f"the text has {len(ids):,} symbols: lags up to {most:,} instead of {lags:,}")
        lags = min(lags, most)
        warm_up = min(WARM_UP, len(ids) - 2 - lags)
        room = len(ids) - (warm_up + lags + 2)
        starts = np.unique(np.linspace(0, room, min(streams, room + 1)).astype(np.int64))
        return cls(ids, starts, warm_up, lags)

    def symbols(self, starts: np.ndarray, length: int) -> Tensor:
        """(length, B)"""
        places = starts + np.arange(length)[:, None]
        return torch.from_numpy(np.asarray(self.ids[places], dtype=np.int64))


@contextmanager
def placed(model: nn.Module, config: Config) -> Iterator[torch.device]:
    """The model on the device of the run's settings, or the best there is here; then back where it was."""
    from lstmcli.engine.hardware import choose_hardware

    device = choose_hardware(config.train.device, "fp32", elsewhere=True).device
    try:
        model.to(device)
        yield device
    finally:
        model.to("cpu")


def text_view(model: TextModel, config: Config, passages: Passages, heard: Heard) -> View:
    warm_up, found = passages.warm_up, []
    with placed(model, config) as device:
        for first in range(0, len(passages.starts), TOGETHER):
            starts = passages.starts[first : first + TOGETHER]
            ids = passages.symbols(starts, warm_up + passages.lags + 2).to(device)
            found.append(gradient_norms(model, ids[warm_up:], _warmed_up(model, ids[:warm_up])))
            heard(len(starts))
        steps = min(BURN_IN + STRETCH, len(passages.ids) - warm_up)
        few = np.unique(np.linspace(0, len(passages.ids) - warm_up - steps, ORBITS).astype(np.int64))
        ids = passages.symbols(few, warm_up + steps).to(device)
        with torch.no_grad():
            inputs = model.embedding(ids[warm_up:])
        spectrum = _spectrum(model.layers, inputs, _warmed_up(model, ids[:warm_up]))
    return View(_joined(found), spectrum)


@torch.no_grad()
def _warmed_up(model: TextModel, ids: Tensor) -> StackState:
    state = model.initial_state(ids.shape[1])
    return model.outputs(ids, state)[2] if len(ids) else state


def _spectrum(stack: Stack, inputs: Tensor, state: StackState) -> Spectrum:
    size, exponents, singular = state_size(state), None, None
    try:
        burn_in = min(BURN_IN, len(inputs) // 2)
        exponents = lyapunov_exponents(stack, inputs, state, EXPONENTS, burn_in)
        if size <= MOST_NUMBERS:
            singular = singular_values(step_jacobian(stack, inputs[0], state))
    except RuntimeError as error:  # the cell's own, which may be any code; NotImplementedError is one
        if "memory" in str(error):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0][:200]
        notice(f"no Jacobians: the cell has an operation without a forward derivative ({why})")
    return Spectrum(size, exponents, singular)


def _joined(parts: list[Gradients]) -> Gradients:
    """The streams of all parts."""

    def together(norms: list[Tensor | None]) -> Tensor | None:
        there = [n for n in norms if n is not None]
        return torch.cat(there, dim=1) if there else None

    layers = []
    for same in zip(*(part.layers for part in parts), strict=True):
        states = {name: torch.cat([layer.states[name] for layer in same], dim=1) for name in same[0].states}
        chain = together([layer.chain for layer in same])
        forget_gates = together([layer.forget_gates for layer in same])
        layers.append(LayerGradients(same[0].memory, states, chain, forget_gates))
    return Gradients(torch.cat([part.loss for part in parts]), layers)


def series_view(model: SeriesModel, rows: Rows, lags: int, heard: Heard) -> View:
    found = []
    for first in range(0, len(rows.context), TOGETHER):
        part = Rows(*(tensor[first : first + TOGETHER] for tensor in rows))
        found.append(_cut(series_gradient_norms(model, part), lags))
        heard(len(part.context))
    network = model.networks[0]
    few = Rows(*(tensor[:: -(-len(rows.context) // ORBITS)] for tensor in rows))
    with torch.no_grad():
        inputs, _, _ = network.inputs(few)
    start = network.layers.initial_state(inputs.shape[1])
    half = len(inputs) // 2
    state = after(model.observe(few)) if half == 0 else after(network.layers.observe(inputs[:half], start))
    whole = _spectrum(network.layers, inputs, start)
    # Jacobians in the middle of the context: at its start the state is zero
    middle = whole if whole.singular is None else _spectrum(network.layers, inputs[half:], state)
    return View(_joined(found), replace(whole, singular=middle.singular))


def _cut(gradients: Gradients, lags: int) -> Gradients:
    """Lags 0 to `lags` only."""
    end = lags + 1
    layers = [
        LayerGradients(
            layer.memory,
            {name: norms[:end] for name, norms in layer.states.items()},
            None if layer.chain is None else layer.chain[:end],
            None if layer.forget_gates is None else layer.forget_gates[:end],
        )
        for layer in gradients.layers
    ]
    return Gradients(gradients.loss, layers)
