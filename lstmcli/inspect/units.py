"""Which units of a trained model track something that a person can name, one of them at work, and
pictures of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.core.errors import UsageError
from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style, plain
from lstmcli.core.tables import Table
from lstmcli.inspect.coloured import Coloured, coloured_figure
from lstmcli.inspect.features import REMEMBERED, Alphabet, TextFeatures, UnitSums, series_features
from lstmcli.inspect.finding import look
from lstmcli.inspect.reading import WARM_UP, after, cut, read, warm_up_ids
from lstmcli.inspect.source import Reading, about, symbols_of, text_of, windows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lstmcli.engine.layers import Trace
    from lstmcli.inspect.source import WindowBatch
    from lstmcli.kinds.series.model import SeriesModel
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.trained import Run
    from lstmcli.run.trained import TrainedRun


BEST = 3
"""Units in the table of each feature."""
SHOWN = 500
"""Symbols of the coloured text."""
LINES = 4
"""Windows of a series in the picture of a unit."""


class UnitName(NamedTuple):
    """A unit and which of its states is looked at; layers count from 0."""

    layer: int
    unit: int
    state: str

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit} {self.state}"


@dataclass(frozen=True)
class Followed:
    """A few windows of a series and the state of a unit over them."""

    values: npt.NDArray[np.float64]  # (n, T), the mean of each patch as the model reads it
    states: npt.NDArray[np.float64]  # (n, T)


@dataclass(frozen=True)
class UnitsFinding:
    """What was read, the correlations over it, and one unit: the one asked for, or the best."""

    about: dict[str, Any]
    names: tuple[str, ...]  # of the features
    sums: UnitSums
    unit: UnitName
    asked: bool
    text: Coloured | None = None
    followed: Followed | None = None

    def document(self) -> dict[str, Any]:
        means = self.sums.feature_means().tolist()
        features = [
            {
                "feature": self.names[f], "mean": means[f], "chance": self.sums.chance(f),
                "best": [tracking._asdict() for tracking in self.sums.best(f, BEST)],
            }
            for f in self.sums.varying()
        ]  # fmt: skip
        unit: dict[str, Any] = self.unit._asdict() | {"correlations": self._of_unit()}
        if self.text is not None:
            unit["text"] = [
                {"symbol": s, "value": v}
                for s, v in zip(self.text.symbols, self.text.values.tolist(), strict=True)
            ]
        return self.about | {"features": features, "unit": unit}

    def _of_unit(self) -> dict[str, dict[str, float]]:
        """Correlations by state and feature."""
        found = self.sums.of_unit(self.unit.layer, self.unit.unit)
        return {
            state: {self.names[f]: float(values[f]) for f in self.sums.varying()}
            for state, values in found.items()
        }

    def tables(self) -> list[Table]:
        return [self._unit_table()] if self.asked else [self._best_table()]

    def title(self) -> str:
        """What was read."""
        what = self.about
        return f"{what['run']} at step {what['step']} on {what['data']}, {what['tokens']:,} {what['unit']}"

    def _best_table(self) -> Table:
        chance = self.sums.chance(0) is not None
        columns = ["feature", "mean", "best unit", "r", "second", "r", "third", "r"]
        rows, means = [], self.sums.feature_means().tolist()
        for f in self.sums.varying():
            cells = [self.names[f], f"{means[f]:.3f}"]
            for tracking in self.sums.best(f, BEST):
                cells += [str(UnitName(*tracking[:3])), f"{tracking.correlation:+.3f}"]
            cells += [""] * (len(columns) - len(cells))
            rows.append([*cells, f"{self.sums.chance(f):.3f}"] if chance else cells)
        note = "r: correlation of the unit's state with the feature; units as layer:index, from 0"
        if chance:
            columns.append("chance")
            note += "\nchance: the best |r| of any unit with the feature of another part of the text"
        absent = [name for f, name in enumerate(self.names) if f not in self.sums.varying()]
        if absent:
            note += f"\nnever seen, or always the same: {', '.join(absent)}"
        return Table(self.title(), columns, rows, note)

    def _unit_table(self) -> Table:
        found = self._of_unit()
        names = [self.names[f] for f in self.sums.varying()]
        order = sorted(names, key=lambda name: -max(abs(v[name]) for v in found.values()))
        rows = [[name, *(f"{values[name]:+.3f}" for values in found.values())] for name in order]
        title = f"{self.title()}\nunit {self.unit.layer}:{self.unit.unit}, correlation of its states"
        return Table(title, ["feature", *found], rows)

    def figures(self) -> dict[str, Figure]:

        figures = {} if self.asked else {"units": units_figure(self)}
        if self.text is not None:
            figures["text"] = coloured_figure(self.text)
        if self.followed is not None:
            name = f"unit {self.unit}"
            figures["windows"] = followed_figure(self.followed.values, self.followed.states, name)
        return figures


def inspect_units(
    run: TrainedRun, reading: Reading, unit: tuple[int, int] | None = None, length: int = SHOWN
) -> UnitsFinding:
    """Read a part of the data and correlate every unit with every feature.

    Args:
        unit: layer and index of the unit to show; None: the one that tracks best what must be
            remembered.
        length: symbols of the coloured text.

    Raises:
        UsageError: there is no such unit.
    """
    if unit is not None:
        check_unit(unit, run.config.model.sizes)
    found: UnitsFinding = look("units", run, reading, unit, length)
    return found


def check_unit(unit: tuple[int, int], sizes: list[int] | tuple[int, ...]) -> None:
    """UsageError unless layer and index are there."""
    layer, index = unit
    if not 0 <= layer < len(sizes):
        raise UsageError(f"--unit {layer}:{index}: the layers are 0 to {len(sizes) - 1}")
    if not 0 <= index < sizes[layer]:
        raise UsageError(f"--unit {layer}:{index}: the units of layer {layer} are 0 to {sizes[layer] - 1}")


def units_of_text(run: Run, reading: Reading, asked: tuple[int, int] | None, length: int) -> UnitsFinding:
    ids, where = text_of(run, reading)
    rows = cut(len(ids))
    features = TextFeatures(Alphabet.of(symbols_of(run.vocabulary)), len(rows.starts))
    features.read(warm_up_ids(ids, rows))
    sums = UnitSums(len(features.names), chance=len(rows.starts) > 1)
    for passage in read(run.model, ids, rows, reading.on_progress):
        sums.add(torch.from_numpy(features.read(passage.ids.cpu().numpy())), passage.traces)
    what = about(run, where) | {"tokens": rows.symbols, "unit": "symbols"}
    unit, tracked = _chosen(sums, features.names, asked)
    text = coloured_text(run, ids, unit, f"unit {unit}{tracked}", length)
    return UnitsFinding(what, features.names, sums, unit, asked is not None, text=text)


def units_of_series(
    run: SeriesRun, reading: Reading, asked: tuple[int, int] | None, length: int
) -> UnitsFinding:
    """There is no text of any length to colour."""
    windows = windows_of(run, reading)
    patch, season = run.config.forecast.patch_length, run.model.shape.season
    sums: UnitSums | None = None
    kept: tuple[npt.NDArray[np.float64], list[Trace]] | None = None
    steps = 0
    for batch in windows.batches(reading.on_progress):
        values = _read_values(run.model, batch)
        names, features = series_features(values, patch, season, batch.ends)
        sums = sums or UnitSums(len(names))
        sums.add(torch.from_numpy(features), batch.traces)
        kept = kept or (features[..., 0], batch.traces)
        steps += windows.steps * len(batch.ends)
    assert sums is not None and kept is not None  # there is one window at least
    what = about(run, windows.name) | {"tokens": steps, "unit": "steps", "windows": len(windows.series)}
    unit, _ = _chosen(sums, names, asked)
    some = np.unique(np.linspace(0, kept[0].shape[1] - 1, LINES).astype(int))
    states = kept[1][unit.layer].states[unit.state][:, some, unit.unit].double().numpy()
    followed = Followed(kept[0][:, some].T, states.T)
    return UnitsFinding(what, names, sums, unit, asked is not None, followed=followed)


def _read_values(model: SeriesModel, batch: WindowBatch) -> npt.NDArray[np.float64]:
    """The contexts (R, L, C) as the first member's layers read them."""
    rows = batch.rows
    window = model.networks[0].normalise(rows)
    values: npt.NDArray[np.float64] = ((rows.context - window.location) / window.scale).double().cpu().numpy()
    return values[:, model.lag :]


