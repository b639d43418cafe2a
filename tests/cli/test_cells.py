"""`lstm cells`: the list, one cell's equations, and speeds."""

from __future__ import annotations

import json

import pytest

from lstmcli.cells import BUILT_IN

CELL = """
from lstmcli.cells import ScanCell

class Mine(ScanCell):
    '''An average of what was seen.'''
    gates = ("update",)
    def coefficients(self, z):
        u = z[0].sigmoid()
        return 1 - u, u, (u,)
"""


def test_the_list_of_cells(lab):
    shown = lab.lstm("cells")
    assert shown.code == 0
    row = next(line for line in shown.out.splitlines() if line.startswith("lstm "))
    assert " ".join(row.split()) == "lstm gated input, forget, cell, output hidden, cell 2,099,200 8.01"
    found = json.loads(lab.lstm("cells", "--json").out)["cells"]
    kinds = {cell["name"]: cell["kind"] for cell in found}
    assert list(kinds) == list(BUILT_IN)
    wanted = {"lstm": "gated", "gru": "gated", "minlstm": "scan", "mogrifier-lstm": "free"}
    assert {name: kinds[name] for name in wanted} == wanted
    assert all(cell["equations"] and cell["parameters"] > 0 for cell in found)


def test_one_cell_with_its_equations(lab):
    shown = lab.lstm("cells", "show", "lstm")
    assert shown.code == 0 and shown.out.startswith("lstm (gated; gates input, forget, cell, output; ")
    assert "c_t = f_t * c_{t-1} + i_t * g_t" in shown.out and "Hochreiter" in shown.out
    assert "2,099,200 parameters" in shown.out
    (lab.folder / "cells.py").write_text(CELL)
    own = lab.lstm("cells", "show", "cells.py:Mine")
    assert "An average of what was seen" in own.out
    assert "runs the code of" in own.err and str(lab.folder / "cells.py") in own.err


@pytest.mark.parametrize(
    "words", [["lstm"], ["show"], ["check"], ["list", "lstm"], ["check", "lstm", "--speed"]], ids=" ".join
)
def test_wrong_words(lab, words):
    refused = lab.lstm("cells", *words)
    assert refused.code == 2 and "lstm cells" in refused.err


def test_the_speed_of_each_cell(lab, monkeypatch):
    import lstmcli.cells
    from lstmcli.benchmark import speed

    monkeypatch.setattr(lstmcli.cells, "BUILT_IN", {"lstm": "", "minlstm": ""})
    for name, value in {"HIDDEN": 8, "BATCH": 4, "STEPS": 8}.items():
        monkeypatch.setattr(speed, name, value)
    shown = lab.lstm("cells", "--speed", "--json")
    cells = {cell["name"]: cell["speed"] for cell in shown.json["cells"]}
    assert list(cells) == ["lstm", "minlstm"] and cells["lstm"]["ratio"] == 1.0
    assert cells["minlstm"]["path"] == "scan" and cells["minlstm"]["symbols_per_second"] > 0
    assert "measuring: minlstm" in shown.err
