"""The character-level language model: symbols in, a stack of recurrent layers, logits out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells import find_cell
from lstmcli.cells.base import CellClass, State
from lstmcli.engine.dropout import dropout
from lstmcli.engine.footprint import layer_parameters
from lstmcli.engine.layers import Layer, Trace
from lstmcli.engine.pointwise import ACCUMULATE
from lstmcli.engine.stack import RecurrentModel, Stack, StackState
from lstmcli.kinds.text.settings import LanguageModel


class Penalties(NamedTuple):
    """What training adds to the cross-entropy."""

    activation: float = 0.0  # times the mean square of the dropped outputs
    temporal: float = 0.0  # times the mean square of the change of the outputs from step to step
    label_smoothing: float = 0.0


class TextModel(RecurrentModel):
    """Embedding (V, E), layers, head (V, H) with bias; for a mixture of softmaxes the head is (V, E).

    `products` is the dtype of the matrix products; parameters stay as they are (fp32 while training)
    and are converted once per window.
    """

    def __init__(
        self,
        settings: LanguageModel,
        vocabulary_size: int,
        cell_class: CellClass | None = None,
        window: int = 100,
    ):
        super().__init__()
        self.settings = settings
        self.vocabulary_size = vocabulary_size
        width = settings.embedding_size or settings.sizes[0]
        cell_class = cell_class or find_cell(settings.cell)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.layers = Stack(settings, cell_class, width, window)
        mixed = settings.mixtures > 1
        self.mixture = Mixture(settings.sizes[-1], width, settings.mixtures) if mixed else None
        self.head = nn.Linear(width if mixed else settings.sizes[-1], vocabulary_size)
        if settings.tie_weights:
            self.head.weight = self.embedding.weight
            self.shared = {"head.weight": "embedding.weight"}
        self.product_dtype = torch.float32
        self.reset_parameters()

    def reset_parameters(self) -> None:
        tied = self.settings.tie_weights
        scale = 1.0 / math.sqrt(self.embedding.embedding_dim) if tied else 1.0
        nn.init.normal_(self.embedding.weight, std=scale)
        self.layers.reset_parameters()
        if self.mixture is not None:
            self.mixture.reset_parameters()
        if not tied:
            bound = 1.0 / math.sqrt(self.head.in_features)
            nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)

    def initial_state(self, batch_size: int) -> StackState:
        return self.layers.initial_state(batch_size)

    def forward(self, ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """ids (T, B) -> logits (T, B, V) in the products' dtype, and the state after the window."""
        outputs, _, state = self.outputs(ids, state)
        return self.logits(outputs), state

    def outputs(self, ids: Tensor, state: StackState) -> tuple[Tensor, Tensor, StackState]:
        """ids (T, B) -> what the head reads (T, B, H), the last layer's outputs before dropout, and the
        state after the window."""
        table = self.embedding.weight
        if self.training and self.settings.embedding_dropout:
            table = table * dropout(table.new_ones(len(table), 1), self.settings.embedding_dropout, True)
        table = table.to(self.product_dtype)
        rate = self.settings.input_dropout

        def bottom(layer: Layer, start: State) -> tuple[Tensor, State]:
            if not (self.training and rate):
                return layer.forward_symbols(table, ids, start)
            read = functional.embedding(ids, table)
            return layer.forward(dropout(read, rate, True, self.settings.locked_dropout), start)

        return self.layers.run(bottom, state)

    def logits(self, outputs: Tensor) -> Tensor:
        """(T, B, H) -> (T, B, V); of a mixture the log-probabilities."""
        weight, bias = self.head.weight.to(outputs.dtype), self.head.bias.to(outputs.dtype)
        if self.mixture is not None:
            return self.mixture(outputs, weight, bias)  # type: ignore[no-any-return]
        return functional.linear(outputs, weight, bias)

    def loss(self, ids: Tensor, targets: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """Mean cross-entropy in nats per symbol over the window, and the state after it."""
        logits, state = self(ids, state)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()), state

    def objective(
        self, ids: Tensor, targets: Tensor, state: StackState, penalties: Penalties
    ) -> tuple[Tensor, Tensor, StackState]:
        """What training minimises, the plain cross-entropy beside it (no gradient), and the state."""
        outputs, raw, state = self.outputs(ids, state)
        logits = self.logits(outputs).flatten(0, 1).float()
        smoothing = penalties.label_smoothing
        minimised = functional.cross_entropy(logits, targets.flatten(), label_smoothing=smoothing)
        nats = minimised.detach()
        if smoothing:
            with torch.no_grad():
                nats = functional.cross_entropy(logits, targets.flatten())
        if penalties.activation:
            minimised = minimised + penalties.activation * outputs.float().square().mean()
        if penalties.temporal and len(raw) > 1:
            minimised = minimised + penalties.temporal * (raw[1:] - raw[:-1]).float().square().mean()
        return minimised, nats, state

    def step(self, ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """One symbol per stream: ids (B,) -> logits (B, V) in fp32, new state."""
        logits, state = self(ids.unsqueeze(0), state)
        return logits[0].float(), state

    def observe(self, ids: Tensor, state: StackState) -> list[Trace]:
        """Gates and states of every layer over ids (T, B), as in evaluation."""
        training = self.training
        self.eval()
        try:
            embedding = self.embedding.weight.detach().to(self.product_dtype)
            return self.layers.observe(functional.embedding(ids, embedding), state)
        finally:
            self.train(training)


def text_parameters(settings: LanguageModel, vocabulary: int) -> int:
    """Embedding, layers and head."""
    sizes = settings.sizes
    head = 0 if settings.tie_weights else sizes[-1]
    return layer_parameters(settings) + vocabulary * ((settings.embedding_size or sizes[0]) + head)


class Mixture(nn.Module):
    """The two products in front of a mixture of K softmaxes (Yang et al. 2018):

        p(symbol) = sum_k softmax(P h)_k softmax(W tanh(L_k h) + b)_symbol

    so that the logits are no longer a matrix of rank H. `width`: columns of W, which the head owns.
    """

    def __init__(self, hidden_size: int, width: int, count: int):
        super().__init__()
        self.count = count
        self.latent = nn.Linear(hidden_size, count * width)
        self.prior = nn.Linear(hidden_size, count, bias=False)

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.latent.in_features)
        for linear in (self.latent, self.prior):
            nn.init.uniform_(linear.weight, -bound, bound)
        nn.init.zeros_(self.latent.bias)

    def forward(self, outputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Outputs (T, B, H) -> log-probabilities (T, B, V) in fp32 at least; weight (V, width), bias (V)."""
        dtype = outputs.dtype
        sums = ACCUMULATE.get(dtype, dtype)
        latent = functional.linear(outputs, self.latent.weight.to(dtype), self.latent.bias.to(dtype)).tanh()
        logits = functional.linear(
            latent.view(*latent.shape[:-1], self.count, -1), weight, bias
        )  # (T, B, K, V)
        prior = functional.linear(outputs, self.prior.weight.to(dtype)).to(sums).log_softmax(-1)
        return torch.logsumexp(logits.to(sums).log_softmax(-1) + prior.unsqueeze(-1), dim=-2)
