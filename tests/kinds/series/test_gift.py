"""GIFT-Eval's figures against the same by hand, and the command that makes them for a folder of tables."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from lstmcli.benchmark import forecast
from lstmcli.benchmark.forecast import Task, bench_forecast, read_published, table_of
from lstmcli.core.errors import ConfigError, DataError, UsageError
from lstmcli.kinds.series.gift import gift_report, gift_season, gift_windows, window_count
from lstmcli.kinds.series.table.panel import prepare_series

LEVELS = tuple(k / 10 for k in range(1, 10))


class Fixed:
    """A forecaster whose quantiles are the origin plus the level, whatever it reads."""

    def __init__(self, panel, levels=LEVELS):
        self.panel, self.levels, self.horizon, self.context = panel, levels, 3, 4
        self.model = type("Model", (), {"lag": 0})()
        self.config = type("Config", (), {"forecast": type("F", (), {"decoder": "direct"})()})()

    def forecast(self, series, origins):
        quantiles = origins[:, None, None, None] + np.broadcast_to(self.levels, (len(series), 3, 1, 9))
        return type("Prediction", (), {"point": quantiles[..., 4], "quantiles": quantiles})()


def days(table, values, **settings):
    start = datetime(2020, 1, 1)
    rows = "".join(f"{start + timedelta(days=k)},{v}\n" for k, v in enumerate(values))
    return prepare_series(table("time,v\n" + rows, time="time", **settings))


def test_figures_by_hand(table):
    values = np.random.default_rng(0).integers(0, 30, 40).astype(float).tolist()
    values[38] = ""  # a missing value is no part of a figure
    data = days(table, values, test_length=6)
    found = gift_report(Fixed(data.panel), gift_windows(data, 4, 3))
    true = np.array([math.nan if v == "" else v for v in values])
    errors, loss, naive = [], 0.0, 0.0
    for origin in (34, 37):
        scale = np.abs(np.diff(true[:origin])).mean()
        for step in range(3):
            y = true[origin + step]
            if math.isnan(y):
                continue
            errors.append(abs(y - (origin + 0.5)) / scale)
            for level in LEVELS:
                for q, which in ((origin + level, 0), (true[origin - 1], 1)):
                    pinball = 2 * max(level * (y - q), (level - 1) * (y - q)) / 9
                    loss, naive = loss + (pinball if which == 0 else 0), naive + (pinball if which else 0)
    size = np.nansum(np.abs(true[34:]))
    assert found.windows == 2 and found.season == 1
    assert found.mase == pytest.approx(np.mean(errors), rel=1e-12)
    assert found.crps == pytest.approx(loss / size, rel=1e-12)
    assert found.naive[1] == pytest.approx(naive / size, rel=1e-12)
    assert found.relative[1] == pytest.approx(loss / naive, rel=1e-12)


def test_levels_that_are_not_forecast_are_named(table):
    data = days(table, range(40), test_length=6)
    with pytest.raises(ConfigError, match=r"lacks 0.2, 0.8"):
        gift_report(Fixed(data.panel, (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9)), gift_windows(data, 4, 3))


def test_no_window_is_an_error(table):
    with pytest.raises(DataError, match="no window of 3 steps"):
        gift_windows(days(table, range(40), test_length=2), 4, 3)


@pytest.mark.parametrize(
    ("frequency", "season"),
    [("1h", 24), ("15m", 96), ("1d", 1), ("1w", 1), ("1mo", 12), ("1q", 4), ("1y", 1), ("1b", 5), ("7h", 1)],
)
def test_the_season_is_that_of_the_protocol(frequency, season):
    assert gift_season(type("Grid", (), {"frequency": frequency})()) == season


def test_no_frequency_has_no_season():
    assert gift_season(None) == 1


def test_the_number_of_windows():
    # The configs of the benchmark: 23,741 days, 780 months, 51 months.
    assert [window_count(*of) for of in ((23741, 30), (780, 12), (51, 12), (100, 100))] == [20, 7, 1, 1]


def test_published_figures_are_read_by_the_names_of_the_columns():
    text = "| model | kind | m4_hourly | car_parts | mean |\n| --- | --- | --- | --- | --- |\n"
    text += "| seasonal naive |  | 1.193 / 0.0376 | 1.201 / 1.7217 | 1.000 |\n| file | what | source |\n"
    assert read_published(text) == {
        "seasonal naive": {"m4_hourly": (1.193, 0.0376), "car_parts": (1.201, 1.7217)}
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rows = "".join(f"{datetime(2020, 1, 1) + timedelta(days=k)},{10 + k % 7 + k % 3}\n" for k in range(200))
    (tmp_path / "small.csv").write_text("date,flow\n" + rows)
    monkeypatch.setattr(forecast, "TASKS", {"small": Task(("small.csv",), 7)})
    return tmp_path


SMALL = ["train.max_steps=3", "model.hidden_size=4", "model.path=fused", "telemetry.tensorboard=false"]


def test_one_command_scores_the_tables_beside_what_is_published(folder):
    (folder / "README.md").write_text(
        "| model | small |\n| --- | --- |\n| seasonal naive | 1.0 / 0.5 |\n| other | 0.5 / 0.25 |\n"
    )
    told = []
    found = bench_forecast(folder, settings=SMALL, runs=folder / "runs", tell=told.append)
    assert found["models"]["other"]["relative"] == {"mase": pytest.approx(0.5), "crps": pytest.approx(0.5)}
    own = found["configs"]["small"]
    assert own["windows"] == 3 and own["relative"]["mase"] == pytest.approx(own["mase"] / 1.0)
    assert json.dumps(found) and len(told) == 1
    assert [row[0] for row in table_of(found).rows] == ["lstmcli", "other", "seasonal naive"]
    again = bench_forecast(folder, settings=SMALL)  # the same seed, the same figures
    assert again["configs"]["small"]["mase"] == own["mase"]


def test_eval_knows_the_protocol(folder, lab):
    bench_forecast(folder, settings=SMALL, runs=lab.folder / "runs")
    run = next((lab.folder / "runs").iterdir()).name
    found = lab.lstm("eval", run, "--json").json
    assert found["protocol"] == "gift" and found["windows"] == 3
    assert "baselines" in found and found["relative"]["crps"] > 0
    assert lab.lstm("eval", run, "--protocol", "windows", "--json").json["windows"] == 15
    assert lab.lstm("eval", run, "--protocol", "stateful").code == 2
    assert lab.lstm("eval", run, "--protocol", "gift", "--by", "step").code == 2


def test_what_is_not_there_is_named(folder):
    with pytest.raises(UsageError, match="no config 'large'"):
        bench_forecast(folder, only=["large"])
    with pytest.raises(DataError, match="none of the tables"):
        bench_forecast(Path(folder, "nowhere"))
