"""How good a text model is: loss, bits, perplexity and accuracy over a split, in two protocols, as it is or
less sure of itself.

Temperature scaling (Guo et al. 2017): what a model would score if it were as sure as it is right.

Logits divided by a temperature above 1 make predictions less sure of themselves and change no ranking. A
model that has read its training text many times is too sure on other text, so its best temperature is
above 1, and says by how much.

Protocols. `windows`: non-overlapping windows of 256 symbols, zero state at the start of each, every position
counted. `stateful`: the state is carried through the whole split. Both become rows that are read
side by side: for `stateful` the split is cut into long segments, and each is preceded by `WARM_UP`
symbols that set its state and are not scored (a test holds this against one single stream).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lstmcli.core.errors import DataError
from lstmcli.kinds.text.model import TextModel

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


WINDOW = 256
WARM_UP = 512
SEGMENT = 4096
LOGITS = 1 << 25
"""Most logits to hold at once (128 MiB in fp32)."""
IGNORED = -100
LINES = 64
"""Lines read side by side."""


@dataclass(frozen=True)
class Score:
    """Sums over the scored symbols of a split."""

    loss: float  # nats per symbol
    accuracy: float
    tokens: int

    @property
    def bpc(self) -> float:
        return self.loss / math.log(2.0)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class Row:
    """Symbols `start` to `end` are read; targets from `scored` on count."""

    start: int
    scored: int
    end: int


def rows_of(protocol: str, length: int) -> list[Row]:
    """Rows that score each of the length - 1 predictable symbols of a split exactly once."""
    last = length - 1
    if protocol == "windows":
        return [Row(s, s, min(s + WINDOW, last)) for s in range(0, last, WINDOW)]
    return [Row(max(0, s - WARM_UP), s, min(s + SEGMENT, last)) for s in range(0, last, SEGMENT)]


def evaluate_text(
    model: TextModel,
    ids: np.ndarray,
    protocol: str,
    batch_size: int,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] | None = None,
    losses: np.ndarray | None = None,
    on_logits: Callable[[Tensor, Tensor], None] | None = None,
    part: slice = slice(None),
    rows: Sequence[Row] | None = None,
) -> Score | None:
    """Score a split. `ids` may be a memory map; only what is being read lies in memory.

    Args:
        losses: filled, if given, with the nats of each of `ids[1:]`.
        on_logits: handed all logits (N, V) with their targets (N,), `IGNORED` where nothing is scored.
        part: of the rows; the others are left to somebody else.
        rows: others than those of the protocol.

    Returns None when `stop` asked to end early.
    """
    if len(ids) < 2:
        raise DataError(f"the text to evaluate has {len(ids)} symbols; at least 2 are needed")
    rows = (rows_of(protocol, len(ids)) if rows is None else list(rows))[part]
    total = torch.zeros(3, dtype=torch.float64)  # loss, right, count; some devices have no fp64
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for group in _groups(rows, batch_size):
                for window, carrier in _windows(model, ids, group, batch_size):
                    if stop():
                        return None
                    nats, right = _score(model, window, carrier, on_logits)
                    scored = window.targets != IGNORED
                    sums = [nats[scored].double().sum(), right[scored].sum().double(), scored.sum().double()]
                    total += torch.stack(sums)
                    if losses is not None:
                        losses[window.places[scored].numpy()] = nats[scored].numpy()
                if on_progress is not None:
                    on_progress(group[-1].end, len(ids))
    finally:
        model.train(training)
    loss, right, count = total.tolist()
    return Score(loss / max(1.0, count), right / max(1.0, count), int(count))


def line_losses(model: TextModel, lines: Sequence[np.ndarray], before: int) -> list[np.ndarray]:
    """Nats of each symbol of each line, (symbols,) each, the first one, too: every line is read by itself,
    from zero state, after the symbol `before`."""
    ids = np.concatenate([np.append(before, line) for line in lines] or [np.empty(0)]).astype(np.int64)
    ends = np.cumsum([len(line) + 1 for line in lines])
    starts = [int(end) - len(line) - 1 for end, line in zip(ends, lines, strict=True)]
    rows = [Row(s, s, s + len(line)) for s, line in zip(starts, lines, strict=True) if len(line)]
    losses = np.zeros(max(len(ids), 1), dtype=np.float32)
    if rows:
        rows.sort(key=lambda row: row.start - row.end)  # lines of one length side by side
        evaluate_text(model, ids, "", LINES, losses=losses, rows=rows)
    return [losses[s : s + len(line)] for s, line in zip(starts, lines, strict=True)]


def _groups(rows: list[Row], size: int) -> Iterator[list[Row]]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


class _Window(NamedTuple):
    """Part of a group of rows, each (T, B)."""

    inputs: Tensor
    targets: Tensor  # IGNORED where nothing is scored
    places: Tensor  # of the inputs in the text


class _Carrier:
    """The state, handed from one window of a group to the next."""

    def __init__(self, model: TextModel, batch_size: int):
        self.state = model.initial_state(batch_size)


def _windows(
    model: TextModel, ids: np.ndarray, group: list[Row], batch_size: int
) -> Iterator[tuple[_Window, _Carrier]]:
    """Windows (T, B) of a group of rows, B always the same, with what is not scored masked."""
    carrier = _Carrier(model, batch_size)
    longest = max(row.end - row.start for row in group)
    step = max(16, min(WINDOW, LOGITS // (batch_size * model.vocabulary_size)))
    for offset in range(0, longest, step):
        size = min(step, longest - offset)
        inputs, places = np.zeros((2, size, batch_size), dtype=np.int64)
        targets = np.full((size, batch_size), IGNORED, dtype=np.int64)
        for column, row in enumerate(group):
            begin, end = row.start + offset, min(row.start + offset + size, row.end)
            if begin < end:
                inputs[: end - begin, column] = ids[begin:end]
                places[: end - begin, column] = np.arange(begin, end)
                targets[: end - begin, column] = ids[begin + 1 : end + 1]
                targets[: max(0, min(row.scored, end) - begin), column] = IGNORED
        yield _Window(*map(torch.from_numpy, (inputs, targets, places))), carrier


def _score(
    model: TextModel,
    window: _Window,
    carrier: _Carrier,
    on_logits: Callable[[Tensor, Tensor], None] | None,
) -> tuple[Tensor, Tensor]:
    """Nats (T, B) and right guesses (T, B) of one window, on the CPU; moves the carried state on."""
    device = model.head.weight.device
    logits, carrier.state = model(window.inputs.to(device), carrier.state)
    logits, targets = logits.flatten(0, 1).float(), window.targets.to(device).flatten()
    if on_logits is not None:
        on_logits(logits, targets)
    nats = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    right = logits.argmax(-1) == targets
    return nats.cpu().view(window.inputs.shape), right.cpu().view(window.inputs.shape)
