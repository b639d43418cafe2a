"""The running mean of the weights, which is often better than any of them (Polyak and Juditsky 1992)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lstmcli.config.schema import Train


class Average:
    """A mean of a model's parameters in their own precision, by the rule of `train.average`.

    A number: exponential, from the first step on; its decay begins low, so that the start is soon
    forgotten (at step n it is at most (1 + n) / (10 + n)). `swa` and `nt-asgd`: the plain mean of all steps
    since averaging began; until then the weights as they are.
    """

    def __init__(self, model: nn.Module, train: Train):
        self._train = train
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._values = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.count = 0  # steps in the mean
        self.losses: list[float] = []  # of all evaluations before averaging began, for nt-asgd
        self.begun = isinstance(train.average, float)

    @property
    def values(self) -> dict[str, Tensor]:
        """The mean by parameter; before it has begun, the parameters' own values."""
        if self.count == 0 and not isinstance(self._train.average, float):
            for name, parameter in self._parameters.items():
                self._values[name].copy_(parameter.detach())
        return self._values

    @torch.no_grad()
    def update(self, step: int, done: float) -> None:
        """After update number `step` (from 0), made at the share `done` of the budget."""
        if self._train.average == "swa" and done >= self._train.average_from:
            self.begun = True
        if not self.begun:
            return
        self.count += 1
        weight = 1.0 / self.count
        if isinstance(self._train.average, float):
            weight = 1.0 - min(self._train.average, (1.0 + step) / (10.0 + step))
        ours, theirs = list(self._values.values()), list(self._parameters.values())
        torch._foreach_lerp_(ours, theirs, weight)  # type: ignore[arg-type]

    def evaluated(self, loss: float) -> None:
        """nt-asgd begins when a validation loss is worse than the best of those long enough ago."""
        if self._train.average != "nt-asgd" or self.begun:
            return
        earlier = self.losses[: -self._train.average_patience]
        self.begun = bool(earlier) and not loss <= min(earlier)
        self.losses.append(loss if math.isfinite(loss) else math.inf)

    def document(self) -> dict[str, Any]:
        """What beside tensors a resume needs."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        return {"count": self.count, "begun": self.begun, "losses": losses}

    def restore(self, values: dict[str, Tensor], document: dict[str, Any]) -> None:
        for name, value in values.items():
            self._values[name].copy_(value)
        # Checkpoints from before there was a document hold an exponential mean.
        self.count, self.begun = document.get("count", 1), document.get("begun", self.begun)
        self.losses = [math.inf if loss is None else loss for loss in document.get("losses", [])]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While entered, the model computes with the averaged weights."""
        values = self.values
        raw: dict[str, Tensor] = {name: p.data for name, p in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = values[name]
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = raw[name]
