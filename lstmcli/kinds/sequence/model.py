"""The model of whole sequences: symbols or numbers in, a stack of recurrent layers, answers out where they
are due."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells import find_cell
from lstmcli.cells.base import CellClass, State
from lstmcli.config.schema import Model
from lstmcli.core.errors import RunError
from lstmcli.engine.footprint import layer_parameters
from lstmcli.engine.layers import Layer, Trace
from lstmcli.engine.stack import RecurrentModel, Stack, StackState
from lstmcli.kinds.sequence.batch import SequenceBatch
from lstmcli.kinds.sequence.settings import Classifier


@dataclass(frozen=True)
class SequenceShape:
    """What goes in and what comes out; all of it plain JSON."""

    symbols: int  # alphabet of the inputs; 0: they are numbers
    inputs: int  # numbers per step
    outputs: int  # classes, or numbers of an answer
    numbers: bool  # whether the answers are numbers

    @classmethod
    def from_json(cls, found: object) -> SequenceShape:
        """RunError: it is damaged."""
        kinds = {"symbols": int, "inputs": int, "outputs": int, "numbers": bool}
        if not isinstance(found, dict) or {k: type(v) for k, v in found.items()} != kinds:
            raise RunError(
                "the checkpoint's sequence.json has no shape of the model", "use another one, RUN@STEP"
            )
        return cls(**found)

    def parameters(self, settings: Model) -> int:
        """Numbers of a model of this shape, about."""
        if not self.symbols:
            settings = settings.model_copy(update={"embedding_size": self.inputs})
        width = settings.embedding_size or settings.sizes[0]
        ends = self.symbols * width + self.outputs * settings.sizes[-1]
        return layer_parameters(settings) + ends


class Rows(NamedTuple):
    """A `SequenceBatch` as tensors on the model's device."""

    inputs: Tensor  # (T, B) symbols, or (T, B, I)
    places: Tensor  # (N,)
    targets: Tensor  # (N,) classes, or (N, D)
    lengths: Tensor  # (B,)


def rows_of(batch: SequenceBatch, device: torch.device) -> Rows:
    return Rows(*(torch.from_numpy(part).to(device) for part in batch))


class SequenceModel(RecurrentModel):
    """Embedding (V, E) where symbols are read, layers, head (D, H) with bias.

    `products` is the dtype of the matrix products; parameters stay as they are (fp32 while training).
    """

    def __init__(
        self, settings: Model, shape: SequenceShape, cell_class: CellClass | None = None, window: int = 100
    ):
        super().__init__()
        self.settings, self.shape = settings, shape
        self.pooling = settings.pooling if isinstance(settings, Classifier) else "last"
        width = (settings.embedding_size or settings.sizes[0]) if shape.symbols else shape.inputs
        self.embedding = nn.Embedding(shape.symbols, width) if shape.symbols else None
        self.layers = Stack(settings, cell_class or find_cell(settings.cell), width, window)
        self.head = nn.Linear(settings.sizes[-1], shape.outputs)
        self.product_dtype = torch.float32
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight)
        self.layers.reset_parameters()
        bound = 1.0 / math.sqrt(self.settings.sizes[-1])
        nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)

    def initial_state(self, batch_size: int) -> StackState:
        return self.layers.initial_state(batch_size)

    def outputs(self, inputs: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """inputs (T, B) or (T, B, I) -> the last layer's outputs (T, B, H), and the state after them."""

        def bottom(layer: Layer, start: State) -> tuple[Tensor, State]:
            if self.embedding is None:
                return layer.forward(inputs.to(self.product_dtype), start)
            return layer.forward_symbols(self.embedding.weight.to(self.product_dtype), inputs, start)

        outputs, state = self.layers(bottom, state)
        return outputs, state

    def forward(self, rows: Rows) -> Tensor:
        """Answers (N, D) in fp32: logits, or numbers. The head is applied only where they are due."""
        outputs, _ = self.outputs(rows.inputs, self.initial_state(rows.inputs.shape[1]))
        return self.answer(self._gathered(outputs, rows))

    def answer(self, outputs: Tensor) -> Tensor:
        """The head on outputs (..., H), in fp32: it is small, and its sums are what is judged."""
        return functional.linear(outputs.float(), self.head.weight.float(), self.head.bias.float())

    def _gathered(self, outputs: Tensor, rows: Rows) -> Tensor:
        """What each answer is made from, (N, H)."""
        if self.pooling == "last":
            return outputs.flatten(0, 1).index_select(0, rows.places)
        steps = torch.arange(outputs.shape[0], device=outputs.device)
        padding = (steps[:, None] >= rows.lengths).unsqueeze(-1)  # (T, B, 1)
        if self.pooling == "max":
            return outputs.masked_fill(padding, -math.inf).amax(0)
        return outputs.float().masked_fill(padding, 0.0).sum(0) / rows.lengths.unsqueeze(-1)

    def loss(self, rows: Rows) -> Tensor:
        """Mean over the answers: cross-entropy in nats, or squared error."""
        answers = self(rows)
        if self.shape.numbers:
            return functional.mse_loss(answers, rows.targets)
        return functional.cross_entropy(answers, rows.targets)

    def observe(self, inputs: Tensor) -> list[Trace]:
        """Gates and states of every layer over inputs (T, B) or (T, B, I), as in evaluation."""
        training = self.training
        self.eval()
        try:
            x = inputs
            if self.embedding is not None:
                x = functional.embedding(inputs, self.embedding.weight.detach())
            return self.layers.observe(x.to(self.product_dtype), self.initial_state(inputs.shape[1]))
        finally:
            self.train(training)
