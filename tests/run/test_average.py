"""The running mean of the weights: what it is, that it is what a run has to offer, and that it is resumed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from lstmcli.config.schema import Train
from lstmcli.run.average import Average

WORDS = ["train.average=0.9", "train.max_steps=20", "train.learning_rate=0.05"]


def test_the_average_is_the_sum_written_out():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    average = Average(model, Train(average=0.6))
    wanted = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step, 0.0)
        decay = min(0.6, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            wanted[name] = decay * wanted[name] + (1 - decay) * parameter.detach()
            torch.testing.assert_close(average.values[name], wanted[name], rtol=1e-12, atol=1e-12)


def test_a_shared_matrix_is_averaged_once_and_stays_shared():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    average = Average(model, Train(average=0.9))
    with average.in_place():
        assert model[1].weight is model[0].weight and len(average.values) == 1


def test_in_place_is_given_back_whatever_happens():
    model = nn.Linear(2, 2)
    average = Average(model, Train(average=0.9))
    raw = model.weight.detach().clone()
    average.values["weight"].add_(1.0)
    with pytest.raises(ZeroDivisionError), average.in_place():
        assert torch.equal(model.weight, average.values["weight"])
        raise ZeroDivisionError
    assert torch.equal(model.weight, raw)
    model.weight.data.add_(5.0)
    assert not torch.equal(model.weight, average.values["weight"])


@pytest.fixture(scope="module")
def averaged(shared_lab):
    """A run with an average beside one without; they differ in nothing else."""
    shared_lab.train("plain", *WORDS[1:])
    shared_lab.train("averaged", *WORDS)
    return shared_lab


def test_a_checkpoint_offers_the_average_and_keeps_the_weights(averaged):
    plain, tensors = averaged.checkpoint("plain").tensors, averaged.checkpoint("averaged").tensors
    names = [name for name in plain if name.startswith("model.")]
    assert names and not any(name.startswith("raw.") for name in plain)
    for name in names:
        raw = name.replace("model.", "raw.", 1)
        # averaging changes nothing of how a model learns
        assert np.array_equal(tensors[raw], plain[name])
        assert tensors[name].shape == plain[name].shape and not np.array_equal(tensors[name], plain[name])
    assert {name for name in tensors if name.startswith("model.")} == set(names)


def test_the_average_of_a_run_is_that_of_its_weights(averaged):
    """Followed from checkpoint to checkpoint."""
    words = [*WORDS[:1], "train.max_steps=4", "checkpoint.every=1", "evaluation.every=null"]
    averaged.train("each", *words)
    steps = {step: averaged.checkpoint("each", step).tensors for step in averaged.steps("each")}
    assert list(steps) == [1, 2, 3, 4]
    name = "embedding.weight"
    for step in (2, 3, 4):
        decay = min(0.9, step / (9.0 + step))  # the update number `step` counts from 1
        wanted = decay * steps[step - 1][f"model.{name}"] + (1 - decay) * steps[step][f"raw.{name}"]
        np.testing.assert_allclose(steps[step][f"model.{name}"], wanted, atol=1e-6)


def test_what_is_evaluated_is_the_average(averaged):
    """The validation loss of the log is that of the checkpoint's weights, as `lstm eval` finds it."""
    logged = {r["step"]: r["val/loss"] for r in averaged.metrics("averaged") if "val/loss" in r}
    plain = {r["step"]: r["val/loss"] for r in averaged.metrics("plain") if "val/loss" in r}
    for step in (10, 20):
        found = averaged.lstm("eval", f"averaged@{step}", "--json").json
        assert found["loss"] == pytest.approx(logged[step], abs=2e-6)
        assert found["loss"] != pytest.approx(plain[step], abs=1e-4)
    trained = [{k: v for k, v in r.items() if k.startswith("train/")} for r in averaged.metrics("averaged")]
    assert trained == [
        {k: v for k, v in r.items() if k.startswith("train/")} for r in averaged.metrics("plain")
    ]


@pytest.mark.parametrize("cell", ["lstm", "gru"])  # with NumPy, and with the module
def test_what_writes_text_is_the_average(averaged, cell):
    from lstmcli.api import load
    from lstmcli.kinds.text.model import TextModel

    run = "averaged" if cell == "lstm" else "averaged-gru"
    if cell == "gru":
        averaged.train(run, *WORDS, "model.cell=gru", "model.path=loop")
    loaded = load(averaged.path(run))
    tensors = averaged.checkpoint(run, loaded.step).tensors
    model = TextModel(loaded.config.model, loaded.vocabulary.size)
    logits = {}
    for which in ("model", "raw"):
        own = {k.partition("."): torch.from_numpy(v) for k, v in tensors.items()}
        model.load_state_dict({name: v for (first, _, name), v in own.items() if first == which})
        with torch.no_grad():
            logits[which] = model.step(torch.tensor([3]), model.initial_state(1))[0].numpy()
    found = loaded.decoder.step(np.array([3]), loaded.decoder.initial_state(1))
    np.testing.assert_allclose(found, logits["model"], atol=1e-5)
    assert np.abs(found - logits["raw"]).max() > 1e-3


