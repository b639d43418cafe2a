"""The series in data/ are complete, in order and hold the published values."""

from __future__ import annotations

import csv
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "data"


def table(name):
    """Dates and values (None where empty) of a file, and the names of its columns."""
    with (DATA / name).open(newline="") as file:
        columns, *rows = list(csv.reader(file))
    times = [date.fromisoformat(time) for time, _ in rows]
    return columns, times, [float(value) if value else None for _, value in rows]


def months(time):
    return 12 * time.year + time.month


@pytest.mark.parametrize(
    ("name", "columns", "rows", "first", "last", "step"),
    [
        ("air-passengers.csv", ["month", "passengers"], 144, date(1949, 1, 1), date(1960, 12, 1), 1),
        ("co2.csv", ["month", "co2"], 682, date(1958, 3, 1), date(2014, 12, 1), 1),
        ("sunspots.csv", ["year", "sunspots"], 289, date(1700, 1, 1), date(1988, 1, 1), 12),
    ],
)
def test_every_step_is_there_once_and_in_order(name, columns, rows, first, last, step):
    found, times, _ = table(name)
    assert found == columns and len(times) == rows and (times[0], times[-1]) == (first, last)
    assert {time.day for time in times} == {1}
    assert {months(after) - months(before) for before, after in pairwise(times)} == {step}


def test_air_passengers():
    """The yearly totals, in thousands."""
    _, times, values = table("air-passengers.csv")
    totals = [
        sum(v for t, v in zip(times, values, strict=True) if t.year == year) for year in range(1949, 1961)
    ]
    assert totals == [1520, 1676, 2042, 2364, 2700, 2867, 3408, 3939, 4421, 4572, 5140, 5714]
    assert values[:3] == [112, 118, 132] and values[-1] == 432


def test_co2():
    """The published annual means of years without a gap, and the months that were not measured."""
    _, times, values = table("co2.csv")
    missing = [f"{time:%Y-%m}" for time, value in zip(times, values, strict=True) if value is None]
    assert missing == ["1958-06", "1958-10", "1964-02", "1964-03", "1964-04", "1975-12", "1984-04"]
    for year, annual in {1959: 315.97, 1974: 330.18, 1990: 354.35, 2000: 369.52, 2014: 398.55}.items():
        own = [value for time, value in zip(times, values, strict=True) if time.year == year]
        assert len(own) == 12 and sum(own) / 12 == pytest.approx(annual, abs=0.006)


def test_sunspots():
    """Well-known maxima and minima of the Zürich sunspot number."""
    _, times, values = table("sunspots.csv")
    at = dict(zip([time.year for time in times], values, strict=True))
    assert at[1700] == 5 and at[1778] == 154.4 and at[1870] == 139.0 and at[1988] == 100.2
    assert max(at, key=at.get) == 1957 and at[1957] == 190.2
    assert [year for year in at if at[year] == 0] == [1711, 1712, 1810]
