"""`lstm cells check`: a good cell passes, and what is wrong with another is named."""

from __future__ import annotations

import pytest
import torch

from lstmcli.benchmark import speed
from lstmcli.cells import BUILT_IN, GatedCell, find_cell
from lstmcli.engine import pointwise
from lstmcli.engine.checks import check_layer, check_step
from lstmcli.engine.checks.check import check_cell
from lstmcli.engine.checks.subject import Subject
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import GatedLayer
from lstmcli.run.checkpoint.codec import DTYPES

CELLS = """
import random, time
import torch
from torch import nn
from lstmcli.cells import FreeCell, GatedCell, ScanCell

class Good(GatedCell):
    '''A coupled gate.'''
    gates = ("forget", "cell")
    state = ("hidden", "cell")

    def pointwise(self, z, state):
        f, g = z[0].sigmoid(), z[1].tanh()
        c = f * state[1] + (1 - f) * g
        return (c.tanh(), c), (f, g)

class Peephole(Good):
    vectors = {"peep": 0.0}
    separate = ("cell",)
    def pointwise(self, z, state, peep):
        return super().pointwise((z[0] + peep * state[1], z[1] + z[2]), state)

class GoodScan(ScanCell):
    gates = ("update",)
    def coefficients(self, z):
        u = z[0].sigmoid()
        return 1 - u, u * z[0], (u,)

class GoodFree(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size + hidden_size, hidden_size)
        self.dropout = nn.Dropout(0.5)
    def step(self, x_t, state):
        h = torch.tanh(self.w(self.dropout(torch.cat([x_t, state[0].to(x_t.dtype)], -1))))
        h = h.to(state[0].dtype)
        return h, (h,), {"update": h}

class Shape(Good):
    def pointwise(self, z, state):
        return (z[0][:, :2], state[1]), z

class Nan(Good):
    def pointwise(self, z, state):
        (h, c), gates = super().pointwise(z, state)
        return (h, c / (c - c)), gates

class NanLater(Good):
    def pointwise(self, z, state):
        c = state[1] * 1e9 + 1 + z[0]
        return (z[1].tanh(), c), (z[0], z[1])

class InPlace(Good):
    def pointwise(self, z, state):
        state[1].mul_(z[0].sigmoid())
        return super().pointwise(z, state)

class InPlaceScan(GoodScan):
    def coefficients(self, z):
        return z[0].sigmoid_(), z[0], z

class Detached(Good):
    def pointwise(self, z, state):
        return super().pointwise((z[0].detach(), z[1]), state)

class DetachedState(GoodFree):
    def step(self, x_t, state):
        return super().step(x_t, (state[0].detach(),))

class Leak(Good):
    def pointwise(self, z, state):
        return super().pointwise((z[0] - z[0].mean(0), z[1]), state)

class LeakFree(GoodFree):
    def step(self, x_t, state):
        return super().step(x_t - x_t.mean(0), state)

class Branch(Good):
    def pointwise(self, z, state):
        if z[0].sum() > 0:  # here: Branch
            z = (z[1], z[0])
        return super().pointwise(z, state)

class Item(Good):
    def pointwise(self, z, state):
        return super().pointwise((z[0] * z[1].max().item(), z[1]), state) 

class Raises(Good):
    def pointwise(self, z, state):
        raise KeyError("boo")  # here: Raises

class RaisesAlone(GoodFree):
    def step(self, x_t, state):
        if len(x_t) == 1:
            raise KeyError("alone")  # here: alone
        return super().step(x_t, state)

class TorchRandom(Good):
    def pointwise(self, z, state):
        return super().pointwise((z[0] + torch.randn_like(z[0]), z[1]), state)

class PythonRandom(GoodFree):
    def step(self, x_t, state):
        return super().step(x_t * random.random(), state)

class Clock(GoodFree):
    def step(self, x_t, state):
        return super().step(x_t * (time.perf_counter() % 1), state)

class Counter(GoodFree):
    count = 0
    def step(self, x_t, state):
        self.count += 1
        return super().step(x_t * (1 if self.count % 7 else 2), state)

class Unsaved(GoodFree):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.scale = float(torch.rand(()))
    def step(self, x_t, state):
        return super().step(self.scale * x_t, state)

class NotZero(GoodFree):
    def initial_state(self, batch_size):
        return (super().initial_state(batch_size)[0] + 0.5,)

class OtherNames(GoodFree):
    gates = ("forget",)

class Unnamed(Good):
    state = ("memory", "cell")
"""
LINES = enumerate(CELLS.split("\n"), 1)
PLACES = {line.partition("# here: ")[2]: number for number, line in LINES if "# here" in line}
GOOD = ("Good", "Peephole", "GoodScan", "GoodFree")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """What is compiled, and the sizes of the measurement, are not looked at but where a test says so."""
    monkeypatch.setattr(check_layer, "compiler_available", lambda: False)
    monkeypatch.setattr(speed, "can_compile", lambda device: False)
    for name, value in {"HIDDEN": 8, "BATCH": 4, "STEPS": 8}.items():
        monkeypatch.setattr(speed, name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.py"
    path.write_text(CELLS)
    return path


def verdicts(file, name):
    return {v.check: v for v in check_cell(find_cell(f"{file}:{name}"))}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_cell_passes(lab, name):
    (lab.folder / "cells.py").write_text(CELLS)
    checked = lab.lstm("cells", "check", f"cells.py:{name}")
    assert checked.code == 0, checked.out
    assert "FAILED" not in checked.out and "gradients               ok" in checked.out
    assert "times the stock LSTM's" in checked.out
    assert f"cells.py:{name} runs the code of {lab.folder / 'cells.py'}" in checked.err


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_cell_passes(name):
    found = list(check_cell(find_cell(name)))
    assert len(found) >= 13
    assert {v.check for v in found if v.result != "ok"} <= {"path engine, compiled"}


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("Shape", "contract and shapes", "the new state 'hidden' has shape [3, 2], not [3, 8]"),
        ("Nan", "contract and shapes", "the new state 'cell' is NaN or infinite"),
        ("NanLater", "finite", "the state 'cell' is NaN or infinite at step "),
        ("InPlace", "inputs unchanged", "writes in place into what it is given (the state 'cell')"),
        ("InPlaceScan", "inputs unchanged", "(z of gate 'update')"),
        ("Detached", "gradients", "with respect to z of gate 'forget' is wrong: 0 along"),
        ("DetachedState", "gradients", "with respect to the state 'hidden' is wrong: 0 along"),
        ("Leak", "streams apart", "stream 0 of the batch changes when the others change"),
        ("LeakFree", "streams apart", "reduce over the units (dim=-1)"),
        ("Branch", "control flow", "{file}:{Branch})"),
        ("Branch", "control flow", "write torch.where"),
        ("Item", "control flow", "or a number, depends on the data: "),
        ("Raises", "contract and shapes", "KeyError: 'boo' ({file}:{Raises})"),
        ("RaisesAlone", "streams apart", "it raises KeyError: 'alone' ({file}:{alone})"),
        ("TorchRandom", "determinism", "draws random numbers from torch"),
        ("PythonRandom", "determinism", "draws random numbers from Python's random"),
        ("Clock", "determinism", "two runs after one seeding differ"),
        ("Counter", "determinism", "a step changes self.count ({file}:"),
        ("Unsaved", "save and load", "saved and loaded, the cell is another"),
        ("NotZero", "state reset", "initial_state must give zeros"),
        ("OtherNames", "gates", "`gates` names forget, but a step reports update"),
        ("Unnamed", "contract and shapes", "the first name in `state` is 'memory'"),
    ],
)
def test_what_is_wrong_with_a_cell_is_named(file, name, check, said):
    found = verdicts(file, name)
    assert found[check].result == "FAILED"
    assert said.format(file=file, **PLACES) in str(found[check])


