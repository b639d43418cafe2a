"""Tables in every layout become the same series."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.table.grid import TimeGrid
from lstmcli.kinds.series.table.panel import prepare_series, read_series

NAN = float("nan")
START = datetime(2020, 3, 28, 20)  # a change to summer time lies ahead: of no consequence


def hours(count, start=START, step=1):
    return [str(start + timedelta(hours=step * number)) for number in range(count)]


def wide(times, header="time,a,b"):
    rows = [f"{time},{number},{number * 0.5}" for number, time in enumerate(times)]
    return "\n".join([header, *rows, ""])


def values(data):
    panel = data.panel
    return {
        name: panel.values[panel.offsets[number] : panel.offsets[number + 1]].tolist()
        for number, name in enumerate(panel.names)
    }


def test_wide(table):
    data = prepare_series(table(wide(hours(10)), time="time", splits=[0.5, 0.2, 0.3]))
    panel = data.panel
    assert values(data) == {"": [[n, n * 0.5] for n in range(10)]}
    assert (panel.targets, panel.grid, panel.season) == (["a", "b"], TimeGrid("1h", START), 24)
    assert [end.tolist() for end in (data.train_end, data.val_end, data.test_end)] == [[5], [7], [10]]
    assert panel.known.shape == (10, 0) and panel.past.shape == (10, 0) and panel.static.shape == (1, 0)


@pytest.mark.parametrize("shuffled", [False, True])
def test_long_in_any_order(table, notices, shuffled):
    rows = [f"{time},{name},{place},{n}" for name, place in (("x", "N"), ("y", "S")) for n, time in
            enumerate(hours(5 if name == "x" else 3))]  # fmt: skip
    order = np.random.default_rng(0).permutation(len(rows)) if shuffled else range(len(rows))
    text = "\n".join(["time,id,place,v", *(rows[number] for number in order)])
    data = prepare_series(table(text, time="time", group="id", static=["place"]))
    assert values(data) == {"x": [[0.0], [1.0], [2.0], [3.0], [4.0]], "y": [[0.0], [1.0], [2.0]]}
    assert any("sorted" in text for text in notices) == shuffled
    panel = data.panel
    assert panel.static_names == ["place=N", "place=S"]
    assert dict(zip(panel.names, panel.static.tolist(), strict=True)) == {"x": [1, 0], "y": [0, 1]}


def test_two_columns_name_a_series(table):
    rows = [
        f"{t},{store},{item},{store}{n}" for n, t in enumerate(hours(3)) for store in "12" for item in "ab"
    ]
    text = "\n".join(["time,store,item,v", *rows])
    data = prepare_series(table(text, time="time", group=["store", "item"]))
    assert values(data)["2/b"] == [[20], [21], [22]] and data.panel.names == ["1/a", "1/b", "2/a", "2/b"]
    with pytest.raises(DataError, match="make the same name for different series"):
        prepare_series(table("t,p,q,v\n1,a/b,c,1\n1,a,b/c,1\n", time="t", group=["p", "q"]))


def test_series_that_take_turns_are_in_order(table, notices):
    rows = [f"{time},{name},1" for time in hours(4) for name in "xy"]
    prepare_series(table("\n".join(["time,id,v", *rows]), time="time", group="id"))
    assert not notices


def test_rows_of_unequal_length(table):
    text = '"id","1","2","3","4"\n"p","1","2","3","4"\n"q","5",,"7",\n"r","8"\n'
    data = prepare_series(table(text))
    assert repr(values(data)) == repr(
        {"p": [[1.0], [2.0], [3.0], [4.0]], "q": [[5.0], [NAN], [7.0]], "r": [[8.0]]}
    )
    assert data.panel.grid is None and data.panel.season == 1
    known = prepare_series(table(text, frequency="1h", season=12)).panel
    assert known.grid == TimeGrid("1h", 1) and known.season == 12


def test_a_test_table_of_rows_continues_the_series(table, tmp_path):
    (tmp_path / "test.csv").write_text("id,1,2\nq,10,11\np,20,21\n")
    settings = table("id,1,2,3\np,1,2,3\nq,5,6,\n", test_path=str(tmp_path / "test.csv"), val_length=1)
    data = prepare_series(settings)
    assert values(data) == {"p": [[1], [2], [3], [20], [21]], "q": [[5], [6], [10], [11]]}
    assert [end.tolist() for end in (data.train_end, data.val_end, data.test_end)] == [[2, 1], [3, 2], [5, 4]]


def test_a_test_table_of_times_continues_the_series(table, tmp_path):
    times = hours(14)
    (tmp_path / "test.csv").write_text(wide(times[10:]))
    data = prepare_series(table(wide(times[:10]), time="time", test_path=str(tmp_path / "test.csv"),
                                splits=[0.8, 0.2]))  # fmt: skip
    assert [int(end[0]) for end in (data.train_end, data.val_end, data.test_end)] == [8, 10, 14]
    (tmp_path / "test.csv").write_text(wide(hours(2, START - timedelta(hours=2))))
    with pytest.raises(DataError, match=r"test.csv, row 3: a test row that is earlier"):
        prepare_series(table(wide(times[:10]), time="time", test_path=str(tmp_path / "test.csv")))


def test_gaps_are_missing(table, notices):
    times = hours(8)
    text = "time,v\n" + "".join(f"{times[n]},{n}\n" for n in (0, 1, 2, 5, 6, 7))
    panel = prepare_series(table(text, time="time")).panel
    np.testing.assert_array_equal(panel.values[:, 0], [0, 1, 2, NAN, NAN, 5, 6, 7])
    assert any("2 steps have no row" in said for said in notices)


def test_working_days_are_days(table):
    days = [day for day in (datetime(2020, 1, 6) + timedelta(days=n) for n in range(28)) if day.weekday() < 5]
    data = prepare_series(table("d,v\n" + "".join(f"{day:%Y-%m-%d},1\n" for day in days), time="d"))
    assert data.panel.grid.frequency == "1d" and data.summary["gaps"] == 6


@pytest.mark.parametrize(
    ("times", "frequency", "second"),
    [
        (["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"], "1mo", "2020-02-29"),
        (["2020-03-31", "2020-06-30", "2020-09-30"], "1q", "2020-06-30"),
        (["2020-01-15", "2020-02-15", "2020-04-15", "2020-05-15"], "1mo", "2020-02-15"),
        (["2020/01/01", "2021/01/01"], "1y", "2021-01-01"),
        (["2020-01", "2020-02"], "1mo", "2020-02-01"),
        (["20200131", "20200201"], "1d", "2020-02-01"),
        (["2020.1.30", "2020.1.31"], "1d", "2020-01-31"),
        (["1999", "2000", "2001"], "1i", "2000"),
        (["5", "15", "25"], "10i", "15"),
        (["2020-01-06", "2020-01-13"], "1w", "2020-01-13"),
        (["2020-01-01T00:00:00.5Z", "2020-01-01T00:00:01Z"], "500ms", "2020-01-01 00:00:01.000000"),
        (["2020-01-01T00:00", "2020-01-01T00:15"], "15m", "2020-01-01 00:15:00"),
        (["2020-01-01 00", "2020-01-01 06"], "6h", "2020-01-01 06:00:00"),
        (["2020-01-01 00:00:00 UTC", "2020-01-01 01:00:00 UTC"], "1h", "2020-01-01 01:00:00"),
        (["30/01/2020", "31/01/2020"], "1d", "2020-01-31"),
        (["1/30/2020 11:00 PM", "1/31/2020 12:00 AM"], "1h", "2020-01-31 00:00:00"),
        (["01.02.2020 23:00", "01.02.2020 24:00"], "1h", "2020-02-02 00:00:00"),
        (["31.12.69", "01.01.70"], "1d", "1970-01-01"),
        (["31 Jan 2020", "1 Feb 2020"], "1d", "2020-02-01"),
        (["31. März 2020", "1. April 2020"], "1d", "2020-04-01"),
        (["January 31, 2020", "February 1, 2020"], "1d", "2020-02-01"),
        (["Fri, 31-Jan-2020", "Sat, 01-Feb-2020"], "1d", "2020-02-01"),
        (["1975 Jan", "1975 Feb"], "1mo", "1975-02-01"),
        (["Dec 1975", "Jan 1976"], "1mo", "1976-01-01"),
        (["12/1975", "01/1976"], "1mo", "1976-01-01"),
        (["1975M12", "1976M01"], "1mo", "1976-01-01"),
        (["1998 Q4", "1999 Q1"], "1q", "1999-01-01"),
        (["1998Q4", "1999Q1"], "1q", "1999-01-01"),
        (["Q4-1998", "Q1-1999"], "1q", "1999-01-01"),
        (["2020-W53", "2021-W01"], "1w", "2021-01-04"),
        (["201512", "201601"], "1mo", "2016-01-01"),
        (["2020123123", "2021010100"], "1h", "2021-01-01 00:00:00"),
        (["1577836800", "1577840400"], "1h", "2020-01-01 01:00:00"),
        (["1577836800000", "1577836800500"], "500ms", "2020-01-01 00:00:00.500000"),
        (["100001", "100002"], "1i", "100002"),
        (["1991 W06", "1991 W07"], "1w", "1991-02-11"),
        (["2020-01-01T00:00:00.250Z", "2020-01-01T00:00:00.500Z"], "250ms", "2020-01-01 00:00:00.500000"),
    ],
)
def test_frequencies_are_found(table, times, frequency, second):
    grid = prepare_series(table("t,v\n" + "".join(f'"{time}",1\n' for time in times), time="t")).panel.grid
    assert (grid.frequency, grid.labels([1])) == (frequency, [second])


def test_years_as_numbers(table):
    grid = prepare_series(table("t,v\n1999,1\n2000,2\n", time="t", frequency="1y")).panel.grid
    assert grid == TimeGrid("1y", datetime(1999, 1, 1))


@pytest.mark.parametrize("form", ["{}", "{}Z", "{}+00:00", "{} +0000"])
def test_the_zone_changes_nothing(table, form, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    data = prepare_series(table(wide([form.format(time) for time in hours(30)]), time="time"))
    assert data.panel.grid == TimeGrid("1h", START) and data.summary["gaps"] == 0


def test_offsets_are_taken_off(table):
    texts = [f"{time}+02:00" if number % 2 else f"{time2}Z" for number, (time, time2) in
             enumerate(zip(hours(6), hours(6, START - timedelta(hours=2)), strict=True))]  # fmt: skip
    grid = prepare_series(table(wide(texts), time="time")).panel.grid
    assert grid == TimeGrid("1h", START - timedelta(hours=2))


@pytest.mark.parametrize("mark", [" ", "T"])
def test_local_midnights_over_a_change_of_clocks_are_days(table, notices, mark):
    zones = ["+01:00"] * 3 + ["+02:00"] * 3
    texts = [f"2020-03-{27 + n}{mark}00:00:00{zone}" for n, zone in enumerate(zones[:5])]
    data = prepare_series(table("t,v\n" + "".join(f"{text},1\n" for text in texts), time="t"))
    assert data.panel.grid == TimeGrid("1d", datetime(2020, 3, 27)) and data.summary["gaps"] == 0
    assert any("local days" in said for said in notices)


def test_time_in_several_columns(table):
    rows = "".join(f"{1},{2020},{day},{hour},{day * 24 + hour}\n" for day in (1, 2) for hour in range(24))
    data = prepare_series(table("month,year,day,hour,v\n" + rows, time=["year", "month", "day", "hour"]))
    assert data.panel.grid == TimeGrid("1h", datetime(2020, 1, 1)) and len(data.panel.values) == 48
    rows = "".join(f"2020-01-01,{hour:02}:00,{hour}\n" for hour in range(5))
    data = prepare_series(table("date,clock,v\n" + rows, time=["date", "clock"]))
    assert data.panel.grid == TimeGrid("1h", datetime(2020, 1, 1))


@pytest.mark.parametrize("shift", [timedelta(days=7), timedelta(days=-3650)])
def test_a_shift_in_time_changes_only_the_origin(table, shift):
    one = prepare_series(table(wide(hours(12)), time="time")).panel
    two = prepare_series(table(wide(hours(12, START + shift)), time="time")).panel
    np.testing.assert_array_equal(one.values, two.values)
    assert two.grid == TimeGrid("1h", one.grid.origin + shift) and one.starts.tolist() == two.starts.tolist()


def test_the_scale_of_covariates_changes_nothing(table):
    def known(factor, offset):
        rows = [f"{t},{n},{(n * n % 7) * factor + offset}" for n, t in enumerate(hours(12))]
        text = "\n".join(["time,v,k", *rows])
        return prepare_series(table(text, time="time", known=["k"], splits=[0.5, 0.5])).panel.known

    plain = known(1, 0)
    assert plain[:6].mean() == pytest.approx(0, abs=1e-6) and plain[:6].std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(known(1000, -5e5), plain, atol=1e-4)


def test_parquet_csv_and_tsv_are_the_same(table, tmp_path):
    text = wide(hours(10)).replace("3,1.5", "NA,1.5")
    plain = prepare_series(table(text, time="time")).panel
    frame = pl.read_csv(text.encode(), null_values=["NA"], try_parse_dates=True)
    assert frame["time"].dtype == pl.Datetime
    frame.write_parquet(tmp_path / "t.parquet")
    frame.with_columns(pl.col("time").dt.replace_time_zone("UTC")).write_parquet(tmp_path / "z.parquet")
    table(text.replace(",", "\t"), name="t.tsv")
    table("\ufeff" + text.replace(",", ";").replace("\n", "\r\n"), name="s.csv")
    for name in ("t.parquet", "z.parquet", "t.tsv", "s.csv"):
        settings = table(text, time="time").model_copy(update={"path": str(tmp_path / name)})
        other = prepare_series(settings).panel
        np.testing.assert_array_equal(other.values, plain.values)
        assert (other.grid, other.targets) == (plain.grid, plain.targets)
        assert np.isnan(other.values[3, 0])


def test_several_files_are_one_table(table, tmp_path):
    table(wide(hours(5)), name="part-1.csv")
    settings = table(wide(hours(5, START + timedelta(hours=5))), name="part-2.csv", time="time")
    data = prepare_series(settings.model_copy(update={"path": str(tmp_path / "part-*.csv")}))
    assert len(data.panel.values) == 10 and data.summary["gaps"] == 0


def test_columns_that_are_text_are_left_out_with_a_word(table, notices):
    data = prepare_series(table("t,v,w\n1,1,NW\n2,2,SE\n", time="t"))
    assert data.panel.targets == ["v"] and any(said.endswith("not of numbers: w") for said in notices)


def test_a_constant_covariate_is_nought(table):
    rows = "".join(f"{n},{n},0.1,0.1\n" for n in range(9))
    panel = prepare_series(table("t,v,k,p\n" + rows, time="t", known=["k"], past=["p"])).panel
    assert not panel.known.any() and not panel.past.any()


def test_splits(table):
    def ends(lengths, **settings):
        rows = [f"{name}," + ",".join("1" * n) for name, n in zip("pqr", lengths, strict=False)]
        header = "id," + ",".join(map(str, range(max(lengths))))
        data = prepare_series(table("\n".join([header, *rows]), **settings))
        return [end.tolist() for end in (data.train_end, data.val_end, data.test_end)]

    assert ends([10, 5], splits=[0.7, 0.2, 0.1]) == [[7, 3], [9, 4], [10, 5]]
    assert ends([10], splits=[0.5]) == [[5], [5], [5]]
    assert ends([10], splits=[6, 2, 1]) == [[6], [8], [9]]
    assert ends([10, 3], val_length=2, test_length=3) == [[5, 0], [7, 0], [10, 3]]
    assert ends([10], test_length=3) == [[7], [7], [10]]
    with pytest.raises(DataError, match="asks for 12 steps, but there are 10"):
        ends([10], splits=[6, 4, 2])


def test_future_rows_belong_to_no_split(table):
    times = hours(12)
    rows = [f"{time},{n if n < 10 else ''},{n}" for n, time in enumerate(times)]
    settings = table("\n".join(["time,v,k", *rows]), time="time", target="v", known=["k"], splits=[0.8, 0.2])
    data = prepare_series(settings)
    assert (int(data.val_end[0]), len(data.panel.values)) == (10, 12)
    assert data.panel.observed_ends().tolist() == [10]
    again = read_series(settings, Path(settings.path), data.meta())
    np.testing.assert_array_equal(again.known, data.panel.known)
    assert again.observed_ends().tolist() == [10]


def test_another_file_for_a_trained_run(table, tmp_path, notices):
    header = "time,id,kind,size,v,k\n"
    rows = [f"{t},{s},{kind},{size},{n},{n * size}" for s, kind, size in (("x", "A", 1), ("y", "B", 3))
            for n, t in enumerate(hours(6))]  # fmt: skip
    settings = table(header + "\n".join(rows), time="time", group="id", static=["kind", "size"], known=["k"])
    meta = prepare_series(settings).meta()
    other = table(
        header + "\n".join(f"{t},new,C,5,7,{n}" for n, t in enumerate(hours(4, START + timedelta(days=9)))),
        name="new.csv",
    )
    panel = read_series(settings, Path(other.path), meta)
    assert (panel.names, panel.targets, panel.grid.frequency) == (["new"], ["v"], "1h")
    assert panel.static_names == ["kind=A", "kind=B", "size"] and panel.static.tolist() == [[0, 0, 3]]
    k = [n * size for size in (1, 3) for n in range(6)]
    expected = (np.arange(4) - np.mean(k)) / np.std(k)
    np.testing.assert_allclose(panel.known[:, 0], expected, rtol=1e-5)
    assert any("training never saw 'C'" in said for said in notices)


def test_the_fingerprint_follows_contents_and_settings(table):
    first = prepare_series(table(wide(hours(10)), time="time")).fingerprint
    assert prepare_series(table(wide(hours(10)), name="renamed.csv", time="time")).fingerprint == first
    assert prepare_series(table(wide(hours(11)), time="time")).fingerprint != first
    assert prepare_series(table(wide(hours(10)), time="time", target="a")).fingerprint != first
