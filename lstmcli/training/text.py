"""Learning to predict the next symbol of a text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lstmcli.cells.source import cell_files
from lstmcli.config.schema import Config
from lstmcli.data.batches import StreamBatches
from lstmcli.data.text import prepare_text
from lstmcli.inference.text.evaluate import evaluate_text
from lstmcli.model.layers import Trace
from lstmcli.model.stack import Stack, StackState, detach, reset_streams
from lstmcli.model.text import TextModel
from lstmcli.telemetry.console import Console
from lstmcli.telemetry.gates import text_traces
from lstmcli.telemetry.logger import Logger
from lstmcli.training.sample import sample_text
from lstmcli.training.task import Measured, Score

LN2 = math.log(2.0)


class TextTask:
    """Streams of a text, read side by side in windows, the state carried from one to the next."""

    unit = "symbols"

    def __init__(self, config: Config, on_progress: Callable[[str, int, int], None]):
        self.config = config
        train = config.train
        self.data = prepare_text(config.data, on_progress)
        self.fingerprint, self.summary = self.data.fingerprint, self.data.summary
        self.batches = StreamBatches(
            self.data.train,
            train.batch_size,
            train.sequence_length,
            config.seed,
            state_reset=train.state_reset,
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.has_validation = self.data.val is not None
        self.model = TextModel(config.model, self.data.vocabulary.size, window=train.sequence_length)
        self._cell_files = cell_files(config.model.cell, self.model.layers.layers[0].cell)
        self.device = torch.device("cpu")
        self._window: tuple[Tensor, StackState] | None = None  # the last one, and the state before it

    def stacks(self) -> list[Stack]:
        return [self.model.layers]

    def place(self, device: torch.device) -> None:
        self.device = device
        self.model.to(device)

    def start_state(self) -> StackState:
        return self.model.initial_state(self.config.train.batch_size)

    def loss(self, step: int, carried: StackState) -> Measured:
        batch = self.batches[step]
        inputs = torch.from_numpy(batch.inputs).to(self.device)
        targets = torch.from_numpy(batch.targets).to(self.device)
        if batch.reset.any():
            carried = reset_streams(carried, torch.from_numpy(batch.reset).to(self.device))
        self._window = (inputs, carried)
        loss, carried = self.model.loss(inputs, targets, carried)
        return Measured(loss, detach(carried), inputs.numel())

    def warm_up(self) -> None:
        batch_size = self.config.train.batch_size
        ids = torch.zeros(2, batch_size, dtype=torch.long, device=self.device)
        loss, _ = self.model.loss(ids, ids, self.model.initial_state(batch_size))
        loss.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)

    def traces(self) -> list[Trace]:
        if self._window is None:
            return []
        return text_traces(self.model, *self._window)

    def loss_values(self, loss: float) -> dict[str, float]:
        return {"train/loss": loss, "train/bpc": loss / LN2}

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        settings = self.config.evaluation
        if self.data.val is None:
            return None
        ids = self.data.val[: settings.max_tokens and settings.max_tokens + 1]
        score = evaluate_text(self.model, ids, settings.protocol, self.config.train.batch_size, stop)
        if score is None:
            return None
        values = {"val/loss": score.loss, "val/bpc": score.bpc, "val/accuracy": score.accuracy}
        return Score(score.loss, values)

    def show(self, step: int, logger: Logger, console: Console) -> None:
        settings = self.config.evaluation
        if settings.sample_length:
            text = sample_text(self.model, self.data.vocabulary, settings, self.config.seed)
            logger.sample(step, text)
            console.sample(text)

    def files(self) -> dict[str, str]:
        return {"vocab.json": self._vocabulary_json} | self._cell_files

    @cached_property
    def _vocabulary_json(self) -> str:
        return json.dumps(self.data.vocabulary.to_json())

    def restore(self, folder: Path) -> None:
        """Nothing but tensors and numbers outlives a step."""

    def manifest(self) -> dict[str, Any]:
        return {"vocabulary_size": self.data.vocabulary.size}

    def plan(self) -> dict[str, Any]:
        return {"vocabulary": self.data.vocabulary.size, "symbols": len(self.data.train)}

    def describe(self) -> str:
        data, train = self.data, self.config.train
        held = f", {len(data.val):,} for validation" if data.val is not None else ""
        return (
            f"data   {len(data.train):,} symbols{held}; vocabulary {data.vocabulary.size}\n"
            f"model  {describe_model(self.config, self.model)}\n"
            f"train  {train.batch_size} streams x {train.sequence_length} symbols, "
            f"{self.steps_per_epoch} steps an epoch"
        )


def describe_model(config: Config, model: Any) -> str:
    """Layers, cell and size in a few words."""
    sizes = config.model.sizes
    widths = str(sizes[0]) if len(set(sizes)) == 1 else "-".join(str(size) for size in sizes)
    return f"{len(sizes)} x {widths} {config.model.cell}, {model.parameter_count():,} parameters"