def test_a_failed_check_is_a_config_error_without_a_traceback(lab):
    (lab.folder / "cells.py").write_text(CELLS)
    checked = lab.lstm("cells", "check", "cells.py:Raises")
    assert checked.code == 3 and "1 of 1 checks failed: contract and shapes" in checked.err
    assert "not tried" in checked.out and "Traceback" not in checked.out + checked.err
    document = lab.lstm("cells", "check", "cells.py:Leak", "--hidden", "5", "--json")
    assert document.code == 3 and not document.json["passed"] and document.json["speed"] == {}
    results = {c["check"]: c["result"] for c in document.json["checks"]}
    assert results["streams apart"] == "FAILED" and results["contract and shapes"] == "ok"


def test_as_json(lab):
    (lab.folder / "cells.py").write_text(CELLS)
    found = lab.lstm("cells", "check", "cells.py:GoodScan", "--json").json
    assert found["passed"] and found["cell"] == "cells.py:GoodScan"
    assert set(found["speed"]) == {"cell", "stock"} and found["speed"]["cell"]["path"] == "scan"


def test_a_cell_that_is_not_there(lab):
    refused = lab.lstm("cells", "check", "none.py:Mine")
    assert refused.code == 3 and "there is no file none.py" in refused.err


def test_a_path_that_computes_something_else_is_found(file, monkeypatch):
    """The engine with a wrong product is not the cell."""
    run = GatedLayer._recur

    def wrong(layer, *arguments):
        outputs, state = run(layer, *arguments)
        return (outputs * 1.001, state) if layer.path == "engine" else (outputs, state)

    monkeypatch.setattr(GatedLayer, "_recur", wrong)
    found = verdicts(file, "Good")
    assert found["path loop"].result == "ok" and found["path engine"].result == "FAILED"
    assert "the outputs by" in found["path engine"].detail


def test_a_cell_that_cannot_be_compiled_is_a_warning(file, monkeypatch):
    monkeypatch.setattr(check_layer, "compiler_available", lambda: True)
    monkeypatch.setattr(pointwise, "compiled", lambda function, *_: function)
    found = verdicts(file, "Good")["path engine, compiled"]
    assert (found.result, found.detail) == ("warning", "not possible, runs uncompiled")

    def fails(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(pointwise, "compiled", fails)
    assert verdicts(file, "Good")["path engine, compiled"].result == "warning"


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
def test_what_is_compiled_is_compared_too(monkeypatch):
    class Leaky(GatedCell):
        gates = ("cell",)

        def pointwise(self, z, state):
            h = z[0].sigmoid()
            return (h,), (h,)

    monkeypatch.setattr(check_layer, "compiler_available", lambda: True)
    monkeypatch.setattr(check_layer, "TOLERANCES", {torch.float32: 1e-5})
    passed = check_layer.compiled(Subject(Leaky, 8, 6), "engine")
    assert passed == (
        "as one step after the other, gradients too",
        False,
    )


def test_what_a_checkpoint_holds_is_what_it_can():
    assert {str(dtype).removeprefix("torch.") for dtype in check_step.SAVED} <= DTYPES.keys()
