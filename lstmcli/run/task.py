"""What a run learns, from which data and with which model; the loop knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import RecurrentModel, Stack, StackState
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger


class Measured(NamedTuple):
    """One update's forward pass."""

    loss: Tensor  # mean, with its graph
    carried: StackState
    size: int  # symbols, windows or sequences that were read, by all ranks together
    shown: Tensor | None = None  # what is logged, where more than that is minimised
    pace: float = 1.0  # what the learning rate is multiplied by, for a window of another length
    terms: Tensor | None = None  # values that the mean is over, where ranks may differ in that


class Score(NamedTuple):
    """A validation: what decides which weights are best, and all that is logged."""

    loss: float
    values: dict[str, float]  # by tag
    final: bool = False  # the run has come to what it offers in the end, whatever earlier losses were


class Task(Protocol):
    """Data and model of a run. Batch number `step` is a pure function of the seed and the step."""

    unit: str
    """What is counted: symbols, windows or sequences; a name in messages."""

    @property
    def model(self) -> RecurrentModel: ...

    fingerprint: str
    summary: dict[str, Any]
    steps_per_epoch: int
    has_validation: bool

    def stacks(self) -> list[Stack]:
        """Every stack of layers in the model."""
        ...

    def place(self, device: torch.device) -> None:
        """Move the model there; batches will follow."""
        ...

    def start_state(self) -> StackState:
        """What is carried from one window to the next, at step 0."""
        ...

    def loss(self, step: int, carried: StackState) -> Measured: ...

    def warm_up(self) -> None:
        """Compile what will be compiled, by a step that changes nothing."""
        ...

    def traces(self) -> list[Trace]:
        """What gates and states did in a part of the last window."""
        ...

    def judged(self) -> str:
        """The part of the validation data that chooses the weights, in words; empty: all of it."""
        ...

    def loss_values(self, loss: float) -> dict[str, float]:
        """The training loss by tag."""
        ...

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        """The validation split; None when `stop` asked to end early."""
        ...

    def show(self, step: int, logger: Logger, console: Console) -> None:
        """After an evaluation: something that a person can look at."""
        ...

    def files(self) -> dict[str, str]:
        """What a checkpoint needs beside tensors, by file name."""
        ...

    def restore(self, folder: Path) -> None:
        """Take over what a checkpoint's own files say of the last evaluation."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What the run's manifest says of the data."""
        ...

    def plan(self) -> dict[str, Any]:
        """What `--dry-run` says of the data."""
        ...

    def describe(self) -> str:
        """The lines `data`, `model` and `train` of the screen."""
        ...
