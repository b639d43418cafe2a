"""What turns a layer's outputs into logits: a plain product, or a mixture of softmaxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.engine.pointwise import ACCUMULATE


class Mixture(nn.Module):
    """The two products in front of a mixture of K softmaxes (Yang et al. 2018):

        p(symbol) = sum_k softmax(P h)_k softmax(W tanh(L_k h) + b)_symbol

    so that the logits are no longer a matrix of rank H. `width`: columns of W, which the head owns.
    """

    def __init__(self, hidden_size: int, width: int, count: int):
        super().__init__()
        self.count = count
        self.latent = nn.Linear(hidden_size, count * width)
        self.prior = nn.Linear(hidden_size, count, bias=False)

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.latent.in_features)
        for linear in (self.latent, self.prior):
            nn.init.uniform_(linear.weight, -bound, bound)
        nn.init.zeros_(self.latent.bias)

    def forward(self, outputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Outputs (T, B, H) -> log-probabilities (T, B, V) in fp32 at least; weight (V, width), bias (V)."""
        dtype = outputs.dtype
        sums = ACCUMULATE.get(dtype, dtype)
        latent = functional.linear(outputs, self.latent.weight.to(dtype), self.latent.bias.to(dtype)).tanh()
        logits = functional.linear(
            latent.view(*latent.shape[:-1], self.count, -1), weight, bias
        )  # (T, B, K, V)
        prior = functional.linear(outputs, self.prior.weight.to(dtype)).to(sums).log_softmax(-1)
        return torch.logsumexp(logits.to(sums).log_softmax(-1) + prior.unsqueeze(-1), dim=-2)
