"""The LSTM with one thing changed: the variants that Greff et al. 2017 compare.

Their common base has peepholes. Here the base is `LSTM`, without, so that each variant differs from it
in one place; peepholes are a variant of their own.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import FreeCell, GatedCell, State
from lstmcli.cells.zoo.multiplicative import GateProduct, start_uniform


class PeepholeLSTM(GatedCell):
    """LSTM whose gates see the cell state, unit by unit.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + p_f * c_{t-1} + b_f)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + p_o * c_t + b_o)      sees the new cell state
        h_t = o_t * tanh(c_t)

    Source: Gers and Schmidhuber 2000; the "vanilla" LSTM (V) of Greff et al. 2017.
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")
    vectors: ClassVar[dict[str, float]] = {
        "input_peephole": 0.0,
        "forget_peephole": 0.0,
        "output_peephole": 0.0,
    }

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        p_i, p_f, p_o = vectors
        i = (z[0] + p_i * state[1]).sigmoid()
        f = (z[1] + p_f * state[1]).sigmoid()
        g = z[2].tanh()
        c = f * state[1] + i * g
        o = (z[3] + p_o * c).sigmoid()
        return (o * c.tanh(), c), (i, f, g, o)


class NoInputGateLSTM(GatedCell):
    """LSTM that writes all of its cell input.

        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + g_t                       i_t = 1
        h_t = o_t * tanh(c_t)

    Source: Greff et al. 2017 (NIG), here without peepholes.
    """

    gates = ("forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        f, g, o = z[0].sigmoid(), z[1].tanh(), z[2].sigmoid()
        c = f * state[1] + g
        return (o * c.tanh(), c), (f, g, o)


class NoForgetGateLSTM(GatedCell):
    """LSTM that keeps all that it has written, as the first one did.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = c_{t-1} + i_t * g_t                       f_t = 1
        h_t = o_t * tanh(c_t)

    Source: Hochreiter and Schmidhuber 1997; Greff et al. 2017 (NFG), here without peepholes.
    """

    gates = ("input", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        i, g, o = z[0].sigmoid(), z[1].tanh(), z[2].sigmoid()
        c = state[1] + i * g
        return (o * c.tanh(), c), (i, g, o)


class NoOutputGateLSTM(GatedCell):
    """LSTM that shows all of its cell state.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = tanh(c_t)                                 o_t = 1

    Source: Greff et al. 2017 (NOG), here without peepholes.
    """

    gates = ("input", "forget", "cell")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        i, f, g = z[0].sigmoid(), z[1].sigmoid(), z[2].tanh()
        c = f * state[1] + i * g
        return (c.tanh(), c), (i, f, g)


class NoInputActivationLSTM(GatedCell):
    """LSTM whose cell input is linear.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        g_t =         W_g x_t + U_g h_{t-1} + b_g       no tanh
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Source: Greff et al. 2017 (NIAF), here without peepholes.
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        i, f, g, o = z[0].sigmoid(), z[1].sigmoid(), z[2], z[3].sigmoid()
        c = f * state[1] + i * g
        return (o * c.tanh(), c), (i, f, g, o)


class NoOutputActivationLSTM(GatedCell):
    """LSTM that shows its cell state as it is.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * c_t                                 no tanh

    Source: Greff et al. 2017 (NOAF), here without peepholes.
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        i, f, g, o = z[0].sigmoid(), z[1].sigmoid(), z[2].tanh(), z[3].sigmoid()
        c = f * state[1] + i * g
        return (o * c, c), (i, f, g, o)


class CoupledLSTM(GatedCell):
    """LSTM that writes as much as it forgets.

        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + (1 - f_t) * g_t           i_t = 1 - f_t
        h_t = o_t * tanh(c_t)

    Source: Greff et al. 2017 (CIFG), here without peepholes. They learn i and set f = 1 - i; the other
    way round is the same cell, and the forget gate has its bias.
    """

    gates = ("forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        f, g, o = z[0].sigmoid(), z[1].tanh(), z[2].sigmoid()
        c = f * state[1] + (1 - f) * g
        return (o * c.tanh(), c), (f, g, o)


class FullGateRecurrenceLSTM(FreeCell):
    """LSTM whose gates also see all gates of the step before.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + R_ii i_{t-1} + R_if f_{t-1} + R_io o_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + R_fi i_{t-1} + R_ff f_{t-1} + R_fo o_{t-1} + b_f)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + R_oi i_{t-1} + R_of f_{t-1} + R_oo o_{t-1} + b_o)
        g_t = tanh   (W_g x_t + U_g h_{t-1} + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Source: Greff et al. 2017 (FGR), here without peepholes; after Hochreiter and Schmidhuber 1997.
    """

    gates = ("input", "forget", "output", "cell")  # those that feed back first, as one block
    state = ("hidden", "cell", "input", "forget", "output")

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.product = GateProduct(input_size, hidden_size, self.gates)
        self.weight_gates = nn.Parameter(torch.empty(3 * hidden_size, 3 * hidden_size))  # R
        start_uniform(self.weight_gates, hidden_size)

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        h, c, *before = state
        z, z_g = self.product(x_t, h).split([3 * self.hidden_size, self.hidden_size], dim=-1)
        feedback = functional.linear(torch.cat(before, dim=-1), self.weight_gates)
        i, f, o = (z + feedback).sigmoid().chunk(3, dim=-1)
        g = z_g.tanh()
        c = f * c + i * g
        h = o * c.tanh()
        return h, (h, c, i, f, o), {"input": i, "forget": f, "cell": g, "output": o}
