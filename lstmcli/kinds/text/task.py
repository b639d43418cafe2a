"""Learning to predict the next symbol of a text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstmcli.config.schema import Config
from lstmcli.core.errors import RunError
from lstmcli.core.notices import notice
from lstmcli.engine.footprint import check_training_memory, layer_values
from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.gradients import Gradients
from lstmcli.engine.stack import Stack, StackState, detach, reset_streams
from lstmcli.kinds.text.batches import StreamBatches
from lstmcli.kinds.text.decoder import decoder_of_model
from lstmcli.kinds.text.evaluate import Score as TextScore
from lstmcli.kinds.text.evaluate import evaluate_text
from lstmcli.kinds.text.generate import GenerateOptions, generate
from lstmcli.kinds.text.inside import gradient_norms, text_traces
from lstmcli.kinds.text.model import Penalties, TextModel, text_parameters
from lstmcli.kinds.text.settings import TextConfig, TextEvaluation
from lstmcli.kinds.text.source import prepare_text
from lstmcli.kinds.text.vocabulary import Vocabulary
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.own_cell import cell_files
from lstmcli.run.task import Measured, Score
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger
from lstmcli.run.telemetry.looks import (
    STEPS,
    STREAMS,
    Pace,
    gates_figure,
    gradients_figure,
    half_lives,
    shown_symbol,
)

LN2 = math.log(2.0)


class TextTask:
    """Streams of a text, read side by side in windows, the state carried from one to the next."""

    unit = "symbols"

    def __init__(
        self, config: TextConfig, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE
    ):
        self.config, self.ranks = config, ranks
        train = config.train
        self.streams = ranks.part_of(train.batch_size)  # of this rank
        self.data = prepare_text(config.data, on_progress)
        for told in self.data.notices:
            notice(told)
        self.fingerprint, self.summary = self.data.fingerprint, self.data.summary
        self.batches = StreamBatches(
            self.data.train,
            self.streams,
            train.sequence_length,
            config.seed,
            ranks.rank,
            ranks.size,
            state_reset=train.state_reset,
            jitter=train.sequence_jitter,
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.has_validation = self.data.val is not None
        size = self.data.vocabulary.size
        numbers, width = text_parameters(config.model, size), layer_values(config.model) + size
        check_training_memory(config, numbers, self.streams, train.sequence_length, width)
        self.model = TextModel(config.model, self.data.vocabulary.size, window=train.sequence_length)
        self._cell_files = cell_files(config.model.cell, self.model.layers.layers[0].cell)
        self._penalties = Penalties(train.activation_penalty, train.temporal_penalty, train.label_smoothing)
        self.device = torch.device("cpu")
        self._gradients: Gradients | None = None  # of the last evaluation
        self._pace = Pace(config)
        self._window: tuple[Tensor, StackState] | None = None  # the last one, and the state before it

    def stacks(self) -> list[Stack]:
        return [self.model.layers]

    def place(self, device: torch.device) -> None:
        self.device = device
        self.model.to(device)

    def start_state(self) -> StackState:
        return self.model.initial_state(self.streams)

    def loss(self, step: int, carried: StackState) -> Measured:
        batch = self.batches[step]
        inputs = torch.from_numpy(batch.inputs).to(self.device)
        targets = torch.from_numpy(batch.targets).to(self.device)
        if batch.reset.any():
            carried = reset_streams(carried, torch.from_numpy(batch.reset).to(self.device))
        self._window = (inputs, carried)
        pace = len(inputs) / self.config.train.sequence_length
        loss, nats, carried = self.model.objective(inputs, targets, carried, self._penalties)
        return Measured(loss, detach(carried), inputs.numel() * self.ranks.size, nats, pace=pace)

    def warm_up(self) -> None:
        ids = torch.zeros(2, self.streams, dtype=torch.long, device=self.device)
        loss, _ = self.model.loss(ids, ids, self.model.initial_state(self.streams))
        loss.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)

    def traces(self) -> list[Trace]:
        if self._window is None:
            return []
        return text_traces(self.model, *self._window)

    def loss_values(self, loss: float) -> dict[str, float]:
        return {"train/loss": loss, "train/bpc": loss / LN2}

    def judged(self) -> str:
        most, symbols = self.config.evaluation.max_tokens, 0 if self.data.val is None else len(self.data.val)
        return f"the first {most:,} of {symbols:,} symbols" if most is not None and most < symbols else ""

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        settings = self.config.evaluation
        if self.data.val is None:
            return None
        ids = self.data.val[: settings.max_tokens and settings.max_tokens + 1]
        score = self._joined(
            evaluate_text(self.model, ids, settings.protocol, self.streams, stop, **self._mine)
        )
        if score is None:
            return None
        values = {"val/loss": score.loss, "val/bpc": score.bpc, "val/accuracy": score.accuracy}
        return Score(score.loss, values | self._look_back())

    def _look_back(self) -> dict[str, float]:
        """How far gradients reach, over the beginning of the held-out text."""
        assert self.data.val is not None
        steps = min(STEPS + 1, len(self.data.val) // STREAMS)
        if not self.config.telemetry.pictures or steps < 3:
            return {}
        held = self.data.val[: STREAMS * steps]
        ids = torch.from_numpy(np.asarray(held, dtype=np.int64)).to(self.device)
        self._gradients = gradient_norms(self.model, ids.view(STREAMS, -1).T.contiguous(), explain=False)
        return half_lives(self._gradients)

    @property
    def _mine(self) -> dict[str, Any]:
        """Of several ranks each scores some of the rows."""
        return {"part": slice(self.ranks.rank, None, self.ranks.size)} if self.ranks.many else {}

    def _joined(self, own: TextScore | None) -> TextScore | None:
        """The score of all rows; None if any rank was interrupted."""
        if not self.ranks.many:
            return own
        mine = own or TextScore(0.0, 0.0, 0)
        numbers = (mine.loss * mine.tokens, mine.accuracy * mine.tokens, mine.tokens, own is None)
        loss, right, count, interrupted = (
            sum(column) for column in zip(*self.ranks.exchange(*numbers), strict=True)
        )
        return None if interrupted else TextScore(loss / count, right / count, int(count))

    def show(self, step: int, logger: Logger, console: Console) -> None:
        settings = self.config.evaluation
        if settings.sample_length:
            text = sample_text(self.model, self.data.vocabulary, settings, self.config.seed)
            logger.sample(step, text)
            console.sample(text)
        if self._pace.due():
            self._picture(step, logger)

    def _picture(self, step: int, logger: Logger) -> None:
        """Gates over the beginning of the held-out text, and the gradients by lag."""
        assert self.data.val is not None
        ids = torch.from_numpy(np.asarray(self.data.val[:STEPS], dtype=np.int64)).to(self.device)
        first = ids.unsqueeze(1)
        symbols = [shown_symbol(self.data.vocabulary.decode([int(symbol)])) for symbol in first]
        gates = gates_figure(self.model.observe(first, self.model.initial_state(1)), symbols)
        if gates is not None:
            logger.figure(step, "gates", gates)
        if self._gradients is not None:
            logger.figure(step, "gradients", gradients_figure(self._gradients))

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


def sample_text(model: TextModel, vocabulary: Vocabulary, settings: TextEvaluation, seed: int) -> str:
    """`sample_length` symbols from an empty prompt; nothing if the model's outputs are not numbers:
    a sample must not be what ends a run."""
    options = GenerateOptions(
        length=settings.sample_length, temperature=settings.sample_temperature, seed=seed
    )
    try:
        with np.errstate(all="ignore"):
            return generate(decoder_of_model(model), vocabulary, "", options)[0].text
    except RunError:
        return ""
