"""What others do while a run trains: the screen, the log, a trial's limits, a user's own functions.

The loop calls every hook of a run at the events below, in the order of the list. `on_start`, `on_step` and
`on_evaluation` may ask for the end of the run by returning the reason in a few words: the loop then saves
what it has and ends as if the budget were used up. Of several ranks each has hooks of its own; one that
asks for the end is enough, and all ranks end at the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lstmcli.engine.measures.gates import gate_statistics
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger

if TYPE_CHECKING:
    from lstmcli.run.session import Session


class Evaluation(NamedTuple):
    """A validation of a run while it trains."""

    step: int  # updates that were made before it
    loss: float  # which decides which weights are best
    values: dict[str, float]  # all that is logged of it, by tag
    best: bool  # whether the loss is the lowest so far


class Hooks:
    """One listener of a run; what it does not override does nothing."""

    def on_start(self, session: Session) -> str | None:
        """Before the first update, or the first after a resume."""
        return None

    def on_step(self, step: int, done: float) -> str | None:
        """After update number `step` (from 1), with the share `done` of the budget used up."""
        return None

    def on_log(self, step: int, values: dict[str, float]) -> None:
        """Every `telemetry.every` steps: the training loss, the speed and the like, by tag."""

    def on_evaluating(self, step: int) -> None:
        """Before an evaluation."""

    def on_evaluation(self, evaluation: Evaluation) -> str | None:
        """After an evaluation, while the model still has the weights that were evaluated."""
        return None

    def on_saving(self, step: int) -> None:
        """Before a checkpoint is written."""

    def on_checkpoint(self, step: int, folder: Path) -> None:
        """After a checkpoint has been committed."""


class Record(Hooks):
    """What a run logs: scalars, and what its task has to show after an evaluation."""

    def __init__(self, logger: Logger, console: Console):
        self.logger, self._console = logger, console

    def on_start(self, session: Session) -> None:
        self._task, self._gates_every = session.task, session.config.telemetry.gates_every

    def on_log(self, step: int, values: dict[str, float]) -> None:
        self.logger.scalars(step, values)

    def on_step(self, step: int, done: float) -> None:
        if self._gates_every is not None and (step % self._gates_every == 0 or step == 1):
            self.logger.scalars(step, gate_statistics(self._task.traces()))

    def on_evaluation(self, evaluation: Evaluation) -> None:
        self.logger.scalars(evaluation.step, evaluation.values)
        self._task.show(evaluation.step, self.logger, self._console)
        self.logger.flush()

    def on_saving(self, step: int) -> None:
        self.logger.sync()  # a resume expects the log of all steps up to the checkpoint


class Screen(Hooks):
    """What a person sees."""

    def __init__(self, console: Console):
        self._console = console

    def on_step(self, step: int, done: float) -> None:
        self._console.step(step, done)

    def on_log(self, step: int, values: dict[str, float]) -> None:
        self._console.logged(step, values)

    def on_evaluating(self, step: int) -> None:
        self._console.phase("evaluating")

    def on_evaluation(self, evaluation: Evaluation) -> None:
        self._console.evaluated(evaluation.step, evaluation.loss, evaluation.best)

    def on_saving(self, step: int) -> None:
        self._console.phase("saving")


class Callback(Hooks):
    """A user's function, told of every evaluation; it ends the run by returning something true."""

    def __init__(self, function: Callable[[Evaluation], object]):
        self._function = function

    def on_evaluation(self, evaluation: Evaluation) -> str | None:
        answer = self._function(evaluation)
        return (answer if isinstance(answer, str) else "ended by the callback") if answer else None
