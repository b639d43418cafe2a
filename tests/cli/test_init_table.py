"""lstm init for tables: a config that loads, and that reads the table as a person would."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from lstmcli.config.load import load_config
from lstmcli.kinds.series.table.panel import prepare_series
from lstmcli.kinds.series.windows import split_windows, training_windows

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def proposed(lab, text, name="table.csv"):
    """The config for a table, loaded; its windows exist."""
    (lab.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    outcome = lab.lstm("init", name, "-o", "my.yaml")
    assert outcome.code == 0, outcome.err
    return checked(lab)


def checked(lab):
    path = lab.folder / "my.yaml"
    config = load_config(path)
    settings = config.data
    if not Path(settings.path).is_absolute():
        settings = settings.model_copy(update={"path": str(lab.folder / settings.path)})
    data = prepare_series(settings)
    assert settings.context_length % config.forecast.patch_length == 0
    assert settings.horizon % config.forecast.patch_length == 0
    assert len(training_windows(data, settings.context_length, settings.horizon)) > 0
    for split in ("val", "test"):
        assert len(split_windows(data, split, settings.context_length, settings.horizon)) > 0
    path.unlink()
    return config


def stamps(count, **step):
    return [datetime(2020, 1, 1) + timedelta(**step) * n for n in range(count)]


def test_hours_in_a_wide_table(lab):
    rows = "".join(f"{n},{time},{n % 24},{n * 0.5},word\n" for n, time in enumerate(stamps(3000, hours=1)))
    config = proposed(lab, "No,when,load,price,note\n" + rows)
    data = config.data
    assert (data.layout, data.time, data.target, data.frequency) == ("wide", "when", "load", "1h")
    assert data.past == ["price"]  # which goes with the load
    assert (data.context_length, data.horizon) == (336, 24) and len(data.splits) == 3  # two weeks
    assert config.forecast.loss == "quantile" and config.model.num_layers == 1


def test_the_part_of_every_column_is_told(lab):
    rows = "".join(
        f"{n},{time},{n % 24},{n * 0.5},{n % 2},word\n" for n, time in enumerate(stamps(500, days=1))
    )
    (lab.folder / "t.csv").write_text("No,when,units,price,on_promo,note\n" + rows)
    said = lab.lstm("init", "t.csv").err
    for line in (
        "data.time: when (", "data.target: units (", "data.past: price, on_promo (",
        "name them in data.known", "not read: No (counts the rows)", "not read: note (no numbers)",
    ):  # fmt: skip
        assert line in said, line
    (lab.folder / "u.csv").write_text("when,price,discount\n" + "".join(f"{t},{n % 9},{n % 5}\n"
                                      for n, t in enumerate(stamps(300, days=1))))  # fmt: skip
    assert "data.target: price, discount" in lab.lstm("init", "u.csv").err  # nothing else is left


def test_months_in_a_long_table(lab):
    ends = ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30"]
    years = (2013, 2014, 2015, 2017, 2018, 2019)  # without a leap year, and with a gap: 84 steps
    months = [f"{year}-{end}" for year in years for end in (*ends, "12-31")]
    rows = "".join(f"{store},{kind},{month},{n}\n" for store, kind in (("a", "x"), ("b", "y"))
                   for n, month in enumerate(months))  # fmt: skip
    config = proposed(lab, "store,kind,month,sales\n" + rows)
    data = config.data
    assert (data.layout, data.group, data.target, data.static) == ("long", "store", "sales", ["kind"])
    assert (data.frequency, data.horizon) == ("1mo", 10)


def test_two_columns_name_the_series(lab):
    rows = [
        f"{t},{s},{i},{s * n % 7}" for n, t in enumerate(stamps(100, days=1)) for s in (1, 2) for i in (5, 6)
    ]
    data = proposed(lab, "\n".join(["date,store,item,sales", *rows])).data
    assert (data.layout, data.group, data.target) == ("long", ["store", "item"], "sales")


def test_time_in_several_columns(lab):
    rows = "".join(f"{t.year},{t.month},{t.day},{n}\n" for n, t in enumerate(stamps(400, days=1)))
    data = proposed(lab, "year,month,day,v\n" + rows).data
    assert (data.time, data.target, data.frequency) == (["year", "month", "day"], "v", "1d")


def test_rows(lab):
    header = ",".join(["id", *(f"V{n}" for n in range(1, 61))])
    rows = "".join(f"s{s}," + ",".join(str(n) for n in range(60 - s)) + "," * s + "\n" for s in range(4))
    data = proposed(lab, f"{header}\n{rows}", "monthly_sales.csv").data
    assert (data.layout, data.group, data.frequency) == ("rows", "id", "1mo")


def test_parquet(lab, tmp_path):
    frame = pl.DataFrame({"ts": stamps(500, minutes=15), "v": [float(n) for n in range(500)]})
    frame.write_parquet(tmp_path / "t.parquet")
    data = proposed(lab, (tmp_path / "t.parquet").read_bytes(), "t.parquet").data
    assert (data.time, data.frequency) == ("ts", "15m")


@pytest.mark.parametrize("count", [8, 12, 20, 100])
def test_short_tables_get_short_windows(lab, count):
    proposed(lab, "t,v\n" + "".join(f"{n},{n % 3}\n" for n in range(count)))


def test_odd_names_of_columns(lab):
    rows = "".join(f"{time},{n % 9},2\n" for n, time in enumerate(stamps(60, days=1)))
    data = proposed(lab, '"null","a: b","#x ""y"""\n' + rows).data
    assert (data.time, data.target) == ("null", ["a: b", '#x "y"'])


