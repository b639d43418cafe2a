"""What the gates of a trained model do: how far open, how saturated, how long they remember, and at
which characters they do something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lstmcli.core.pictures import PALETTE, new_figure, picture_style, plain
from lstmcli.core.tables import Table
from lstmcli.engine.measures.gates import ALWAYS, QUANTILES, GateSums, LayerSums, add_all
from lstmcli.inspect.coloured import BLOCK, CharacterMeans, Effects
from lstmcli.inspect.finding import look
from lstmcli.inspect.reading import cut, read
from lstmcli.inspect.source import Reading, about, symbols_of, text_of, windows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.engine.layers import Trace
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.trained import Run
    from lstmcli.run.trained import TrainedRun

CHARACTERS = 8
"""Characters in a table, beside the marks."""
MARKS = '\n.,:;?!"()[]{}'


@dataclass(frozen=True)
class GatesFinding:
    """What was read, and the sums over it."""

    about: dict[str, Any]
    window: int  # steps over which training carried gradients
    layers: list[LayerSums]
    symbols: list[str] = field(default_factory=list)
    effects: Effects | None = None  # over all gates of all layers in their order
    shown: int = CHARACTERS
    marks: tuple[str, ...] = tuple(MARKS)

    def gates(self) -> Iterator[tuple[int, GateSums]]:
        """Layer numbers and gates, in the order of the effects."""
        for number, layer in enumerate(self.layers):
            for gate in layer.gates.values():
                yield number, gate

    def document(self) -> dict[str, Any]:
        gates = [{"layer": n, "gate": g.name} | _gate_values(g, self.window) for n, g in self.gates()]
        states = [
            {"layer": n, "state": s.name, "norm": s.norm, "rms": s.rms, "largest": s.largest}
            for n, layer in enumerate(self.layers)
            for s in layer.states.values()
        ]
        found = self.about | {"bptt_window": self.window, "gates": gates, "states": states}
        return found if self.effects is None else found | {"characters": self._characters(self.effects)}

    def _characters(self, effects: Effects) -> list[dict[str, Any]]:
        """Per gate and character, the largest effect of each gate first."""
        rows = []
        for k, (number, gate) in enumerate(self.gates()):
            order = effects.difference[k].nan_to_num().abs().argsort(descending=True).tolist()
            for v in (v for v in order if effects.counts[v]):
                rows.append({
                    "layer": number, "gate": gate.name, "character": self.symbols[v] or None, "id": v,
                    "count": int(effects.counts[v]), "mean": float(effects.mean[k, v]),
                    "difference": float(effects.difference[k, v]),
                    "half_width": float(effects.half[k, v]),
                })  # fmt: skip
        return rows

    def tables(self) -> list[Table]:
        tables = [self._gate_table(), self._state_table()]
        return tables if self.effects is None else tables + self._character_tables(self.effects)

    def _gate_table(self) -> Table:
        timed = any(gate.timescales is not None for _, gate in self.gates())
        columns = ["layer", "gate", "mean", "std", "low", "high", "dead", "always open"]
        columns += ["tau p10", "p50", "p90", f"beyond {self.window}"] if timed else []
        rows = [[str(n), g.name, *_gate_cells(g, self.window, timed)] for n, g in self.gates()]
        what = self.about
        title = f"{what['run']} at step {what['step']} on {what['data']}, {what['tokens']:,} {what['unit']}"
        note = (
            "low: share below 0.1 (below -0.9 for a gate that goes below 0); high: share above 0.9\n"
            f"dead, always open: units whose gate is within 0.1 of 0, or above 0.9, in {ALWAYS:.0%} of the "
            "steps"
        )
        if timed:
            note += (
                "\ntau: steps after which a unit has forgotten all but 1/e, percentiles over the units; "
                f"beyond {self.window}: units\nthat remember longer than the window of training "
                f"({self.window} steps)"
            )
        return Table(title, columns, rows, note, left=2)

    def _state_table(self) -> Table:
        rows = [
            [str(n), s.name, f"{s.norm:.2f}", f"{s.rms:.3f}", f"{s.largest:.2f}"]
            for n, layer in enumerate(self.layers)
            for s in layer.states.values()
        ]
        return Table("", ["layer", "state", "norm", "rms", "largest"], rows, left=2)

    def _character_tables(self, effects: Effects) -> list[Table]:
        """One per layer: what each gate does at the characters that move the gates most."""
        tables, first = [], 0
        for number, layer in enumerate(self.layers):
            part = slice(first, first + len(layer.gates))
            first = part.stop
            effect, half = effects.difference[part], effects.half[part]
            known = ~half.isnan().any(0)
            size = torch.where(known, effect.square().sum(0), -1.0)
            ordered = size.argsort(descending=True)[: int(known.sum())].tolist()
            order = [v for k, v in enumerate(ordered) if k < self.shown or self.symbols[v] in self.marks]
            rows = [
                [_shown(self.symbols[v], v), f"{int(effects.counts[v]):,}"]
                + [_interval(float(effect[k, v]), float(half[k, v])) for k in range(len(layer.gates))]
                for v in order
            ]
            tables.append(Table(f"layer {number}: mean gate at a character less its mean elsewhere",
                                ["character", "count", *layer.gates], rows))  # fmt: skip
        last = tables[-1]._replace(note=(
            "± half a 95 % interval, from the means of blocks of "
            f"{BLOCK} symbols, for neighbouring symbols are correlated;\nin brackets where it includes 0. "
            "Largest effects first, and the marks; all characters: --json"
        ))  # fmt: skip
        return [*tables[:-1], last]

    def figures(self) -> dict[str, Figure]:
        return {"saturation": saturation_figure(self)}


def inspect_gates(run: TrainedRun, reading: Reading) -> GatesFinding:
    """Read a part of the data and sum up what the gates did."""
    found: GatesFinding = look("gates", run, reading)
    return found


def gates_of_text(run: Run, reading: Reading) -> GatesFinding:
    ids, where = text_of(run, reading)
    rows = cut(len(ids))
    layers: list[LayerSums] = []
    characters = None
    for passage in read(run.model, ids, rows, reading.on_progress):
        add_all(layers, passage.traces)
        means = _means(passage.traces)
        if characters is None:
            characters = CharacterMeans(len(means), run.vocabulary.size)
        characters.add(passage.ids.cpu(), means.cpu())
    assert characters is not None  # a text has two symbols at least
    what = about(run, where) | {"tokens": rows.symbols, "unit": "symbols"}
    symbols = symbols_of(run.vocabulary)
    return GatesFinding(what, run.config.train.sequence_length, layers, symbols, characters.effects())


def gates_of_series(run: SeriesRun, reading: Reading) -> GatesFinding:
    windows = windows_of(run, reading)
    layers: list[LayerSums] = []
    steps = 0
    for batch in windows.batches(reading.on_progress):
        add_all(layers, batch.traces)
        steps += windows.steps * len(batch.ends)
    what = about(run, windows.name) | {"tokens": steps, "unit": "steps", "windows": len(windows.series)}
    return GatesFinding(what, windows.steps, layers)


def _means(traces: Iterable[Trace]) -> torch.Tensor:
    """Every gate of every layer, mean over the units: (G, T, B)."""
    return torch.stack([values.double().mean(-1) for trace in traces for values in trace.gates.values()])


def _gate_values(gate: GateSums, window: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "mean": gate.mean, "std": gate.deviation, "low": float(gate.left.mean()),
        "high": float(gate.right.mean()), "units": len(gate.left), "dead": gate.dead,
        "always_open": gate.always_open, "signed": gate.signed,
    }  # fmt: skip
    tau = gate.timescales
    if tau is not None:
        levels = torch.quantile(tau, tau.new_tensor(QUANTILES)).tolist()
        values |= dict(zip(("timescale_p10", "timescale_p50", "timescale_p90"), levels, strict=True))
        values["beyond_window"] = float((tau > window).double().mean())
        values["timescales"] = tau.tolist()
    return values | {"left_saturated": gate.left.tolist(), "right_saturated": gate.right.tolist()}


def _gate_cells(gate: GateSums, window: int, timed: bool) -> list[str]:
    v = _gate_values(gate, window)
    cells = [f"{v['mean']:.3f}", f"{v['std']:.3f}", _percent(v["low"]), _percent(v["high"])]
    cells += [f"{v['dead']} of {v['units']}", f"{v['always_open']} of {v['units']}"]
    if timed and "beyond_window" in v:
        taus = (v[f"timescale_p{p}"] for p in (10, 50, 90))
        return [*cells, *(f"{tau:,.1f}" for tau in taus), _percent(v["beyond_window"])]
    return cells + [""] * (4 * timed)


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}%"


def _interval(effect: float, half: float) -> str:
    text = f"{effect:+.4f} ±{half:.4f}"
    return text if abs(effect) > half else f"({text})"


def _shown(symbol: str, number: int) -> str:
    """A character that a reader can tell from others: newline and blanks by their escapes."""
    if symbol == "":
        return f"symbol {number}"
    return "space" if symbol == " " else repr(symbol)[1:-1] if symbol.isspace() else symbol


# --- the picture -------------------------------------------------------------------------------


def saturation_figure(finding: GatesFinding) -> Figure:
    """The share of time that each unit's gate is saturated right against left, a panel per gate and
    layer (Karpathy, Johnson and Fei-Fei 2015)."""
    columns = max(len(layer.gates) for layer in finding.layers)
    rows = len(finding.layers)
    with picture_style():
        figure = new_figure((max(1.8 * columns + 0.7, 4.2), 1.85 * rows + 0.75))
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat:
            axes.set_visible(False)
        for number, layer in enumerate(finding.layers):
            for k, gate in enumerate(layer.gates.values()):
                _scatter(grid[number][k], gate, f"layer {number}: {gate.name}", PALETTE[k % len(PALETTE)])
        left = "share of time saturated on the left (below 0.1; below -0.9 where signed)"
        figure.supxlabel(left, fontsize=9)
        figure.supylabel("saturated on the right (above 0.9)", fontsize=9)
        what = finding.about
        figure.suptitle(plain(f"{what['run']}: gate saturation, a dot per unit"), fontsize=10.5)
    return figure


def _scatter(axes: Axes, gate: GateSums, title: str, colour: str) -> None:
    axes.set_visible(True)
    axes.plot([0, 1], [1, 0], color="#BBBBBB", linewidth=0.8)  # nothing lies beyond: left + right <= 1
    size = 5 if len(gate.left) > 100 else 16
    axes.scatter(gate.left, gate.right, s=size, color=colour, alpha=0.35, linewidths=0, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_title(plain(title), loc="left", fontsize=9)
