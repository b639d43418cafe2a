"""A text read by a model in bounded memory, with what every layer did at every symbol.

The part of a text that is read is cut into rows that are read side by side, window after window. Each
row is preceded by `WARM_UP` symbols of the text before it, which set its state and are not counted.

    |......row 0......|......row 1......|......row 2......|
              [warm-up]         [warm-up]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.core.errors import DataError
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import StackState, reset_streams
from lstmcli.kinds.text.model import TextModel

WARM_UP = 512
ROWS = 32
SHORTEST = 1024
"""Symbols that a row has at least, where there is more than one."""
NUMBERS = 1 << 23
"""About as many gates and states as one window holds (32 MiB in fp32)."""
WINDOW = 256
"""Most steps of a window."""
NOTHING = -1
"""In the place of an id: the text had not begun."""

Ids = npt.NDArray[Any]
Int = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


class Passage(NamedTuple):
    """One window of all rows: T steps, B rows. Every symbol in it counts."""

    positions: Int  # (T, B), places in the text
    ids: Tensor  # (T, B)
    traces: list[Trace]  # one per layer: gates and states after each symbol was read
    before: StackState  # the state that the window was read from


class Rows(NamedTuple):
    """How a text is cut: row b is symbols starts[b] to starts[b] + length; what the rows leave over at
    the end (fewer symbols than rows) is not read."""

    starts: Int  # (B,)
    length: int

    @property
    def symbols(self) -> int:
        return len(self.starts) * self.length


def cut(symbols: int, rows: int = ROWS) -> Rows:
    """Up to `rows` rows of equal length, none shorter than `SHORTEST` but an only one.

    Raises:
        DataError: there are fewer than 2 symbols.
    """
    if symbols < 2:
        raise DataError(f"the text to read has {symbols} symbols; at least 2 are needed")
    count = max(1, min(rows, symbols // SHORTEST))
    length = symbols // count
    return Rows(np.arange(count, dtype=np.int64) * length, length)


def warm_up_ids(ids: Ids, rows: Rows) -> Int:
    """The symbols before each row, (WARM_UP, B); `NOTHING` where the text had not begun."""
    places = rows.starts + np.arange(-WARM_UP, 0)[:, None]
    found = np.asarray(ids[np.maximum(places, 0)], dtype=np.int64)
    return np.where(places < 0, NOTHING, found)


def read(model: TextModel, ids: Ids, rows: Rows, on_progress: Progress | None = None) -> Iterator[Passage]:
    """Windows of all rows in the order of the text, with the layers' traces, as in evaluation.

    Args:
        ids: (symbols,), may be a memory map; only what is being read lies in memory.
        on_progress: hears (symbols read, symbols in total).
    """
    count, device = len(rows.starts), next(model.parameters()).device
    window = window_of(model, count)
    state = warmed_up(model, warm_up_ids(ids, rows))
    for first in range(0, rows.length, window):
        steps = np.arange(first, min(first + window, rows.length))
        positions = rows.starts + steps[:, None]
        symbols = torch.from_numpy(np.asarray(ids[positions], dtype=np.int64)).to(device)
        with torch.no_grad():
            traces = model.observe(symbols, state)
        yield Passage(positions, symbols, traces, state)
        state = after(traces)
        if on_progress is not None:
            on_progress(count * (int(steps[-1]) + 1), rows.symbols)


def window_of(model: TextModel, rows: int) -> int:
    """Steps to look at together. A layer has perhaps four gates and two states, twice while it works."""
    units = sum(layer.hidden_size for layer in model.layers.layers)
    return max(1, min(WINDOW, NUMBERS // (8 * units * rows)))


@torch.no_grad()
def warmed_up(model: TextModel, ids: Int) -> StackState:
    """The state after the symbols before each row, ids (W, B); zero where the text begins with the row.

    A row is either preceded by all W symbols or by none.
    """
    state = model.initial_state(ids.shape[1])
    if (ids == NOTHING).all():
        return state
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        for part in np.array_split(ids, max(1, len(ids) // 64)):
            symbols = torch.from_numpy(np.maximum(part, 0)).to(device)
            _, state = model(symbols, state)
    finally:
        model.train(training)
    return reset_streams(state, torch.from_numpy(ids[-1] == NOTHING).to(device))


def after(traces: list[Trace]) -> StackState:
    """The state that a window ends with."""
    return tuple(tuple(values[-1] for values in trace.states.values()) for trace in traces)
