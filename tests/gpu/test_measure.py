"""The script of `make gpu`: no stage keeps another from running, and none is forgotten."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("loaded_measure", Path(__file__).parent / "measure.py")
script = sys.modules.setdefault("loaded_measure", importlib.util.module_from_spec(spec))
spec.loader.exec_module(script)


def stage(name, code, seconds=30.0):
    return script.Stage(name, [sys.executable, "-c", code], seconds)


def test_a_stage_that_fails_or_runs_over_is_told_first():
    wanted = [
        stage("right", "print('some words'); print('{\"loss\": 1.5}')"),
        stage("wrong", "import sys; sys.exit('it broke')"),
        stage("slow", "import time; time.sleep(60)", 0.5),
        stage("last", "print('{}')"),
    ]
    found = script.measure(wanted, 300.0)
    assert [each["code"] for each in found] == [0, 1, 124, 0]
    assert found[0]["found"] == {"loss": 1.5} and found[3]["found"] == {}
    lines = script.table(found).splitlines()
    assert lines[0] == "FAILED wrong: it broke" and lines[1].startswith("FAILED slow: not done after")
    assert len(lines) == 2 + 1 + 4


def test_what_the_budget_does_not_reach_is_named():
    found = script.measure([stage("a", ""), stage("b", "")], 0.0)
    assert [each["told"] for each in found] == ["no time left"] * 2


def test_the_stages_fit_the_budget_but_for_the_slowest_of_each():
    for rehearse in (True, False):
        names = [s.name for s in script.stages(rehearse)]
        assert len(set(names)) == len(names) and names[0] == "device"


def test_the_worst_error_of_every_cell_is_found():
    """The stage that needs no device to be true."""
    wanted = [s for s in script.stages(True) if s.name in ("device", "engine against float64")]
    device, engine = script.measure(wanted, 200.0)
    assert device["code"] == 0 and "torch" in device["found"]
    assert engine["code"] == 0, engine["told"]
    assert engine["found"]["worst"] < 1e-4 and "lstm" in engine["found"]["cells"]
