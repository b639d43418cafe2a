"""A text model as a file: what it computes without this package is what the model computes with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lstmcli.cells.base import GatedCell
from lstmcli.cells.registry import BUILT_IN, find_cell
from lstmcli.core.errors import RunError, UsageError
from lstmcli.kinds.text.export import TextStep, difference, state_names, traced
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.page.write import page
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
    assert refused.code == 2 and ".onnx, .pt2 and .html" in refused.err


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


# --- the page -------------------------------------------------------------------------------------


def in_node(page, driver):
    """What a driver prints that has the page's model at hand."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run a page's script")
    model = page.split('<script id="model">')[1].split("</script>")[0]
    done = subprocess.run([node, "-"], input=model + driver, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


GATED = [name for name in BUILT_IN if issubclass(find_cell(name), GatedCell)]


@pytest.mark.parametrize("settings", [*({"cell": c} for c in GATED), {"residual": True, "num_layers": 3},
                                      {"sum_outputs": True}, {"zoneout": 0.2}], ids=str)  # fmt: skip
def test_the_pages_model_computes_what_the_model_does(settings):
    model = model_of(**settings)
    about = {"vocabulary": json.dumps({"level": "characters", "symbols": "abcdefghij"}), "cell": "c",
             "run": "r", "step": "1"}  # fmt: skip
    data, _ = page(model, about, "a </script> title")
    ids = np.random.default_rng(0).integers(0, 11, 40).tolist()
    driver = f"const s = begin(); console.log(JSON.stringify({ids}.map((id) => [...step(id, s)])));"
    found = np.array(json.loads(in_node(data.decode(), driver)))
    state, wanted = model.initial_state(1), []
    for symbol in ids:
        logits, state = model.step(torch.tensor([symbol]), state)
        wanted.append(logits[0].numpy())
    assert np.abs(found - np.array(wanted)).max() < 1e-3
    assert data.decode().count("</script>") == 2


def test_a_page_writes_what_lstm_generate_writes(trained_lab):
    written = trained_lab.lstm("export", "good", "good.html", "--json")
    assert written.code == 0 and written.json["off"] == 0.0, written.err
    page_text = (trained_lab.folder / "good.html").read_text()
    assert "http" not in page_text.replace("http-equiv", "")
    driver = """
    const state = begin(), random = generator(1);
    let logits = null, text = "";
    for (const id of encode("the ")) logits = step(id, state);
    for (let k = 0; k < 100; k++) {
      const id = draw(logits, 0, 0, random);
      text += show(id);
      logits = step(id, state);
    }
    console.log(JSON.stringify(text));
    """
    words = ["--prompt", "the ", "--length", "100", "--temperature", "0"]
    wanted = trained_lab.lstm("generate", "good", *words, "--json").json["samples"][0]["text"]
    assert json.loads(in_node(page_text, driver)) == wanted


def test_a_large_page_has_rounded_weights_and_says_how_far_off_it_is(trained_lab, monkeypatch):
    from lstmcli.kinds.text.page import write

    monkeypatch.setattr(write, "EXACT", 10)
    written = trained_lab.lstm("export", "good", "small.html", "--json")
    assert written.code == 0 and 0.0 < written.json["off"] < 0.1
    assert (trained_lab.folder / "small.html").stat().st_size < written.json["bytes"] + 1
    logits = json.loads(in_node((trained_lab.folder / "small.html").read_text(),
                                "console.log(JSON.stringify([...step(3, begin())]))"))  # fmt: skip
    assert len(logits) > 10 and np.isfinite(logits).all()


def test_a_page_that_cannot_run_the_model_is_refused():
    for settings, why in (({"mixtures": 2}, "mixture"), ({"cell": "mingru"}, "scan cell")):
        with pytest.raises(UsageError, match=why):
            page(model_of(**settings), {"vocabulary": "{}"}, "title")


BROWSER = """
class Element {
  constructor() { Object.assign(this, { children: [], style: {}, value: "", textContent: "" }); }
  append(...more) { this.children.push(...more); }
  replaceChildren(...all) { this.children = all; }
  insertCell() { const cell = new Element(); this.children.push(cell); return cell; }
}
class Option {}
const known = {}, requestAnimationFrame = (f) => setTimeout(f, 0);
const document = {
  getElementById: (id) => (known[id] ??= new Element()), createElement: () => new Element(),
};
const given = { layer: "1", part: "1", number: "3", length: "30", temperature: "0", prompt: "abc" };
for (const [id, value] of Object.entries(given)) document.getElementById(id).value = value;
"""
"""As much of a browser as the page asks for."""


def test_the_page_writes_colours_and_tells_what_comes_next():
    model = model_of()
    about = {"vocabulary": json.dumps({"level": "characters", "symbols": "abcdefghij"}), "cell": "c",
             "run": "r", "step": "1"}  # fmt: skip
    text = page(model, about, "title")[0].decode()
    script = text.split('<script id="page">')[1].split("</script>")[0]
    told = """
    $("form").onsubmit({ preventDefault() {} });
    setTimeout(() => {
      const spans = $("text").children;
      console.log(JSON.stringify({
        text: spans.map((s) => s.textContent).join(""), colours: spans.map((s) => s.style.background),
        next: $("next").children.length, gates: $("gates").children.length,
      }));
    }, 500);
    """
    shown = json.loads(in_node(text, BROWSER + script + told))
    assert shown["text"].startswith("abc") and len(shown["text"]) == 33
    assert all(colour.startswith("hsl(") for colour in shown["colours"])
    assert (shown["next"], shown["gates"]) == (8, 2 * (4 + 2))
