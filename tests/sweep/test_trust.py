"""An experiment or a search from a stranger runs none of its code until the user has said so."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

pytest.importorskip("optuna")

CELL = """
import pathlib
import torch
from torch import nn
from lstmcli.cells import FreeCell

with pathlib.Path("ran.txt").open("a") as file:
    file.write("ran ")

class Mine(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, hidden_size)

    def step(self, x_t, state):
        h = torch.tanh(self.from_input(x_t) + state[0])
        return h, (h,), {"update": h}
"""
SETTINGS = {
    "model": {"cell": "mine.py:Mine", "path": "auto", "num_layers": 1},
    "train": {"max_steps": 4},
    "evaluation": {"every": 2, "sample_length": 0},
    "telemetry": {"gates_every": None},
}
BEGIN = {
    "tune": ["tune", "config.yaml", "--space", "space.yaml", "--trials", "2", "--jobs", "0", "--run", "s"],
    "experiment": ["experiment", "grid.yaml", "--jobs", "0", "--run", "s"],
}


@pytest.fixture
def house(lab):
    """A search and an experiment of a cell in mine.py."""
    config = yaml.safe_load(lab.configure(**SETTINGS).read_text())
    (lab.folder / "mine.py").write_text(CELL)
    (lab.folder / "space.yaml").write_text("train.learning_rate: [0.001, 0.01]\n")
    grid = {"title": "Small", "claim": "None.", "base": config, "variants": {"a": {}}, "seeds": [1, 2]}
    (lab.folder / "grid.yaml").write_text(yaml.safe_dump(grid | {"measure": ["loss"]}))
    return lab


@pytest.fixture
def elsewhere(monkeypatch, tmp_path_factory):
    """The state of somebody who has trained nothing yet."""

    def move():
        state = tmp_path_factory.mktemp("elsewhere")
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        return state

    return move


def forget(lab):
    """Leave of a search or experiment only what is there when it is killed before its first trial."""
    (lab.folder / "ran.txt").unlink()
    for path in lab.path("s").iterdir():
        if path.name not in ("tune.json", "experiment.json", "logs", "configs"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (lab.path("s") / "configs").glob("*"):
        path.unlink()


def resumed(lab, verb, *words):
    return lab.lstm(verb, "--resume", "runs/s", "--jobs", 0, *words)


@pytest.mark.parametrize("verb", BEGIN)
def test_what_began_here_goes_on_and_what_came_from_elsewhere_asks_for_trust(house, elsewhere, verb):
    assert house.lstm(*BEGIN[verb]).code == 0 and (house.folder / "ran.txt").exists()
    forget(house)
    assert resumed(house, verb).code == 0
    forget(house)
    state = elsewhere()
    refused = resumed(house, verb)
    assert refused.code == 5 and "mine.py:Mine" in refused.err and "--trust" in refused.err
    assert not (house.folder / "ran.txt").exists() and not list(state.rglob("*.json"))
    assert resumed(house, verb, "--trust").code == 0 and (house.folder / "ran.txt").exists()


@pytest.mark.parametrize("verb", BEGIN)
def test_code_in_the_checkpoints_of_its_trials_asks_for_trust(house, elsewhere, verb):
    """The original is gone, and the records of the trials are, so that they would be gone on with."""
    assert house.lstm(*BEGIN[verb]).code == 0
    for path in house.path("s").glob("*/trial.json"):
        path.unlink()
    for name in ("ran.txt", "mine.py"):
        (house.folder / name).unlink()
    elsewhere()
    refused = resumed(house, verb)
    assert refused.code == 5 and "--trust" in refused.err and not (house.folder / "ran.txt").exists()
    trusted = resumed(house, verb, "--trust")
    assert trusted.code == 0, trusted.err
    assert (house.folder / "ran.txt").exists()


@pytest.mark.parametrize("verb", BEGIN)
def test_a_plan_from_elsewhere_reaches_for_no_data_beyond_the_current_folder(
    house, elsewhere, verb, tmp_path_factory
):
    secret = tmp_path_factory.mktemp("secret") / "text.txt"
    secret.write_bytes((house.folder / "text.txt").read_bytes())
    lstm = ["model.cell=lstm", "model.path=loop"]
    assert house.lstm(*BEGIN[verb], *lstm, f"data.path={secret}").code == 0
    (house.folder / "ran.txt").touch()
    forget(house)
    assert resumed(house, verb).code == 0  # began here, by the user's own word
    (house.folder / "ran.txt").touch()
    forget(house)
    path = house.path("s") / f"{verb}.json"
    whole = path.read_text()
    path.write_text(whole.replace(str(secret), str(secret.with_name(".key"))))
    refused = resumed(house, verb)  # signed here, but changed since
    assert refused.code == 5 and "leads out of the current folder" in refused.err
    path.write_text(whole)
    elsewhere()
    refused = resumed(house, verb)
    assert refused.code == 5 and "leads out of the current folder" in refused.err
    assert not list(house.path("s").glob("*/manifest.json"))
    assert resumed(house, verb, "--trust").code == 0


def test_a_cell_smuggled_into_the_config_of_a_trial_is_never_run(house, elsewhere):
    """Of the config of a trial that was cut off only what is searched counts: tune.json names the cell."""
    lstm = [f"model.{name}={value}" for name, value in (("cell", "lstm"), ("path", "loop"))]
    assert house.lstm(*BEGIN["tune"], *lstm).code == 0
    folder = house.path("s")
    shutil.rmtree(folder / "trial-0001")
    path = folder / "configs" / "trial-0001.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"] |= SETTINGS["model"]
    path.write_text(yaml.safe_dump(config))
    elsewhere()
    assert resumed(house, "tune").code == 0 and not (house.folder / "ran.txt").exists()
    assert yaml.safe_load(path.read_text())["model"]["cell"] == "lstm"


@pytest.mark.parametrize(
    ("verb", "name"), [("tune", "tune.json"), ("experiment", "experiment.json"), ("tune", "configs")]
)
def test_damaged_files_of_a_folder_end_in_one_message(house, verb, name):
    """Whatever stands in them: nothing is trained, and there is no traceback."""
    lstm = ["model.cell=lstm", "model.path=loop"]
    assert house.lstm(*BEGIN[verb], *lstm).code == 0
    path = house.path("s") / name
    path = path / "trial-0001.yaml" if path.is_dir() else path
    whole = path.read_text()
    trained = set(house.path("s").glob("*/manifest.json"))
    for text in ("", "[]", "{}", whole[: len(whole) // 2], whole.replace("learning_rate", "learning_rat")):
        path.write_text(text)
        refused = resumed(house, verb)
        assert refused.code in (3, 5) and "Traceback" not in refused.err, (text, refused.err)
    if name == "configs":
        path.write_text(whole.replace("learning_rate: ", "learning_rate: 1"))
        assert resumed(house, verb).code == 5
        path.write_text(whole)
        for stray in ("trial-x.yaml", "trial-00001x.yaml", "trial-99999999999999999999.yaml"):
            (path.parent / stray).write_text("")
        (house.path("s") / "trial-0001" / "trial.json").write_text(
            '{"state": "complete", "numbers": {"best_loss": NaN}, "curves": {}, "message": null}'
        )
        assert resumed(house, verb).code == 0
    assert set(house.path("s").glob("*/manifest.json")) == trained
    if path.suffix == ".json":
        for key in json.loads(whole):
            for value in (None, 3, {}):
                path.write_text(json.dumps(json.loads(whole) | {key: value}))
                code = resumed(house, verb).code
                assert code in (0, 3, 5), (key, value, code)


def test_without_optuna_nothing_is_made(lab, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    refused = lab.lstm("tune", "config.yaml", "--trials", 1)
    assert refused.code == 2 and "pip install 'lstmcli[tune]'" in refused.err
    assert not (lab.folder / "runs").exists()


def test_trust_is_for_what_is_resumed(lab):
    for words in (["tune", "config.yaml", "--trust"], ["experiment", "copy", "--trust"]):
        refused = lab.lstm(*words)
        assert refused.code == 2 and "--resume" in refused.err
    assert not (lab.folder / "runs").exists()
