"""Ticks and times: what pandas users would expect, checked against plain datetime arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.table.grid import PERIODS, TimeGrid, parse_frequency


@pytest.mark.parametrize(
    ("written", "name", "season"),
    [
        *[("1h", "1h", 24), ("hourly", "1h", 24), ("H", "1h", 24), ("60m", "1h", 24), ("15min", "15m", 96)],
        *[("24h", "1d", 7), ("7d", "1w", 52), ("2w", "2w", 26), ("monthly", "1mo", 12), ("3mo", "1q", 4)],
        *[("12mo", "1y", 1), ("1i", "1i", 1), ("10s", "10s", 360), ("7m", "7m", 1), ("4h", "4h", 6)],
    ],
)
def test_names_and_seasons(written, name, season):
    grid = TimeGrid(written, 5 if name == "1i" else datetime(2020, 1, 1))
    assert (grid.frequency, grid.season) == (name, season)


@pytest.mark.parametrize("written", ["", "M", "h1", "0d", "1.5h", "fortnight", "-1d"])
def test_what_is_no_frequency(written):
    with pytest.raises(DataError, match="mo"):
        parse_frequency(written)


def test_hours_against_datetime():
    origin = datetime(2016, 2, 28, 22)
    grid = TimeGrid("1h", origin)
    ticks = np.arange(-5, 60)
    slow = [origin + timedelta(hours=int(tick)) for tick in ticks]
    assert grid.times(ticks).tolist() == slow
    assert grid.labels(ticks) == [str(time) for time in slow]
    assert grid.ticks(grid.times(ticks)).tolist() == ticks.tolist()


@pytest.mark.parametrize(
    ("frequency", "origin", "expected"),
    [
        ("1mo", datetime(2020, 1, 31), ["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"]),
        ("1mo", datetime(2021, 2, 28), ["2021-02-28", "2021-03-31", "2021-04-30", "2021-05-31"]),
        ("1mo", datetime(2020, 1, 15), ["2020-01-15", "2020-02-15", "2020-03-15", "2020-04-15"]),
        ("1mo", datetime(2020, 1, 1), ["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"]),
        ("1mo", datetime(2021, 1, 30), ["2021-01-30", "2021-02-28", "2021-03-30", "2021-04-30"]),
        ("1q", datetime(2020, 3, 31), ["2020-03-31", "2020-06-30", "2020-09-30", "2020-12-31"]),
        ("1y", datetime(2020, 2, 29), ["2020-02-29", "2021-02-28", "2022-02-28", "2023-02-28"]),
        ("1w", datetime(2020, 12, 30), ["2020-12-30", "2021-01-06", "2021-01-13", "2021-01-20"]),
    ],
)
def test_calendar_steps(frequency, origin, expected):
    grid = TimeGrid(frequency, origin)
    assert grid.labels(np.arange(4)) == expected
    ticks = np.arange(-30, 30)
    assert grid.ticks(grid.times(ticks)).tolist() == ticks.tolist()


def test_labels_have_a_time_of_day_only_where_there_is_one():
    assert TimeGrid("1d", datetime(2016, 7, 1)).labels([0]) == ["2016-07-01"]
    assert TimeGrid("1d", datetime(2016, 7, 1, 6)).labels([0]) == ["2016-07-01 06:00:00"]
    assert TimeGrid("100ms", datetime(2016, 7, 1)).labels([1]) == ["2016-07-01 00:00:00.100000"]
    assert TimeGrid("5i", 100).labels([0, 2]) == ["100", "110"]


def test_an_offset_becomes_utc():
    east = TimeGrid("1h", datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert east == TimeGrid("1h", datetime(2020, 1, 1, tzinfo=UTC)) == TimeGrid("1h", datetime(2020, 1, 1))


def test_a_time_off_the_grid_is_named():
    grid = TimeGrid("1h", datetime(2020, 1, 1))
    with pytest.raises(DataError, match="2020-01-01T00:30"):
        grid.ticks(np.array(["2020-01-01T01:00", "2020-01-01T00:30"], dtype="datetime64[us]"))


@pytest.mark.parametrize(
    ("frequency", "names"),
    [
        ("15m", ["minute", "hour", "weekday", "day", "month"]),
        ("1h", ["hour", "weekday", "day", "month"]),
        ("1d", ["weekday", "day", "month"]),
        ("1w", ["day", "month"]),
        ("1mo", ["month"]),
        ("1y", []),
    ],
)
def test_features_that_vary(frequency, names):
    assert TimeGrid(frequency, datetime(2020, 1, 1)).calendar_names() == names


def test_the_calendar_against_datetime():
    grid = TimeGrid("1h", datetime(2019, 12, 30, 20, 30, 15))
    ticks = np.arange(0, 24 * 400, 7).reshape(2, -1)[:, :600]
    names = list(PERIODS)
    found = grid.calendar(ticks, names)
    assert found.shape == (*ticks.shape, 2 * len(names)) and found.dtype == np.float32
    for row, time in zip(found.reshape(-1, 2 * len(names)), grid.times(ticks).ravel().tolist(), strict=True):
        plain = {"second": time.second, "minute": time.minute, "hour": time.hour, "weekday": time.weekday()}
        plain |= {"day": time.day - 1, "month": time.month - 1, "quarter": (time.month - 1) // 3}
        plain["yearday"] = time.timetuple().tm_yday - 1
        for number, name in enumerate(names):
            angle = 2 * np.pi * plain[name] / PERIODS[name]
            assert row[2 * number : 2 * number + 2] == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-6)


def test_no_calendar_without_times():
    grid = TimeGrid("1h", 1)  # the step is known, the times are not
    assert grid.calendar_names() == [] and grid.calendar([0, 1]).shape == (2, 0) and grid.season == 24
    assert grid.labels([0, 1]) == ["1", "2"]
    with pytest.raises(DataError, match="not known"):
        grid.calendar([0], ["hour"])
    with pytest.raises(DataError, match="no calendar feature hours"):
        TimeGrid("1h", datetime(2020, 1, 1)).calendar([0], ["hours"])


WEEKS = [
    ("1b", "1b", 5, ["2020-01-03", "2020-01-06"]),
    ("B", "1b", 5, ["2020-01-03", "2020-01-06"]),
    ("1d mon-sat", "1d mon-sat", 6, ["2020-01-03", "2020-01-04"]),
    ("d fri,mon", "1d mon,fri", 2, ["2020-01-03", "2020-01-06"]),
    ("d sun-fri", "1d mon-fri,sun", 6, ["2020-01-03", "2020-01-05"]),
]


@pytest.mark.parametrize(("text", "name", "season", "labels"), WEEKS)
def test_weeks_with_gaps(text, name, season, labels):
    grid = TimeGrid(text, datetime(2020, 1, 3))
    assert parse_frequency(grid.frequency) == parse_frequency(text)
    assert (grid.season, grid.labels([0, 1])) == (season, labels)
    ticks = np.arange(-40, 400)
    np.testing.assert_array_equal(grid.ticks(grid.times(ticks)), ticks)
    assert len(set(grid.raw(ticks) // 86_400_000_000 % 7)) == season


def test_hours_of_a_week():
    name = "1h mon-fri 09:00-16:00; sat 09:00-11:00"
    grid = TimeGrid(name, datetime(2020, 1, 3, 16, 30))
    assert (grid.frequency, grid.season) == (name, 7)
    assert grid.labels([1, 3, 4]) == ["2020-01-04 09:30:00", "2020-01-04 11:30:00", "2020-01-06 09:30:00"]
    ticks = np.arange(-90, 500)
    np.testing.assert_array_equal(grid.ticks(grid.times(ticks)), ticks)
    with pytest.raises(DataError, match="not on the grid"):
        grid.ticks(np.array(["2020-01-04T12:30:00"], dtype="datetime64[us]"))
