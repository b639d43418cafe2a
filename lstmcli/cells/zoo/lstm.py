"""The LSTM, twice: as the engine wants it, and as one reads it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lstmcli.cells.base import FreeCell, GatedCell, State


class LSTM(GatedCell):
    """Long short-term memory with a forget gate.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)      input gate: what is written
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)      forget gate: what is kept
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)      cell input (candidate)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)      output gate: what is shown
        c_t = f_t * c_{t-1} + i_t * g_t                 cell state: the constant error carousel
        h_t = o_t * tanh(c_t)

    Source: Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000.
    Gate order and equations are those of `torch.nn.LSTM` (its two biases are one here).
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        i, f, g, o = z[0].sigmoid(), z[1].sigmoid(), z[2].tanh(), z[3].sigmoid()
        c = f * state[1] + i * g
        h = o * c.tanh()
        return (h, c), (i, f, g, o)


class ReadableLSTM(FreeCell):
    """The same LSTM as a person would write it down, and an example of a free cell.

    Equations and source: see `LSTM`. Four small layers, one per gate, and no trick: it is slow and
    it is what the fast paths are compared with.
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        for gate in self.gates:
            self.add_module(f"{gate}_from_input", nn.Linear(input_size, hidden_size))
            self.add_module(f"{gate}_from_hidden", nn.Linear(hidden_size, hidden_size, bias=False))

    def _preactivation(self, gate: str, x_t: Tensor, h: Tensor) -> Tensor:
        from_input = self.get_submodule(f"{gate}_from_input")
        from_hidden = self.get_submodule(f"{gate}_from_hidden")
        total: Tensor = from_input(x_t) + from_hidden(h)
        return total

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        h, c = state
        i = torch.sigmoid(self._preactivation("input", x_t, h))
        f = torch.sigmoid(self._preactivation("forget", x_t, h))
        g = torch.tanh(self._preactivation("cell", x_t, h))
        o = torch.sigmoid(self._preactivation("output", x_t, h))
        c = f * c + i * g
        h = o * torch.tanh(c)
        return h, (h, c), {"input": i, "forget": f, "cell": g, "output": o}
