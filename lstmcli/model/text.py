"""The character-level language model: symbols in, a stack of recurrent layers, logits out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells import find_cell
from lstmcli.cells.base import CellClass
from lstmcli.config.schema import Model
from lstmcli.model.layers import Trace
from lstmcli.model.stack import Stack, StackState


class TextModel(nn.Module):
    """Embedding (V, E), layers, head (V, H) with bias.

    `products` is the dtype of the matrix products; parameters stay as they are (fp32 while training)
    and are converted once per window.
    """

    def __init__(
        self, settings: Model, vocabulary_size: int, cell_class: CellClass | None = None, window: int = 100
    ):
        super().__init__()
        self.settings = settings
        self.vocabulary_size = vocabulary_size
        width = settings.embedding_size or settings.sizes[0]
        cell_class = cell_class or find_cell(settings.cell)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.layers = Stack(settings, cell_class, width, window)
        self.head = nn.Linear(settings.sizes[-1], vocabulary_size)
        if settings.tie_weights:
            self.head.weight = self.embedding.weight
        self.products = torch.float32
        self.reset_parameters()

    def reset_parameters(self) -> None:
        tied = self.settings.tie_weights
        scale = 1.0 / math.sqrt(self.embedding.embedding_dim) if tied else 1.0
        nn.init.normal_(self.embedding.weight, std=scale)
        self.layers.reset_parameters()
        if not tied:
            bound = 1.0 / math.sqrt(self.settings.sizes[-1])
            nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)

    def initial_state(self, batch_size: int) -> StackState:
        return self.layers.initial_state(batch_size)

    def forward(self, ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """ids (T, B) -> logits (T, B, V) in the products' dtype, and the state after the window."""
        embedding = self.embedding.weight.to(self.products)
        outputs, state = self.layers(lambda layer, start: layer.forward_symbols(embedding, ids, start), state)
        weight, bias = self.head.weight.to(self.products), self.head.bias.to(self.products)
        return functional.linear(outputs, weight, bias), state

    def loss(self, ids: Tensor, targets: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """Mean cross-entropy in nats per symbol over the window, and the state after it."""
        logits, state = self(ids, state)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()), state

    def step(self, ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """One symbol per stream: ids (B,) -> logits (B, V) in fp32, new state."""
        logits, state = self(ids.unsqueeze(0), state)
        return logits[0].float(), state

    def observe(self, ids: Tensor, state: StackState) -> list[Trace]:
        """Gates and states of every layer over ids (T, B), as in evaluation."""
        training = self.training
        self.eval()
        try:
            embedding = self.embedding.weight.detach().to(self.products)
            return self.layers.observe(functional.embedding(ids, embedding), state)
        finally:
            self.train(training)

    def parameter_count(self) -> int:
        """Numbers that are learned; a shared matrix counts once."""
        return sum(p.numel() for p in self.parameters())
