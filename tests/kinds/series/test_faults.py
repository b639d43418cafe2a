"""What a table can be wrong about: the message says where, and how to mend it."""

from __future__ import annotations

import polars as pl
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.table.panel import prepare_series, read_series
from lstmcli.kinds.series.windows import training_windows

HOURS = [f"2020-01-01 {hour:02}:00:00" for hour in range(24)]
GOOD = "t,v\n" + "".join(f"{time},{n}\n" for n, time in enumerate(HOURS))


def message(table, text, **settings):
    with pytest.raises(DataError) as caught:
        prepare_series(table(text, **{"time": "t", **settings}))
    assert caught.value.hint, caught.value.message
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "is empty"),
        (b"\n1,2\n", "row 1 has no names"),
        (b"t,v\n", "no rows"),
        (b"t,v\n\n\n", "no rows"),
        (b"t,v\n2020-01-01,1\n2020-01-02,2,3\n", "row 3 (line 3) has 3 fields, but the header has 2"),
        (b"t,v\n2020-01-01,1\n2020-01-02\n", "row 3 (line 3) has 1 fields"),
        (b"t,v,w\n2020-01-01,1\n2020-01-02,2,3,4\n", "row 2 (line 2) has 2 fields"),
        (b't,v\n"2020-01-01",1\n"2020-01-02\n', "(line 3)"),
        (b"t,v,v\n1,2,3\n", "columns 2 and 3 are both called 'v'"),
        (b"t,v\n2020-01-01,1\n2020-01-02,caf\xf7\xb8\n", "not valid UTF-8 at byte offset 31 (line 3)"),
        (b"t,v\n2020-01-01,1\n\x002020-01-02,2\n", "NUL in line 3"),
        ("t,v\n1,2\n".encode("utf-16")[:-1], "is not utf-16"),
        (b"\x1f\x8b rest", "gunzip"),
        (b"PK\x03\x04 rest", "export the sheet as CSV"),
        (b"PAR1 and nothing that is Parquet", "damaged"),
        (b"t,v\n1,1\n2,inf\n3,1\n", "row 3: column v: the value is infinite"),
        (b"t,v\n,1\n2,2\n", "row 2: no time in column t"),
        (b"t,v\n2020-01-01,1\n01/02/2020,2\n", "row 3: column t: '01/02/2020' is not a time"),
        (b"t,v\n2020-02-30,1\n2020-03-01,2\n", "row 2: column t: '2020-02-30'"),
        (b"t,v\n2020-01-02,1\n2020-01-01,1\n2020-01-02,2\n", "row 4: the same time as"),
        (b"t,v\n2020-01-01,1\n", "no series has two rows"),
        (b"t,v\n1,x\n2,y\n", "no column of numbers"),
        (b"t,v\n1,\n2,\n", "no column of numbers"),
        (b"t\n1\n2\n", "no column of numbers"),
        (b"t,v\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n2020-01-03 12:00,4\n", "set data.frequency"),
    ],
)
def test_a_table_that_is_wrong(table, text, expected):
    assert expected in message(table, text)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["01/02/2020", "02/02/2020"], "set data.dayfirst: true"),
        (["13/02/2020", "02/13/2020"], "'13/02/2020') as well as the month first ('02/13/2020')"),
        (["13/02/2020", "30/02/2020"], "row 3: column t: '30/02/2020' is not a time (day first"),
        (["2021-W52", "2021-W53"], "row 3: column t: '2021-W53' is not a time (ISO weeks"),
        (["1 Jan 2020 11:00 PM", "2 Jan 2020 13:00 PM"], "row 3: column t: '2 Jan 2020 13:00 PM'"),
        (["1 Jan 2020", "2 Foo 2020"], "row 3: column t: '2 Foo 2020'"),
    ],
)
def test_times_that_are_not_clear(table, times, expected):
    assert expected in message(table, "t,v\n" + "".join(f"{time},1\n" for time in times))


