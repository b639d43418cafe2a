"""What all tasks of whole sequences have in common: a batch of them begins and ends within a step."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from lstmcli.config.schema import Config
from lstmcli.engine.footprint import check_training_room
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import Stack, StackState
from lstmcli.kinds.sequence.batch import SequenceBatch
from lstmcli.kinds.sequence.model import Rows, SequenceModel, SequenceShape, rows_of
from lstmcli.run.distributed import Ranks
from lstmcli.run.own_cell import cell_files
from lstmcli.run.task import Measured, Score
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger
from lstmcli.run.telemetry.looks import Pace, gates_figure

ROWS = 8
"""Sequences of the batch whose gates are looked at."""


class Batches(Protocol):
    """Batch number `step` as a pure function of the seed and the step."""

    steps_per_epoch: int

    def __getitem__(self, step: int) -> SequenceBatch: ...


class SequenceTask:
    """A model that answers at marked steps, and what the loop asks of it. A subclass sets what `Task` wants
    of the data, makes the model by `_make_model`, and evaluates it."""

    unit = "sequences"
    config: Config
    model: SequenceModel
    batches: Batches

    def _make_model(self, shape: SequenceShape, longest: int, ranks: Ranks) -> None:
        """A model for sequences of up to `longest` steps; ResourceError: there is no room to train it."""
        config = self.config
        part, numbers = config.train.batch_size // ranks.size, shape.parameters(config.model)
        check_training_room(config, numbers, part, longest, sum(config.model.sizes))
        self.shape = shape
        self.model = SequenceModel(config.model, shape, window=longest)
        self._cell_files = cell_files(config.model.cell, self.model.layers.layers[0].cell)
        self.device = torch.device("cpu")
        self._rows: Rows | None = None  # of the last step
        self._pace = Pace(config)

    def stacks(self) -> list[Stack]:
        return [self.model.layers]

    def place(self, device: torch.device) -> None:
        self.device = device
        self.model.to(device)

    def start_state(self) -> StackState:
        """Each sequence begins anew."""
        return ()

    def loss(self, step: int, carried: StackState) -> Measured:
        self._rows = rows_of(self.batches[step], self.device)
        terms = torch.tensor(len(self._rows.places))
        return Measured(self.model.loss(self._rows), carried, self.config.train.batch_size, terms=terms)

    def warm_up(self) -> None:
        self.model.loss(rows_of(self.batches[0], self.device)).backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)

    def traces(self) -> list[Trace]:
        return [] if self._rows is None else self.model.observe(self._rows.inputs[:, :ROWS])

    def loss_values(self, loss: float) -> dict[str, float]:
        return {"train/loss": loss}

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        raise NotImplementedError

    def show(self, step: int, logger: Logger, console: Console) -> None:
        """The gates over a fixed sequence: the first of the first batch."""
        if self._pace.due():
            rows = rows_of(self.batches[0], self.device)
            gates = gates_figure(self.model.observe(rows.inputs[:, :1]))
            if gates is not None:
                logger.figure(step, "gates", gates)

    def files(self) -> dict[str, str]:
        return {"sequence.json": self._document} | self._cell_files

    @cached_property
    def _document(self) -> str:
        return json.dumps({"shape": vars(self.shape)} | self._learned_from())

    def _learned_from(self) -> dict[str, Any]:
        """What of the data a checkpoint must hold."""
        return {}

    def restore(self, folder: Path) -> None:
        """Nothing but tensors and numbers outlives a step."""
