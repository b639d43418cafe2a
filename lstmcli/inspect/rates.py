"""The learning-rate range test (Smith 2017): the loss while the rate rises from far too small to far too
large, on the run's own model and batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lstmcli.config.schema import Config
from lstmcli.core.errors import DataError, DivergedError
from lstmcli.core.pictures import INK, PALETTE, new_figure, picture_style
from lstmcli.core.tables import Table
from lstmcli.run.session import assemble
from lstmcli.run.telemetry.console import Console
from lstmcli.run.update import update

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHING = 0.9
FIRST = 10
"""Steps whose mean loss is where the test begins."""
LEAST = 0.02
"""Share of it that the loss must fall by, to be no chance."""
DIVERGED = 0.5
"""The test ends when the smoothed loss has risen by this share of where it began."""
DIVIDE = 3.0
"""The proposal lies this far below the rate of the lowest loss."""


@dataclass(frozen=True)
class RateTest:
    rates: list[float]
    losses: list[float]  # of each step
    smoothed: list[float]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss was lowest."""
        return self.rates[self.smoothed.index(min(self.smoothed))]

    @property
    def proposed(self) -> float:
        return float(f"{self.lowest / DIVIDE:.2g}")

    def document(self) -> dict[str, Any]:
        return {
            "proposed": self.proposed, "lowest": self.lowest, "rates": self.rates, "losses": self.losses,
        }  # fmt: skip

    def tables(self) -> list[Table]:
        chosen = range(0, len(self.rates), max(1, len(self.rates) // 12))
        rows = [[f"{self.rates[k]:.2e}", f"{self.smoothed[k]:.4f}"] for k in chosen]
        note = (
            f"the loss is lowest at {self.lowest:.2g}; proposed: train.learning_rate={self.proposed:g} "
            "(a third of it)"
        )
        return [Table("", ["learning rate", "loss"], rows, note, left=0)]

    def figure(self) -> Figure:
        with picture_style():
            figure = new_figure((5.6, 3.4))
            axes = figure.subplots()
            axes.plot(self.rates, self.losses, color=PALETTE[0], linewidth=0.5, alpha=0.5)
            axes.plot(self.rates, self.smoothed, color=PALETTE[0], linewidth=1.6)
            axes.axvline(self.proposed, color=PALETTE[1], linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(f" {self.proposed:g}", (self.proposed, max(self.smoothed)), color=INK, va="top")
            low, high = min(self.smoothed), self.smoothed[0]
            axes.set_ylim(low - 0.1 * (high - low), high + 0.3 * (high - low))
            axes.set_xscale("log")
            axes.set(xlabel="learning rate", ylabel="training loss")
        return figure


def rate_test(
    config: Config,
    steps: int = 150,
    low: float = 1e-5,
    high: float = 1.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> RateTest:
    """Train for `steps` updates while the rate rises exponentially; nothing is written.

    Raises:
        DataError: the loss did not fall at any rate.
    """
    parts = assemble(config, Console(quiet=True))
    state = parts.first_state()
    rates, losses, smoothed, mean = list[float](), list[float](), list[float](), 0.0
    for step in range(steps):
        rate = low * (high / low) ** (step / max(1, steps - 1))
        try:
            loss = update(state, parts.task.loss, config, rate)
        except DivergedError:
            break
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        rates.append(rate)
        losses.append(loss)
        smoothed.append(mean / (1.0 - SMOOTHING ** (step + 1)))
        if on_progress is not None:
            on_progress(step + 1, steps)
        start = sum(losses[:FIRST]) / len(losses[:FIRST])
        if step > FIRST and smoothed[-1] - start > DIVERGED * abs(start):
            break
    if not smoothed or start - min(smoothed) < LEAST * abs(start):
        raise DataError("the loss did not fall at any learning rate", "look at the data and at the model")
    return RateTest(rates, losses, smoothed)
