"""What free cells are built of: the pre-activations of all gates at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

FORGET_BIAS = 1.0  # Gers et al. 2000; Jozefowicz et al. 2015


class GateProduct(nn.Module):
    """z_k = W_k x + U_k h + b_k for every gate k, blocks in the order of `gates`.

    Parameters: weight_ih (G·H, I), weight_hh (G·H, R) and bias (G·H) for x (B, I), h (B, R) and
    `hidden_size` H units per gate; R is H unless `recurrent_size` says otherwise.
    """

    def __init__(
        self, input_size: int, hidden_size: int, gates: tuple[str, ...], recurrent_size: int | None = None
    ):
        super().__init__()
        self.gates = gates
        rows, recurrent_size = len(gates) * hidden_size, recurrent_size or hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, recurrent_size))
        self.bias = nn.Parameter(torch.zeros(rows))
        start_uniform(self.weight_ih, recurrent_size)
        for block in self.weight_hh.data.chunk(len(gates)):
            nn.init.orthogonal_(block)
        if "forget" in gates:
            nn.init.constant_(self.bias.data.chunk(len(gates))[gates.index("forget")], FORGET_BIAS)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """(B, G·H), in the dtype of h: under autocast the products are bf16, and the state stays fp32."""
        z = functional.linear(x, self.weight_ih, self.bias) + functional.linear(h, self.weight_hh)
        return z.to(h.dtype)


def start_uniform(weight: Tensor, hidden_size: int) -> None:
    """Uniform in ±1/√H, in place."""
    bound = 1.0 / math.sqrt(hidden_size)
    nn.init.uniform_(weight, -bound, bound)
