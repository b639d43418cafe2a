"""The gated recurrent unit, with the reset gate behind the recurrent product or before it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lstmcli.cells.base import FreeCell, GatedCell, State
from lstmcli.cells.zoo.product import GateProduct


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
