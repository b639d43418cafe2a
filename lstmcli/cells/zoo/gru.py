"""Fewer gates than the LSTM: the gated recurrent unit (the reset gate behind the recurrent product or
before it), JANET (the LSTM reduced to its forget gate), and recurrent networks without gates.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lstmcli.cells.base import FreeCell, GatedCell, State
from lstmcli.cells.zoo.multiplicative import GateProduct


class GRU(GatedCell):
    """Gated recurrent unit.

        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)                  reset gate: what the candidate sees
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)                  update gate: what is kept
        n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1} + b_hn))      candidate
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Source: Cho et al. 2014, with the reset gate behind the recurrent product as in its second version.
    Gate order and equations are those of `torch.nn.GRU`; b_hn is the vector `candidate_bias`, and its
    other pairs of biases are one here.
    """

    gates = ("reset", "update", "candidate")
    separate = ("candidate",)
    vectors: ClassVar[dict[str, float]] = {"candidate_bias": 0.0}

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        z_reset, z_update, from_input, from_hidden = z
        r, u = z_reset.sigmoid(), z_update.sigmoid()
        n = (from_input + r * (from_hidden + vectors[0])).tanh()
        return ((1 - u) * n + u * state[0],), (r, u, n)


class ResetBeforeGRU(FreeCell):
    """Gated recurrent unit whose candidate's product reads the hidden state behind the reset gate.

        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)                  reset gate: what the candidate sees
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)                  update gate: what is kept
        n_t = tanh(W_n x_t + U_n (r_t * h_{t-1}) + b_n)             candidate
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Source: Cho et al. 2014, the first version; Keras has it as `reset_after=False`. U_n waits for r_t, so a
    step has two recurrent products one after the other, where the engine of gated cells has one: this cell
    is slower than `gru`. It is here for papers and weights that need it.
    """

    gates = ("reset", "update", "candidate")

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.first = GateProduct(input_size, hidden_size, ("reset", "update"))
        self.second = GateProduct(input_size, hidden_size, ("candidate",))

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        (h,) = state
        r, u = self.first(x_t, h).sigmoid().chunk(2, dim=-1)
        n = self.second(x_t, r * h).tanh()
        new = n + u * (h - n)
        return new, (new,), {"reset": r, "update": u, "candidate": n}


class JANET(GatedCell):
    """Just another network: a forget gate alone; what is written follows from what is forgotten.

        s_t = W_f x_t + U_f h_{t-1} + b_f
        f_t = sigmoid(s_t)
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
        h_t = f_t * h_{t-1} + (1 - sigmoid(s_t - beta)) * g_t       beta = 1: writes more than it forgets

    Source: van der Westhuizen and Lasenby 2018.
    """

    gates = ("forget", "cell")
    beta: ClassVar[float] = 1.0

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        f, g = z[0].sigmoid(), z[1].tanh()
        h = f * state[0] + (self.beta - z[0]).sigmoid() * g  # 1 - sigmoid(s - beta) = sigmoid(beta - s)
        return (h,), (f, g)


class RNN(GatedCell):
    """The simple recurrent network.

        h_t = tanh(W x_t + U h_{t-1} + b)

    Source: Elman 1990. Equations are those of `torch.nn.RNN` (its two biases are one here).
    """

    gates = ("candidate",)

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        h = z[0].tanh()
        return (h,), (h,)


class ReluRNN(GatedCell):
    """The simple recurrent network with rectified units; it wants `model.recurrent_init: identity`.

        h_t = max(0, W x_t + U h_{t-1} + b)

    Source: Le, Jaitly and Hinton 2015 (IRNN). Equations are those of `torch.nn.RNN` with relu.
    """

    gates = ("candidate",)

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        h = z[0].relu()
        return (h,), (h,)
