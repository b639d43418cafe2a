"""lstm validate: config, data, cell and optimizer are checked, and nothing is written."""

from __future__ import annotations

import json

import pytest
import yaml


def everything(lab):
    """All paths below the lab's folder, folders included, and the content of files."""
    return sorted(map(str, lab.folder.rglob("*"))), lab.listing()


def test_a_sound_config_is_printed_complete_and_nothing_is_written(lab):
    before = everything(lab)
    outcome = lab.lstm("validate", "config.yaml", "model.hidden_size=24")
    assert outcome.code == 0 and outcome.err == ""
    resolved = yaml.safe_load(outcome.out)
    assert resolved["model"]["hidden_size"] == 24 and resolved["train"]["clip_norm"] == 1.0
    assert everything(lab) == before


def test_json_tells_what_the_data_are(lab):
    before = everything(lab)
    found = lab.lstm("validate", "config.yaml", "--json").json
    assert found["valid"] is True and found["config"]["seed"] == 7
    assert found["data"]["symbols"] == {"train": 1000, "val": 112} and found["data"]["vocabulary"] == 21
    assert everything(lab) == before


def test_all_errors_of_data_cell_and_optimizer_at_once(lab):
    before = everything(lab)
    words = ["data.path=none.txt", "model.cell=none.py:Cell", "train.optimizer=Adamm"]
    refused = lab.lstm("validate", "config.yaml", *words)
    assert refused.code == 4 and refused.out == ""
    for said in ("none.txt", "there is no file none.py", "torch.optim has no 'Adamm'"):
        assert said in refused.err
    assert everything(lab) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["model.cell=lstmm"], 3),
        (["train.optimizer=Adamm"], 3),
        (["train.batch_size=1000"], 4),
        (["data.path=none.txt"], 4),
        (["data.sha256=" + "a" * 64], 4),
        (["model.hidden_size=0"], 3),
    ],
)
def test_what_training_would_refuse_is_refused_with_the_same_code(lab, words, code):
    before = everything(lab)
    checked = lab.lstm("validate", "config.yaml", *words)
    assert everything(lab) == before
    trained = lab.lstm("train", "config.yaml", *words)
    assert checked.code == trained.code == code
    assert checked.err.splitlines()[0] in trained.err


def test_a_text_that_is_not_text_writes_nothing_either(lab):
    (lab.folder / "text.txt").write_bytes(b"the cat \xff" * 200)
    before = everything(lab)
    assert lab.lstm("validate", "config.yaml").code == 4
    assert everything(lab) == before


def test_the_schema_for_editors(lab):
    outcome = lab.lstm("validate", "--schema")
    assert outcome.code == 0 and "hidden_size" in json.dumps(json.loads(outcome.out))


def test_without_a_config(lab):
    assert lab.lstm("validate").code == 2
    assert lab.lstm("validate", "none.yaml").code == 3
