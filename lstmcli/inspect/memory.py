"""How much of what came before a trained model uses, and in how many dimensions it keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lstmcli.core.errors import UsageError
from lstmcli.inspect import context
from lstmcli.inspect.context import mean_of_blocks
from lstmcli.inspect.dimension import Dimension
from lstmcli.inspect.memory_finding import MemoryFinding, StateSums, curve_of
from lstmcli.inspect.memory_series import memory_of_series
from lstmcli.inspect.reading import cut, read
from lstmcli.inspect.source import Reading, about, text_of

if TYPE_CHECKING:
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.trained import Run

POSITIONS = 2000
SHUFFLED = 10
"""One in so many targets is read with shuffled contexts too: each of those costs the longest context."""
STATES = 32_768
"""Symbols over which the dimension of the states is measured."""


def inspect_memory(
    run: Run | SeriesRun, reading: Reading, longest: int | None = None, positions: int = POSITIONS
) -> MemoryFinding:
    """Spoil the context of `positions` targets beyond each of several lengths, up to `longest`.

    Args:
        longest: default 1,000 symbols, or the whole context of a forecaster.
    """
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.trained import Run

    if (longest is not None and longest < 1) or positions < 1:
        raise UsageError(f"--{'positions' if positions < 1 else 'context'}: at least 1 is needed")
    if isinstance(run, Run):
        return _of_text(run, reading, longest or context.LONGEST, positions)
    if isinstance(run, SeriesRun):
        return memory_of_series(run, reading, longest, positions)
    raise UsageError("memory by length of context is for runs of text and of series")


def _of_text(run: Run, reading: Reading, wanted: int, positions: int) -> MemoryFinding:
    from lstmcli.engine.hardware import choose_hardware

    ids, where = text_of(run, reading)
    longest = context.longest_context(len(ids), wanted)
    places = context.choose_targets(len(ids), positions, longest)
    few = places[:, ::SHUFFLED]
    contexts = context.contexts_up_to(longest)
    fewer = [k for k in contexts if k < longest and str(k)[0] != "3"]  # 1, 2, 5, 10, ...
    by_k = [context.thinned(places, k) for k in contexts]
    cost = sum(k * there.size for k, there in zip(contexts, by_k, strict=True))
    heard = _Progress(reading, cost + few.size * longest * len(fewer))
    model, settings = run.model, run.config.train
    hardware = choose_hardware(settings.device, settings.precision, elsewhere=True)
    model.to(hardware.device).products = hardware.products
    try:
        whole = context.carried(model, ids, places, longest)
        pairs = zip(contexts, by_k, strict=True)
        dropped = [context.dropped(model, ids, there, k, heard) for k, there in pairs]
        shuffled = [context.shuffled(model, ids, few, k, longest, run.config.seed, heard) for k in fewer]
    finally:  # the model is its owner's
        model.to("cpu").products = torch.float32
    dimensions, count = _dimensions(run, ids)
    what = about(run, where) | {
        "positions": places.size, "shuffled_positions": few.size, "longest": longest,
        "precision": hardware.precision, "states_of": count,
    }  # fmt: skip
    return MemoryFinding(
        what,
        "nats per symbol",
        mean_of_blocks(whole),
        curve_of(contexts, dropped, [context.thinned(whole, k) for k in contexts]),
        curve_of(fewer, shuffled, [whole[:, ::SHUFFLED]] * len(fewer)) if fewer else None,
        dimensions,
    )


class _Progress:
    """Counts symbols."""

    def __init__(self, reading: Reading, total: int):
        self.reading, self.done, self.total = reading, 0, total

    def __call__(self, symbols: int) -> None:
        self.done += symbols
        if self.reading.on_progress is not None:
            self.reading.on_progress(self.done, self.total)


def _dimensions(run: Run, ids: np.ndarray) -> tuple[list[dict[str, Dimension]], int]:
    part = ids[:STATES]
    sums = StateSums()
    rows = cut(len(part))
    for passage in read(run.model, part, rows):
        sums.add(passage.traces)
    return sums.dimensions(), rows.symbols
