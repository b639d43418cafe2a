"""The LSTM with layer normalisation."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lstmcli.cells.base import GatedCell, State

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
