"""The metrics against hand-computed cases and against the most naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstmcli.kinds.series.metrics import ScoreBoard, mase_scale, owa

QUANTILES = (0.1, 0.5, 0.8, 0.9)


def mean(values):
    return sum(values) / len(values) if values else math.nan


def reference(windows, quantiles, low, high):
    """All metrics of windows (key, actual, point, scale, mase_scale, quantiles), one value at a time."""
    found = {name: [] for name in ("squared", "absolute", "scaled2", "scaled", "pinball", "inside", "width")}
    per_key = {}
    for key, actual, point, scale, seasonal, q in windows:
        of = per_key.setdefault(key, {"smape": [], "mape": [], "mase": []})
        for t in range(len(actual)):
            a, p = float(actual[t]), float(point[t])
            if math.isnan(a):
                continue
            error = abs(a - p)
            found["squared"].append(error * error)
            found["absolute"].append(error)
            if scale > 0:
                found["scaled2"].append((error / scale) ** 2)
                found["scaled"].append(error / scale)
            of["smape"].append(0.0 if a == 0 and p == 0 else 200 * error / (abs(a) + abs(p)))
            if a != 0:
                of["mape"].append(100 * error / abs(a))
            if seasonal > 0:
                of["mase"].append(error / seasonal)
            for level, value in zip(quantiles, q[t], strict=True):
                found["pinball"].append(level * (a - value) if a >= value else (1 - level) * (value - a))
            found["inside"].append(q[t][low] <= a <= q[t][high])
            found["width"].append(q[t][high] - q[t][low])
    result = {name: mean([mean(of[name]) for of in per_key.values() if of[name]]) for name in of}
    return result | {
        "points": len(found["absolute"]),
        "mse": mean(found["squared"]),
        "mae": mean(found["absolute"]),
        "rmse": math.sqrt(mean(found["squared"])),
        "scaled_mse": mean(found["scaled2"]),
        "scaled_mae": mean(found["scaled"]),
        "pinball": mean(found["pinball"]),
        "crps": 2 * mean(found["pinball"]),
        "coverage": mean(found["inside"]),
        "width": mean(found["width"]),
    }


def random_windows(seed, count=40, horizon=5, keys=6):
    rng = np.random.default_rng(seed)
    key = rng.integers(0, keys, count)
    actual = rng.normal(3, 4, (count, horizon))
    actual[rng.random(actual.shape) < 0.2] = np.nan
    actual[rng.random(actual.shape) < 0.1] = 0.0
    point = rng.normal(3, 4, (count, horizon)) * (rng.random((count, horizon)) > 0.1)
    scale = np.array([1.5, 0.0, 2.0, np.nan, 0.7, 3.0])[key]
    seasonal = np.array([0.0, 2.5, np.nan, 1.0, 3.0, 0.2])[key]
    quantiles = np.sort(rng.normal(3, 4, (count, horizon, len(QUANTILES))), axis=-1)
    return key, actual, point, scale, seasonal, quantiles


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", [None, (0.1, 0.8)])
def test_all_metrics_agree_with_naive_loops(seed, level):
    """Missing values, constant series, zeros and keys in any order; batches of 7 windows."""
    data = random_windows(seed)
    board = ScoreBoard(5, 6, QUANTILES, level)
    for start in range(0, 40, 7):
        board.add(*(part[start : start + 7] for part in data))
    high = 3 if level is None else 2
    expected = reference(list(zip(*data, strict=True)), QUANTILES, 0, high)
    summary = board.summary()
    for name, value in expected.items():
        assert summary[name] == pytest.approx(value, rel=1e-12), name
    assert summary["nominal"] == (0.8 if level is None else 0.7)
    for row in board.by_key():
        own = [window for window in zip(*data, strict=True) if window[0] == row["key"]]
        for name, value in reference(own, QUANTILES, 0, high).items():
            assert row[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
    for row in board.by_step():
        at = row["step"] - 1
        own = [
            (0, a[at : at + 1], p[at : at + 1], s, m, q[at : at + 1])
            for _, a, p, s, m, q in zip(*data, strict=True)
        ]
        expected = reference(own, QUANTILES, 0, high)
        assert row["mse"] == pytest.approx(expected["mse"]) and row["points"] == expected["points"]
        assert row["crps"] == pytest.approx(expected["crps"])


def one(actual, point, scale=1.0, seasonal=1.0):
    board = ScoreBoard(len(actual), 1)
    board.add([0], [actual], [point], [scale], [seasonal])
    return board.summary()


def test_point_metrics_by_hand():
    found = one([2.0, 0.0, math.nan, 4.0], [1.0, 0.0, 9.0, 8.0], scale=2.0, seasonal=4.0)
    assert found["windows"] == 1 and found["points"] == 3
    assert found["mse"] == pytest.approx(17 / 3) and found["mae"] == pytest.approx(5 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(17 / 3))
    assert found["smape"] == pytest.approx((200 / 3 + 0 + 200 * 4 / 12) / 3)
    assert found["mape"] == pytest.approx((50 + 100) / 2)
    assert found["mase"] == pytest.approx(5 / 3 / 4)
    assert found["scaled_mse"] == pytest.approx(17 / 3 / 4) and found["scaled_mae"] == pytest.approx(5 / 6)


def test_smape_is_a_mean_over_series_but_mae_over_points():
    """A series with three windows counts as much as one with a single window."""
    board = ScoreBoard(1, 2)
    actual, point = np.array([[1.0], [1.0], [1.0], [3.0]]), np.array([[1.0], [1.0], [1.0], [1.0]])
    board.add(np.array([0, 0, 0, 1]), actual, point, np.ones(4), np.ones(4))
    found = board.summary()
    assert found["smape"] == pytest.approx((0 + 100) / 2) and found["mase"] == pytest.approx(1.0)
    assert found["mae"] == pytest.approx(0.5)


def test_the_score_of_a_point_forecast_as_a_distribution_is_its_absolute_error():
    """Many levels all at one value: twice the mean pinball loss tends to the absolute error."""
    levels = [(i + 0.5) / 200 for i in range(200)]
    board = ScoreBoard(1, 1, levels)
    board.add([0], [[5.0]], [[3.0]], [1.0], [1.0], np.full((1, 1, 200), 3.0))
    assert board.summary()["crps"] == pytest.approx(2.0)
    assert one([5.0], [3.0])["crps"] == 2.0


def test_crps_tends_to_the_closed_form_of_a_normal_distribution():
    from statistics import NormalDist

    levels = [(i + 0.5) / 2000 for i in range(2000)]
    quantiles = np.array([NormalDist().inv_cdf(level) for level in levels])
    board = ScoreBoard(1, 1, levels)
    board.add([0], [[0.7]], [[0.0]], [1.0], [1.0], quantiles[None, None])
    normal = NormalDist()
    exact = 0.7 * (2 * normal.cdf(0.7) - 1) + 2 * normal.pdf(0.7) - 1 / math.sqrt(math.pi)
    assert board.summary()["crps"] == pytest.approx(exact, rel=1e-3)


def test_calibration_counts_what_is_at_or_below_each_level():
    board = ScoreBoard(4, 1, (0.25, 0.75))
    quantiles = np.tile([2.0, 3.0], (1, 4, 1))
    board.add([0], [[1.0, 2.0, 3.5, math.nan]], np.zeros((1, 4)), [1.0], [1.0], quantiles)
    assert board.calibration() == [
        {"level": 0.25, "observed": pytest.approx(2 / 3)},
        {"level": 0.75, "observed": pytest.approx(2 / 3)},
    ]
    found = board.summary()
    assert found["coverage"] == pytest.approx(1 / 3) and found["nominal"] == 0.5 and found["width"] == 1.0


def test_nothing_observed_gives_nan_and_no_warning():
    found = one([math.nan], [1.0])
    assert found["windows"] == 0 and found["points"] == 0
    assert math.isnan(found["mae"]) and math.isnan(found["smape"]) and math.isnan(found["mase"])
    assert math.isnan(ScoreBoard(3, 2).summary()["mse"])


def test_a_forecast_that_overflows_is_infinitely_bad_not_a_warning():
    assert one([1.0], [1e300])["mse"] == math.inf
    assert math.isnan(one([1.0], [math.nan])["mse"])


@pytest.mark.parametrize(
    ("key", "point", "quantiles"),
    [([2], np.zeros((1, 2)), np.zeros((1, 2, 1))), ([0], np.zeros((1, 3)), np.zeros((1, 2, 1))),
     ([0], np.zeros((1, 2)), None), ([-1], np.zeros((1, 2)), np.zeros((1, 2, 1)))],
)  # fmt: skip
def test_wrong_shapes_and_keys_are_refused(key, point, quantiles):
    with pytest.raises(ValueError, match="must"):
        ScoreBoard(2, 2, (0.5,)).add(key, np.zeros((1, 2)), point, [1.0], [1.0], quantiles)


def test_levels_must_rise_and_the_interval_must_be_of_them():
    for quantiles, level in [((0.9, 0.1), None), ((0.1, 0.9), (0.1, 0.8)), ((0.0, 0.5), None)]:
        with pytest.raises(ValueError, match="must"):
            ScoreBoard(1, 1, quantiles, level)


def test_mase_scale():
    history = np.array([1.0, 5.0, 2.0, 7.0, np.nan, 1.0])
    assert mase_scale(history, 2) == pytest.approx((1 + 2 + 6) / 3)
    assert mase_scale(history, 1) == pytest.approx((4 + 3 + 5) / 3)
    assert mase_scale(history, 6) == mase_scale(history, 1) == mase_scale(history, 99)
    assert mase_scale(np.ones(9), 2) == 0.0
    assert math.isnan(mase_scale(np.array([1.0]), 1)) and math.isnan(mase_scale(np.array([]), 3))


def test_owa_of_the_reference_itself_is_one():
    assert owa(18.383, 2.395, 18.383, 2.395) == 1.0
    assert owa(9.328, 0.893, 18.383, 2.395) == pytest.approx(0.440, abs=5e-4)
