"""From a name to a cell: built in, in a package, in a file; and what is wrong said where it is."""

from __future__ import annotations

import pytest

from lstmcli.cells import BUILT_IN, FreeCell, GatedCell, ScanCell, find_cell
from lstmcli.cells.zoo.lstm import LSTM, ReadableLSTM
from lstmcli.core.errors import ConfigError

CELL = """
from lstmcli.cells import GatedCell

class Mine(GatedCell):
    gates = ("forget", "cell")

    def pointwise(self, z, state):
        f, g = z[0].sigmoid(), z[1].tanh()
        return (f * state[0] + (1 - f) * g,), (f, g)
"""


def refusal(name):
    with pytest.raises(ConfigError) as caught:
        find_cell(name)
    assert caught.value.exit_code == 3 and str(caught.value).startswith("model.cell: ")
    return str(caught.value)


def test_built_in_names():
    assert find_cell("lstm") is LSTM and find_cell("lstm-readable") is ReadableLSTM
    for name in BUILT_IN:
        cell = find_cell(name)
        assert issubclass(cell, (GatedCell, ScanCell, FreeCell)) and cell.__doc__
        assert cell.state[0] == "hidden"


def test_a_class_in_an_installed_package():
    assert find_cell("lstmcli.cells.zoo.lstm:LSTM") is LSTM


def test_a_class_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "my cells.py").write_text(CELL)
    monkeypatch.chdir(tmp_path)
    found = find_cell("my cells.py:Mine")
    assert issubclass(found, GatedCell) and found.gates == ("forget", "cell")
    assert find_cell(f"{tmp_path}/my cells.py:Mine").gates == found.gates


def test_a_scan_cell_in_a_file(tmp_path):
    code = "from lstmcli.cells import ScanCell\n\nclass Decay(ScanCell):\n    gates = ('candidate',)\n"
    (tmp_path / "cell.py").write_text(code)
    assert issubclass(find_cell(f"{tmp_path}/cell.py:Decay"), ScanCell)
    with pytest.raises(ConfigError, match="cells in that module: Decay"):
        find_cell(f"{tmp_path}/cell.py:Other")


def test_two_files_of_one_name_are_two_cells(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cell.py").write_text(CELL.replace('"cell"', f'"{folder}"'))
    first, second = (find_cell(f"{tmp_path}/{folder}/cell.py:Mine") for folder in ("a", "b"))
    assert first.gates == ("forget", "a") and second.gates == ("forget", "b")


@pytest.mark.parametrize(("name", "near"), [("lstmm", "'lstm'"), ("LSTM", "lstm"), ("transformer", "lstm, ")])
def test_a_name_that_is_not_there_suggests_what_is(name, near):
    said = refusal(name)
    assert repr(name) in said and near in said


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal("none.py:Mine")
    assert "there is no file none.py" in said and str(tmp_path) in said


def test_a_package_that_is_not_there():
    assert "no_such_package_here" in refusal("no_such_package_here.cells:Mine")


def test_a_class_that_is_not_there_names_those_that_are(tmp_path):
    (tmp_path / "cell.py").write_text(CELL)
    said = refusal(f"{tmp_path}/cell.py:Yours")
    assert "Yours is not there" in said and "Mine" in said.splitlines()[1]


def test_something_that_is_no_cell(tmp_path):
    (tmp_path / "cell.py").write_text(CELL + "\nclass Other: pass\nnumber = 3\n")
    for name in ("Other", "number"):
        said = refusal(f"{tmp_path}/cell.py:{name}")
        assert f"{name} is not a GatedCell, ScanCell or FreeCell" in said and "Mine" in said
        assert "GatedCell, " not in said.splitlines()[1]  # what it imports is not its own


@pytest.mark.parametrize(
    ("code", "error", "line"),
    [
        ("import numpy\nimport no_such_module_here\n", "ModuleNotFoundError", 2),
        ("x = 1\n\ny = x / 0\n", "ZeroDivisionError", 3),
        ("def f():\n    raise ValueError('deep')\n\nf()\n", "ValueError: deep", 2),
        ("class Mine(:\n    pass\n", "SyntaxError", 1),
        ("import sys\nsys.exit(3)\n", "SystemExit", 2),
    ],
)
def test_code_that_fails_is_named_with_its_place(tmp_path, code, error, line):
    file = tmp_path / "cell.py"
    file.write_text(code)
    said = refusal(f"{file}:Mine")
    assert error in said and "cell.py" in said
    assert f"cell.py:{line}" in said or f"cell.py, line {line}" in said


def test_a_file_that_is_not_text(tmp_path):
    file = tmp_path / "cell.py"
    file.write_bytes(b"\xff\x00\x01")
    assert "cannot be imported" in refusal(f"{file}:Mine")


def test_a_folder_or_a_name_without_a_class(tmp_path):
    (tmp_path / "x.py").mkdir()
    assert "no file" in refusal(f"{tmp_path}/x.py:Mine")
    refusal(f"{tmp_path}/x.py")
    refusal(":Mine")
    refusal("")
