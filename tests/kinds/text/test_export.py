"""A text model as a file: what it computes without this package is what the model computes with it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lstmcli.cells.registry import BUILT_IN
from lstmcli.core.errors import RunError
from lstmcli.kinds.text.export import TextStep, difference, state_names, traced
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

DOCS = Path(__file__).parents[3] / "docs" / "trained.md"
OPTIONS = [
    *({"cell": cell} for cell in BUILT_IN),
    {"residual": True, "num_layers": 3},
    {"sum_outputs": True},
    {"mixtures": 3},
    {"tie_weights": True, "embedding_size": 12},
    {"zoneout": 0.2},
    {"hidden_size": [12, 20]},
]


def model_of(**settings):
    torch.manual_seed(0)
    given = {"hidden_size": 12, "embedding_size": 6, "num_layers": 2, "path": "loop"} | settings
    model = TextModel(LanguageModel(**given), 11).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.uniform_(-0.5, 0.5)
    return model


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_the_step_is_the_models_own_for_every_cell_and_option(settings):
    model, draw = model_of(**settings), np.random.default_rng(0)
    state, flat = model.initial_state(3), [s for layer in model.initial_state(3) for s in layer]
    step = TextStep(model)
    for _ in range(20):
        ids = torch.from_numpy(draw.integers(0, 11, 3))
        logits, state = model.step(ids, state)
        found, *flat = step(ids, flat)
        torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(flat, [s for layer in state for s in layer], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_the_traced_step_serves_any_number_of_texts():
    model = model_of(cell="slstm")
    module = traced(model).module()

    def step(ids, state):
        return [v.numpy() for v in module(torch.from_numpy(ids), [torch.from_numpy(s) for s in state])]

    assert difference(model, step) < 1e-6
    one = [s for layer in model.initial_state(1) for s in layer]
    assert module(torch.zeros(1, dtype=torch.long), one)[0].shape == (1, 11)
    assert state_names(model)[:2] == ["layer0.hidden", "layer0.cell"]


def test_a_pt2_file_holds_the_model_and_its_vocabulary(trained_lab):
    written = trained_lab.lstm("export", "good", "good.pt2", "--json")
    assert written.code == 0, written.err
    assert written.json["off"] <= 1e-5
    extra = {"vocabulary": ""}
    program = torch.export.load(trained_lab.folder / "good.pt2", extra_files=extra)
    vocabulary = json.loads((next(trained_lab.path("good").glob("checkpoints/*/vocab.json"))).read_text())
    assert json.loads(extra["vocabulary"]) == vocabulary
    assert zipfile.is_zipfile(trained_lab.folder / "good.pt2") and program.module() is not None


def test_a_file_that_computes_something_else_is_not_written(trained_lab, monkeypatch):
    from lstmcli.kinds.text import export

    monkeypatch.setattr(export, "difference", lambda model, step: 2e-5)
    refused = trained_lab.lstm("export", "good", "off.pt2")
    assert refused.code == RunError.exit_code and "2.0e-05 off" in refused.err
    assert not (trained_lab.folder / "off.pt2").exists()


def test_another_ending_is_refused(trained_lab):
    refused = trained_lab.lstm("export", "good", "good.bin")
    assert refused.code == 2 and ".onnx and .pt2" in refused.err


def test_an_onnx_file_runs_by_the_script_of_the_documentation(trained_lab):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = trained_lab.folder
    written = trained_lab.lstm("export", "good", "model.onnx", "--json")
    assert written.code == 0, written.err
    assert written.json["off"] <= 1e-5
    text = DOCS.read_text(encoding="utf-8")
    script = text.split("```python\n# model.onnx")[1].split("```")[0]
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lstmcli" not in script and "torch" not in script
    wanted = trained_lab.lstm("generate", "good", "--prompt", "the ", "--length", "60", "--temperature", "0")
    assert done.stdout.strip() == wanted.out.strip()


@pytest.mark.parametrize("cell", ["lstm-peephole", "slstm", "mingru"])
def test_onnxruntime_computes_any_cell(cell):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from lstmcli.kinds.text.export import _onnx, _quiet

    model = model_of(cell=cell)
    with _quiet():
        _, step = _onnx(model, {"vocabulary": "{}"})
    assert difference(model, step) <= 1e-5
