"""A backtest: the last origins of every series, and each forecast that is made there, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lstmcli.core.tables import write_rows
from lstmcli.kinds.series.evaluate import in_batches
from lstmcli.kinds.series.forecast import middles, number
from lstmcli.kinds.series.forecaster import Forecaster
from lstmcli.kinds.series.windows import Windows


def last_origins(windows: Windows, count: int) -> Windows:
    """The last `count` origins of each series, a horizon apart, or nearer where not so many fit; all there
    are where a series has fewer."""
    rooms = (windows.counts - 1) * windows.stride
    last = windows.first_origins + np.maximum(rooms, 0)
    stride = windows.horizon
    if count > 1 and int(rooms.max(initial=0)) < (count - 1) * stride:
        stride = max(1, int(rooms.max(initial=0)) // (count - 1))
    back = np.minimum((count - 1) * stride, rooms // stride * stride)
    some = windows.counts > 0
    first = np.where(some, last - back, 1)
    ends = np.where(some, last + windows.horizon, 0)
    return Windows(windows.panel, first, ends, windows.context, windows.horizon, stride)


def write_origins(path: Path, forecaster: Forecaster, windows: Windows) -> None:
    """As CSV or Parquet: a row for each series, origin, target and step. `origin` is the first step of a
    forecast."""
    first = next(in_batches(forecaster, np.arange(len(windows))))[:1]
    found = forecaster.forecast(*windows.locate(first))
    levels = [] if found.quantiles is None else [f"q{level:g}" for level in forecaster.levels]
    names = ["group", "target", "origin", "time", "step", "actual", *middles(forecaster, found), *levels]
    write_rows(path, names, _rows(forecaster, windows))


def _rows(forecaster: Forecaster, windows: Windows) -> Iterator[list[Any]]:
    panel, steps = forecaster.panel, np.arange(windows.horizon)
    for numbers in in_batches(forecaster, np.arange(len(windows))):
        series, origins = windows.locate(numbers)
        found = forecaster.forecast(series, origins)
        columns = list(middles(forecaster, found).values())
        for k, (s, origin) in enumerate(zip(series.tolist(), origins.tolist(), strict=True)):
            ticks = int(panel.starts[s]) + origin + steps
            times = panel.grid.labels(ticks) if panel.grid is not None else ticks.tolist()
            for c, target in enumerate(panel.targets):
                for step in range(windows.horizon):
                    values = [found.actual[k, step, c], *(column[k, step, c] for column in columns)]
                    if found.quantiles is not None:
                        values += list(found.quantiles[k, step, c])
                    row = [panel.names[s], target, times[0], times[step], step + 1]
                    yield [*row, *map(number, values)]
