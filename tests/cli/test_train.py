"""lstm train: what it says, what it writes, and what it refuses."""

from __future__ import annotations

import json

import pytest
import yaml

KEYS = {"run", "steps", "epochs", "tokens", "tokens_per_second", "seconds", "parameters", "device"}
KEYS |= {"precision", "best", "final", "checkpoint"}


@pytest.fixture(scope="module")
def done(shared_lab):
    return shared_lab.train("first", "telemetry.tensorboard=true", "--json")


def test_json_has_the_promised_keys(done):
    found = done.json
    assert found.keys() >= KEYS
    assert (found["run"], found["steps"], found["tokens"]) == ("first", 20, 20 * 4 * 16)
    assert found["epochs"] == pytest.approx(20 / 15) and found["parameters"] == 4237
    assert (found["device"], found["precision"]) == ("cpu", "fp32")
    assert found["best"] == {"step": 20, "loss": found["final"]["loss"]}
    assert found["checkpoint"] == "runs/first/checkpoints/step_00000020"
    assert found["tokens_per_second"] == pytest.approx(found["tokens"] / found["seconds"])


def test_progress_goes_to_standard_error_as_plain_lines(done):
    assert "\x1b" not in done.err and "\r" not in done.err
    lines = done.err.splitlines()
    assert lines[0] == "data   1,000 symbols, 112 for validation; vocabulary 21"
    assert sum(line.startswith("step ") for line in lines) == 4 + 2
    assert "lstm generate first" in lines[-1]


def test_without_json_nothing_goes_to_standard_output(lab):
    assert lab.train("quiet").out == ""


def test_the_run_directory_holds_all_of_the_run(shared_lab, done):
    folder = shared_lab.path("first")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.yaml", "manifest.json", "metrics.jsonl", "checkpoints"}
    assert sum(name.startswith("events.out.tfevents") for name in names) == 1
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["hidden_size"] == 16 and config["train"]["clip_norm"] == 1.0  # a default, too
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["state"] == "complete" and manifest["cell"] == "lstm" and manifest["parameters"] == 4237
    assert {"versions", "device", "data_fingerprint", "command"} <= manifest.keys()
    newest = folder / "checkpoints" / "step_00000020"
    assert {p.name for p in newest.iterdir()} == {
        *("model.safetensors", "state.safetensors", "state.json"),
        *("vocab.json", "config.yaml", "manifest.json"),
    }


def test_the_resolved_config_trains_the_same_run_again(shared_lab, done):
    again = shared_lab.lstm("train", "runs/first/config.yaml", "--run", "second", "--json")
    assert again.code == 0 and again.json["final"] == done.json["final"]


def test_equal_seeds_give_equal_runs_and_others_do_not(shared_lab, done):
    same = shared_lab.train("same", "--json").json["final"]
    other = shared_lab.train("other", "seed=8", "--json").json["final"]
    assert same == done.json["final"] != other


def test_a_default_name_is_the_config_and_the_time(lab):
    name = lab.lstm("train", "config.yaml", "train.max_steps=2", "--json").json["run"]
    assert name.startswith("config-") and lab.path(name).is_dir()


def test_a_dry_run_shows_the_plan_and_writes_no_run(lab):
    outcome = lab.lstm("train", "config.yaml", "--dry-run", "--json")
    assert outcome.code == 0 and outcome.json["parameters"] == 4237 and outcome.json["steps_per_epoch"] == 15
    assert not (lab.folder / "runs").exists()
    prepared = {path.name for path in lab.folder.iterdir()}
    assert prepared == {"text.txt", "config.yaml", "cache"}
    assert "2 x 16 lstm, 4,237 parameters" in lab.lstm("train", "config.yaml", "--dry-run").err


def test_only_the_best_and_the_newest_checkpoints_stay(lab, monkeypatch):
    from lstmcli.kinds.text import task as text
    from lstmcli.kinds.text.evaluate import Score

    losses = iter([3.0, 2.0, 2.5, 2.6, 2.7, 2.8])
    monkeypatch.setattr(text, "evaluate_text", lambda *a: Score(next(losses), 0.1, 100))
    words = ["train.max_steps=30", "checkpoint.every=5", "evaluation.every=5", "checkpoint.keep=2"]
    lab.train("r", *words)
    assert lab.steps("r") == [10, 25, 30]
    assert lab.lstm("eval", "r", "--json").json["step"] == 10
    assert lab.lstm("eval", "r@last", "--json").json["step"] == 30


def test_without_validation_text(lab):
    outcome = lab.train("r", "data.splits=[1.0]", "--json")
    assert outcome.json["best"] == {"step": None, "loss": None} and "no validation" in outcome.err
    assert lab.lstm("generate", "r", "--length", "3").code == 0