def _chosen(sums: UnitSums, names: tuple[str, ...], asked: tuple[int, int] | None) -> tuple[UnitName, str]:
    """The unit to show, and of the best one what it tracks. The cell state of an asked one, if any."""
    if asked is not None:
        states = sums.of_unit(*asked)
        return UnitName(*asked, "cell" if "cell" in states else next(iter(states))), ""
    varying = sums.varying() or [0]
    features = [f for f in varying if names[f] in REMEMBERED] or varying
    found, feature = max(((sums.best(f, 1)[0], f) for f in features), key=lambda at: abs(at[0].correlation))
    return UnitName(*found[:3]), f" ({names[feature]}, r {found.correlation:+.2f})"


@torch.no_grad()
def coloured_text(run: Run, ids: npt.NDArray[Any], unit: UnitName, title: str, length: int) -> Coloured:
    """The unit's state over a stretch of the text that begins with a paragraph, behind a warm-up."""
    begin = _paragraph(ids, int(run.vocabulary.encode("\n")[0]), max(0, min(WARM_UP, len(ids) - length)))
    read_ids = torch.from_numpy(np.asarray(ids[max(0, begin - WARM_UP) : begin + length], dtype=np.int64))
    state, pieces = run.model.initial_state(1), []
    for part in torch.split(read_ids, 128):
        traces = run.model.observe(part.unsqueeze(1), state)
        pieces.append(traces[unit.layer].states[unit.state][:, 0, unit.unit])
        state = after(traces)
    values: Tensor = torch.cat(pieces)[min(begin, WARM_UP) :].double()
    speller = run.vocabulary.speller()
    symbols = [speller.feed(int(number)) for number in read_ids[min(begin, WARM_UP) :]]
    return Coloured(title, symbols, values.numpy())


def _paragraph(ids: npt.NDArray[Any], newline: int, first: int) -> int:
    """The start of the first paragraph, else of the first line, from `first` on and near it."""
    near = ids[first : first + 2 * WARM_UP] == newline
    for ends in (np.flatnonzero(near[1:] & near[:-1]) + 1, np.flatnonzero(near[:200])):
        if len(ends) and first:
            return first + int(ends[0]) + 1
    return first


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
