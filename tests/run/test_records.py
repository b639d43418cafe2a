"""Whatever is altered in a run's directory: one message with the file and the key, or no harm done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import safetensors.numpy

from lstmcli.core.errors import RunError
from lstmcli.kinds.text.decoder import has_numpy_decoder, numpy_tensors
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel
from lstmcli.run.records import RunRecord, check_document, checked
from lstmcli.run.telemetry.metrics import read_metrics

VERBS = {
    "resume": ["train", "--resume", "x", "train.max_steps=21"],
    "show": ["runs", "show", "x"],
    "generate": ["generate", "x", "--length", "3"],
    "eval": ["eval", "x"],
    "report": ["report", "x", "--output", "page.html", "--no-eval", "--no-inside"],
}
JUNK = [None, -1, "nonsense", []]


@pytest.fixture(scope="module")
def made(shared_lab):
    shared_lab.train("r", "train.average=0.9", "train.max_steps=20")
    return shared_lab


@pytest.fixture
def x(made):
    """A copy of the run that is altered."""
    shutil.rmtree(made.path("x"), ignore_errors=True)
    return shutil.copytree(made.path("r"), made.path("x"))


def newest(run):
    return max((run / "checkpoints").iterdir())


def resign(folder, name, data):
    """Other bytes in a file of a checkpoint, and a manifest that agrees with them."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def resign_all(run, name, data):
    for folder in (run / "checkpoints").iterdir():
        resign(folder, name, data)


def refuse_or_do_no_harm(lab, verb, file, key):
    ended = lab.lstm(*VERBS[verb])
    assert "Traceback" not in ended.err and ended.code in (0, 5), (verb, key, ended.err)
    if ended.code == 5:
        assert file in ended.err and key in ended.err, (verb, key, ended.err)
    return ended


READ = [
    "state",
    "precision",
    "path",
    "device",
    "cell",
    "parameters",
    "data_fingerprint",
    "threads",
    "created",
]
"""Keys of manifest.json that decide something."""
CHOICES = ("state", "precision", "path", "device")
"""Those of them that only some words fit."""


def test_every_key_of_the_manifest(made):
    """What it decides is refused by name; what people alone read may be anything."""
    path = made.path("r") / "manifest.json"
    whole = json.loads(path.read_text())
    checked(RunRecord, whole, path)
    for key in READ:
        for value in [..., *JUNK]:
            altered = {k: v for k, v in whole.items() if k != key} | ({} if value is ... else {key: value})
            if not (isinstance(value, str) and isinstance(whole[key], str) and key not in CHOICES):
                with pytest.raises(RunError, match=f"manifest.json is damaged: {key}: "):
                    checked(RunRecord, altered, path)


@pytest.mark.parametrize("key", ["precision", "path", "threads", "state", "set_back", "id"])
def test_a_manifest_that_is_wrong_is_not_gone_on_with(made, x, key):
    path = x / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: [1]}))
    assert refuse_or_do_no_harm(made, "resume", "manifest.json", key).code == 5


def test_every_key_of_a_checkpoints_numbers(made):
    folder = newest(made.path("r"))
    whole = json.loads((folder / "state.json").read_text())
    check_document(whole, folder, 20)
    for key in whole["progress"]:
        for value in (..., "nonsense", [1]):
            progress = {k: v for k, v in whole["progress"].items() if k != key}
            altered = whole | {"progress": progress | ({} if value is ... else {key: value})}
            with pytest.raises(RunError, match=rf"state.json is damaged: progress.{key}: "):
                check_document(altered, folder, 20)
    for key in ("progress", "best", "optimizer", "average"):
        for value in ([], "nonsense", {"x": 1}):
            with pytest.raises(RunError, match=f"state.json is damaged: {key}"):
                check_document(whole | {key: value}, folder, 20)


def test_a_negative_step_and_a_step_of_another_checkpoint(made, x):
    folder = newest(x)
    whole = json.loads((folder / "state.json").read_text())
    for step in (-3, 19, 21):
        progress = whole["progress"] | {"step": step}
        resign(folder, "state.json", json.dumps(whole | {"progress": progress}).encode())
        refused = made.lstm(*VERBS["resume"])
        assert refused.code == 5 and "state.json" in refused.err and "progress.step" in refused.err


