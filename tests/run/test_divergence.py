"""NaN and infinity: training stops before they reach the weights; in validation they are told."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from lstmcli.kinds.text import task as text
from lstmcli.kinds.text.evaluate import Score
from lstmcli.run import loop
from lstmcli.run import update as updates


def weights_are_finite(lab, run):
    return all(np.isfinite(v).all() for k, v in lab.checkpoint(run).tensors.items() if k.startswith("model."))


def break_loss_at(monkeypatch, step, value):
    """Let the loss of update number `step` be `value`."""
    from lstmcli.kinds.text.model import TextModel

    original, calls = TextModel.objective, 0

    def objective(self, ids, targets, state, penalties):
        nonlocal calls
        calls += 1
        result, nats, carried = original(self, ids, targets, state, penalties)
        return (result * value if calls == step + 1 else result), nats, carried

    monkeypatch.setattr(TextModel, "objective", objective)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(lab, monkeypatch, value):
    break_loss_at(monkeypatch, 13, value)
    failed = lab.lstm("train", "config.yaml", "--run", "r", "--json")
    assert failed.code == 6 and failed.out == ""
    assert "loss is not finite at step 13" in failed.err and "step_00000010" in failed.err
    assert "train.learning_rate" in failed.err and "Traceback" not in failed.err
    assert lab.steps("r") == [10] and weights_are_finite(lab, "r")
    assert json.loads((lab.path("r") / "manifest.json").read_text())["state"] == "diverged"


def test_nothing_is_updated_by_a_loss_that_is_not_finite(lab, monkeypatch):
    seen = {}
    original = updates.check_finite

    def spy(state, losses, norm):
        before = {k: v.clone() for k, v in state.model.state_dict().items()}
        carried = state.carried
        try:
            original(state, losses, norm)
        except Exception:
            seen.update(state=state, before=before, carried=carried)
            raise

    monkeypatch.setattr(updates, "check_finite", spy)
    break_loss_at(monkeypatch, 4, math.nan)
    assert lab.lstm("train", "config.yaml", "--run", "r").code == 6
    state = seen["state"]
    assert state.progress.step == 4 and state.carried is seen["carried"]
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, seen["before"][name])


def test_a_gradient_that_is_not_finite_is_named_as_such(lab, monkeypatch):
    monkeypatch.setattr(updates, "clip", lambda state, limit: torch.tensor(math.inf))
    failed = lab.lstm("train", "config.yaml", "--run", "r")
    assert failed.code == 6 and "gradient is not finite at step 0" in failed.err
    assert "none yet" in failed.err


@pytest.mark.parametrize(("optimizer", "rate"), [("AdamW", "1e36"), ("SGD", "3e38")])
@pytest.mark.parametrize("every", [1, 10])
def test_a_huge_learning_rate_ends_as_diverged_and_every_checkpoint_is_sound(lab, optimizer, rate, every):
    words = [f"train.learning_rate={rate}", f"train.optimizer={optimizer}", "train.clip_norm=null"]
    words += ["train.warmup_steps=0", f"evaluation.every={every}", f"checkpoint.every={every}"]
    failed = lab.lstm("train", "config.yaml", *words, "--run", "r")
    assert failed.code == 6, failed.err
    assert "Traceback" not in failed.err and "last good checkpoint" in failed.err
    assert all(np.isfinite(v).all() for s in lab.steps("r") for v in lab.checkpoint("r", s).tensors.values())


def test_a_sample_of_a_model_out_of_range_does_not_end_the_run(lab):
    words = ["train.learning_rate=1e36", "train.optimizer=SGD", "train.clip_norm=null"]
    outcome = lab.lstm("train", "config.yaml", *words, "--run", "r")
    assert outcome.code == 0 and lab.steps("r") == [10, 20]  # the loss is huge, and a number


def test_weights_that_an_update_made_infinite_are_not_saved(lab, monkeypatch):
    original = loop._step

    def overflow(session, *rest):
        window = original(session, *rest)
        if session.state.progress.step == 15:
            with torch.no_grad():
                session.state.model.head.weight[0, 0] = math.inf
        return window

    monkeypatch.setattr(loop, "_step", overflow)
    failed = lab.lstm("train", "config.yaml", "checkpoint.every=5", "--run", "r")
    assert failed.code == 6 and "head.weight" in failed.err and "step_00000010" in failed.err
    assert lab.steps("r") == [5, 10]


def test_nan_in_validation_only_is_told_and_never_the_best(lab, monkeypatch):
    original, calls = text.evaluate_text, 0

    def evaluate(*args):
        nonlocal calls
        calls += 1
        found = original(*args)
        return Score(math.nan, 0.0, found.tokens) if calls == 2 else found

    monkeypatch.setattr(text, "evaluate_text", evaluate)
    outcome = lab.lstm("train", "config.yaml", "train.max_steps=30", "--run", "r", "--json")
    assert outcome.code == 0 and "validation loss is nan at step 20" in outcome.err
    assert outcome.json["best"]["step"] in (10, 30)
    assert lab.checkpoint("r", 20).document["best"]["step"] == 10
    values = [r["val/loss"] for r in lab.metrics("r") if "val/loss" in r]
    assert len(values) == 3 and math.isnan(values[1])
    assert lab.lstm("train", "--resume", "r@20").code == 0


def test_only_nan_in_validation_leaves_no_best(lab, monkeypatch):
    monkeypatch.setattr(text, "evaluate_text", lambda *a: Score(math.nan, 0.0, 10))
    outcome = lab.lstm("train", "config.yaml", "--run", "r", "--json")
    assert outcome.code == 0 and outcome.json["best"] == {"step": None, "loss": None}
    assert outcome.json["final"]["loss"] is None  # JSON has no NaN
    assert lab.lstm("generate", "r", "--length", "3").code == 0


def test_a_model_that_gives_nan_writes_no_sample():
    from lstmcli.kinds.text.model import TextModel
    from lstmcli.kinds.text.settings import LanguageModel, TextEvaluation
    from lstmcli.kinds.text.task import sample_text
    from lstmcli.kinds.text.vocabulary import Vocabulary

    model = TextModel(LanguageModel(hidden_size=4), 4)
    vocabulary = Vocabulary("characters", "\nab")
    assert len(sample_text(model, vocabulary, TextEvaluation(sample_length=9), 1)) == 9
    with torch.no_grad():
        model.head.bias[1] = math.nan
    assert sample_text(model, vocabulary, TextEvaluation(sample_length=9), 1) == ""
