"""The LSTM with more memory than its recurrent product reads."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import FreeCell, State
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.cells.zoo.product import GateProduct, start_uniform


class ProjectionLSTM(FreeCell):
    """LSTM with C = 2H memory cells, of which the next step and the next layer read a projection.

        i_t, f_t, o_t = sigmoid(W_k x_t + U_k h_{t-1} + b_k)        (C,) each
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = P (o_t * tanh(c_t))                                   (H,)

    Source: Sak, Senior and Beaufays 2014, without peepholes, as `torch.nn.LSTM` with `proj_size`. The
    cell state and the gates have C units. For another C / H: `class Mine(ProjectionLSTM): expansion = 4`.
    """

    gates = LSTM.gates
    state = LSTM.state
    expansion: ClassVar[int] = 2

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        cells = self.expansion * hidden_size
        self.product = GateProduct(input_size, cells, self.gates, recurrent_size=hidden_size)
        self.weight_projection = nn.Parameter(torch.empty(hidden_size, cells))  # P
        start_uniform(self.weight_projection, cells)
        self.equations = LSTM()

    def initial_state(self, batch_size: int) -> State:
        """Zeros: hidden (B, H), cell (B, C)."""
        like = self.weight_projection
        cells = self.expansion * self.hidden_size
        return like.new_zeros(batch_size, self.hidden_size), like.new_zeros(batch_size, cells)

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        h, c = state
        z = self.product(x_t, h)
        (m, c), activations = self.equations.pointwise(z.chunk(4, dim=-1), (h, c))
        h = functional.linear(m, self.weight_projection).to(h.dtype)
        return h, (h, c), dict(zip(self.gates, activations, strict=True))
