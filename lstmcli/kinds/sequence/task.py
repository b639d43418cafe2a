"""Learning from whole sequences, a batch of which begins and ends within a step: to tell the classes of
texts or series apart, or to answer a synthetic task.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lstmcli.config.schema import Config
from lstmcli.engine.footprint import check_training_memory, layer_values
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import Stack, StackState
from lstmcli.kinds.files.cache import digest_of
from lstmcli.kinds.sequence.batch import SequenceBatch
from lstmcli.kinds.sequence.batches import SyntheticBatches
from lstmcli.kinds.sequence.classes import confusion, cross_entropy, logits_of, macro_f1
from lstmcli.kinds.sequence.labelled import LabelledBatches, prepare_labelled
from lstmcli.kinds.sequence.model import Rows, SequenceModel, SequenceShape, rows_of
from lstmcli.kinds.sequence.report import SEQUENCES, score_length
from lstmcli.kinds.sequence.settings import LabelledConfig, SyntheticConfig
from lstmcli.kinds.sequence.synthetic import find_task
from lstmcli.kinds.text.task import describe_model
from lstmcli.run.distributed import ALONE, Ranks
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
        check_training_memory(config, numbers, part, longest, layer_values(config.model))
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

    def judged(self) -> str:
        return ""

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


class LabelledTask(SequenceTask):
    """Labelled sequences in a pseudo-random order; none carries anything to the next."""

    config: LabelledConfig

    def __init__(
        self, config: LabelledConfig, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE
    ):
        self.config = config
        self.data = prepare_labelled(config.data, config.seed, on_progress)
        self.fingerprint, self.summary = self.data.fingerprint, self.data.summary
        self.batches = LabelledBatches(
            self.data.sequences, self.data.splits["train"], ranks.part_of(config.train.batch_size),
            config.seed, ranks.rank, ranks.size,
        )  # fmt: skip
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.has_validation = "val" in self.data.splits
        encoding = self.data.encoding
        symbols = encoding.vocabulary.size if encoding.vocabulary is not None else 0
        shape = SequenceShape(symbols, len(encoding.columns), len(encoding.classes), False)
        self._make_model(shape, int(self.data.sequences.lengths.max()), ranks)

    def judged(self) -> str:
        most, count = self.config.evaluation.max_windows, len(self.data.splits.get("val", ()))
        return f"{most:,} of {count:,} sequences" if most is not None and most < count else ""

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        chosen = self.data.splits["val"]
        if (most := self.config.evaluation.max_windows) is not None and most < len(chosen):
            chosen = chosen[np.arange(most) * len(chosen) // most]
        logits = logits_of(self.model, self.data.sequences, chosen, stop)
        if logits is None:
            return None
        wanted, guessed = self.data.sequences.labels[chosen], logits.argmax(-1)
        loss = cross_entropy(logits, wanted)
        table = confusion(wanted, guessed, self.shape.outputs)
        right = float((guessed == wanted).mean())
        return Score(loss, {"val/loss": loss, "val/accuracy": right, "val/macro_f1": macro_f1(table)})

    def _learned_from(self) -> dict[str, Any]:
        return {"encoding": self.data.encoding.to_json()}

    def manifest(self) -> dict[str, Any]:
        return {"classes": len(self.data.encoding.classes)}

    def plan(self) -> dict[str, Any]:
        return {"classes": len(self.data.encoding.classes), "sequences": len(self.data.splits["train"])}

    def describe(self) -> str:
        data, train = self.data, self.config.train
        held = f", {len(data.splits['val']):,} for validation" if self.has_validation else ""
        what = "texts" if self.shape.symbols else "series"
        read = f"vocabulary {self.shape.symbols}" if self.shape.symbols else f"{self.shape.inputs} columns"
        return (
            f"data   {len(data.splits['train']):,} {what}{held}; {self.shape.outputs} classes; {read}; "
            f"up to {data.summary['longest']:,} steps\n"
            f"model  {describe_model(self.config, self.model)}\n"
            f"train  {train.batch_size} sequences a step, {self.steps_per_epoch:,} steps an epoch"
        )


FORMAT = 1
"""Of the sequences that a seed gives; another one is other data."""


class SyntheticTraining(SequenceTask):
    """Sequences of a task, made for each step anew; none carries anything to the next."""

    config: SyntheticConfig
    has_validation = True

    def __init__(
        self, config: SyntheticConfig, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE
    ):
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
        shape = SequenceShape(task.symbols, task.inputs, task.outputs, task.symbols == 0)
        self._make_model(shape, task.steps(self.lengths[1]), ranks)

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


def training_lengths(config: SyntheticConfig) -> tuple[int, int]:
    """The shortest and the longest that is trained on."""
    data = config.data
    low, high = data.train_length or (data.length, data.length)
    return low, high