@pytest.mark.parametrize(
    ("name", "layout"),
    [("series/ETTh1.csv", "wide"), ("series/beijing_pollution.csv", "wide"), ("m4/hourly_train.csv", "rows")],
)
def test_real_tables(lab, name, layout):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert lab.lstm("init", str(path), "-o", "my.yaml").code == 0
    config = checked(lab)
    assert config.data.layout == layout and config.data.frequency == "1h"
    assert config.data.target is None or "No" not in config.data.target


def test_a_damaged_archive_is_no_text(lab):
    for name, head, advice in (
        ("t.csv.gz", b"\x1f\x8b", "gunzip"),
        ("t.csv.zst", b"\x28\xb5\x2f\xfd", "unzstd"),
    ):
        (lab.folder / name).write_bytes(head + bytes(20))
        refused = lab.lstm("init", name)
        assert refused.code == 4 and advice in refused.err


def test_a_doubled_row_is_named(lab):
    rows = [f"{time:%Y-%m-%d},{100 + n},{300 + n % 60}" for n, time in enumerate(stamps(200, days=1))]
    (lab.folder / "bad.csv").write_text("\n".join(["date,sales,visitors", *rows, rows[150]]))
    refused = lab.lstm("init", "bad.csv")
    assert refused.code == 4 and "rows 152 and 202 have the same time, 2020-05-30" in refused.err


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("t,v\n1,1\n2,2\n3,3\n", 2, "too short"),
        ("a,b\n1,2\n3,4\n", 2, "no column of times"),
        ("date,v\n2020-01-01,1\n2020-01-01,1\n", 2, "tells the series apart"),
        ("date,v\n2020-01-01,1\n2020-01-02,1,2\n", 4, "3 fields"),
        ("date,v\n", 4, "no rows"),
        ("date,v\n2020-01-01,1\n2020-01-02,caf\n", 2, "no column of numbers"),
    ],
)
def test_tables_without_a_proposal(lab, text, code, word):
    (lab.folder / "bad.csv").write_text(text)
    refused = lab.lstm("init", "bad.csv")
    assert refused.code == code and word in refused.err, refused.err
    assert not (lab.folder / "bad.yaml").exists()


def test_a_spreadsheet(lab):
    (lab.folder / "book.xlsx").write_bytes(b"PK\x03\x04")
    refused = lab.lstm("init", "book.xlsx")
    assert refused.code == 2 and "export it as CSV" in refused.err


def test_the_help_needs_no_polars():
    code = "import sys, lstmcli.cli.app, lstmcli.kinds.series.table.panel; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_written_file_is_plain_yaml(lab):
    rows = "".join(f"{time},{n}\n" for n, time in enumerate(stamps(200, hours=1)))
    (lab.folder / "t.csv").write_text("time,v\n" + rows)
    assert lab.lstm("init", "t.csv").code == 0
    assert set(yaml.safe_load((lab.folder / "t.yaml").read_text())) >= {"data", "forecast", "model", "train"}


@pytest.mark.parametrize(
    ("there", "frequency"),
    [
        (lambda t: t.weekday() < 5, "1b"),
        (lambda t: t.weekday() != 6, "1d mon-sat"),
        (lambda t: t.weekday() in (0, 2, 4), "1d mon,wed,fri"),
        (lambda t: t.weekday() < 5 and t.day != 25, "1b"),  # and a holiday a month
        (lambda t: True, "1d"),
        (lambda t: t.day % 5 > 0, "1d"),  # gaps that are not of the week
    ],
)
def test_weeks_with_gaps(lab, there, frequency):
    rows = "".join(f"{t:%Y-%m-%d},{n % 9}\n" for n, t in enumerate(stamps(150, days=1)) if there(t))
    assert proposed(lab, "date,v\n" + rows).data.frequency == frequency


def test_hours_in_which_something_is_open(lab):
    there = [t for t in stamps(2400, minutes=30) if t.weekday() < 5 and 9 <= t.hour < 17]
    config = proposed(lab, "date,v\n" + "".join(f"{t},{n % 9}\n" for n, t in enumerate(there)))
    assert config.data.frequency == "30m mon-fri 09:00-16:30" and config.data.horizon <= 16
