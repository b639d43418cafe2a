"""LSTMs whose products differ: recurrent weights that depend on the input (mLSTM), input and hidden state
that gate each other first (Mogrifier), more memory than the recurrent product reads (projection); built
of the pre-activations of all gates at once.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import FreeCell, State
from lstmcli.cells.zoo.lstm import LSTM

FORGET_BIAS = 1.0  # Gers et al. 2000; Jozefowicz et al. 2015


class GateProduct(nn.Module):
    """z_k = W_k x + U_k h + b_k for every gate k, blocks in the order of `gates`.

    Parameters: weight_ih (G·H, I), weight_hh (G·H, R) and bias (G·H) for x (B, I), h (B, R) and
    `hidden_size` H units per gate; R is H unless `recurrent_size` says otherwise.
    """

    def __init__(
        self, input_size: int, hidden_size: int, gates: tuple[str, ...], recurrent_size: int | None = None
    ):
        super().__init__()
        self.gates = gates
        rows, recurrent_size = len(gates) * hidden_size, recurrent_size or hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, recurrent_size))
        self.bias = nn.Parameter(torch.zeros(rows))
        start_uniform(self.weight_ih, recurrent_size)
        for block in self.weight_hh.data.chunk(len(gates)):
            nn.init.orthogonal_(block)
        if "forget" in gates:
            nn.init.constant_(self.bias.data.chunk(len(gates))[gates.index("forget")], FORGET_BIAS)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """(B, G·H), in the dtype of h: under autocast the products are bf16, and the state stays fp32."""
        z = functional.linear(x, self.weight_ih, self.bias) + functional.linear(h, self.weight_hh)
        return z.to(h.dtype)


def start_uniform(weight: Tensor, hidden_size: int) -> None:
    """Uniform in ±1/√H, in place."""
    bound = 1.0 / math.sqrt(hidden_size)
    nn.init.uniform_(weight, -bound, bound)


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
