"""What a search found: a table of its trials, and a picture of the loss against each setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lstmcli.core.pictures import PALETTE, new_figure, picture_style
from lstmcli.core.tables import Table
from lstmcli.sweep.tuning.space import Range, Space
from lstmcli.sweep.tuning.study import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 12
COLUMNS = 3


@dataclass(frozen=True)
class Results:
    space: Space
    found: list[Outcome]  # the best first

    def document(self) -> dict[str, Any]:
        best = self.found[0] if self.found and self.found[0].state == "complete" else None
        return {
            "best": None if best is None else {"trial": best.number, "loss": best.loss, **best.settings},
            "trials": [vars(outcome) for outcome in self.found],
        }

    def tables(self) -> list[Table]:
        names = list(self.space)
        rows = []
        for o in self.found[:ROWS]:
            loss = "" if o.loss is None else f"{o.loss:.4f}"
            rows.append([str(o.number), o.state, loss, *(shown(o.settings.get(name)) for name in names)])
        left = len(self.found) - len(rows)
        pruned = sum(o.state == "pruned" for o in self.found)
        note = f"{len(self.found)} trials, {pruned} ended early" + (f"; {left} more" if left else "")
        columns = ["trial", "state", "best val loss", *(name.split(".", 1)[-1] for name in names)]
        return [Table("", columns, rows, note, left=2)]

    def figure(self) -> Figure:
        """The best validation loss of each trial against each setting; hollow: ended early."""
        names = list(self.space)
        rows = -(-len(names) // COLUMNS)
        with picture_style():
            figure = new_figure((3.1 * min(COLUMNS, len(names)), 2.6 * rows))
            grid = figure.subplots(rows, min(COLUMNS, len(names)), squeeze=False).ravel()
            for axes, name in zip(grid, names, strict=False):
                self._panel(axes, name)
            for axes in grid[len(names) :]:
                axes.remove()
        return figure

    def _panel(self, axes: Axes, name: str) -> None:
        dimension = self.space[name]
        told = [o for o in self.found if o.loss is not None and name in o.settings]
        for state, face in (("pruned", "none"), ("complete", PALETTE[0])):
            chosen = [o for o in told if o.state == state]
            places: list[Any] = [o.settings[name] for o in chosen]
            if isinstance(dimension, list):
                places = [dimension.index(value) for value in places]
            losses = [o.loss for o in chosen]
            axes.scatter(places, losses, s=18, facecolors=face, edgecolors=PALETTE[0], linewidths=0.8)  # type: ignore[arg-type]
        if isinstance(dimension, list):
            axes.set_xticks(range(len(dimension)), [shown(value) for value in dimension])
        elif isinstance(dimension, Range) and dimension.log:
            axes.set_xscale("log")
        axes.set_title(name, loc="left")
        order = sorted(o.loss for o in told if o.loss is not None)
        if len(order) > 3:  # trials that came to nothing would press all others together
            axes.set_ylim(top=order[int(0.9 * (len(order) - 1))] * 1.02)


def shown(value: Any) -> str:
    """A setting's value, short."""
    return "null" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