@pytest.mark.parametrize(
    "line",
    [
        {"step": 3, "val/loss": "x"},
        {"step": 3, "speed/seconds": None},
        {"step": 3, "val/loss": [1.0]},
        {"step": 3, "val/loss": True},
        {"step": -3, "val/loss": 1.0},
        {"step": 10**30, "val/loss": 1.0},
        {"step": 3, "val/loss": 10**400},
        {"step": 3, "a": {"b": 1}},
    ],
    ids=str,
)
def test_a_line_of_the_log_that_holds_no_numbers(made, x, line):
    path = x / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    number = len(path.read_text().splitlines())
    for verb in ("show", "report", "resume"):
        refused = made.lstm(*VERBS[verb])
        assert refused.code == 5 and f"metrics.jsonl is damaged: line {number}" in refused.err, refused.err
    assert made.lstm("runs").code == 0


def test_a_log_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match="not an ordinary file"):
        read_metrics(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("verb", ["resume", "show", "generate", "eval"])
@pytest.mark.parametrize("text", ["", "model: 3\n", "model: {cell: lstm", "data: {path: [}", "x: 1\n"])
def test_a_config_that_is_none(made, x, verb, text):
    resign_all(x, "config.yaml", text.encode())
    (x / "config.yaml").write_text(text)
    refused = made.lstm(*VERBS[verb])
    assert refused.code == 5 and "config.yaml" in refused.err and "Traceback" not in refused.err


def test_what_the_manifest_of_a_checkpoint_does_not_list_is_not_read(made, x):
    """Nor through a link: the run's own config is read, and then a listed file that is a link is refused."""
    folder = newest(x)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["config.yaml"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "config.yaml").write_text("nonsense: true\n")
    assert made.lstm("generate", "x@20", "--length", 3).code == 0
    (folder / "vocab.json").rename(x / "elsewhere.json")
    (folder / "vocab.json").symlink_to(x / "elsewhere.json")
    refused = made.lstm("generate", "x@20", "--length", 3)
    assert refused.code == 5 and "symbolic link" in refused.err
    (x / "config.yaml").unlink()
    (x / "config.yaml").symlink_to(made.folder / "config.yaml")
    refused = made.lstm("generate", "x@20", "--length", 3)
    assert refused.code == 5 and "symbolic link" in refused.err


def extra(tensors):
    return tensors | {"evil": np.ones(3, np.float32)}


def another_layer(tensors):
    return tensors | {name.replace("layers.1", "layers.2"): v for name, v in tensors.items() if "s.1" in name}


def fewer_layers(tensors):
    return {name: v for name, v in tensors.items() if "layers.1" not in name}


def another_type(tensors):
    return tensors | {"head.bias": tensors["head.bias"].astype(np.float64)}


def another_shape(tensors):
    return tensors | {"head.bias": tensors["head.bias"][:-1]}


@pytest.mark.parametrize("change", [extra, another_layer, fewer_layers, another_type, another_shape])
@pytest.mark.parametrize("verb", ["generate", "eval", "resume"])
def test_every_verb_accepts_the_models_tensors_and_no_others(made, x, verb, change):
    tensors = safetensors.numpy.load_file(newest(x) / "model.safetensors")
    resign_all(x, "model.safetensors", safetensors.numpy.save(change(tensors)))
    refused = made.lstm(*VERBS[verb])
    assert refused.code == 5 and "tensor" in refused.err and "Traceback" not in refused.err, refused.err


def test_a_training_state_holds_no_other_tensor(made, x):
    state = safetensors.numpy.load_file(newest(x) / "state.safetensors")
    resign_all(x, "state.safetensors", safetensors.numpy.save(extra(state)))
    refused = made.lstm(*VERBS["resume"])
    assert refused.code == 5 and "tensor evil" in refused.err


@pytest.mark.parametrize(
    "settings",
    [
        {"embedding_size": 3},
        {"tie_weights": True, "hidden_size": 5},
        {"tie_weights": True, "embedding_size": None, "hidden_size": [5, 5]},
        {"num_layers": 3, "zoneout": 0.1, "dropout": 0.5},
    ],
)
def test_the_tensors_that_the_quick_decoder_expects_are_the_models(settings):
    settings = LanguageModel(**{"hidden_size": 5, "embedding_size": 5} | settings)
    assert has_numpy_decoder(settings)
    model = TextModel(settings, 7)
    own = {name: value for name, value in model.state_dict().items() if name not in model.shared}
    layouts = {name: (tuple(v.shape), str(v.dtype).removeprefix("torch.")) for name, v in own.items()}
    assert numpy_tensors(settings, 7) == layouts
