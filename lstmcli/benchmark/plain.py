"""What a person writes in PyTorch without this tool: `nn.LSTM`, its training and sampling loops."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainModel(nn.Module):
    """Embedding, `nn.LSTM` of several layers, head."""

    def __init__(self, vocabulary: int, hidden: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(
        self, ids: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """ids (T, B) -> logits (T, B, V), state."""
        outputs, state = self.lstm(self.embedding(ids), state)
        return self.head(outputs), state


def train_plain(model: PlainModel, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[float]:
    """Stateful truncated BPTT in fp32 with AdamW and clipping; yields each step's loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    state = None
    for inputs, targets in batches:
        logits, state = model(inputs, state)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = (state[0].detach(), state[1].detach())
        yield float(loss.detach())


@torch.no_grad()
def sample_plain(model: PlainModel, length: int) -> Iterator[int]:
    """One symbol at a time by temperature 1, from symbol 1."""
    state = None
    ids = torch.ones(1, 1, dtype=torch.long)
    for _ in range(length):
        logits, state = model(ids, state)
        ids = torch.multinomial(torch.softmax(logits[0], dim=-1), 1)
        yield int(ids)
