"""What a model is looked at with: a part of its own data, or a file of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError, UsageError
from lstmcli.kinds.text.vocabulary import REPLACEMENT, Vocabulary

if TYPE_CHECKING:
    from lstmcli.engine.layers import Trace
    from lstmcli.kinds.series.forecaster import Forecaster
    from lstmcli.kinds.series.normalise import Rows
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.trained import Run
    from lstmcli.run.trained import TrainedRun

TOKENS = 200_000
"""Symbols, or steps of windows, that are read unless asked otherwise."""
SPLITS = ("val", "test", "train")
NUMBERS = 1 << 23
"""About as many gates and states as a batch of windows holds."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reading:
    """What is to be read, as asked on the command line."""

    data: Path | None = None
    split: str | None = None
    tokens: int = TOKENS
    on_progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.tokens < 2:
            raise UsageError(f"--tokens {self.tokens}: at least 2 are needed")
        if self.split is not None and self.split not in SPLITS:
            raise UsageError(f"no split {self.split!r}", "there are train, val and test")
        if self.data is not None and self.split is not None:
            raise UsageError("give --data or --split, not both: a file of yours has no splits")


def about(run: TrainedRun, where: str) -> dict[str, Any]:
    """What a finding is about."""
    return {"run": run.directory.name, "step": run.step, "data": where}


def text_of(run: Run, reading: Reading) -> tuple[npt.NDArray[Any], str]:
    """The symbols to read, at most `tokens` of them, and the name of where they come from."""
    if reading.data is not None:
        from lstmcli.kinds.text.source import encode_file

        return encode_file(reading.data, run.vocabulary)[: reading.tokens], str(reading.data)
    splits = run.splits()
    name = reading.split or next(k for k in SPLITS if splits[k] is not None)
    ids = splits[name]
    if ids is None:
        held = ", ".join(k for k, v in splits.items() if v is not None)
        raise DataError(f"this run's data have no {name} split", f"they have: {held}")
    return ids[: reading.tokens], name


def symbols_of(vocabulary: Vocabulary) -> list[str]:
    """The character of each id; "" for one that is no character by itself."""
    if vocabulary.level == "bytes":
        return [chr(byte) if byte < 128 else "" for byte in range(256)]
    found = [vocabulary.decode([number]) for number in range(vocabulary.size)]
    return ["" if symbol == REPLACEMENT and k == 0 else symbol for k, symbol in enumerate(found)]


class WindowBatch(NamedTuple):
    """A few windows of the series and what the model did over their contexts."""

    rows: Rows
    ends: npt.NDArray[np.int64]  # (R,), ticks at which the contexts end
    traces: list[Trace]  # per layer: (T, R, H)


class SeriesWindows(NamedTuple):
    """The windows to read, evenly spread over a split."""

    forecaster: Forecaster
    series: npt.NDArray[np.int64]
    origins: npt.NDArray[np.int64]
    name: str

    @property
    def steps(self) -> int:
        """Of the recurrence, in a window."""
        return self.forecaster.context // self.forecaster.config.forecast.patch_length

    def batches(self, on_progress: Progress | None = None) -> Iterator[WindowBatch]:
        """All of them, a few at a time."""
        model, made = self.forecaster.model, self.forecaster
        units = sum(layer.hidden_size for layer in model.layers.layers)
        channels = len(made.panel.targets) if model.shape.channels == 1 else 1
        size = max(1, NUMBERS // (8 * units * self.steps * channels))
        for first in range(0, len(self.series), size):
            part = slice(first, first + size)
            batch = made.batch(self.series[part], self.origins[part])
            rows = made.rows(batch)
            ends = np.repeat(batch.ticks, len(rows.context) // len(batch.ticks))
            yield WindowBatch(rows, ends, model.observe(rows))
            if on_progress is not None:
                on_progress(min(first + size, len(self.series)), len(self.series))


def windows_of(run: SeriesRun, reading: Reading) -> SeriesWindows:
    """As many windows as hold `tokens` steps; of the test split unless asked otherwise."""
    from lstmcli.kinds.series.evaluate import spread
    from lstmcli.kinds.series.windows import Windows

    data = run.config.data
    if reading.data is not None:
        panel, name = run.panel(reading.data), str(reading.data)
        first = np.minimum(panel.lengths, data.context_length)
        windows = Windows(panel, first, panel.lengths, data.context_length, data.horizon)
    else:
        panel, windows, name = _split_windows(run, reading.split)
    if len(windows) == 0:
        raise DataError(
            f"{name} has no window of horizon {data.horizon}", "choose another --split, or longer --data"
        )
    forecaster = run.forecaster(panel)
    steps = data.context_length // run.config.forecast.patch_length
    most = max(1, reading.tokens // (steps * len(panel.targets)))
    return SeriesWindows(forecaster, *windows.locate(spread(windows, most)), name)


def _split_windows(run: SeriesRun, split: str | None) -> tuple[Any, Any, str]:
    """Panel, windows and name of a split; None: the first of test, val and train that has any."""
    from lstmcli.kinds.series.windows import split_windows, training_windows

    own, data = run.data(), run.config.data
    for name in [split] if split else ["test", "val", "train"]:
        windows = (
            training_windows(own, data.context_length, data.horizon)
            if name == "train"
            else split_windows(own, name, data.context_length, data.horizon)
        )
        if len(windows):
            break
    return own.panel, windows, name
