"""The LSTM whose recurrent weights depend on the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import FreeCell, State
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.cells.zoo.product import GateProduct, start_uniform


class MultiplicativeLSTM(FreeCell):
    """LSTM that reads, in place of its hidden state, a product of it with the input.

        m_t = (W_m x_t) * (U_m h_{t-1})                 intermediate state
        h_t, c_t = LSTM(x_t, m_t, c_{t-1})              m_t in the place of h_{t-1}

    Source: Krause et al. 2016.
    """

    gates = LSTM.gates
    state = LSTM.state

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.product = GateProduct(input_size, hidden_size, self.gates)
        self.weight_input = nn.Parameter(torch.empty(hidden_size, input_size))  # W_m
        self.weight_hidden = nn.Parameter(torch.empty(hidden_size, hidden_size))  # U_m
        start_uniform(self.weight_input, hidden_size)
        nn.init.orthogonal_(self.weight_hidden)
        self.equations = LSTM()

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        h, c = state
        m = functional.linear(x_t, self.weight_input) * functional.linear(h, self.weight_hidden)
        z = self.product(x_t, m.to(h.dtype))
        new, activations = self.equations.pointwise(z.chunk(4, dim=-1), (h, c))
        return new[0], new, dict(zip(self.gates, activations, strict=True))
