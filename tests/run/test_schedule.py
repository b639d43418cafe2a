"""Budgets and learning rates against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from lstmcli.config.schema import Train
from lstmcli.run.loop import learning_rate, progress


def rates(steps, drops=0, **settings):
    """The learning rate of every update of a run of so many steps."""
    train = Train(max_steps=steps, learning_rate=1.0, **settings)
    return [learning_rate(train, step, progress(train, step, 10, 0.0), drops) for step in range(steps)]


def test_warm_up_rises_in_equal_steps_from_nought():
    found = rates(10, schedule="constant", warmup_steps=4)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("warmup", [0, 1])
def test_without_warm_up_the_first_update_has_the_full_rate(warmup):
    assert rates(3, schedule="constant", warmup_steps=warmup) == [1.0, 1.0, 1.0]


def test_linear_falls_in_equal_steps():
    found = rates(5, schedule="linear", warmup_steps=0, final_learning_rate=0.5)
    assert found == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6])


def test_cosine_is_half_way_down_in_the_middle():
    found = rates(4, schedule="cosine", warmup_steps=0, final_learning_rate=0.2)
    slope = 0.4 * math.sqrt(0.5)
    assert found == pytest.approx([1.0, 0.6 + slope, 0.6, 0.6 - slope])


def test_warm_up_and_schedule_multiply():
    found = rates(4, schedule="linear", warmup_steps=2)
    assert found == pytest.approx([0.5 * 1.0, 1.0 * 0.75, 0.5, 0.25])


@pytest.mark.parametrize(("drops", "rate"), [(0, 1.0), (1, 0.5), (3, 0.125), (4, 0.1), (99, 0.1)])
def test_plateau_multiplies_per_drop_and_has_a_floor(drops, rate):
    found = rates(3, drops, schedule="plateau", warmup_steps=0, final_learning_rate=0.1)
    assert found == pytest.approx([rate] * 3)


@pytest.mark.parametrize(
    ("settings", "step", "seconds", "share"),
    [
        ({"max_steps": 40}, 10, 0.0, 0.25),
        ({"max_steps": 40}, 41, 0.0, 1.0),
        ({"max_epochs": 2.0}, 5, 0.0, 0.25),  # 10 steps an epoch
        ({"max_epochs": 0.5}, 5, 0.0, 1.0),
        ({"max_epochs": 0.01}, 1, 0.0, 1.0),  # at least one step
        ({"max_minutes": 2.0}, 999, 30.0, 0.25),
        ({"max_steps": 40, "max_epochs": 2.0, "max_minutes": 1.0}, 10, 45.0, 0.75),
        ({"max_steps": 40, "max_epochs": 1.0, "max_minutes": 1.0}, 10, 45.0, 1.0),
    ],
)
def test_the_first_budget_that_is_used_up_ends_the_run(settings, step, seconds, share):
    assert progress(Train(**settings), step, 10, seconds) == pytest.approx(share)


# --- in a run


def logged_rates(lab, run):
    return [r["train/learning_rate"] for r in lab.metrics(run) if "train/learning_rate" in r]


def test_the_logged_rates_are_those_of_the_schedule(lab):
    words = ["telemetry.every=1", "train.schedule=cosine", "train.final_learning_rate=0.001"]
    lab.train("r", *words)
    expected = [
        (0.001 + 0.009 * 0.5 * (1 + math.cos(math.pi * k / 20))) * min(1, (k + 1) / 5) for k in range(20)
    ]
    assert logged_rates(lab, "r") == pytest.approx(expected)


@pytest.mark.parametrize(("words", "steps"), [(["train.max_epochs=1"], 15), (["train.max_epochs=1.5"], 22)])
def test_a_budget_in_epochs(lab, words, steps):
    outcome = lab.train("r", *words, "train.max_steps=null", "--json")
    assert outcome.json["steps"] == steps  # 15 an epoch


def test_a_budget_in_minutes_ends_soon_and_the_rate_follows_the_clock(lab):
    words = ["train.max_steps=null", "train.max_minutes=0.01", "train.warmup_steps=0", "telemetry.every=1"]
    outcome = lab.train("r", *words, "evaluation.every=null", "checkpoint.every=null", "--json")
    assert 0.5 < outcome.json["seconds"] < 10
    found = logged_rates(lab, "r")
    assert found == sorted(found, reverse=True) and found[-1] < 0.5 * found[0]


def test_a_run_without_a_budget_gets_twenty_epochs(lab):
    words = ["train.max_steps=null", "train.sequence_length=64", "train.batch_size=5"]
    outcome = lab.lstm("train", "config.yaml", *words, "--run", "r", "--json")
    assert outcome.json["steps"] == 60 and outcome.json["epochs"] == 20.0
    assert "max_epochs: 20" in (lab.path("r") / "config.yaml").read_text()


def test_plateau_drops_after_evaluations_without_a_better_loss(lab, monkeypatch):
    from lstmcli.kinds.text import task as text
    from lstmcli.kinds.text.evaluate import Score

    losses = iter([3.0, 2.0, 2.5, 2.0, 1.5, 1.6, 1.7, 1.8])  # patience 2: drops after the 4th and 7th
    monkeypatch.setattr(text, "evaluate_text", lambda *a: Score(next(losses), 0.1, 100))
    words = ["train.schedule=plateau", "train.plateau_patience=2", "train.plateau_factor=0.1"]
    lab.train("r", *words, "train.max_steps=40", "evaluation.every=5", "train.warmup_steps=0")
    expected = [1e-2] * 4 + [1e-3] * 3 + [1e-4]
    assert logged_rates(lab, "r") == pytest.approx(expected)
    numbers = lab.checkpoint("r").document["progress"]
    assert numbers["plateau_drops"] == 2 and numbers["best_loss"] == 1.5 and numbers["best_step"] == 25


def test_early_stopping_counts_evaluations_in_a_row(lab, monkeypatch):
    from lstmcli.kinds.text import task as text
    from lstmcli.kinds.text.evaluate import Score

    losses = iter([3.0, 3.1, 2.9, 3.0, 3.0, 3.0, 1.0])
    monkeypatch.setattr(text, "evaluate_text", lambda *a: Score(next(losses), 0.1, 100))
    words = ["train.early_stopping=3", "evaluation.every=5", "train.max_steps=100"]
    outcome = lab.train("r", *words, "--json")
    assert outcome.json["steps"] == 30 and outcome.json["best"] == {"step": 15, "loss": 2.9}
    assert 30 in lab.steps("r") and 15 in lab.steps("r")
    again = lab.lstm("train", "--resume", "r")
    assert again.code == 0 and "already complete" in again.err