@pytest.mark.parametrize("stop", [("lstmcli.run.loop:_step", 14, "SIGTERM"),
                                  ("lstmcli.kinds.text.task:evaluate_text", 2, "SIGTERM"),
                                  ("lstmcli.run.loop:_step", 16, "SIGKILL")])  # fmt: skip
def test_stopped_and_resumed_with_an_average_is_bit_equal(averaged, same, stop):
    run = f"stopped-{stop[0].rpartition(':')[2]}-{stop[2]}"
    ended = averaged.process("train", "config.yaml", *WORDS, "--run", run, faults=[stop])
    assert ended.code in (143, -9)
    resumed = averaged.lstm("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    same(averaged, "averaged", run)


def test_resuming_without_the_average_or_with_another_is_refused(averaged):
    for word in ("train.average=null", "train.average=0.5"):
        refused = averaged.lstm("train", "--resume", "averaged", word)
        assert refused.code == 5 and "train.average" in refused.err
    refused = averaged.lstm("train", "--resume", "plain", WORDS[0], "train.max_steps=30")
    assert refused.code == 5 and "train.average" in refused.err


def test_an_average_of_tied_weights_is_resumed_bit_equal(lab, same):
    words = [*WORDS, "model.tie_weights=true", "model.embedding_size=null"]
    lab.train("whole", *words)
    fault = [("lstmcli.run.loop:_step", 13, "SIGTERM")]
    assert lab.process("train", "config.yaml", *words, "--run", "cut", faults=fault).code == 143
    assert lab.lstm("train", "--resume", "cut").code == 0
    same(lab, "whole", "cut")
    assert lab.lstm("generate", "cut", "--length", 5, "--seed", 1).code == 0
    assert "raw.head.weight" not in json.dumps(sorted(lab.checkpoint("cut").tensors))


def wander(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_swa_is_the_plain_mean_from_its_share_of_the_budget_on():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    average = Average(model, Train(average="swa", average_from=0.6))
    kept = []
    for step in range(10):
        wander(model)
        average.update(step, step / 10)
        if step < 6:
            assert torch.equal(average.values["weight"], model.weight)
        else:
            kept.append(model.weight.detach().clone())
            torch.testing.assert_close(
                average.values["weight"], torch.stack(kept).mean(0), rtol=1e-12, atol=0
            )
    with average.in_place():
        torch.testing.assert_close(model.weight.data, torch.stack(kept).mean(0), rtol=1e-12, atol=0)


def test_nt_asgd_begins_when_the_validation_loss_stops_falling():
    model = nn.Linear(3, 2).double()
    average = Average(model, Train(average="nt-asgd", average_patience=3))
    begun = []
    for loss in (3.0, 2.0, 2.5, 1.9, 2.2, 2.4, 2.3):
        average.evaluated(loss)
        begun.append(average.begun)
    # 2.4 is worse than the best of all but the last three before it (3.0, 2.0).
    assert begun == [False, False, False, False, False, True, True]
    torch.manual_seed(0)
    kept = []
    for step in range(4):
        wander(model)
        average.update(step, 0.0)
        kept.append(model.weight.detach().clone())
    torch.testing.assert_close(average.values["weight"], torch.stack(kept).mean(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("rule", ["swa", "nt-asgd", 0.9])
def test_an_average_goes_on_where_a_checkpoint_left_it(rule):
    settings = Train(average=rule, average_from=0.2, average_patience=1)
    model = nn.Linear(3, 2).double()
    one = Average(model, settings)

    def go(average, steps):
        for step in steps:
            torch.manual_seed(step)
            wander(model)
            average.evaluated(1.0 + step)
            average.update(step, step / 10)

    go(one, range(5))
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    values, document = {k: v.clone() for k, v in one.values.items()}, json.loads(json.dumps(one.document()))
    go(one, range(5, 9))
    model.load_state_dict(weights)
    two = Average(model, settings)
    two.restore(values, document)
    go(two, range(5, 9))
    assert one.document() == two.document()
    assert all(torch.equal(v, two.values[k]) for k, v in one.values.items())


@pytest.mark.parametrize("rule", ["swa", "nt-asgd"])
def test_a_run_with_a_late_average_ends_the_same_when_it_is_stopped(lab, rule):
    words = [f"train.average={rule}", "train.learning_rate=0.05", "evaluation.every=4",
             "train.gradient_noise=0.01", "train.sequence_jitter=0.5"]  # fmt: skip
    words += ["train.average_patience=1"] if rule == "nt-asgd" else []
    lab.train("whole", *words)
    lab.process(
        "train",
        "config.yaml",
        *words,
        "--run",
        "cut",
        faults=[("lstmcli.run.loop:_step", 15, "SIGKILL")],
    )
    assert lab.lstm("train", "--resume", "cut").code == 0
    one, two = lab.checkpoint("whole"), lab.checkpoint("cut")
    assert one.tensors.keys() == two.tensors.keys()
    assert all(np.array_equal(v, two.tensors[k]) for k, v in one.tensors.items())
    assert one.document["average"] == two.document["average"]
    if rule == "nt-asgd":  # which has had no reason to begin
        assert len(one.document["average"]["losses"]) > 2
        return
    assert one.document["average"]["count"] > 0
    raw = [name for name in one.tensors if name.startswith("raw.")]
    assert any(not np.array_equal(one.tensors[k], one.tensors[k.replace("raw.", "model.")]) for k in raw)
