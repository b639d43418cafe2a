"""Times that numbers hide, times in a stated form, and rows that are there twice."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.table.panel import prepare_series


def column(cells, header="t,y"):
    return header + "\n" + "".join(f"{cell},{k}\n" for k, cell in enumerate(cells))


def first_times(data, count=3):
    return data.panel.grid.labels(np.arange(count))


WEEKS = [
    f"{year}{week:02}" for year, most in ((2019, 52), (2020, 53), (2021, 20)) for week in range(1, most + 1)
]
DAYS = [f"2020{day:03}" for day in range(1, 367)] + [f"2021{day:03}" for day in range(1, 40)]


@pytest.mark.parametrize(
    ("cells", "frequency", "labels", "word"),
    [
        (WEEKS, "1w", ["2018-12-31", "2019-01-07", "2019-01-14"], "ISO weeks, as 202053"),
        (DAYS, "1d", ["2020-01-01", "2020-01-02", "2020-01-03"], "days of the year, as 2020366"),
        (
            [f"{1949 + k / 12:.3f}" for k in range(60)],
            "1mo",
            ["1949-01-01", "1949-02-01", "1949-03-01"],
            "decimal",
        ),
        (
            [f"{1949 + k / 12:.2f}" for k in range(60)],
            "1mo",
            ["1949-01-01", "1949-02-01", "1949-03-01"],
            "decimal",
        ),
        (
            [1960 + k / 4 for k in range(40)],
            "1q",
            ["1960-01-01", "1960-04-01", "1960-07-01"],
            "decimal years",
        ),
    ],
)
def test_times_that_are_numbers(table, notices, cells, frequency, labels, word):
    data = prepare_series(table(column(cells), time="t"))
    assert data.panel.grid.frequency == frequency and first_times(data) == labels
    assert len(data.panel.values) == len(cells) and word in "".join(notices)


@pytest.mark.parametrize(
    "cells", [[f"{1.5 * k}" for k in range(30)], [f"{100 + k / 7:.3f}" for k in range(30)]]
)
def test_numbers_that_are_no_years(table, cells):
    with pytest.raises(DataError):
        prepare_series(table(column(cells), time="t"))


def test_a_form_as_stated(table):
    cells = [f"{day:02}~01~20 00h30" for day in range(1, 20)]
    data = prepare_series(table(column(cells), time="t", time_format="%d~%m~%y %Hh%M"))
    assert first_times(data, 1) == ["2020-01-01 00:30:00"] and data.panel.grid.frequency == "1d"
    with pytest.raises(DataError, match=r"row 4: column t: '2020-01-03' is not written as data.time_format"):
        prepare_series(table(column([*cells[:2], "2020-01-03"]), time="t", time_format="%d~%m~%y %Hh%M"))


def test_days_of_a_spreadsheet(table):
    data = prepare_series(table(column([43831 + k / 24 for k in range(48)]), time="t", time_format="excel"))
    assert first_times(data, 2) == ["2020-01-01 00:00:00", "2020-01-01 01:00:00"]


ROWS = "t,g,y,z\n1,a,1,5\n2,a,10,6\n2,a,20,7\n3,a,,8\n3,a,4,9\n1,b,7,1\n1,b,,2\n2,b,8,3\n"


@pytest.mark.parametrize(
    ("how", "wanted"),
    [("mean", [1, 15, 4, 7, 8]), ("sum", [1, 30, 4, 7, 8]), ("last", [1, 20, 4, np.nan, 8])],
)
def test_rows_that_are_there_twice_are_joined_as_stated(table, notices, how, wanted):
    settings = {"time": "t", "group": "g", "target": "y", "past": ["z"]}
    data = prepare_series(table(ROWS, **settings, duplicates=how))
    np.testing.assert_array_equal(data.panel.values[:, 0], wanted)
    assert "3 rows have the time and the series of another" in "".join(notices)
    with pytest.raises(DataError, match="row 4: the same time as"):
        prepare_series(table(ROWS, **settings))


def test_nothing_is_joined_where_nothing_is_there_twice(table):
    text = column(range(20))
    data = prepare_series(table(text, time="t", duplicates="sum"))
    assert data.panel.values[:, 0].tolist() == list(range(20))


def test_a_table_without_times_is_counted(table, notices):
    text = "a,b\n" + "".join(f"{k},{k % 3}\n" for k in range(30))
    data = prepare_series(table(text, layout="wide"))
    assert data.panel.targets == ["a", "b"] and data.panel.grid.frequency == "1i"
    assert data.panel.grid.labels(np.arange(2)) == ["0", "1"] and len(data.panel.values) == 30
    assert "the rows are counted" in "".join(notices)
    with pytest.raises(DataError, match=r"data\.frequency 1d needs data\.time"):
        prepare_series(table(text, layout="wide", frequency="1d"))
