"""Learning to answer about whole sequences: a synthetic task."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lstmcli.cells.source import cell_files
from lstmcli.config.schema import Config
from lstmcli.data.cache import digest_of
from lstmcli.data.sequences.batches import SyntheticBatches
from lstmcli.data.sequences.synthetic import find_task
from lstmcli.inference.sequence.report import SEQUENCES, score_length
from lstmcli.model.layers import Trace
from lstmcli.model.room import check_training_room
from lstmcli.model.sequence import Rows, SequenceModel, SequenceShape, rows_of
from lstmcli.model.stack import Stack, StackState
from lstmcli.telemetry.console import Console
from lstmcli.telemetry.logger import Logger
from lstmcli.training.distributed import ALONE, Ranks
from lstmcli.training.task import Measured, Score
from lstmcli.training.text import describe_model

ROWS = 8
"""Sequences of the batch whose gates are looked at."""
FORMAT = 1
"""Of the sequences that a seed gives; another one is other data."""


class SyntheticTraining:
    """Sequences of a task, made for each step anew; none carries anything to the next."""

    unit = "sequences"
    has_validation = True

    def __init__(self, config: Config, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE):
        self.config = config
        data = config.data
        self.task = find_task(str(data.task), data.symbols)
        self.summary: dict[str, Any] = {"task": data.task, "length": data.length}
        self.fingerprint = digest_of(
            {"format": FORMAT, "task": data.task, "symbols": data.symbols, "train_length": data.train_length,
             "length": data.length}
        )  # fmt: skip
        self.lengths = training_lengths(config)
        ranks.part_of(config.train.batch_size)  # it must be divisible
        self.batches = SyntheticBatches(
            self.task, self.lengths, config.train.batch_size, config.seed, ranks.rank, ranks.size
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        task = self.task
        self.shape = SequenceShape(task.symbols, task.inputs, task.outputs, task.symbols == 0)
        part, steps = config.train.batch_size // ranks.size, task.steps(self.lengths[1])
        check_training_room(config, self.shape.parameters(config.model), part, steps, sum(config.model.sizes))
        self.model = SequenceModel(config.model, self.shape, window=steps)
        self._cell_files = cell_files(config.model.cell, self.model.layers.layers[0].cell)
        self.device = torch.device("cpu")
        self._rows: Rows | None = None  # of the last step

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
        """At `data.length`, whatever lengths are trained on."""
        count = self.config.evaluation.max_windows or SEQUENCES
        found = score_length(
            self.model, self.task, self.config.data.length, count, self.config.seed, "val", stop
        )
        if found is None:
            return None
        values = {f"val/{name}": value for name, value in found.scores.items()}
        return Score(found.scores["loss"], values | {"val/solved": float(found.solved)})

    def show(self, step: int, logger: Logger, console: Console) -> None:
        """There is nothing to look at."""

    def files(self) -> dict[str, str]:
        return {"sequence.json": self._document} | self._cell_files

    @cached_property
    def _document(self) -> str:
        return json.dumps({"shape": vars(self.shape)})

    def restore(self, folder: Path) -> None:
        """Nothing but tensors and numbers outlives a step."""

    def manifest(self) -> dict[str, Any]:
        return {"task": self.config.data.task}

    def plan(self) -> dict[str, Any]:
        return {"task": self.config.data.task, "length": self.config.data.length}

    def describe(self) -> str:
        data, train, (low, high) = self.config.data, self.config.train, self.lengths
        read = f"{low}" if low == high else f"{low} to {high}"
        return (
            f"data   {data.task}, length {read} in training and {data.length} in evaluation; "
            f"solved: {self.task.rule}\n"
            f"model  {describe_model(self.config, self.model)}\n"
            f"train  {train.batch_size} sequences of up to {self.task.steps(high):,} steps a batch"
        )


def training_lengths(config: Config) -> tuple[int, int]:
    """The shortest and the longest that is trained on."""
    data = config.data
    low, high = data.train_length or (data.length, data.length)
    return low, high
