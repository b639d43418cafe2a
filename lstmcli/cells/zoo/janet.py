"""The LSTM reduced to its forget gate."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lstmcli.cells.base import GatedCell, State


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
