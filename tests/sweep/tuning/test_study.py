"""A search: proposals become ordinary runs, bad ones end early, a killed search goes on."""

from __future__ import annotations

import json
import math

import pytest

pytest.importorskip("optuna")

from lstmcli.config.load import load_config, parse_config
from lstmcli.core.errors import ConfigError
from lstmcli.sweep.tuning import study as studies
from lstmcli.sweep.tuning.results import Results
from lstmcli.sweep.tuning.space import Range
from lstmcli.sweep.tuning.study import Outcome, Plan, load_plan, open_study, outcomes, search

CONFIG = parse_config({"data": {"path": "a.txt"}, "seed": 3}, "test")
SPACE = {"train.learning_rate": Range(low=1e-4, high=1.0, log=True), "model.cell": ["lstm", "gru"]}


class Child:
    """Stands for a trial's process: logs one validation loss at each look, then ends."""

    def __init__(self, folder, name, losses, code=0):
        self.folder, self.losses, self.code, self.returncode = folder / name, list(losses), code, None
        self.folder.mkdir(exist_ok=True)
        self.stdin = None
        self.terminated = False

    def poll(self):
        if self.losses and not self.terminated:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": 1, "val/loss": self.losses.pop(0)}) + "\n")
        elif self.returncode is None:
            self.returncode = 143 if self.terminated else self.code
        return self.returncode

    def terminate(self):
        self.terminated = True

    def wait(self, _timeout=None):
        self.returncode = 143


@pytest.fixture
def children(tmp_path, monkeypatch):
    """Trials whose losses follow from their settings: the nearer the rate is to 0.01, the better."""
    made = []

    def popen(words, **_):
        folder, name = tmp_path, words[-1]
        config = load_config(folder / "configs" / f"{name}.yaml")
        distance = abs(math.log10(config.train.learning_rate) + 2)
        made.append(Child(folder, name, [3 + distance, 2 + distance, 1 + distance, 0.5 + distance]))
        return made[-1]

    monkeypatch.setattr(studies.subprocess, "Popen", popen)
    monkeypatch.setattr(studies, "POLL", 0.0)
    (tmp_path / "configs").mkdir()
    return made


def test_a_search_finds_what_is_good_and_ends_early_what_is_not(tmp_path, children):
    plan = Plan("a", CONFIG, SPACE, None, 20, 2)
    told = []
    found = search(tmp_path, plan, told.append)
    assert len(found) == len(told) == 20
    best = found[0]
    assert best.state == "complete" and 0.002 < best.settings["train.learning_rate"] < 0.05
    rate = best.settings["train.learning_rate"]
    assert best.loss == pytest.approx(0.5 + abs(math.log10(rate) + 2))
    assert {o.state for o in found} == {"complete", "pruned"}
    assert all(
        c.terminated
        for c, o in zip(children, sorted(found, key=lambda o: o.number), strict=True)
        if o.state == "pruned"
    )
    kept = load_config(tmp_path / "best.yaml")
    assert kept.train.learning_rate == best.settings["train.learning_rate"]
    assert kept.model.cell == best.settings["model.cell"] and kept.data.path == "a.txt"


def test_a_search_begins_with_the_config_as_it_stands(tmp_path, children):
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"learning_rate": 0.9})})
    found = search(tmp_path, Plan("a", config, SPACE, None, 3, 1), lambda _: None)
    first = next(o for o in found if o.number == 0)
    assert first.settings == {"train.learning_rate": 0.9, "model.cell": "lstm"}
    search(tmp_path, Plan("a", config, SPACE, None, 4, 1), lambda _: None)
    again = [o for o in outcomes(open_study(tmp_path, 0)) if o.settings["train.learning_rate"] == 0.9]
    assert len(again) == 1


def test_a_search_goes_on_and_tries_again_what_was_cut_off(tmp_path, children, monkeypatch):
    plan = Plan("a", CONFIG, SPACE, None, 3, 1)
    search(tmp_path, plan, lambda _: None)
    cut = open_study(tmp_path, 0).ask()  # as if the search had been killed here
    rate = cut.suggest_float("train.learning_rate", 1e-4, 1.0, log=True)
    cell = cut.suggest_categorical("model.cell", ['"lstm"', '"gru"'])
    found = search(tmp_path, Plan("a", CONFIG, SPACE, None, 5, 1), lambda _: None)
    assert len(found) == 5
    again = [o for o in found if o.number > cut.number]
    assert (again and again[0].settings["train.learning_rate"] == pytest.approx(rate, rel=0.01)) or any(
        o.settings["train.learning_rate"] == pytest.approx(rate, rel=0.01)
        and o.settings["model.cell"] == json.loads(cell)
        for o in again
    )


def test_a_search_whose_trials_all_fail_says_why(tmp_path, children, monkeypatch):
    def popen(words, **options):
        options["stdout"].write(b"error: the text is gone\n")
        return Child(tmp_path, words[-1], [], code=4)

    monkeypatch.setattr(studies.subprocess, "Popen", popen)
    with pytest.raises(Exception, match="trials failed") as caught:
        search(tmp_path, Plan("a", CONFIG, SPACE, None, 9, 1), lambda _: None)
    assert caught.value.exit_code == 5 and "the text is gone" in caught.value.hint
    assert outcomes(open_study(tmp_path, 0)) == []


def test_a_space_of_nothing_but_refused_settings_ends_the_search(tmp_path, children):
    space = {"model.tie_weights": [True], "model.embedding_size": [32, 64], "model.hidden_size": [128]}
    with pytest.raises(ConfigError, match=r"refuses all .* embedding_size equal to hidden_size"):
        search(tmp_path, Plan("a", CONFIG, space, None, 5, 1), lambda _: None)
    assert not children


def test_a_search_keeps_to_its_minutes(tmp_path, children, monkeypatch):
    clock = iter(range(0, 100000, 20))
    monkeypatch.setattr(studies.time, "monotonic", lambda: float(next(clock)))
    found = search(tmp_path, Plan("a", CONFIG, SPACE, 5.0, None, 1), lambda _: None)
    assert 1 <= len(found) <= 10


def test_a_plan_survives_its_file(tmp_path):
    plan = Plan("a", CONFIG, SPACE, 5.0, None, 2)
    plan.save(tmp_path)
    assert load_plan(tmp_path) == plan
    (tmp_path / "tune.json").write_text("{}")
    with pytest.raises(Exception, match="holds no search") as caught:
        load_plan(tmp_path)
    assert caught.value.exit_code == 5


def test_the_table_and_the_picture_tell_all():
    found = [
        Outcome(
            k,
            "complete" if k < 10 else "pruned",
            1.0 + k,
            {"train.learning_rate": 0.01 * k + 0.01, "model.cell": "gru"},
            3.0,
        )
        for k in range(15)
    ]
    results = Results(SPACE, found)
    (table,) = results.tables()
    assert table.columns == ["trial", "state", "best val loss", "learning_rate", "cell"]
    assert table.rows[0] == ["0", "complete", "1.0000", "0.01", "gru"] and len(table.rows) == 12
    assert "15 trials, 5 ended early; 3 more" in table.note
    best = {"trial": 0, "loss": 1.0, "train.learning_rate": 0.01, "model.cell": "gru"}
    assert results.document()["best"] == best
    panels = results.figure().axes
    assert [axes.get_title(loc="left") for axes in panels] == list(SPACE)
    assert panels[0].get_xscale() == "log" and len(panels[0].collections) == 2
