"""Intervals that hold: ranks of few values, both sides together, widths that rise with the step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.calibration import FEWEST, Basis, Calibration, conformal, isotonic
from lstmcli.kinds.series.table.panel import prepare_series
from lstmcli.kinds.series.windows import split_windows, training_windows

LEVELS = [0.05, 0.5, 0.95]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [19, 20, 39, 200])
def test_the_rank_of_split_conformal_prediction(count, level):
    """The offset is the value of that rank, written out by sorting; its mirror image is that of the rest."""
    scores = np.random.default_rng(count).normal(size=count)
    rank = (count + 1) * level
    if level > 0.5:
        wanted = sorted(scores)[math.ceil(round(rank, 9)) - 1]
        assert conformal(scores, level) == pytest.approx(wanted)
    assert conformal(scores, 1.0 - level) == pytest.approx(-conformal(-scores, level))
    assert conformal(np.append(scores, np.nan), level) == conformal(scores, level)


def test_a_new_value_lies_below_as_often_as_the_level_says():
    """At least so often, and by less than one in n + 1 oftener, over many draws of few values."""
    draw = np.random.default_rng(0)
    for count, level in ((20, 0.9), (30, 0.95), (60, 0.8)):
        below = [draw.normal() <= conformal(draw.normal(size=count), level) for _ in range(20_000)]
        assert level - 0.01 <= np.mean(below) <= level + 1.0 / (count + 1) + 0.01


@pytest.mark.parametrize("count", [1, 2, 5, 12, 18])
def test_beyond_the_largest_of_few_values(count):
    """No rank is left for the level: the offset lies beyond all values, further the fewer they are."""
    draw = np.random.default_rng(count)
    scores = draw.normal(size=count)
    assert conformal(scores, 0.95) > scores.max()
    shares = [draw.normal() <= conformal(draw.normal(size=count), 0.95) for _ in range(4000)]
    assert np.mean(shares) > 0.8 if count > 4 else np.mean(shares) > 0.5
    assert conformal(np.full(3, np.nan), 0.95) == 0.0


def test_values_that_windows_share_count_once():
    scores = np.repeat(np.random.default_rng(1).normal(size=25), 12)
    assert conformal(scores, 0.9, count=25) > conformal(scores, 0.9)


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_against_all_ways_of_pooling(seed):
    draw = np.random.default_rng(seed)
    values, weights = draw.normal(size=6), draw.integers(1, 4, 6).astype(float)
    best, found = np.inf, None
    for cuts in itertools.product([False, True], repeat=5):
        groups = np.concatenate([[0], np.cumsum(cuts)])
        means = np.array([np.average(values[groups == g], weights=weights[groups == g]) for g in groups])
        error = (weights * (values - means) ** 2).sum()
        if (np.diff(means) >= -1e-12).all() and error < best:
            best, found = error, means
    np.testing.assert_allclose(isotonic(values, weights), found)


def test_isotonic_takes_the_neighbours_where_nothing_is_observed():
    found = isotonic(np.array([2.0, 0.0, 3.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    assert (np.diff(found) >= 0).all() and set(found) <= {2.0, 3.0, 2.5}


def test_few_windows_are_calibrated_together_with_widths_that_rise():
    draw = np.random.default_rng(2)
    steps = np.arange(1, 7)
    noise = draw.normal(size=(20, 6, 1)) * np.sqrt(steps)[None, :, None]
    residuals = np.repeat(noise[..., None], 3, axis=-1)
    found = Calibration.fit(residuals, LEVELS, Basis("calibration", 20, 120)).offsets
    assert (np.diff(found[:, 2]) >= 0).all() and found[-1, 2] > 1.3 * found[0, 2]
    np.testing.assert_allclose(found[:, 0], -found[:, 2])  # both sides are told by the same values
    np.testing.assert_allclose(found[:, 1], 0.0, atol=1e-12)
    flat = np.repeat(draw.normal(size=(20, 6, 1, 1)) / steps[None, :, None, None], 3, axis=-1)
    assert len(set(Calibration.fit(flat, LEVELS).offsets[:, 2])) == 1  # where the data do not say so


def test_many_windows_are_calibrated_step_by_step():
    residuals = (
        np.random.default_rng(3).normal(size=(FEWEST, 2, 1, 3)) + np.array([0.0, 5.0])[None, :, None, None]
    )
    found = Calibration.fit(residuals, LEVELS).offsets
    for step in range(2):
        for place, level in enumerate(LEVELS):
            assert found[step, place] == conformal(residuals[:, step, 0, place], level)


def test_nothing_observed_changes_nothing():
    assert not Calibration.fit(np.full((3, 4, 2, 3), np.nan), LEVELS).offsets.any()


def rows(count):
    days = np.datetime64("2020-01-01") + np.arange(count)
    return "t,y\n" + "\n".join(f"{day},{k}" for k, day in enumerate(days)) + "\n"


def test_the_part_that_calibrates_lies_between_training_and_validation(table):
    settings = {"time": "t", "splits": [0.9, 0.1], "val_length": 10, "test_length": 10}
    whole = prepare_series(table(rows(100), **settings, context_length=8, horizon=4))
    data = prepare_series(table(rows(100), **settings, context_length=8, horizon=4, calibration_length=15))
    ends = (data.train_end, data.val_begin, data.val_end, data.test_end)
    assert [int(end[0]) for end in ends] == [65, 80, 90, 100] and int(whole.train_end[0]) == 80
    assert (whole.val_begin == whole.train_end).all() and whole.fingerprint != data.fingerprint
    parts = [training_windows(data, 8, 4), *(split_windows(data, n, 8, 4) for n in ("calibration", "val"))]
    seen = []
    for windows in parts:
        _, origins = windows.locate(np.arange(len(windows)))
        seen.append(set((origins[:, None] + np.arange(4)).ravel().tolist()))
    assert not (seen[0] & seen[1] or seen[1] & seen[2] or seen[0] & seen[2])
    assert seen[1] == set(range(65, 80)) and seen[2] == set(range(80, 90))


def test_no_room_for_calibration(table, notices):
    settings = {"time": "t", "context_length": 8, "horizon": 4, "val_length": 4, "test_length": 4}
    with pytest.raises(DataError, match="calibration_length 15 leaves no series"):
        prepare_series(table(rows(30), **settings, calibration_length=15))
    both = "t,g,y\n" + "".join(
        f"{line.split(',')[0]},{name},{line.split(',')[1]}\n"
        for name, count in (("a", 80), ("b", 30))
        for line in rows(count).splitlines()[1:]
    )
    data = prepare_series(table(both, group="g", **settings, calibration_length=15))
    assert data.train_end.tolist() == [57, 22] and data.val_begin.tolist() == [72, 22]
    assert "1 of 2 series are too short" in "".join(notices)
