"""The running mean of the weights, which is often better than any of them (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a model's parameters, in their own precision.

    The decay begins low, so that the start is soon forgotten: at step n it is at most (1 + n) / (10 + n).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self.values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After update number `step` (from 0)."""
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        ours, theirs = list(self.values.values()), list(self._parameters.values())
        torch._foreach_lerp_(ours, theirs, weight)  # type: ignore[arg-type]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While entered, the model computes with the averaged weights."""
        raw: dict[str, Tensor] = {name: p.data for name, p in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self.values[name]
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = raw[name]