def test_day_or_month_first_as_set(table):
    text = "t,v\n01/02/2020,1\n02/02/2020,2\n03/02/2020,3\n"
    assert prepare_series(table(text, time="t", dayfirst=True)).panel.grid.labels([2]) == ["2020-02-03"]
    assert prepare_series(table(text, time="t", dayfirst=False)).panel.grid.labels([2]) == ["2020-03-02"]


def test_text_in_a_column_of_numbers(table):
    rows = GOOD.replace(",17\n", ",n/v\n")
    found = message(table, rows)
    assert "table.csv, row 19: column v: 'n/v' is not a number" in found and "data.missing" in found
    mixed = message(
        table, GOOD.replace(",17\n", ',"1,5"\n').replace(",16\n", ",1.5\n").replace(",15", ",2.5")
    )
    assert "row 19: column v: '1,5' is not a number" in mixed and "data.decimal" in mixed
    settings = table(rows, time="t", missing=["n/v"])
    assert prepare_series(settings).summary["missing"] == pytest.approx(1 / 24)


def test_blanks_around_numbers_are_harmless(table):
    data = prepare_series(table("t,v\n1, 5\n2,6 \n\n3,\t7\n", time="t"))
    assert data.panel.values[:, 0].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"time": "tt"}, "did you mean t?"),
        ({"target": ["V"]}, "no column 'V' (data.target)"),
        ({"target": "v", "known": ["v"]}, "data.known and data.target"),
        ({"target": ["v", "v"]}, "data.target twice"),
        ({"target": "t"}, "data.time and data.target"),
        ({"layout": "long"}, "needs data.group"),
        ({"layout": "rows"}, "layout rows has no times"),
        ({"time": None, "layout": "long", "group": "v"}, "needs data.time"),
        ({"frequency": "1x"}, "'1x' is no step"),
        ({"frequency": "1i"}, "are dates"),
        ({"frequency": "1d"}, "row 3: 2020-01-01T01:00:00.000000 is off the grid of 1d steps"),
        ({"frequency": "1s"}, "would become 82,801"),
        ({"splits": [20, 10]}, "asks for 30 steps, but there are 24"),
        ({"test_length": 3, "test_path": "x"}, "there is no file"),
        ({"sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_settings_that_do_not_fit(table, settings, expected):
    if settings.get("frequency") == "1s":
        settings = {"frequency": "100ms"}
        expected = "would become 828,001"
    assert expected in message(table, GOOD, **settings)


def test_what_is_no_file(table, tmp_path):
    settings = table(GOOD, time="t")
    for path, expected in ((tmp_path, "is a folder"), (tmp_path / "tabel.csv", "did you mean table.csv")):
        with pytest.raises(DataError, match=expected):
            prepare_series(settings.model_copy(update={"path": str(path)}))


def test_times_that_are_not_regular(table):
    hourly = [f"a,{time},1" for time in HOURS]
    other = [f"b,2020-01-0{day} 00:00:00,1" for day in range(1, 6)]
    text = "\n".join(["id,t,v", *hourly, *other])
    found = message(table, text, group="id")
    assert "row 27" in found and "has 1d" in found and "set data.frequency: 1h" in found
    assert prepare_series(table(text, time="t", group="id", frequency="1h")).panel.lengths.tolist() == [
        24,
        97,
    ]
    late = GOOD.replace("05:00:00", "05:00:07")
    assert "before" in message(table, late) and "row 7" in message(table, late)
    scattered = "t,v\n" + "".join(f"{n * n},1\n" for n in range(9))
    assert "data.frequency: " in message(table, scattered)


def test_a_month_end_that_is_not_one(table):
    text = "t,v\n2020-01-31,1\n2020-02-29,2\n2020-03-30,3\n2020-04-30,4\n"
    assert "row 4" in message(table, text, frequency="1mo")


def test_groups_and_statics(table):
    rows = "t,id,v,s\n1,a,1,x\n2,a,2,x\n1,b,3,y\n2,b,4,z\n"
    assert "row 5: column s is static, but changes from 'y' to 'z'" in message(
        table, rows, group="id", static=["s"]
    )
    assert "row 3: no name of a series" in message(table, "t,id,v\n1,a,1\n2,,2\n", group="id")
    assert "second row for series 'a'" in message(table, "id,1,2\na,1,2\na,3,4\n", time=None)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("id,1,2\na,1,2\nb,,\n", {"time": None}),
        ("id,t,v\na,1,1\na,2,2\nb,1,\nb,2,\n", {"time": "t", "group": "id"}),
    ],
)
def test_a_series_without_a_value_is_left_out_by_name(table, notices, text, settings):
    panel = prepare_series(table(text, **settings)).panel
    assert panel.names == ["a"] and panel.values[:, 0].tolist() == [1, 2] and panel.offsets.tolist() == [0, 2]
    assert any("no value: series 'b'" in said for said in notices)


