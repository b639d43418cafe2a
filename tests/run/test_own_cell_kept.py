"""A run keeps the source of its cell: it works where the file is gone or has changed, and says so."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

CELL = """
import torch
from torch import nn
from lstmcli.cells import FreeCell

SCALE = 1.0

class Mine(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, hidden_size)
        self.from_hidden = nn.Linear(hidden_size, hidden_size)

    def step(self, x_t, state):
        h = torch.tanh(SCALE * (self.from_input(x_t) + self.from_hidden(state[0])))
        return h, (h,), {"update": h}
"""
CHANGED = CELL.replace("SCALE = 1.0", "SCALE = 9.0")
WORDS = ["model.cell=mine.py:Mine", "model.path=auto", "model.num_layers=1", "evaluation.sample_length=0"]
CAME_WITH = "this runs code that came with the run: class Mine in "


@pytest.fixture
def run(lab):
    (lab.folder / "mine.py").write_text(CELL)
    lab.train("r", *WORDS, "train.max_steps=10", "checkpoint.every=5")
    return lab


def remove(lab):
    (lab.folder / "mine.py").unlink()


def change(lab):
    (lab.folder / "mine.py").write_text(CHANGED)


def break_(lab):
    (lab.folder / "mine.py").write_text("raise SystemExit('never run')\n")


def test_each_checkpoint_holds_the_source_and_where_it_came_from(run):
    for step in run.steps("r"):
        files = run.checkpoint("r", step).files
        record = json.loads(files["cell.json"])
        assert files["cell.py"] == CELL
        assert record == {
            "cell": "mine.py:Mine",
            "class": "Mine",
            "origin": "mine.py",
            "sha256": hashlib.sha256(CELL.encode()).hexdigest(),
        }


def test_a_run_of_a_built_in_cell_holds_none(trained_lab):
    assert "cell.py" not in trained_lab.checkpoint("good").files


def test_the_original_is_used_where_it_is_as_it_was(run):
    assert "came with the run" not in run.lstm("eval", "r").err


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (remove, "mine.py is not here"),
        (change, "mine.py is not what the run began with"),
        (break_, "mine.py is not what the run began with"),
    ],
)
def test_a_run_goes_on_with_its_own_copy(run, happens, said):
    loss = run.lstm("eval", "r", "--json").json["loss"]
    happens(run)
    evaluated = run.lstm("eval", "r", "--json")
    generated = run.lstm("generate", "r", "--length", 5, "--seed", 1)
    resumed = run.lstm("train", "--resume", "r", "train.max_steps=12")
    for outcome in (evaluated, generated, resumed):
        assert outcome.code == 0 and said in outcome.err and CAME_WITH in outcome.err, outcome.err
        assert str(run.path("r") / "checkpoints") in outcome.err.replace("runs/r", str(run.path("r")))
    assert evaluated.json["loss"] == pytest.approx(loss, abs=1e-9)
    assert run.steps("r")[-1] == 12 and run.checkpoint("r", 12).files["cell.py"] == CELL
    assert not list(run.path("r").rglob("__pycache__"))


def test_a_run_resumed_with_its_copy_is_the_run_that_never_stopped(run):
    run.train("whole", *WORDS, "train.max_steps=14", "train.schedule=constant", "evaluation.every=5")
    run.train("part", *WORDS, "train.max_steps=7", "train.schedule=constant", "evaluation.every=5")
    change(run)
    assert run.lstm("train", "--resume", "part", "train.max_steps=14").code == 0
    whole, part = (run.checkpoint(name, 14).tensors for name in ("whole", "part"))
    assert all(np.array_equal(value, part[name]) for name, value in whole.items())


def test_two_runs_whose_cells_have_one_name_do_not_get_in_each_others_way(run, monkeypatch):
    import lstmcli.api

    change(run)
    run.train("s", *WORDS, "train.max_steps=10")
    (run.folder / "mine.py").unlink()
    monkeypatch.chdir(run.folder)
    first, second = (lstmcli.api.load(f"runs/{name}") for name in ("r", "s"))
    cells = [each.model.layers.layers[0].cell for each in (first, second, first)]
    assert [cell.step.__func__.__globals__["SCALE"] for cell in cells] == [1.0, 9.0, 1.0]


def test_a_run_copied_elsewhere_works_there(run):
    there = run.folder / "elsewhere"
    shutil.copytree(run.path("r"), there / "runs" / "r")
    run.folder = there
    generated = run.lstm("generate", "r", "--length", 5)
    assert generated.code == 0 and CAME_WITH in generated.err


@pytest.mark.parametrize("name", ["cell.py", "cell.json"])
def test_a_copy_that_was_tampered_with_is_never_run(run, name):
    remove(run)
    for path in run.path("r").glob("checkpoints/*"):
        text = (path / name).read_text()
        (path / name).write_text(text.replace("Mine", "Evil"))
    for words in (["eval", "r"], ["generate", "r"], ["generate", "r@10"], ["train", "--resume", "r"]):
        refused = run.lstm(*words)
        assert refused.code == 5 and f"{name} is damaged" in refused.err


def test_a_copy_that_is_a_link_or_is_not_listed_is_never_run(run):
    remove(run)
    evil = run.folder / "evil.py"
    for path in run.path("r").glob("checkpoints/*"):
        shutil.copy(path / "cell.py", evil)
        (path / "cell.py").unlink()
        (path / "cell.py").symlink_to(evil)
    refused = run.lstm("eval", "r")
    assert refused.code == 5 and "symbolic link" in refused.err
    for path in run.path("r").glob("checkpoints/*"):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["files"]["cell.py"]
        (path / "manifest.json").write_text(json.dumps(manifest))
    refused = run.lstm("eval", "r")
    assert refused.code == 5 and "holds no copy of it" in refused.err
    refused = run.lstm("eval", "r", "--trust")
    assert refused.code == 3 and "there is no file mine.py" in refused.err


def test_a_copy_that_cannot_be_imported_names_what_is_missing(lab, monkeypatch):
    monkeypatch.syspath_prepend(str(lab.folder))
    (lab.folder / "beside_it.py").write_text("SCALE = 1.0\n")
    (lab.folder / "mine.py").write_text(CELL.replace("SCALE = 1.0", "from beside_it import SCALE"))
    lab.train("r", *WORDS, "train.max_steps=2")
    remove(lab)
    (lab.folder / "beside_it.py").unlink()
    monkeypatch.delitem(__import__("sys").modules, "beside_it")
    shutil.rmtree(lab.folder / "__pycache__", ignore_errors=True)
    refused = lab.lstm("eval", "r")
    assert refused.code == 5 and "beside_it" in refused.err and "put mine.py back" in refused.err
    assert "cell.py:" in refused.err and "Traceback" not in refused.err


def test_a_cell_of_a_package_is_kept_by_the_module_that_defines_it(lab, monkeypatch):
    import sys

    monkeypatch.syspath_prepend(str(lab.folder))
    package = lab.folder / "own_cells_package"
    package.mkdir()
    (package / "__init__.py").write_text("from own_cells_package.inner import Mine\n")
    (package / "scales.py").write_text("SCALE = 1.0\n")
    (package / "inner.py").write_text(CELL.replace("SCALE = 1.0", "from .scales import SCALE"))
    words = ["model.cell=own_cells_package:Mine", *WORDS[1:]]
    lab.train("r", *words, "train.max_steps=2")
    record = json.loads(lab.checkpoint("r").files["cell.json"])
    assert (record["origin"], record["class"]) == ("own_cells_package.inner", "Mine")
    assert "came with the run" not in lab.lstm("eval", "r").err
    (package / "inner.py").write_text("gone = True\n")
    evaluated = lab.lstm("eval", "r")
    assert evaluated.code == 0 and CAME_WITH in evaluated.err, evaluated.err
    for name in [name for name in sys.modules if name.startswith("own_cells_package")]:
        monkeypatch.delitem(sys.modules, name)
