"""The LSTM whose input and hidden state gate each other first."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import FreeCell, State
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.cells.zoo.product import GateProduct, start_uniform


class MogrifierLSTM(FreeCell):
    """LSTM behind a few rounds in which input and hidden state scale each other by turns.

        x^1 = 2 sigmoid(Q^1 h^0) * x^{-1}               x^{-1} = x_t, h^0 = h_{t-1}
        h^2 = 2 sigmoid(Q^2 x^1) * h^0
        x^3 = 2 sigmoid(Q^3 h^2) * x^1                  ... 5 rounds
        h_t, c_t = LSTM(x, h, c_{t-1})                  with the last x and h

    Source: Melis et al. 2020, with full matrices (they also factor them). For another
    number of rounds: `class Mine(MogrifierLSTM): rounds = 3`.
    """

    gates = LSTM.gates
    state = LSTM.state
    rounds: ClassVar[int] = 5

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.product = GateProduct(input_size, hidden_size, self.gates)
        scaled_by = ((input_size, hidden_size), (hidden_size, input_size))
        self.weights = nn.ParameterList(torch.empty(*scaled_by[k % 2]) for k in range(self.rounds))
        for weight in self.weights:
            start_uniform(weight, hidden_size)
        self.equations = LSTM()

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        h, c = state
        x_t, h = self._mogrified(x_t, h)
        z = self.product(x_t, h)
        new, activations = self.equations.pointwise(z.chunk(4, dim=-1), (h, c))
        return new[0], new, dict(zip(self.gates, activations, strict=True))

    def _mogrified(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        for k, weight in enumerate(self.weights):
            if k % 2 == 0:
                x = 2 * functional.linear(h, weight).sigmoid() * x
            else:
                h = 2 * functional.linear(x, weight).sigmoid() * h
        return x, h