def test_what_another_table_lacks_is_told(table, tmp_path, notices):
    rows = "".join(f"{name},{n},{n},{n}\n" for name in "12" for n in range(6))
    settings = table("id,t,v,k\n" + rows, time="t", group="id", known=["k"])
    meta = prepare_series(settings).meta()
    assert not notices
    later = "".join(f"1.0,{n},{n if n < 4 else ''},{n if n < 4 else ''}\n" for n in range(6))
    (tmp_path / "next.csv").write_text("id,t,v,k\n" + later)
    read_series(settings, tmp_path / "next.csv", meta)
    assert any(
        "k (data.known) is empty in 2 of 6 steps, first of series 1.0 at 4" in said for said in notices
    )
    assert any("unknown to this run" in said and "'1.0'" in said and "'1', '2'" in said for said in notices)


def test_marks_of_nothing(table):
    cells = ["#N/A", "-", "n/a", "#DIV/0!", "NaT", "<NA>"]
    text = "t,v\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(["1", *cells, "2"]))
    assert prepare_series(table(text, time="t")).summary["missing"] == 6 / 8


def test_a_test_table_with_other_series(table, tmp_path):
    (tmp_path / "test.csv").write_text("id,1\nz,1\n")
    test = str(tmp_path / "test.csv")
    assert "the series 'z', which data.path has not" in message(
        table, "id,1,2\na,1,2\n", time=None, test_path=test
    )


def test_parquet_that_ends_early(table, tmp_path):
    pl.DataFrame({"t": list(range(2000)), "v": [0.5] * 2000}).write_parquet(tmp_path / "p.parquet")
    whole = (tmp_path / "p.parquet").read_bytes()
    for end in (10, len(whole) // 2, len(whole) - 3):
        assert "damaged" in message(table, whole[:end], name="p.parquet")


def test_parquet_faults_name_rows_without_a_header(table, tmp_path):
    pl.DataFrame({"t": [1, 2, 3], "v": [1.0, float("inf"), 2.0]}).write_parquet(tmp_path / "p.parquet")
    assert "row 2: column v" in message(table, (tmp_path / "p.parquet").read_bytes(), name="p.parquet")


def test_another_file_lacks_a_target(table, tmp_path):
    settings = table(GOOD, time="t")
    meta = prepare_series(settings).meta()
    (tmp_path / "other.csv").write_text(GOOD.replace("t,v", "t,vv"))
    with pytest.raises(DataError, match="did you mean vv"):
        read_series(settings, tmp_path / "other.csv", meta)


def test_series_too_short_for_one_window(table):
    data = prepare_series(table(GOOD, time="t"))
    with pytest.raises(DataError, match="training part of 31 steps"):
        training_windows(data, 96, 30)
    assert len(training_windows(data, 96, 20)) == 3


def test_a_constant_column_is_data_like_any_other(table):
    data = prepare_series(table("t,v\n1,5\n2,5\n3,5\n", time="t"))
    assert data.panel.values[:, 0].tolist() == [5, 5, 5]
