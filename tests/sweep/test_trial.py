"""One trial: a run like any other, and its record."""

from __future__ import annotations

import json
import os
import signal

import pytest

from lstmcli.core.errors import Interrupted
from lstmcli.sweep.experiment import trials
from lstmcli.sweep.worker import Watch, run_trial


def run(desk, plan, name, folder=None):
    place = folder or desk.place(plan)
    trial = next(trial for trial in trials(plan) if trial.name == name)
    return run_trial(place, trial), place / name


def test_a_trial_is_an_ordinary_run_with_a_record(desk):
    record, path = run(desk, desk.plan(), "wide-seed2")
    assert record == json.loads((path / "trial.json").read_text())
    assert (record["variant"], record["seed"], record["state"], record["steps"]) == ("wide", 2, "complete", 4)
    assert record["numbers"]["best_loss"] > 0.0 and record["curves"]["val/loss"]["x"] == [2, 4]
    from lstmcli.api import load

    assert load(path).config.model.hidden_size == 12
    assert json.loads((path / "manifest.json").read_text())["state"] == "complete"


def test_the_same_seed_gives_the_same_numbers(desk):
    plan = desk.plan()
    first, _ = run(desk, plan, "wide-seed1", desk.place(plan, "one"))
    second, _ = run(desk, plan, "wide-seed1", desk.place(plan, "two"))
    other, _ = run(desk, plan, "wide-seed2", desk.place(plan, "three"))
    assert first["numbers"] == second["numbers"] and first["curves"] == second["curves"]
    assert first["numbers"] != other["numbers"]


def test_the_evaluation_of_a_text_has_both_protocols(desk):
    (desk.folder / "text.txt").write_text("a cat sat on a mat and saw a dog. " * 200)
    record, _ = run(desk, desk.plan(measure=["eval"]), "wide-seed1")
    for protocol in ("windows", "stateful"):
        assert record["numbers"][f"{protocol}_tempered"] <= record["numbers"][f"{protocol}_loss"]
        assert 0.5 <= record["numbers"][f"{protocol}_temperature"] <= 2.0


def test_the_evaluation_of_a_series_is_that_of_its_split(desk, base):
    rows = "".join(f"2020-01-{d + 1:02d},{(d % 7) + 0.1 * d}\n" for d in range(31))
    (desk.folder / "table.csv").write_text("day,y\n" + rows)
    base = base | {
        "data": {
            "kind": "series",
            "path": "table.csv",
            "time": "day",
            "context_length": 5,
            "horizon": 2,
            "splits": [0.6, 0.2, 0.2],
        },
        "train": {name: value for name, value in base["train"].items() if name != "sequence_length"},
        "evaluation": {"every": 2},
    }
    numbers = []
    for split in ("val", "test"):
        plan = desk.plan(base=base, measure=["eval"], split=split)
        numbers.append(run(desk, plan, "wide-seed1", desk.place(plan, split))[0]["numbers"])
    assert {"scaled_mse", "scaled_mae", "mase"} <= set(numbers[0]) and numbers[0] != numbers[1]


def test_a_solved_task_ends_the_trial(desk, task):
    plan = desk.plan(base=task, measure=["eval"], stop="solved", lengths=[2, 4])
    record, path = run(desk, plan, "wide-seed1")
    assert record["state"] == "complete" and record["numbers"]["solved_at"] == record["steps"] < 120
    assert record["numbers"]["accuracy"] > 0.99 and record["numbers"]["baseline_accuracy"] == 0.5
    assert record["numbers"]["solved_length"] in (2.0, 4.0)
    # Killed after that, but before the record was written: it does not train on.
    (path / "trial.json").unlink()
    again, _ = run(desk, plan, "wide-seed1", path.parent)
    assert again["numbers"] == record["numbers"] and again["steps"] == record["steps"]


def test_without_a_stop_a_solved_task_is_trained_to_the_end(desk, task):
    record, _ = run(desk, desk.plan(base=task, measure=["eval"]), "wide-seed1")
    assert record["steps"] == 120 and record["numbers"]["solved_at"] < 120


def test_the_minutes_of_a_trial_end_it(desk):
    record, _ = run(desk, desk.plan("train.max_steps=100000", minutes=1e-4), "wide-seed1")
    assert record["state"] == "out of time" and 0 < record["steps"] < 100000


def test_divergence_is_a_result(desk):
    wild = {"train.learning_rate": 1e39, "train.warmup_steps": 0, "train.optimizer": "SGD"}
    record, path = run(desk, desk.plan(variants={"wild": wild}), "wild-seed1")
    assert record["state"] == "diverged" and "finite" in record["message"]
    assert json.loads((path / "manifest.json").read_text())["state"] == "diverged"
    assert (path / "trial.json").exists()


def test_an_interrupted_trial_goes_on_where_it_was(desk, monkeypatch):
    plan = desk.plan()
    whole, _ = run(desk, plan, "wide-seed1", desk.place(plan, "whole"))

    def on_step(self, step, done):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    folder = desk.place(plan, "cut")
    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step", on_step)
        with pytest.raises(Interrupted):
            run(desk, plan, "wide-seed1", folder)
    assert not (folder / "wide-seed1" / "trial.json").exists()
    steps = []
    monkeypatch.setattr(Watch, "on_step", lambda self, step, done: steps.append(step))
    record, _ = run(desk, plan, "wide-seed1", folder)
    assert steps == [4] and record["numbers"] == whole["numbers"]


def test_what_a_killed_trial_left_without_a_checkpoint_is_begun_anew(desk):
    plan = desk.plan()
    folder = desk.place(plan)
    (folder / "wide-seed1" / "checkpoints").mkdir(parents=True)
    record, _ = run(desk, plan, "wide-seed1", folder)
    assert record["steps"] == 4


def test_gradients_are_measured_before_and_after(desk):
    (desk.folder / "text.txt").write_text("a cat sat on a mat and saw a dog. " * 200)
    record, path = run(desk, desk.plan(measure=["gradients"], lag=10), "wide-seed1")
    start, end = record["curves"]["start_gradient_by_lag"]["y"], record["curves"]["gradient_by_lag"]["y"]
    assert len(start) == len(end) == 11 and start[0] == end[0] == 1.0 and start != end
    assert record["numbers"]["start_gradient_10"] == pytest.approx(_log10(start[10]))
    # A resumed trial has the start of the first attempt.
    (path / "trial.json").unlink()
    again, _ = run(desk, desk.plan(measure=["gradients"], lag=10), "wide-seed1", path.parent)
    assert again["curves"] == record["curves"]


def _log10(value):
    from math import log10

    return log10(value)
