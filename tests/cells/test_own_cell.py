"""A cell of the user's own, from a file, through every command."""

from __future__ import annotations

import pytest

CELLS = """
import torch
from torch import nn
from lstmcli.cells import FreeCell, GatedCell


class Coupled(GatedCell):
    '''A coupled gate: what is written is what was forgotten.'''

    gates = ("forget", "cell")
    state = ("hidden", "cell")

    def pointwise(self, z, state):
        f, g = z[0].sigmoid(), z[1].tanh()
        c = f * state[1] + (1 - f) * g
        return (c.tanh(), c), (f, g)


class Norm(FreeCell):
    '''A recurrent product with layer normalisation.'''

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        self.norm = nn.LayerNorm(hidden_size)

    def step(self, x_t, state):
        h = torch.tanh(self.from_input(x_t) + self.norm(self.from_hidden(state[0])))
        return h, (h,), {"update": h}
"""
GATED = ["model.cell=cells.py:Coupled", "model.path=loop"]
FREE = ["model.cell=cells.py:Norm", "model.path=auto"]


@pytest.mark.parametrize("words", [GATED, FREE], ids=["gated", "free"])
def test_a_cell_from_a_file_trains_generates_evaluates_and_resumes(lab, words):
    (lab.folder / "cells.py").write_text(CELLS)
    assert lab.lstm("validate", "config.yaml", *words).code == 0
    trained = lab.train("r", *words, "train.max_steps=30", "--json")
    first = next(r["train/loss"] for r in lab.metrics("r") if "train/loss" in r)
    assert trained.json["steps"] == 30 and trained.json["best"]["loss"] < first
    generated = lab.lstm("generate", "r", "--length", 20, "--seed", 1, "--json")
    assert generated.code == 0 and len(generated.json["samples"][0]["text"]) == 20
    loss = lab.lstm("eval", "r", "--json").json["loss"]
    assert loss == pytest.approx(trained.json["best"]["loss"], abs=1e-5)
    tags = set().union(*lab.metrics("r"))
    assert any(tag.startswith("gates/layer1/") for tag in tags)
    assert lab.lstm("train", "--resume", "r", "train.max_steps=33").code == 0
    assert {run["cell"] for run in lab.lstm("runs", "--json").json["runs"]} == {words[0].partition("=")[2]}


@pytest.mark.parametrize("words", [GATED, FREE], ids=["gated", "free"])
def test_a_killed_run_of_an_own_cell_resumes_bit_equal(lab, words):
    import numpy as np

    (lab.folder / "cells.py").write_text(CELLS)
    lab.train("whole", *words, "model.dropout=0.2")
    fault = [("lstmcli.run.loop:_step", 14, "SIGKILL")]
    words = [*words, "model.dropout=0.2"]
    assert lab.process("train", "config.yaml", *words, "--run", "part", faults=fault).code == -9
    assert lab.lstm("train", "--resume", "part").code == 0
    for name, value in lab.checkpoint("whole").tensors.items():
        assert np.array_equal(value, lab.checkpoint("part").tensors[name]), name


@pytest.mark.parametrize("verb", ["train", "validate"])
@pytest.mark.parametrize("cell", ["cells.py:No", "none.py:Mine", "broken.py:Mine", "cells.py:nn", "nothing"])
def test_a_cell_that_is_not_one_is_a_config_error(lab, verb, cell):
    (lab.folder / "cells.py").write_text(CELLS)
    (lab.folder / "broken.py").write_text("import torch\nraise RuntimeError('not today')\n")
    refused = lab.lstm(verb, "config.yaml", f"model.cell={cell}", "model.path=auto")
    assert refused.code == 3 and "model.cell" in refused.err and cell.partition(":")[0] in refused.err
    assert "Traceback" not in refused.err and not (lab.folder / "runs").exists()
    if cell.startswith("broken"):
        assert "not today" in refused.err and "broken.py:2" in refused.err


