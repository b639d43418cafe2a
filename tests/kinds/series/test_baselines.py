"""Baselines against slow loops, against hand-computed cases and against published figures."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from lstmcli.kinds.series import baselines
from lstmcli.kinds.series.baselines import BASELINES, naive2, seasonal_factors
from lstmcli.kinds.series.metrics import ScoreBoard, mase_scale

ROOT = Path(__file__).parents[3]
M4 = ROOT.parent / "shared" / "data" / "m4"
NAN = math.nan


def slow(name, history, horizon, season):
    """One value at a time; ``history`` is a list."""
    seen = [t for t, value in enumerate(history) if not math.isnan(value)]
    if not seen:
        return [NAN] * horizon
    last, first = seen[-1], seen[0]
    forecast = []
    for step in range(horizon):
        target = len(history) + step
        before = [t for t in reversed(range(len(history))) if (target - t) % season == 0]
        same = [history[t] for t in before if not math.isnan(history[t])]
        recent = [history[t] for t in before[:7] if not math.isnan(history[t])]
        if name == "naive":
            forecast.append(history[last])
        elif name == "seasonal_naive":
            forecast.append(same[0] if same else history[last])
        elif name == "drift":
            slope = (history[last] - history[first]) / (last - first) if last > first else 0.0
            forecast.append(history[last] + slope * (target - last))
        elif name == "seasonal_mean":
            forecast.append(sum(recent) / len(recent) if recent else same[0] if same else history[last])
    return forecast


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(("length", "season"), [(50, 4), (50, 7), (5, 7), (7, 7), (1, 3), (20, 1)])
def test_every_baseline_agrees_with_a_slow_loop(name, length, season):
    rng = np.random.default_rng(length + season)
    history = rng.normal(10, 3, (8, length))
    history[rng.random(history.shape) < 0.3] = NAN
    history[0, : length // 2] = NAN  # a series that begins later
    history[1] = NAN
    found = getattr(baselines, name)(history, 9, season)
    expected = [slow(name, row, 9, season) for row in history.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_by_hand():
    history = np.array([[1.0, 2.0, 3.0, NAN, 5.0, 9.0, NAN]])
    assert BASELINES["naive"](history, 2, 3).tolist() == [[9, 9]]
    assert BASELINES["seasonal_naive"](history, 4, 3).tolist() == [[5, 9, 1, 5]]
    assert BASELINES["drift"](history, 2, 3).tolist() == [
        [pytest.approx(9 + 2 * 8 / 5), pytest.approx(9 + 3 * 8 / 5)]
    ]
    assert BASELINES["seasonal_mean"](history, 3, 3).tolist() == [[3.5, 6.0, 1.0]]


def test_a_history_of_no_steps_gives_nan():
    for forecast in BASELINES.values():
        assert np.isnan(forecast(np.empty((2, 0)), 3, 4)).all()


def test_drift_of_an_exact_line_is_exact():
    steps = np.arange(36.0)
    line = 3 + 0.5 * steps
    np.testing.assert_allclose(BASELINES["drift"](line[None, :24], 12, 12)[0], line[24:])


def slow_factors(values, season):
    half = season // 2
    ratios = [[] for _ in range(season)]
    for t in range(half, len(values) - half):
        window = values[t - half : t + half + 1]
        trend = sum(window) / season
        if season % 2 == 0:
            trend = (sum(window[1:-1]) + 0.5 * (window[0] + window[-1])) / season
        ratios[t % season].append(values[t] / trend)
    figure = [sum(of) / len(of) for of in ratios]
    return [factor / (sum(figure) / season) for factor in figure]


@pytest.mark.parametrize(("length", "season"), [(40, 4), (41, 7), (25, 12), (24, 2)])
def test_seasonal_factors_agree_with_a_slow_loop(length, season):
    values = np.random.default_rng(length).uniform(5, 20, length)
    np.testing.assert_allclose(seasonal_factors(values, season), slow_factors(values.tolist(), season))


def test_naive2_continues_an_exact_multiplicative_season():
    pattern = np.array([0.5, 1.0, 1.5, 1.0])
    history = 8.0 * np.tile(pattern, 10)[:-2]
    np.testing.assert_allclose(naive2(history, 6, 4), 8.0 * np.array([1.5, 1.0, 0.5, 1.0, 1.5, 1.0]))


def test_naive2_is_naive_where_there_is_no_season_to_be_found():
    rng = np.random.default_rng(0)
    season = np.tile([1.0, 5.0, 9.0, 5.0], 10)
    for history in (rng.uniform(5, 6, 60), season[:11], season - 5.0, np.full(40, 7.0)):
        assert naive2(history, 3, 4).tolist() == [history[-1]] * 3
    assert naive2(season, 3, 1).tolist() == [5.0] * 3
    assert np.isnan(naive2(np.full(9, NAN), 2, 4)).all()


def test_naive2_fills_gaps():
    history = np.tile([1.0, 5.0, 9.0, 5.0], 10)
    gaps = history.copy()
    gaps[[5, 17, 31]] = NAN  # on the straight line between their neighbours
    np.testing.assert_allclose(naive2(np.append(NAN, gaps), 4, 4), naive2(history, 4, 4))


def test_air_passengers_published():
    """Logarithmic seasonal naive with drift over the last 24 months: 3.01% MAPE."""
    with (ROOT / "data" / "air-passengers.csv").open() as file:
        values = np.array([float(row["passengers"]) for row in csv.DictReader(file)])
    history, actual = values[:-24], values[-24:]
    logs = np.log(history)[None]
    yearly = (logs[:, 12:] - logs[:, :-12]).mean() * (np.arange(24) // 12 + 1)
    forecast = np.exp(BASELINES["seasonal_naive"](logs, 24, 12) + yearly)
    board = ScoreBoard(24, 1)
    board.add(np.zeros(1, int), actual[None], forecast, np.ones(1), np.array([mase_scale(history, 12)]))
    assert board.summary()["mape"] == pytest.approx(3.01, abs=0.005)


def m4_rows(name):
    with (M4 / name).open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [np.array([float(value) for value in row[1:] if value]) for row in rows]


@pytest.mark.skipif(not M4.exists(), reason="the M4 Hourly files are not beside the checkout")
def test_m4_hourly_published():
    """Naive2 18.383 sMAPE and 2.395 MASE, seasonal naive 13.912 and 1.193 (414 series, horizon 48)."""
    histories, futures = m4_rows("hourly_train.csv"), m4_rows("hourly_test.csv")
    boards = {"naive2": ScoreBoard(48, 414), "seasonal_naive": ScoreBoard(48, 414)}
    for key, (history, actual) in enumerate(zip(histories, futures, strict=True)):
        forecasts = {
            "naive2": naive2(history, 48, 24)[None],
            "seasonal_naive": BASELINES["seasonal_naive"](history[None], 48, 24),
        }
        scale = np.array([mase_scale(history, 24)])
        for name, board in boards.items():
            board.add(np.array([key]), actual[None], forecasts[name], np.ones(1), scale)
    found = {name: board.summary() for name, board in boards.items()}
    figures = {name: (round(of["smape"], 3), round(of["mase"], 3)) for name, of in found.items()}
    assert figures == {"naive2": (18.383, 2.395), "seasonal_naive": (13.912, 1.193)}
