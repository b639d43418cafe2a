"""Windows and batches against loops that anyone can read."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.backtest import last_origins
from lstmcli.kinds.series.permutation import permuted
from lstmcli.kinds.series.table.grid import TimeGrid
from lstmcli.kinds.series.table.panel import Panel, SeriesData
from lstmcli.kinds.series.windows import SeriesBatches, Windows, gather, split_windows, training_windows


def panel_of(lengths, channels=2, known=1, past=1):
    total = sum(lengths)
    steps = np.arange(total, dtype=np.float64)[:, None]
    values = steps * 10 + np.arange(channels)
    values[::7] = np.nan
    return Panel(
        values,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.arange(len(lengths)) * 100,
        [f"s{number}" for number in range(len(lengths))],
        [f"c{number}" for number in range(channels)],
        TimeGrid("1h", datetime(2020, 1, 1)),
        24,
        np.repeat(steps, known, axis=1).astype(np.float32) + 0.5,
        ["k"] * known,
        np.repeat(steps, past, axis=1).astype(np.float32) + 0.25,
        np.arange(len(lengths), dtype=np.float32)[:, None],
        ["f"],
    )


def data_of(lengths, train, val=None, test=None):
    ends = [np.asarray(part if part is not None else train) for part in (train, train, val, test)]
    return SeriesData(panel_of(lengths), *ends, "", {}, {})


def slow_origins(first, last, context, horizon, stride):
    """The rule, series by series."""
    found = []
    for series, (start, end) in enumerate(zip(first, last, strict=True)):
        least = start
        if start == 0:
            least = context if end >= context + horizon else max(1, (end - horizon + 1) // 2)
        found += [(series, origin) for origin in range(least, end - horizon + 1, stride)]
    return found


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("context", "horizon"), [(8, 4), (1, 1), (40, 3), (5, 30)])
def test_every_window_once(context, horizon, stride):
    lengths = [30, 3, 12, 50, 1, 11, 4]
    panel = panel_of(lengths)
    for first in ([0] * 7, [0, 2, 6, 20, 1, 0, 3]):
        windows = Windows(panel, first, lengths, context, horizon, stride)
        series, origins = windows.locate(np.arange(len(windows)))
        found = list(zip(series.tolist(), origins.tolist(), strict=True))
        assert found == slow_origins(first, lengths, context, horizon, stride)
        with pytest.raises(IndexError):
            windows.locate([len(windows)])


def test_gathering_against_a_loop():
    panel, context, horizon = panel_of([30, 9, 14]), 8, 4
    series, origins = np.array([0, 1, 2, 0, 1, 2, 2]), np.array([8, 3, 12, 29, 9, 14, 1])
    batch = gather(panel, series, origins, context, horizon)
    for row, (s, origin) in enumerate(zip(series, origins, strict=True)):
        begin, end = panel.offsets[s], panel.offsets[s + 1]
        for step in range(-context, horizon):
            inside = 0 <= origin + step < end - begin
            value = panel.values[begin + origin + step] if inside else [np.nan, np.nan]
            known = panel.known[begin + origin + step] if inside else [0.0]
            found = batch.context[row, context + step] if step < 0 else batch.target[row, step]
            np.testing.assert_array_equal(found, value)
            np.testing.assert_array_equal(batch.known[row, context + step], known)
            if step < 0:
                past = panel.past[begin + origin + step] if inside else [0.0]
                np.testing.assert_array_equal(batch.past[row, context + step], past)
    assert batch.ticks.tolist() == (panel.starts[series] + origins).tolist()
    assert batch.static[:, 0].tolist() == series.tolist()


def test_a_batch_is_its_readers_own():
    panel = panel_of([30])
    before = panel.values.copy()
    batch = gather(panel, [0], [10], 8, 4)
    batch.context[:] = -1.0
    batch.target[:] = -1.0
    np.testing.assert_array_equal(panel.values, before)


def test_the_windows_of_etth1():
    data = data_of([17420], [8640], [11520], [14400])
    for context, horizon in ((96, 24), (336, 96), (720, 720)):
        assert len(training_windows(data, context, horizon)) == 8640 - context - horizon + 1
        assert len(split_windows(data, "test", context, horizon)) == 2880 - horizon + 1
        _, origins = split_windows(data, "test", context, horizon).locate([0])
        assert origins.tolist() == [11520]


def test_short_series_are_told_once(notices):
    data = data_of([40, 10, 3], [40, 10, 3])
    windows = training_windows(data, 12, 4)
    assert windows.counts.tolist() == [25, 4, 0]  # the second: origins 3 to 6
    assert any("1 of 3 series have fewer than 16 training steps" in text for text in notices)
    assert any("1 of 3 series have fewer than 5 training steps" in text for text in notices)


def test_no_window_at_all():
    with pytest.raises(DataError, match="the longest has 3"):
        training_windows(data_of([3, 2], [3, 2]), 12, 4)


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65, 1000, 4097])
def test_a_permutation(size):
    found = permuted(np.arange(size), size, "key")
    assert sorted(found.tolist()) == list(range(size))
    if size > 60:
        assert found.tolist() != permuted(np.arange(size), size, "other").tolist()
        assert abs(np.corrcoef(found, np.arange(size))[0, 1]) < 0.4


def test_a_permutation_of_many_without_memory():
    size = 10**12 + 7
    found = permuted(np.arange(1000) + size - 1000, size, "key")
    assert len(set(found.tolist())) == 1000 and found.max() < size and found.min() >= 0
    assert 0.4 < found.mean() / size < 0.6


def test_an_epoch_is_all_windows():
    windows = Windows(panel_of([50, 40]), [0, 0], [50, 40], 8, 4)
    batches = SeriesBatches(windows, 7, seed=3)
    for epoch in range(2):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        assert {batches.epoch(step) for step in steps} == {epoch}
        read = np.concatenate([batches.indices(step) for step in steps])
        assert sorted(read[: len(windows)].tolist()) == list(range(len(windows)))
    next_epoch = batches.indices(batches.steps_per_epoch)
    filled = batches.indices(batches.steps_per_epoch - 1)[len(windows) % 7 :]
    assert filled.tolist() == next_epoch[: len(filled)].tolist()


def test_batches_are_a_function_of_seed_step_and_rank():
    windows = Windows(panel_of([50, 40]), [0, 0], [50, 40], 8, 4)
    one = SeriesBatches(windows, 8, seed=3)
    two = [SeriesBatches(windows, 4, seed=3, rank=rank, world_size=2) for rank in (0, 1)]
    for step in (0, 5, 17, 1000):
        halves = np.concatenate([ranked.indices(step) for ranked in two])
        assert one.indices(step).tolist() == halves.tolist()
        np.testing.assert_array_equal(one[step].target, SeriesBatches(windows, 8, seed=3)[step].target)
    assert one.indices(0).tolist() != SeriesBatches(windows, 8, seed=4).indices(0).tolist()
    assert one.indices(0).tolist() == [65, 58, 48, 21, 5, 38, 50, 29]  # on every machine and version


def test_a_batch_larger_than_an_epoch():
    windows = Windows(panel_of([14]), [0], [14], 8, 4)
    batches = SeriesBatches(windows, 10, seed=1)
    assert len(windows) == 3 and batches.steps_per_epoch == 1
    assert np.bincount(batches.indices(0)[:9]).tolist() == [3, 3, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_last_origins(count, stride):
    """A horizon apart from the last one back, of what each series has."""
    data = data_of([40, 30, 12, 5], [20, 20, 8, 5], [20, 20, 8, 5], [40, 30, 12, 5])
    windows = Windows(data.panel, data.val_end, data.test_end, 4, 3, stride)
    chosen = last_origins(windows, count)
    for s in range(4):
        before = [int(o) for k, o in zip(*windows.locate(np.arange(len(windows))), strict=True) if k == s]
        found = [int(o) for k, o in zip(*chosen.locate(np.arange(len(chosen))), strict=True) if k == s]
        if not before:
            assert not found
            continue
        wanted = [
            before[-1] - chosen.stride * k
            for k in range(count)
            if before[-1] - chosen.stride * k >= before[0]
        ]
        assert found == wanted[::-1]
    assert chosen.stride == 3  # the longest has room for five
