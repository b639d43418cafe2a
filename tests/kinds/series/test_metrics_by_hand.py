"""Metrics of a handful of numbers, worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcli.kinds.series.metrics import ScoreBoard

LEVELS = (0.1, 0.5, 0.9)
ACTUAL = np.array([[2.0, 4.0], [10.0, np.nan]])
POINT = np.array([[1.0, 6.0], [10.0, 0.0]])
SCALE, SEASONAL = np.array([2.0, 4.0]), np.array([1.0, 5.0])
# 0.1, 0.5 and 0.9 quantiles of each step: the interval of the last known one misses
BANDS = np.array([[[0.0, 1.0, 3.0], [5.0, 6.0, 9.0]], [[8.0, 10.0, 16.0], [0.0, 0.0, 0.0]]])


def board():
    made = ScoreBoard(2, 2, LEVELS)
    made.add(np.array([0, 1]), ACTUAL, POINT, SCALE, SEASONAL, BANDS)
    return made


def test_all_of_it():
    found = board().summary()
    # pinball: (0.1*2 + 0.5*1 + 0.1*1) / 3, (0.9*1 + 0.5*2 + 0.1*5) / 3, (0.1*2 + 0 + 0.1*6) / 3
    pinball = (0.8 + 2.4 + 0.8) / 9
    wanted = {
        "windows": 2, "points": 3, "mse": 5 / 3, "mae": 1.0, "rmse": (5 / 3) ** 0.5,
        "scaled_mse": (0.25 + 1.0 + 0.0) / 3, "scaled_mae": (0.5 + 1.0 + 0.0) / 3,
        "smape": ((200 / 3 + 400 / 10) / 2 + 0.0) / 2, "mape": ((50.0 + 50.0) / 2 + 0.0) / 2,
        "mase": ((1.0 + 2.0) / 2 + 0.0) / 2, "pinball": pinball, "crps": 2 * pinball,
        "wql": 2 * pinball * 3 / 16, "coverage": 2 / 3, "nominal": 0.8,
        "width": (3.0 + 4.0 + 8.0) / 3, "scaled_width": (1.5 + 2.0 + 2.0) / 3,
    }  # fmt: skip
    assert found.keys() >= wanted.keys()
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_a_point_forecast_has_the_absolute_error_as_its_crps():
    made = ScoreBoard(2, 2)
    made.add(np.array([0, 1]), ACTUAL, POINT, SCALE, SEASONAL)
    found = made.summary()
    assert found["crps"] == found["mae"] == 1.0 and found["wql"] == pytest.approx(3 / 16)
    assert "coverage" not in found and "pinball" not in found


def test_each_step_has_a_row_of_its_own():
    rows = board().by_step()
    assert [row["step"] for row in rows] == [1, 2]
    assert [row["points"] for row in rows] == [2, 1] and all("windows" not in row for row in rows)
    assert [row["mae"] for row in rows] == [0.5, 2.0]
    assert [row["scaled_width"] for row in rows] == pytest.approx([1.75, 2.0])


def test_each_key_that_was_seen_has_a_row():
    made = ScoreBoard(2, 3, LEVELS)
    made.add(np.array([2, 0]), ACTUAL, POINT, SCALE, SEASONAL, BANDS)
    rows = made.by_key()
    assert [(row["key"], row["points"], row["mae"]) for row in rows] == [(0, 1, 0.0), (2, 2, 1.5)]


def test_quantiles_that_are_not_asked_for_are_passed_over():
    made = ScoreBoard(2, 2)
    made.add(np.array([0, 1]), ACTUAL, POINT, SCALE, SEASONAL, BANDS)
    assert "pinball" not in made.summary()


def test_calibration_counts_what_lies_at_or_below():
    assert board().calibration() == [
        {"level": 0.1, "observed": pytest.approx(1 / 3)},
        {"level": 0.5, "observed": pytest.approx(2 / 3)},
        {"level": 0.9, "observed": 1.0},
    ]


def test_the_bounds_belong_to_the_interval():
    made = ScoreBoard(4, 1, (0.1, 0.9))
    actual, bands = np.array([[1.0, 2.0, 0.9, 2.1]]), np.tile([1.0, 2.0], (1, 4, 1))
    made.add(np.array([0]), actual, actual, np.array([1.0]), np.array([1.0]), bands)
    assert made.summary()["coverage"] == 0.5
