"""Windows over a panel by arithmetic, and batches of them as a pure function of (seed, step, rank).

A window is a series and an origin: the context is the ``context`` steps before the origin, the target
the ``horizon`` steps from it. Nothing is stored per window.

    series  |.......[   context   ][ target ]........|
                                   ^ origin
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.permutation import permuted
from lstmcli.kinds.series.table.panel import Panel, SeriesData

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


class WindowBatch(NamedTuple):
    """B windows of L context steps and h target steps; arrays of their own, free to be written to."""

    series: Int  # (B,)
    origins: Int  # (B,), positions in the series
    ticks: Int  # (B,), of the origin on the panel's grid
    context: Float  # (B, L, C); NaN where missing or before the start
    target: Float  # (B, h, C); NaN where missing or beyond the end
    known: Single  # (B, L + h, K); 0 outside the series
    past: Single  # (B, L, P)
    static: Single  # (B, F)


class Windows:
    """Every (series, origin) whose target lies wholly within [first, last) of its series.

    The context may reach before ``first``. Where ``first`` is 0 there is nothing before it: then a full
    context is required if ``last`` leaves room for one and a target; a shorter series gives the origins
    with at least half of the context that its last origin has (so one step or more), their left part
    missing. ``first`` and ``last``: (S,). ``stride``: steps from one origin to the next.
    """

    def __init__(
        self,
        panel: Panel,
        first: npt.ArrayLike,
        last: npt.ArrayLike,
        context: int,
        horizon: int,
        stride: int = 1,
    ):
        first, last = np.asarray(first, dtype=np.int64), np.asarray(last, dtype=np.int64)
        if min(context, horizon, stride) < 1:
            raise ValueError("context, horizon and stride must be at least 1")
        if first.shape != panel.starts.shape or last.shape != panel.starts.shape:
            raise ValueError(f"first and last must be of shape {panel.starts.shape}")
        self.panel, self.context, self.horizon, self.stride = panel, context, horizon, stride
        self.short = (first == 0) & (last < context + horizon)  # (S,), whose contexts are not full
        whole = np.where(self.short, np.maximum(1, (last - horizon + 1) // 2), context)
        self.first_origins = np.where(first == 0, whole, first)
        rooms = last - horizon - self.first_origins  # the last origin, counted from the first
        self.counts = np.where(rooms >= 0, rooms // stride + 1, 0)  # (S,), windows of each series
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, indices: npt.ArrayLike) -> tuple[Int, Int]:
        """Series and origins of these windows, each (B,). IndexError outside 0 .. len - 1."""
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (int(wanted.min()) < 0 or int(wanted.max()) >= len(self)):
            raise IndexError(f"windows are numbered 0 to {len(self) - 1}")
        series = np.searchsorted(self._ends, wanted, side="right").astype(np.int64)
        within = wanted - (self._ends[series] - self.counts[series])
        return series, self.first_origins[series] + within * self.stride

    def batch(self, indices: npt.ArrayLike) -> WindowBatch:
        """The windows of these numbers."""
        series, origins = self.locate(indices)
        return gather(self.panel, series, origins, self.context, self.horizon)


def gather(
    panel: Panel, series: npt.ArrayLike, origins: npt.ArrayLike, context: int, horizon: int
) -> WindowBatch:
    """The windows of ``series`` (B,) at ``origins`` (B,), one np.take per array.

    An origin may be anything from 1 to the series' length, and beyond: what lies outside is NaN in
    values, 0 in covariates.
    """
    chosen, at = np.asarray(series, dtype=np.int64), np.asarray(origins, dtype=np.int64)
    steps = at[:, None] + np.arange(-context, horizon)  # (B, L + h)
    begin, end = panel.offsets[chosen][:, None], panel.offsets[chosen + 1][:, None]
    places = begin + steps
    outside = (steps < 0) | (places >= end)
    beyond = bool(outside.any())
    if beyond:
        places = np.where(outside, begin, places)
    values = np.take(panel.values, places, axis=0, mode="clip")
    known = np.take(panel.known, places, axis=0, mode="clip")
    past = np.take(panel.past, places[:, :context], axis=0, mode="clip")
    if beyond:
        values[outside] = np.nan
        known[outside] = 0.0
        past[outside[:, :context]] = 0.0
    ticks = panel.starts[chosen] + at
    static = np.take(panel.static, chosen, axis=0)
    return WindowBatch(chosen, at, ticks, values[:, :context], values[:, context:], known, past, static)


def training_windows(data: SeriesData, context: int, horizon: int, stride: int = 1) -> Windows:
    """The windows of the training part, with a notice of what is short. DataError: there are none."""
    first = np.zeros_like(data.train_end)
    windows = Windows(data.panel, first, data.train_end, context, horizon, stride)
    longest = int(data.train_end.max(initial=0))
    if len(windows) == 0:
        raise DataError(
            f"no series has a training part of {horizon + 1:,} steps, which one window with horizon "
            f"{horizon} needs at least; the longest has {longest:,}",
            "use a smaller data.horizon, longer series, or less for validation and test "
            "(data.splits, data.val_length, data.test_length)",
        )
    total, none = len(data.train_end), int((windows.counts == 0).sum())
    short = int((windows.short & (windows.counts > 0)).sum())
    if short:
        notice(
            f"{short:,} of {total:,} series have fewer than {context + horizon:,} training steps "
            f"(context {context} + horizon {horizon}); their {int(windows.counts[windows.short].sum()):,} "
            "windows lack the left part of the context"
        )
    if none:
        notice(
            f"{none:,} of {total:,} series have fewer than {horizon + 1:,} training steps and "
            "give no training window"
        )
    return windows


def split_windows(data: SeriesData, split: str, context: int, horizon: int, stride: int = 1) -> Windows:
    """The windows of `calibration`, `val` or `test`, whose contexts reach back into earlier parts; may be
    none.

    An origin at the very start of a series has no context at all and is left out.
    """
    first, last = {
        "calibration": (data.train_end, data.val_begin),
        "val": (data.val_begin, data.val_end),
        "test": (data.val_end, data.test_end),
    }[split]
    return Windows(data.panel, first, last, context, horizon, stride)


class SeriesBatches:
    """Batch number i of rank r, as a pure function of (seed, i, r) and the windows.

    ``batch_size`` is per rank. Step i belongs to epoch i // steps_per_epoch; any i from 0 on is valid.
    Each epoch reads all windows once in a fresh pseudo-random order; the last batch of an epoch is
    filled with the first windows of the next epoch's order (which reads them again).
    """

    def __init__(self, windows: Windows, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not below world_size {world_size}")
        if len(windows) == 0:
            raise DataError("there are no windows to learn from", "use longer series or a shorter horizon")
        self.windows = windows
        self._batch_size, self._seed, self._rank = batch_size, seed, rank
        self._together = batch_size * world_size
        self.steps_per_epoch = -(-len(windows) // self._together)

    def epoch(self, step: int) -> int:
        """The epoch that the step belongs to."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> Int:
        """The numbers of the step's windows, (batch_size,)."""
        if step < 0:
            raise IndexError(f"there is no step {step}")
        epoch, within = divmod(step, self.steps_per_epoch)
        begin = within * self._together + self._rank * self._batch_size
        rounds, places = np.divmod(np.arange(begin, begin + self._batch_size), len(self.windows))
        chosen = np.empty(self._batch_size, dtype=np.int64)
        for later in np.unique(rounds).tolist():  # one, or two and more where an epoch ends within
            key = f"windows/{self._seed}/{epoch + later}"
            chosen[rounds == later] = permuted(places[rounds == later], len(self.windows), key)
        return chosen

    def __getitem__(self, step: int) -> WindowBatch:
        return self.windows.batch(self.indices(step))
