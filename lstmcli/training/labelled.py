"""Learning to tell the classes of whole texts or series apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstmcli.cells.source import cell_files
from lstmcli.config.schema import Config
from lstmcli.data.sequences.labelled import LabelledBatches, prepare_labelled
from lstmcli.inference.sequence.classes import confusion, cross_entropy, logits_of, macro_f1
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


class LabelledTask:
    """Labelled sequences in a pseudo-random order; none carries anything to the next."""

    unit = "sequences"

    def __init__(self, config: Config, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE):
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
        self.shape = SequenceShape(symbols, len(encoding.columns), len(encoding.classes), False)
        longest = int(self.data.sequences.lengths.max())
        part, numbers = config.train.batch_size // ranks.size, self.shape.parameters(config.model)
        check_training_room(config, numbers, part, longest, sum(config.model.sizes))
        self.model = SequenceModel(config.model, self.shape, window=longest)
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
        return Measured(self.model.loss(self._rows), carried, self.config.train.batch_size)

    def warm_up(self) -> None:
        self.model.loss(rows_of(self.batches[0], self.device)).backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)

    def traces(self) -> list[Trace]:
        return [] if self._rows is None else self.model.observe(self._rows.inputs[:, :ROWS])

    def loss_values(self, loss: float) -> dict[str, float]:
        return {"train/loss": loss}

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

    def show(self, step: int, logger: Logger, console: Console) -> None:
        """There is nothing to look at."""

    def files(self) -> dict[str, str]:
        return {"sequence.json": self._document} | self._cell_files

    @cached_property
    def _document(self) -> str:
        return json.dumps({"shape": vars(self.shape), "encoding": self.data.encoding.to_json()})

    def restore(self, folder: Path) -> None:
        """Nothing but tensors and numbers outlives a step."""

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
