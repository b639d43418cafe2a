"""A search: proposals become ordinary runs, bad ones end early, a killed search goes on."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna")

from lstmcli.config.load import load_config, parse_config
from lstmcli.core.errors import ConfigError, Terminated
from lstmcli.sweep.pool import record_of, unfinished
from lstmcli.sweep.search import Outcome, Plan, Results, load_plan, search
from lstmcli.sweep.space import Range

CONFIG = parse_config({"data": {"path": "a.txt"}, "seed": 3}, "test")
SPACE = {"train.learning_rate": Range(low=1e-4, high=1.0, log=True), "model.cell": ["lstm", "gru"]}


class Pool:
    """Stands for the processes: a trial logs one validation loss at each look, then it is over."""

    def __init__(self, folder, losses_of, ends_after=None):
        self.folder, self.losses_of, self.looks_left = folder, losses_of, ends_after
        self.left, self.given, self.ended = {}, [], []

    @property
    def running(self):
        return [trial for trial in self.given if trial.name in self.left]

    def give(self, trial, trusted):
        self.given.append(trial)
        (self.folder / trial.name).mkdir(exist_ok=True)
        (self.folder / trial.name / "metrics.jsonl").unlink(missing_ok=True)
        self.left[trial.name] = list(self.losses_of(trial.config))

    def wait(self, seconds):
        if self.looks_left is not None:
            if self.looks_left == 0:
                raise Terminated("killed")
            self.looks_left -= 1
        over = []
        for trial in self.running:
            path = self.folder / trial.name
            if losses := self.left[trial.name]:
                with (path / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"step": 1, "val/loss": losses.pop(0)}) + "\n")
                continue
            del self.left[trial.name]
            lines = (path / "metrics.jsonl").read_text().splitlines()
            logged = [json.loads(line)["val/loss"] for line in lines]
            record = unfinished(trial, "complete") | {"numbers": {"best_loss": min(logged)}}
            (path / "trial.json").write_text(json.dumps(record))
            over.append((trial, record))
        return over

    def end(self, trial):
        del self.left[trial.name]
        self.ended.append(trial.name)

    def close(self):
        self.left = {}


def near_a_hundredth(config):
    """Losses that follow from the settings: the nearer the rate is to 0.01, the better."""
    distance = abs(math.log10(config.train.learning_rate) + 2)
    return [3 + distance, 2 + distance, 1 + distance, 0.5 + distance]


@pytest.fixture
def pool(tmp_path):
    (tmp_path / "configs").mkdir()
    return Pool(tmp_path, near_a_hundredth)


def made(folder, plan, pool, report=lambda _: None):
    return search(folder, plan, report, pool)


def test_a_search_finds_what_is_good_and_ends_early_what_is_not(tmp_path, pool):
    plan = Plan("a", CONFIG, SPACE, None, 20, 2)
    told = []
    found = made(tmp_path, plan, pool, told.append)
    assert len(found) == len(told) == 20
    best = found[0]
    assert best.state == "complete" and 0.002 < best.settings["train.learning_rate"] < 0.05
    rate = best.settings["train.learning_rate"]
    assert best.loss == pytest.approx(0.5 + abs(math.log10(rate) + 2))
    assert {o.state for o in found} == {"complete", "pruned"}
    assert sorted(pool.ended) == sorted(f"trial-{o.number:04d}" for o in found if o.state == "pruned")
    assert all(record_of(tmp_path, trial)["state"] in ("complete", "pruned") for trial in pool.given)
    kept = load_config(tmp_path / "best.yaml")
    assert kept.train.learning_rate == best.settings["train.learning_rate"]
    assert kept.model.cell == best.settings["model.cell"] and kept.data.path == "a.txt"


def test_a_search_begins_with_the_config_as_it_stands(tmp_path, pool):
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"learning_rate": 0.9})})
    found = made(tmp_path, Plan("a", config, SPACE, None, 3, 1), pool)
    first = next(o for o in found if o.number == 0)
    assert first.settings == {"train.learning_rate": 0.9, "model.cell": "lstm"}
    found = made(tmp_path, Plan("a", config, SPACE, None, 4, 1), pool)
    assert [o.number for o in found if o.settings["train.learning_rate"] == 0.9] == [0]


def test_a_search_goes_on_with_what_was_cut_off(tmp_path, pool):
    first = made(tmp_path, Plan("a", CONFIG, SPACE, None, 3, 1), pool)
    with pytest.raises(Terminated):
        made(tmp_path, Plan("a", CONFIG, SPACE, None, 6, 2), Pool(tmp_path, near_a_hundredth, ends_after=1))
    cut = [path.stem for path in sorted((tmp_path / "configs").iterdir())][3:]
    assert cut == ["trial-0003", "trial-0004"]
    configs = [load_config(tmp_path / "configs" / f"{name}.yaml") for name in cut]
    again = Pool(tmp_path, near_a_hundredth)
    found = made(tmp_path, Plan("a", CONFIG, SPACE, None, 6, 2), again)
    assert [trial.name for trial in again.given] == [*cut, "trial-0005"]
    assert [trial.config for trial in again.given[:2]] == configs
    assert len(found) == 6 and [o for o in found if o.number < 3] == [o for o in first if o.number < 3]


def test_a_search_that_goes_on_proposes_what_it_knows_to_be_good(tmp_path, pool):
    made(tmp_path, Plan("a", CONFIG, SPACE, None, 15, 1), pool)
    later = made(tmp_path, Plan("a", CONFIG, SPACE, None, 25, 1), pool)
    rates = [o.settings["train.learning_rate"] for o in later if o.number >= 15]
    assert sum(0.001 < rate < 0.1 for rate in rates) > len(rates) / 2


def test_a_search_whose_trials_all_fail_says_why(tmp_path, pool, monkeypatch):
    fails = lambda seconds: [  # noqa: E731
        (t, unfinished(t, "failed", "error: the text is gone")) for t in pool.running if pool.left.pop(t.name)
    ]
    monkeypatch.setattr(pool, "wait", fails)
    with pytest.raises(Exception, match="the last 5 trials failed") as caught:
        made(tmp_path, Plan("a", CONFIG, SPACE, None, 9, 1), pool)
    assert caught.value.exit_code == 5 and "the text is gone" in caught.value.hint
    assert len(pool.given) == 5 and not list(tmp_path.glob("*/trial.json"))


def test_a_trial_that_diverges_counts_and_is_never_the_best(tmp_path, pool, monkeypatch):
    wait = pool.wait

    def diverging(seconds):
        over = []
        for trial, record in wait(seconds):
            record |= {"state": "diverged" if trial.config.train.learning_rate > 0.1 else "complete"}
            (tmp_path / trial.name / "trial.json").write_text(json.dumps(record))
            over.append((trial, record))
        return over

    monkeypatch.setattr(pool, "wait", diverging)
    space = {"train.learning_rate": [0.01, 0.5, 0.9]}
    found = made(tmp_path, Plan("a", CONFIG, space, None, 9, 1), pool)
    assert len(found) == 9 and found[0].state == "complete"
    assert {o.state for o in found if o.settings["train.learning_rate"] > 0.1} <= {"diverged", "pruned"}
    assert made(tmp_path, Plan("a", CONFIG, space, None, 9, 1), pool) == found


def test_a_space_of_nothing_but_refused_settings_ends_the_search(tmp_path, pool):
    space = {"model.tie_weights": [True], "model.embedding_size": [32, 64], "model.hidden_size": [128]}
    with pytest.raises(ConfigError, match=r"refuses all .* embedding_size equal to hidden_size"):
        made(tmp_path, Plan("a", CONFIG, space, None, 5, 1), pool)
    assert not pool.given


def test_a_search_keeps_to_its_minutes(tmp_path, pool, monkeypatch):
    from lstmcli.sweep import search as module

    clock = iter(range(0, 100000, 20))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    found = made(tmp_path, Plan("a", CONFIG, SPACE, 5.0, None, 1), pool)
    assert 1 <= len(found) <= 10


def test_rounded_values_stay_inside_their_range(tmp_path, pool):
    space = {
        "train.learning_rate": Range(low=0.0123449, high=0.0123451),
        "model.dropout": Range(low=0.0, high=0.3, step=0.1),
    }
    for count in (5, 8):
        found = made(tmp_path, Plan("a", CONFIG, space, None, count, 1), pool)
    assert len(found) == 8
    assert all(0.0123449 <= o.settings["train.learning_rate"] <= 0.0123451 for o in found)
    assert {o.settings["model.dropout"] for o in found} <= {0.0, 0.1, 0.2, 0.3}


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
