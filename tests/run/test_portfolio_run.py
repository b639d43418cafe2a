"""A portfolio from a table to its forecast: it chooses, learns from all data, and a kill changes nothing."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from lstmcli import load
from tests.run.test_series import HORIZON, SETTINGS, STEPS, configure, values, write

PORTFOLIO = [
    {},
    {"normalization": "standard", "context_length": 48},
    {"normalization": "seasonal", "season": 24, "decoder": "segments"},
    {"cell": "gru", "transform": "log"},
]
SECTIONS = {
    "forecast": {"members": "auto", "portfolio": PORTFOLIO, "normalization": "last"},
    "train": {"max_steps": 48, "schedule": "constant", "refit": "validation", "average": 0.9},
    "evaluation": {"every": 8, "stride": 3},
}


@pytest.fixture(scope="module")
def done(shared_lab):
    write(shared_lab, values())
    configure(shared_lab, **SECTIONS)
    told = shared_lab.train("whole")
    shared_lab.told = told
    return shared_lab


def course(lab, run, step=None):
    number = lab.steps(run)[-1] if step is None else step
    text = (lab.path(run) / f"checkpoints/step_{number:08d}/series.json").read_text()
    return json.loads(text)["portfolio"]["course"]


def test_it_says_what_it_chose_and_keeps_one_checkpoint_for_all(done):
    assert "chosen: " in done.told.err and "4 members take turns" in done.told.err
    found = course(done, "whole")
    assert found["stage"] == "refitted" and found["step"] == 48
    weights = np.array(found["weights"])
    assert weights.shape[0] == HORIZON and np.allclose(weights.sum(1), 1.0)
    names = done.checkpoint("whole").tensors
    for part in ("trained", "kept", "refit"):
        assert any(name.startswith(f"model.{part}.3.") for name in names)
    tags = set().union(*done.metrics("whole"))
    assert {"portfolio/member0/weight", "portfolio/free0/weight", "portfolio/member1/loss"} <= tags


def test_its_forecast_and_its_figures(done):
    rows = list(csv.DictReader(io.StringIO(done.lstm("generate", "whole", "--samples", 3).out)))
    assert len(rows) == 2 * HORIZON
    for row in rows:
        found = [float(row[name]) for name in ("q0.05", "q0.5", "q0.95")]
        assert found == sorted(found) and math.isfinite(float(row["sample3"]))
    scored = done.lstm("eval", "whole", "--json").json
    assert scored["mase"] < scored["baselines"]["naive"]["mase"]
    longer = done.lstm("generate", "whole", "--horizon", 2 * HORIZON)
    assert longer.code == 0 and len(longer.out.splitlines()) == 1 + 4 * HORIZON


def test_eval_keeps_the_figure_of_the_models_before_they_learned_from_the_test(done, monkeypatch):
    done.train("all", "train.refit=true")
    done.train("part", "train.refit=false", "train.max_steps=24")
    assert course(done, "all", 24)["losses"] == course(done, "part")["losses"]
    honest, before = (done.lstm("eval", run, "--json").json for run in ("all", "part"))
    assert honest["mase"] == before["mase"] and honest["crps"] == before["crps"]
    monkeypatch.chdir(done.folder)
    run = load(done.path("all"))
    panel = run.data().panel
    assert (run.forecaster(panel).part, run.forecaster(panel, honest=True).part) == ("refit", "kept")
    tensors = done.checkpoint("all").tensors
    learned = [not np.array_equal(v, tensors[k.replace("model.", "raw.")]) for k, v in tensors.items()
               if k.startswith("model.refit.")]  # fmt: skip
    assert any(learned)


def test_a_member_by_itself_would_be_the_same_model(done, monkeypatch):
    """The blend of one network alone is that network: its weights are what it kept."""
    monkeypatch.chdir(done.folder)
    run = load(done.path("whole"))
    panel = run.data().panel
    blend = run.forecaster(panel, honest=True)
    series, origins = np.array([0]), np.array([STEPS - HORIZON])
    total = len(PORTFOLIO) + 6
    for member in range(len(PORTFOLIO)):
        blend.weights = np.eye(total)[[member] * HORIZON]
        blend.calibration = None
        alone = blend.members[member].forecast(series, origins)
        found = blend.forecast(series, origins)
        assert np.allclose(found.quantiles, alone.quantiles, rtol=1e-9)


@pytest.mark.parametrize("stop", [
    ("lstmcli.run.loop:_step", 13, "SIGTERM"),
    ("lstmcli.run.loop:_step", 21, "SIGKILL"),
    ("lstmcli.run.loop:_step", 37, "SIGKILL"),  # while it learns from all data
    ("lstmcli.kinds.series.portfolio_task:evaluate_series", 2, "SIGTERM"),
])  # fmt: skip
def test_killed_and_resumed_is_bit_equal(done, same, stop):
    run = f"{stop[0].rpartition(':')[2]}-{stop[1]}"
    ended = done.process("train", "config.yaml", "--run", run, faults=[stop])
    assert ended.code in (143, -9), ended.err
    resumed = done.lstm("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    same(done, run, "whole")
    assert course(done, run) == course(done, "whole")


def test_without_validation_there_is_nothing_to_choose_by(lab):
    write(lab, values())
    configure(lab, **SECTIONS, data={"splits": [0.8], **{k: SETTINGS["data"][k] for k in ("path",)}})
    refused = lab.lstm("train", "config.yaml")
    assert refused.code == 3 and "validation" in refused.err


def test_counts_are_forecast_as_whole_numbers(lab):
    draw = np.random.default_rng(4)
    write(lab, draw.poisson(0.4, (STEPS, 2)).astype(float))
    counts = {"portfolio": [{}, {"loss": "negative-binomial"}], "normalization": "mean-abs"}
    configure(lab, **SECTIONS | {"forecast": SECTIONS["forecast"] | counts | {"whole_numbers": True}})
    lab.train("counts")
    rows = list(csv.DictReader(io.StringIO(lab.lstm("generate", "counts").out)))
    numbers = {float(row[name]) for row in rows for name in ("q0.05", "q0.5", "q0.95")}
    assert all(number == round(number) and number >= 0 for number in numbers)


@pytest.mark.parametrize("topic", [["gates"], ["gradients", "--initial"], ["memory"], ["units"]])
def test_its_first_member_can_be_looked_into(done, topic):
    found = done.lstm("inspect", "whole", *topic, "--json")
    assert found.code == 0 and found.json, found.err
