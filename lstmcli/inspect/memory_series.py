"""How much of its context a forecaster uses: errors when all beyond the last k steps is made flat."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.inspect.context import contexts_up_to, mean_of_blocks
from lstmcli.inspect.memory_finding import MemoryFinding, StateSums, curve_of
from lstmcli.inspect.source import Reading, SeriesWindows, about, windows_of

if TYPE_CHECKING:
    from lstmcli.kinds.series.trained import SeriesRun

Float = npt.NDArray[np.float64]
BLOCKS = 10
"""Few, for neighbouring windows overlap: the intervals are between stretches of the series."""
TOGETHER = 256
"""Windows that are forecast side by side."""


def memory_of_series(run: SeriesRun, reading: Reading, longest: int | None, positions: int) -> MemoryFinding:
    """Mean absolute error of the forecast, on the scale the model is trained on, when every value before
    the last k steps is replaced by the oldest one that is kept. What is known ahead, the calendar for
    one, and past covariates stay; the model still normalises a window by its own, flattened, context."""
    steps = run.config.data.context_length // run.config.forecast.patch_length
    windows = windows_of(run, replace(reading, tokens=max(2, positions * steps)))
    longest = min(longest or run.config.data.context_length, run.config.data.context_length)
    contexts = contexts_up_to(longest)
    whole = _errors(windows, None)
    blocks = _blocks(len(whole))
    errors = []
    for number, k in enumerate(contexts):
        errors.append(_errors(windows, k)[blocks])
        if reading.on_progress is not None:
            reading.on_progress(number + 1, len(contexts))
    sums = StateSums()
    for batch in windows.batches():
        sums.add(batch.traces)
    what = about(run, windows.name) | {
        "positions": int(blocks.size), "longest": longest, "states_of": steps * len(windows.series),
    }  # fmt: skip
    whole = whole[blocks]
    return MemoryFinding(
        what,
        "mean absolute error",
        mean_of_blocks(whole),
        curve_of(contexts, errors, [whole] * len(contexts)),
        None,
        sums.dimensions(),
    )


def _blocks(count: int) -> npt.NDArray[np.int64]:
    """Numbers (blocks, per block) of neighbouring windows; a few at the end are left out."""
    blocks = min(BLOCKS, count)
    each = count // blocks
    return np.arange(blocks * each).reshape(blocks, each)


def _errors(windows: SeriesWindows, k: int | None) -> Float:
    """Mean absolute error of each window; `k`: steps of the context that are kept; None: all."""
    made, found = windows.forecaster, []
    for first in range(0, len(windows.series), TOGETHER):
        part = slice(first, first + TOGETHER)
        batch = made.batch(windows.series[part], windows.origins[part])
        if k is not None and k < batch.context.shape[1]:
            batch.context[:, :-k] = batch.context[:, -k][:, None]
        prediction = made.predict(batch)
        error = np.abs(prediction.point - prediction.actual).reshape(len(batch.series), -1)
        seen = ~np.isnan(error)
        found.append(np.where(seen, error, 0.0).sum(1) / np.maximum(seen.sum(1), 1))
    return np.concatenate(found)