def test_a_separate_validation_file(lab):
    (lab.folder / "val.txt").write_text("the cat sat. " * 20)
    outcome = lab.train("r", "data.val_path=val.txt", "--json")
    assert "1,112 symbols, 260 for validation" in outcome.err
    assert outcome.json["final"]["loss"] > 0


# --- configs that are wrong


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("data: {path: text.txt}\nmodel:\n\thidden_size: 3\n", "config.yaml:3:1: a tab"),
        ("data: {path: text.txt}\nmodel:\n  hidden_sice: 3\n", "hidden_size"),
        ("data: {path: text.txt}\nmodel:\n  hidden_size: -3\n", "config.yaml:3:16: model.hidden_size"),
        ("data: {path: text.txt}\ntrain:\n  batch_size: 4\n  batch_size: 5\n", "config.yaml:4:3: train.b"),
        ("data: {path: text.txt, url: 'https://x'}\n", "config.yaml:1:1: data: give exactly one"),
        ("- a\n- b\n", "config.yaml:1:1: the config is a list"),
        ("", "config.yaml"),
        ("a: !!python/object/apply:os.system ['touch hacked']\n", "config.yaml:1:4: a: tags"),
    ],
)
def test_a_config_that_is_wrong_says_where(lab, content, said):
    (lab.folder / "config.yaml").write_text(content)
    for verb in ("train", "validate"):
        refused = lab.lstm(verb, "config.yaml")
        assert refused.code == 3 and said in refused.err and refused.out == ""
        assert "Traceback" not in refused.err and refused.err.startswith("error: ")
    assert not (lab.folder / "hacked").exists() and not (lab.folder / "runs").exists()


def test_all_errors_of_a_config_are_told_at_once(lab):
    (lab.folder / "config.yaml").write_text("data: {path: text.txt}\nmodel:\n  num_layers: two\nsed: 1\n")
    refused = lab.lstm("train", "config.yaml", "train.batch_size=0")
    assert refused.code == 3
    for said in ("config.yaml:3:15: model.num_layers", "config.yaml:4:1: sed", "train.batch_size"):
        assert said in refused.err


def test_a_config_that_is_not_there(lab):
    refused = lab.lstm("train", "none.yaml")
    assert refused.code == 3 and "none.yaml" in refused.err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.hiddensize=3", "model.hidden_size"),
        ("hidden_size=3", "model.hidden_size"),
        ("model.hidden_size=big", "model.hidden_size"),
        ("model.hidden_size=", "model.hidden_size"),
        ("train.learning_rate=nan", "train.learning_rate"),
        ("seed=true", "seed"),
    ],
)
def test_an_override_that_is_wrong_names_the_setting(lab, word, said):
    refused = lab.lstm("train", "config.yaml", word)
    assert refused.code == 3 and said in refused.err


def test_the_same_override_twice(lab):
    refused = lab.lstm("train", "config.yaml", "seed=1", "model.hidden_size=8", "seed=2")
    assert refused.code == 3 and "'seed=2'" in refused.err and "'seed=1'" in refused.err


def test_an_equals_sign_within_a_value(lab):
    (lab.folder / "a=b.txt").write_text((lab.folder / "text.txt").read_text())
    assert lab.lstm("train", "config.yaml", "data.path=a=b.txt", "train.max_steps=1").code == 0


@pytest.mark.parametrize(
    "words", [[], ["config.yaml", "seed"], ["train.max_steps=3"], ["config.yaml", "--resum", "x"]]
)
def test_words_that_make_no_command(lab, words):
    refused = lab.lstm("train", *words)
    assert refused.code == 2 and "Traceback" not in refused.err


# --- data that are wrong


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"the cat", "7 symbols"),
        (b"the cat sat" * 6, "batch_size"),
        (b"a" * 2000, "symbol"),
        (b"the cat sat\n" * 100 + b"\xff" + b"on a mat" * 100, "byte offset 1200 (line 101)"),
        (b"the cat\0" * 300, "NUL"),
    ],
)
def test_a_text_that_is_wrong(lab, content, said):
    (lab.folder / "text.txt").write_bytes(content)
    refused = lab.lstm("train", "config.yaml", "--run", "r")
    assert refused.code == 4 and said in refused.err
    assert not lab.path("r").exists()


def test_a_text_that_is_not_there(lab):
    refused = lab.lstm("train", "config.yaml", "data.path=other.txt")
    assert refused.code == 4 and "other.txt" in refused.err


def test_a_device_that_is_not_here(lab, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused = lab.lstm("train", "config.yaml", "train.device=cuda")
    assert refused.code == 3 and "train.device=auto" in refused.err
