"""Public tables as people download them."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from lstmcli.kinds.series.settings import SeriesTable
from lstmcli.kinds.series.table.panel import prepare_series
from lstmcli.kinds.series.windows import SeriesBatches, split_windows, training_windows

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data"


def file(name):
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return str(path)


def test_ett_hour():
    path = file("series/ETTh1.csv")
    data = prepare_series(SeriesTable(path=path, time="date", splits=[8640, 2880, 2880]))
    assert data.panel.targets == ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    with open(path) as opened:
        rows = list(csv.reader(opened))[1:]
    for row in (0, 8639, 17419):
        assert data.panel.values[row].tolist() == [float(cell) for cell in rows[row][1:]]
    assert data.panel.grid.labels([0, 17419]) == [rows[0][0], rows[-1][0]]
    for horizon in (96, 720):
        assert len(training_windows(data, 336, horizon)) == 8640 - 336 - horizon + 1
        assert len(split_windows(data, "test", 336, horizon)) == 2880 - horizon + 1


def test_beijing():
    data = prepare_series(
        SeriesTable(
            path=file("series/beijing_pollution.csv"),
            time=["year", "month", "day", "hour"],
            target="pm2.5",
            past=["DEWP", "TEMP"],
        )
    )
    assert data.panel.grid.origin == datetime(2010, 1, 1) and data.panel.grid.frequency == "1h"
    assert data.summary["steps"] == 43_824 and data.summary["gaps"] == 0
    assert int(np.isnan(data.panel.values).sum()) == 2_067


def test_m4_hourly():
    settings = SeriesTable(
        path=file("m4/hourly_train.csv"),
        test_path=file("m4/hourly_test.csv"),
        frequency="1h",
        val_length=48,
    )
    data = prepare_series(settings)
    panel = data.panel
    assert (len(panel.names), panel.names[0], panel.season) == (414, "H1", 24)
    assert (data.test_end - data.val_end == 48).all() and (data.val_end - data.train_end == 48).all()
    assert panel.values[:3, 0].tolist() == [605, 586, 586]
    assert panel.values[int(data.val_end[0]), 0] == 619
    assert len(split_windows(data, "test", 168, 48)) == 414
    batch = SeriesBatches(training_windows(data, 168, 48), 64, seed=1)[7]
    assert batch.context.shape == (64, 168, 1) and not np.isnan(batch.context).any()
