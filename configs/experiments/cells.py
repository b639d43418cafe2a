"""Cells that only these experiments need: a cell of one's own is its equations, in a file beside them."""

from __future__ import annotations

from torch import Tensor

from lstmcli.cells import GatedCell
from lstmcli.cells.base import State


class SigmoidInputLSTM(GatedCell):
    """LSTM whose cell input lies between 0 and 1: it can add to the cell state, and never take away.

    i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
    f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
    g_t = sigmoid(W_g x_t + U_g h_{t-1} + b_g)      in the place of tanh: its mean is not zero
    o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t)
    """

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        i, f, g, o = (gate.sigmoid() for gate in z)
        c = f * state[1] + i * g
        return (o * c.tanh(), c), (i, f, g, o)