FAULTY = """
import torch
from lstmcli.cells import FreeCell, GatedCell

class Raises(GatedCell):
    gates = ("forget",)
    def pointwise(self, z, state):
        raise ValueError("boo")

class Shape(GatedCell):
    gates = ("forget",)
    def pointwise(self, z, state):
        return (z[0][:, :2],), (z[0],)

class Number(GatedCell):
    gates = ("forget",)
    def pointwise(self, z, state):
        return (3.0,), (z[0],)

class NoGates(GatedCell):
    def pointwise(self, z, state):
        return state, ()

class FewGates(GatedCell):
    gates = ("forget", "cell")
    def pointwise(self, z, state):
        return state, (z[0],)

class Nan(GatedCell):
    gates = ("forget",)
    def pointwise(self, z, state):
        return (z[0] * 0 / 0,), (z[0],)

class Nothing(GatedCell):
    gates = ("forget",)

class NoParameters(FreeCell):
    def step(self, x_t, state):
        return x_t, state, {}

class Product(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = torch.nn.Linear(input_size, 5)
    def step(self, x_t, state):
        return self.w(x_t) @ torch.zeros(3, 3), state, {}

class List(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = torch.nn.Linear(input_size, hidden_size)
    def step(self, x_t, state):
        return self.w(x_t), state, [x_t]

class MoreState(List):
    def step(self, x_t, state):
        return self.w(x_t), (*state, state[0]), {}
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raises", "ValueError: boo ({}:8)"),
        ("Shape", "the new state 'hidden' has shape [3, 2], not [3, 16]"),
        ("Number", "the new state 'hidden' must be a tensor, not float"),
        ("NoGates", "name its `gates`"),
        ("FewGates", "1 gate activations for 2 gates"),
        ("Nan", "the new state 'hidden' is NaN"),
        ("Nothing", "NotImplementedError"),
        ("NoParameters", "StopIteration"),
        ("Product", "({}:46)"),
        ("List", "dictionary by name"),
        ("MoreState", "a tuple of 1 tensors"),
    ],
)
def test_a_cell_that_fails_in_its_first_step_is_named_with_its_place(lab, name, said):
    (lab.folder / "faulty.py").write_text(FAULTY)
    for verb in ("train", "validate"):
        refused = lab.lstm(verb, "config.yaml", f"model.cell=faulty.py:{name}", "model.path=auto")
        assert refused.code == 3 and f"model.cell: faulty.py:{name}: " in refused.err, refused.err
        assert said.format("faulty.py") in refused.err.replace(f"{lab.folder}/", "")
        assert not (lab.folder / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.cell=cells.py:Coupled", "model.path=fused"], "fused"),
        (["model.cell=cells.py:Norm", "model.path=fused"], "free cell"),
        (["model.cell=cells.py:Norm", "model.path=engine"], "free cell"),
    ],
)
def test_a_path_that_does_not_serve_the_cell(lab, words, said):
    (lab.folder / "cells.py").write_text(CELLS)
    refused = lab.lstm("train", "config.yaml", *words)
    assert refused.code == 3 and "model.path" in refused.err and said in refused.err


SCAN = """
from lstmcli.cells import ScanCell

class Decay(ScanCell):
    gates = ("update",)
    def coefficients(self, z):
        u = z[0].sigmoid()
        return 1 - u, u, (u,)

class Flat(Decay):
    def coefficients(self, z):
        a, b, u = super().coefficients(z)
        return a[0], b, u

class TwoStates(Decay):
    state = ("hidden", "cell")
"""
APART = """
from lstmcli.cells import GatedCell

class Apart(GatedCell):
    gates = ("update", "cell")
    separate = ("cell",)
    vectors = {"gain": 1.0}
    def pointwise(self, z, state, gain):
        u, g = z[0].sigmoid(), (z[1] + gain * z[2]).tanh()
        return (u * state[0] + (1 - u) * g,), (u, g)

class Unknown(Apart):
    separate = ("other",)

class Twice(Apart):
    gates = ("update", "update")

class Text(Apart):
    gates = "update"

class Vector(Apart):
    vectors = ["gain"]
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scan.py:Decay", None),
        ("scan.py:Flat", "the coefficient a has shape [3, 24], not [4, 3, 24] (steps, batch, units)"),
        ("scan.py:TwoStates", "a scan cell has one state"),
        ("apart.py:Apart", None),
        ("apart.py:Unknown", "`separate` names 'other', which is not among `gates`"),
        ("apart.py:Twice", "`gates` names 'update' twice"),
        ("apart.py:Text", "name its `gates` in a tuple"),
        ("apart.py:Vector", "`vectors` must be a dictionary"),
    ],
)
def test_every_kind_of_cell_is_tried_in_the_sizes_of_its_layers(lab, name, said):
    (lab.folder / "scan.py").write_text(SCAN)
    (lab.folder / "apart.py").write_text(APART)
    words = (f"model.cell={name}", "model.path=auto", "model.hidden_size=[24,12]")
    tried = lab.lstm("validate", "config.yaml", *words)
    if said is None:
        assert tried.code == 0, tried.err
    else:
        assert tried.code == 3 and f"model.cell: {name}: " in tried.err and said in tried.err


def test_a_cell_that_fails_in_the_size_of_a_later_layer_is_refused_before_training(lab):
    text = CELLS + "\n        if self.hidden_size == 12:\n            raise ValueError('not twelve')\n"
    text = text.replace('        return h, (h,), {"update": h}\n', "")
    (lab.folder / "cells.py").write_text(text + "        return h, (h,), {'update': h}\n")
    words = ("model.cell=cells.py:Norm", "model.path=auto")
    assert lab.lstm("validate", "config.yaml", *words, "model.hidden_size=[24,16]").code == 0
    refused = lab.lstm("validate", "config.yaml", *words, "model.hidden_size=[24,12]")
    assert refused.code == 3 and "not twelve" in refused.err and "cells.py:" in refused.err
