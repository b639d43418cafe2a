"""Cells whose gates see the input alone: all steps at once."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lstmcli.cells.base import ScanCell


class MinGRU(ScanCell):
    """The GRU without its recurrent products.

        z_t = sigmoid(W_z x_t + b_z)                    update gate: what is replaced
        g_t =         W_g x_t + b_g                     candidate
        h_t = (1 - z_t) * h_{t-1} + z_t * g_t

    Source: Feng et al. 2024, the form of the paper's text. Its appendix bends the candidate (x + 0.5
    above 0, sigmoid(x) below) to make all terms positive, as a scan in log space needs; a scan of a
    and b themselves does not, since a is between 0 and 1, and the state may have both signs.
    """

    gates = ("update", "candidate")

    def coefficients(self, z: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        u, g = z[0].sigmoid(), z[1]
        return (-z[0]).sigmoid(), u * g, (u, g)


class MinLSTM(ScanCell):
    """The LSTM without its recurrent products, cell state and output gate.

        i_t = sigmoid(W_i x_t + b_i)                    input gate
        f_t = sigmoid(W_f x_t + b_f)                    forget gate
        g_t =         W_g x_t + b_g                     candidate
        h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * g_t

    The activations shown are those of the gates in use, which add up to 1.
    Source: Feng et al. 2024, the form of the paper's text (for the candidate see `MinGRU`).
    """

    gates = ("input", "forget", "candidate")

    def coefficients(self, z: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        # f / (f + i) = sigmoid(log f - log i): two shut gates must not make 0 / 0
        ratio = functional.logsigmoid(z[1]) - functional.logsigmoid(z[0])
        i, f, g = (-ratio).sigmoid(), ratio.sigmoid(), z[2]
        return f, i * g, (i, f, g)
