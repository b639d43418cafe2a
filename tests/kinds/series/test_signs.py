"""What a table is seen to be, on series that are known to be so; and that the config that follows trains."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from lstmcli.config.load import parse_config
from lstmcli.config.yaml_reader import read_yaml
from lstmcli.kinds.series.portfolio import member_configs
from lstmcli.kinds.series.proposal import series_config
from lstmcli.kinds.series.signs import read_signs
from lstmcli.kinds.series.table.panel import prepare_series
from lstmcli.run.check import check


def write(path, columns, **step):
    """A wide table of these series."""
    names = [f"s{k}" for k in range(len(columns))]
    rows = [",".join(["time", *names])]
    for k, row in enumerate(np.transpose(columns)):
        rows.append(",".join([str(datetime(2015, 1, 1) + timedelta(**step) * k), *map(repr, row.tolist())]))
    path.write_text("\n".join(rows) + "\n")
    return path


def signs_of(path, table, columns, horizon, **step):
    write(path, columns, **step)
    names = [f"s{k}" for k in range(len(columns))]
    data = prepare_series(table(path.read_text(), time="time", target=names))
    return read_signs(data.panel, data.panel.lengths, horizon)


def test_a_day_and_a_week_in_hours(tmp_path, table):
    draw, hours = np.random.default_rng(0), np.arange(24 * 7 * 8)
    values = np.sin(hours * 2 * np.pi / 24) + 2.0 * ((hours // 24) % 7 >= 5) + draw.normal(0, 0.1, len(hours))
    found = signs_of(tmp_path / "t.csv", table, [values], 24, hours=1)
    assert [s.steps for s in found.seasons] == [168, 24]  # the week forecasts the weekend, too
    assert found.season is not None and found.season.ratio < 0.3
    assert found.transform == "none" and not found.counts


def test_a_walk_has_no_season_that_is_worth_it(tmp_path, table):
    draw = np.random.default_rng(1)
    found = signs_of(tmp_path / "t.csv", table, np.cumsum(draw.normal(size=(3, 800)), axis=1), 14, days=1)
    assert found.season is None


def test_values_over_orders_of_magnitude(tmp_path, table):
    draw = np.random.default_rng(2)
    flows = np.exp(draw.normal(0.0, 1.5, (2, 400)))
    assert signs_of(tmp_path / "t.csv", table, flows, 7, days=1).transform == "log"
    flows[0, 5] = 0.0
    assert signs_of(tmp_path / "t.csv", table, flows, 7, days=1).transform == "log1p"
    assert signs_of(tmp_path / "t.csv", table, -flows, 7, days=1).transform == "none"


def test_intermittent_counts(tmp_path, table):
    draw = np.random.default_rng(3)
    found = signs_of(tmp_path / "t.csv", table, draw.poisson(0.3, (4, 100)).astype(float), 7, days=1)
    assert found.counts and found.zeros == pytest.approx(np.exp(-0.3), abs=0.06)
    assert found.transform == "none"
    found = signs_of(tmp_path / "t.csv", table, draw.poisson(30, (4, 100)).astype(float), 7, days=1)
    assert found.whole and not found.counts


def test_a_constant_a_short_and_an_empty_part_say_nothing(tmp_path, table):
    columns = np.array([[5.0] * 30, [1.0] * 29 + [np.nan]])
    found = signs_of(tmp_path / "t.csv", table, columns, 4, days=1)
    assert found.seasons == () and found.trend == 0.0


@pytest.mark.parametrize("horizon", [None, 5, 24])
@pytest.mark.parametrize("kind", ["season", "walk", "counts", "short"])
def test_every_proposal_is_a_config_that_may_be_trained(tmp_path, kind, horizon):
    draw, hours = np.random.default_rng(4), np.arange(60 if kind == "short" else 900)
    columns = {
        "season": np.sin(hours * 2 * np.pi / 24)[None] + draw.normal(0, 0.1, (2, len(hours))),
        "walk": np.exp(np.cumsum(draw.normal(0, 0.1, (1, len(hours))), axis=1)),
        "counts": draw.poisson(0.3, (3, len(hours))).astype(float),
        "short": draw.normal(size=(3, len(hours))),
    }[kind]
    path = write(tmp_path / "t.csv", columns, hours=1)
    text = series_config(path, horizon, 0.5)
    config = parse_config(read_yaml(text).value, "the proposal")
    check(config)
    assert config.train.max_minutes == 0.5 and config.train.refit is True
    assert config.data.horizon == (horizon or config.data.horizon)
    for member in member_configs(config):
        assert member.data.context_length % member.forecast.patch_length == 0
    for line in text.splitlines():
        if line.startswith("    - {"):
            assert "#" in line  # and why it is there


def test_short_series_are_read_from_their_beginning(tmp_path):
    """27 months of training for a year ahead once gave a context of one step."""
    draw = np.random.default_rng(5)
    rows = ["part,month,sold"]
    for part in range(20):
        for month in range(51):
            rows.append(f"p{part},{1998 + month // 12}-{month % 12 + 1:02d}-01,{draw.poisson(0.4)}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    config = parse_config(read_yaml(series_config(tmp_path / "t.csv", 12, None, 12)).value, "the proposal")
    assert config.data.context_length >= 12 and config.data.test_length == 12
    assert config.forecast.whole_numbers
