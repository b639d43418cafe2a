"""Temperature scaling (Guo et al. 2017): what a model would score if it were as sure as it is right.

Logits divided by a temperature above 1 make predictions less sure of themselves and change no ranking. A
model that has read its training text many times is too sure on other text, so its best temperature is
above 1, and says by how much.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lstmcli.kinds.text.evaluate import IGNORED

CANDIDATES = tuple(k / 20 for k in range(10, 41))
"""Of which the best is sought: 0.5 to 2. Near 1, the best of them is within 1e-3 nats of the best of all."""


class Temperatures:
    """The loss at several temperatures, from the same logits."""

    def __init__(self, values: tuple[float, ...]):
        self.values = values
        self._sums = torch.zeros(len(values), dtype=torch.float64)
        self._count = 0

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Take in logits (N, V) and their targets (N,), `IGNORED` where nothing is scored."""
        for k, value in enumerate(self.values):
            nats = functional.cross_entropy(logits / value, targets, ignore_index=IGNORED, reduction="none")
            self._sums[k] += nats.cpu().double().sum()
        self._count += int((targets != IGNORED).sum())

    def best(self) -> tuple[float, float]:
        """The temperature of the least loss, and that loss in nats per symbol."""
        k = int(self._sums.argmin())
        return self.values[k], float(self._sums[k]) / max(1, self._count)
