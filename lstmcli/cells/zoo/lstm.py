"""The LSTM, twice: as the engine wants it, and as one reads it; and with layer normalisation."""

from __future__ import annotations

from typing import ClassVar

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


EPSILON = 1e-5


class LayerNormLSTM(GatedCell):
    """LSTM with layer normalisation of both products, gate by gate, and of the cell state.

        z_k = a_k * LN(W_k x_t + w_k) + r_k * LN(U_k h_{t-1}) + b_k         for k = i, f, g, o
        i_t, f_t, o_t = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)
        g_t = tanh(z_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(a_c * LN(c_t) + b_c)

        LN(v) = (v - mean(v)) / sqrt(var(v) + 1e-5)                         over the H units of a gate

    Source: Ba, Kiros and Hinton 2016. They normalise the four gates as one vector of 4H and add a bias
    to each norm and another behind; here the three that add up are one, b_k. The engine's own bias,
    w_k, is inside the norm, which takes out what all units of a gate have in common: so it is
    `forget_bias`, the b_f behind the norm, that starts at 1.
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")
    separate = gates
    vectors: ClassVar[dict[str, float]] = {
        **{f"{gate}_input_gain": 1.0 for gate in gates},
        **{f"{gate}_recurrent_gain": 1.0 for gate in gates},
        "input_bias": 0.0,
        "forget_bias": 1.0,
        "cell_bias": 0.0,
        "output_bias": 0.0,
        "state_gain": 1.0,
        "state_bias": 0.0,
    }

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        input_gains, recurrent_gains, biases = vectors[:4], vectors[4:8], vectors[8:12]
        state_gain, state_bias = vectors[12:]
        parts = zip(z[:4], z[4:], input_gains, recurrent_gains, biases, strict=True)
        z_i, z_f, z_g, z_o = (a * _normalized(x) + r * _normalized(h) + b for x, h, a, r, b in parts)
        i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
        c = f * state[1] + i * g
        h = o * (state_gain * _normalized(c) + state_bias).tanh()
        return (h, c), (i, f, g, o)


def _normalized(v: Tensor) -> Tensor:
    """v (..., H) with mean 0 and variance 1 over the units; zeros stay zeros."""
    centred = v - v.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
