"""The one update: what a search for a rate, a rehearsal and a benchmark make is what a run makes."""

from __future__ import annotations

import pytest
import torch

from lstmcli.config.load import load_config
from lstmcli.inspect import rates
from lstmcli.run import plan
from lstmcli.run.distributed import ALONE
from lstmcli.run.session import assemble
from lstmcli.run.telemetry.console import Console

RATE, STEPS = 0.02, 6
TEXT = {
    "model": {"dropout": 0.2, "hidden_size": 16, "embedding_size": 8, "num_layers": 2, "path": "fused"},
    "train": {
        "batch_size": 4, "sequence_length": 16, "max_steps": STEPS, "learning_rate": RATE, "threads": 1,
        "precision": "fp32", "warmup_steps": 0, "schedule": "constant", "clip_norm": 0.5,
        "sequence_jitter": 0.3, "state_reset": 0.2, "label_smoothing": 0.1, "activation_penalty": 1.0,
        "temporal_penalty": 1.0, "gradient_noise": 0.1, "average": 0.9,
    },
}  # fmt: skip


def spied(monkeypatch, module):
    """The states that a module's updates have changed."""
    states, original = [], module.update

    def spy(state, *rest):
        states.append(state)
        return original(state, *rest)

    monkeypatch.setattr(module, "update", spy)
    return states


@pytest.fixture
def trained(lab):
    """A run with everything on that an update knows, and its last checkpoint."""
    lab.configure(**TEXT)
    lab.train("r", "evaluation.every=null", "data.splits=[1.0]")
    return lab.checkpoint("r").tensors


def same_as(state, tensors):
    mine = state.tensors()
    assert set(mine) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(mine[name].cpu(), torch.as_tensor(value)), name


def test_a_search_for_a_rate_makes_the_updates_of_a_run(lab, trained, monkeypatch):
    monkeypatch.chdir(lab.folder)
    states = spied(monkeypatch, rates)
    config = load_config("config.yaml", ["data.splits=[1.0]"])
    monkeypatch.setattr(rates, "LEAST", -1.0)  # whatever it finds
    found = rates.rate_test(config, STEPS, RATE, RATE)
    assert len(states) == STEPS and len(set(found.losses)) == STEPS
    same_as(states[-1], trained)


def test_a_window_of_another_length_has_its_share_of_the_rate(lab, monkeypatch):
    lab.configure(**TEXT)
    monkeypatch.chdir(lab.folder)
    states = spied(monkeypatch, rates)
    seen = []
    monkeypatch.setattr(rates, "LEAST", -1.0)
    config = load_config("config.yaml", ["train.optimizer=SGD"])
    rates.rate_test(config, 8, RATE, RATE, lambda *_: seen.append(states[-1].optimizer.param_groups[0]["lr"]))
    assert len(set(seen)) > 1 and all(0.0 < rate <= 2.0 * RATE for rate in seen)


def test_a_rehearsal_makes_the_updates_of_a_run(lab, trained, monkeypatch):
    monkeypatch.chdir(lab.folder)
    states = spied(monkeypatch, plan)
    words = ["data.splits=[1.0]", "evaluation.every=null", "train.max_steps=2"]
    lab.train("two", *words)
    parts = assemble(load_config("config.yaml", words), Console(quiet=True), ranks=ALONE)
    plan.plan_disk(parts, Console(quiet=True))
    same_as(states[-1], lab.checkpoint("two").tensors)


def test_the_benchmarks_make_the_update_of_a_run(monkeypatch):
    from lstmcli.benchmark import compare
    from lstmcli.engine.hardware import choose_hardware

    states = spied(monkeypatch, compare)
    shape, hardware = compare.Shape(8, 1, 2, 4, 5), choose_hardware("cpu", "fp32")
    config = compare.our_config(shape, "fused")
    model, _ = compare.our_model(config, shape, hardware)
    steps = compare.train_ours(config, shape, model, hardware)
    assert next(steps) != next(steps) and states[-1].progress.step == 2
