# ruff: noqa: RUF001 - signs of many countries are what this file is about.
"""Tables in the dialects of the world: read to the values that a person sees, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.series.table.panel import prepare_series
from lstmcli.kinds.series.table.scan import scan
from tests.kinds.series.dialects import pack, run

DAYS = [f"2020-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 29)]


def written(cells, separator=";", header="t;v\n"):
    quoted = [f'"{cell}"' if separator in cell else cell for cell in cells]
    rows = "".join(f"{n}{separator}{cell}\n" for n, cell in enumerate(quoted))
    return header.replace(";", separator) + rows


def read(table, text, **settings):
    data = prepare_series(table(text, time="t", **settings))
    return data.panel.values[:, 0].tolist()


def test_a_sample_of_all_dialects(tmp_path):
    counts, others = run(60, tmp_path)
    refused = [line for line in others if "zstd, and cannot be unpacked" not in line]
    assert counts["misread"] == 0 and not refused, others
    assert counts["read"] > 45


@pytest.mark.parametrize(
    ("cells", "separator", "expected"),
    [
        (["1,5", "2,25", "1000"], ";", [1.5, 2.25, 1000]),
        (["1,5", "2,25", "1000"], ",", [1.5, 2.25, 1000]),
        (["1.234,50", "-7,5", "1.234.567"], ";", [1234.5, -7.5, 1234567]),
        (["1,234.50", "-7.5", "1,234,567"], ",", [1234.5, -7.5, 1234567]),
        (["12,34,567.5", "1,00,000"], ",", [1234567.5, 100000]),
        (["1 234,5", "7", "1\u00a0234\u202f567"], ";", [1234.5, 7, 1234567]),
        (["1'234.5", "7", "1\u2019234'567"], ";", [1234.5, 7, 1234567]),
        (["1.020", "987", "12.345"], ";", [1020, 987, 12345]),  # decimals that are fixed all have a point
        (["1.020", "9.870", "0.345"], ";", [1.02, 9.87, 0.345]),  # a zero before the point
        (["1.020", "9.870", "1.345"], ",", [1.02, 9.87, 1.345]),
        (["1,020", "9,870", "1,345"], ",", [1020, 9870, 1345]),
        (["1,020", "9,870", "1,345"], ";", [1.02, 9.87, 1.345]),
        (["$1,020", "$9", "-$7.50", "($2.00)"], ",", [1020, 9, -7.5, -2]),
        (["1.020,50 €", "9 €", "−7,50 €"], ";", [1020.5, 9, -7.5]),
        (["12.5%", "7 %"], ",", [12.5, 7]),
        (["12.5", "1e3", "-.5"], ",", [12.5, 1000, -0.5]),
    ],
)  # fmt: skip
def test_numbers(table, cells, separator, expected):
    assert read(table, written(cells, separator)) == expected


def test_a_point_that_may_be_either_is_refused_with_its_cell(table, notices):
    text = written(["1.020", "9.870", "1.345"], ";")
    with pytest.raises(
        DataError, match=r"table.csv, row 2: column v: '1.020' may be 1020 or 1.020"
    ) as caught:
        read(table, text)
    assert "data.decimal" in str(caught.value.hint) and not notices
    assert read(table, text, decimal=",") == [1020, 9870, 1345]
    assert read(table, text, decimal=".") == [1.02, 9.87, 1.345]


def test_one_way_for_the_whole_table(table):
    """Voltage alone could be of thousands; the column beside it says that it is not."""
    text = "t;v;w\n" + "".join(f"{n};23{n}.84{n};0.41{n}\n" for n in range(9))
    assert read(table, text)[1] == 231.841


def test_thousands_that_only_come_below_the_sample(table):
    cells = [str(n % 900) for n in range(12_000)] + ["1.234", "1.230"]
    assert read(table, written(cells, ";"))[-2:] == [1234, 1230]
    cells[-1] = "1.234.567"
    assert read(table, written(cells, ";"))[-2:] == [1234, 1234567]


def test_units_that_change_within_a_column(table):
    with pytest.raises(DataError, match="row 4: column v: '3 €' has the unit '€', but rows above have '\\$'"):
        read(table, written(["$1", "$2", "3 €"]))


def test_what_is_assumed_is_told(table, notices):
    read(table, written(["1.234,5 €", "7,0 €"]))
    assert any("decimal comma, `.` between thousands" in said for said in notices)
    assert any("the sign € is left out" in said for said in notices)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(table, notices, encoding, newline):
    text = written(["1", "2", "3"], header="t;Größe\n").replace("\n", newline)
    data = prepare_series(table(text.encode(encoding), time="t"))
    assert data.panel.targets == ["Größe"] and data.panel.values[:, 0].tolist() == [1, 2, 3]
    assert any(" is read as " in said and "carriage" not in said for said in notices) == (
        encoding != "utf-8-sig"
    )
    assert any("carriage return" in said for said in notices) == (newline == "\r")


def test_an_encoding_as_stated(table):
    text = written(["1", "2"], header="t;цена\n").encode("cp866")
    assert prepare_series(table(text, time="t", encoding="cp866")).panel.targets == ["цена"]
    with pytest.raises(DataError, match=r"table.csv is not ascii at byte offset 2"):
        prepare_series(table(text, time="t", encoding="ascii"))


@pytest.mark.parametrize("way", ["gz", "bz2", "zip", "zst"])
def test_packed_tables(table, way):
    raw = pack(written(["1,5", "2"]).encode(), way)
    assert read(table, raw, name=f"t.csv.{way}") == [1.5, 2]
    with pytest.raises(DataError, match=rf"t.csv.{way} is packed by"):
        read(table, raw[: len(raw) // 2], name=f"t.csv.{way}")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("2020-01-01,5,x\n2020-01-02,6,y\n", ["column1", "column2", "column3"]),
        ("7;1,5\n8;\n9;2\n", ["column1", "column2"]),
        ("t,0,1\n1,2,3\n2,3,4\n", ["t", "0", "1"]),
        ("1990,2000,2010\n1,2,3\n2,3,4\n", ["1990", "2000", "2010"]),
        ("id,2020-01-01,2020-01-02\na,2,3\n", ["id", "2020-01-01", "2020-01-02"]),
        ("sep=|\nt|a\n1|2\n", ["t", "a"]),
        ("t,a,,\n1,2,,\n2,3,,\n", ["t", "a", "column3", "column4"]),
    ],
)
def test_headers(table, notices, text, columns):

    found = scan(
        table_path := __import__("pathlib").Path(table(text).path), lambda *a: None, short_rows=False
    )
    assert found.header == columns and found.skipped == (
        2 if text.startswith("sep=") else columns[0] != "column1"
    )
    assert any("has no header" in said for said in notices) == (columns[0] == "column1"), table_path


def test_rows_are_counted_from_the_first_line(table):
    for text, row in (("sep=;\nt;v\n1;2\n2;x\n3;4\n4;5\n", 4), ("1;2,5\n2;x\n" + "3;4\n4;5\n" * 9, 2)):
        name = "t" if "v" in text else "column1"
        with pytest.raises(DataError, match=f"row {row}: column"):
            prepare_series(table(text, time=name, target=("v" if name == "t" else "column2")))


def test_several_separators_fit(table):
    assert read(table, "t;v;w\n1;1,5;2,5\n2;2,5;3,5\n") == [1.5, 2.5]
    assert read(table, 't,v,"a;b"\n1,5,"x;y"\n2,6,"x;z"\n') == [5, 6]
    np.testing.assert_array_equal(read(table, "t|v\n1|5\n2|6\n"), [5, 6])
