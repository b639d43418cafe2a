"""Recurrent networks without gates."""

from __future__ import annotations

from torch import Tensor

from lstmcli.cells.base import GatedCell, State


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
