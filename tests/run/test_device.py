"""A whole run on a device that is not the CPU: nothing is left behind or fetched in passing.

The device is the stand-in of `tests/device.py`: its values are real, so that a run there must come out as one
on the CPU does, and an operation on tensors of both fails.
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from lstmcli.engine import hardware
from lstmcli.run import session

spec = importlib.util.spec_from_file_location("loaded_device", Path(__file__).parents[1] / "device.py")
elsewhere = sys.modules.setdefault("loaded_device", importlib.util.module_from_spec(spec))
spec.loader.exec_module(elsewhere)
# Torch takes the device for one without values, and copies nevertheless.
pytestmark = pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
STEPS = 6
WORDS = ["train.device=auto", "model.num_layers=1", "model.hidden_size=8"]
WORDS += ["train.optimizer_options={fused: false, foreach: false}", "checkpoint.every=3"]
FULL = [*WORDS, f"train.max_steps={STEPS}"]
SMALL = {
    "model": {"hidden_size": 8, "num_layers": 1, "path": "engine"},
    "train": {"batch_size": 8, "learning_rate": 0.01, "threads": 1, "precision": "fp32"},
    "evaluation": {"every": 3},
    "telemetry": {"every": 4, "gates_every": 6, "tensorboard": False},
}


class Place:
    """Commands of the lab on the device (`auto` is the device there) and on the CPU."""

    def __init__(self, lab, patch):
        patch.setenv("LSTM_KERNELS", "off")  # there are none for that device
        self.lab, self.patch, self.mode = lab, patch, elsewhere.Elsewhere()

    def there(self, *words):
        chosen = hardware.Hardware(elsewhere.DEVICE, "fp32", "it is here")
        with self.patch.context() as patch, self.mode:
            for module in (hardware, session):
                patch.setattr(module, "choose_hardware", lambda *_, **__: chosen)
            outcome = self.here(*words)
        for manifest in (self.lab.folder / "runs").glob("*/manifest.json"):  # no run is on a stand-in
            said = re.sub(r'("device": *)"meta(:\d+)?"', r'\1"cuda:0"', manifest.read_text())
            manifest.write_text(said)
        return outcome

    def here(self, *words):
        outcome = self.lab.lstm(*words)
        assert outcome.code == 0, outcome.err
        return outcome


@pytest.fixture
def place(lab, monkeypatch):
    return Place(lab, monkeypatch)


def same(lab, ours, theirs):
    """The weights of a run there and of one on the CPU."""
    first, second = lab.checkpoint(ours).tensors, lab.checkpoint(theirs).tensors
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            torch.from_numpy(first[name]), torch.from_numpy(second[name]), rtol=0, atol=1e-6
        )


def test_a_run_there_is_the_run_on_the_cpu(lab, place):
    """With evaluations, samples, gates, checkpoints and an average of the weights."""
    more = ["train.average=0.9", "train.sequence_length=6", "evaluation.every=3", "telemetry.gates_every=3"]
    words = ["train", "config.yaml", *FULL, *more, "model.path=engine", "--run"]
    place.here(*words, "here")
    place.there(*words, "there")
    same(lab, "there", "here")


@pytest.mark.slow
def test_all_that_is_dropped_at_random_is_dropped_there(place):
    more = ["model.dropout=0.2", "model.weight_drop=0.2", "model.zoneout=0.1", "train.sequence_length=6"]
    more += ["model.path=engine", "evaluation.every=null", "telemetry.gates_every=1000"]
    place.there("train", "config.yaml", *FULL, *more, "--run", "there")


@pytest.mark.parametrize("path", [pytest.param("engine", marks=pytest.mark.slow), "loop", "fused"])
def test_an_update_waits_for_the_device_once(lab, place, path):
    quiet = ["telemetry.every=1000", "telemetry.gates_every=1000", "evaluation.every=null"]
    quiet += ["train.sequence_length=6"]
    place.there("train", "config.yaml", *FULL, *quiet, f"model.path={path}", "--run", "r")
    waits = Counter({where: n for where, n in place.mode.waits.items() if where.startswith("run/update")})
    assert waits == {"run/update.py:update": STEPS}
    others = {where.split(":")[0] for where in place.mode.waits} - {"run/update.py"}
    rare = {"run/loop.py", "run/checkpoint/codec.py"}  # a checkpoint and the last evaluation
    assert {where for where in others if not where.startswith(("kinds/text/", "engine/measures/"))} <= rare


def test_a_checkpoint_goes_from_one_to_the_other(lab, place):
    """Begun there, resumed here, and the other way round: as if all had been here."""
    ways = {"all": (place.here, place.here), "a": (place.there, place.here), "b": (place.here, place.there)}
    for name, (first, second) in ways.items():
        first("train", "config.yaml", *WORDS, "train.max_steps=3", "--run", name)
        told = second("train", "--resume", name, f"train.max_steps={STEPS}").err
        assert ("this run began with device" in told) == (first != second)
    same(lab, "a", "all")
    same(lab, "b", "all")


@pytest.mark.slow
def test_evaluation_and_generation_there_are_those_of_the_cpu(lab, place):
    place.here("train", "config.yaml", *FULL, "--run", "r")
    for words in (("eval", "r", "--json"), ("generate", "r", "--length", "40", "--seed", "3", "--json")):
        ours, theirs = place.there(*words).json, place.here(*words).json
        for key in {"loss", "bpc", "accuracy"} & set(theirs):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-6), (words, key)
        texts = [[sample["text"] for sample in found.get("samples", [])] for found in (ours, theirs)]
        assert texts[0] == texts[1]


def test_a_forecaster_there_is_the_one_of_the_cpu(lab, place):
    rows = "".join(
        f"2024-01-{1 + k // 24:02d} {k % 24:02d}:00,{math.sin(k / 4) + k % 5:.4f}\n" for k in range(240)
    )
    (lab.folder / "table.csv").write_text("time,a\n" + rows)
    data = {"kind": "series", "path": "table.csv", "time": "time", "context_length": 24, "horizon": 6}
    data["splits"] = [0.6, 0.2, 0.2]
    (lab.folder / "config.yaml").write_text(
        yaml.safe_dump({"data": data, "forecast": {"patch_length": 6}} | SMALL)
    )
    place.here("train", "config.yaml", *FULL, "--run", "here")
    place.there("train", "config.yaml", *FULL, "--run", "there")
    same(lab, "there", "here")
    ours, theirs = place.there("eval", "here", "--json").json, place.here("eval", "here", "--json").json
    assert ours["mse"] == pytest.approx(theirs["mse"], rel=1e-5)
    forecasts = [way("generate", "here", "--seed", "1").out for way in (place.there, place.here)]
    assert forecasts[0] and forecasts[0] == forecasts[1]


@pytest.mark.slow
def test_a_synthetic_task_there_is_the_one_of_the_cpu(lab, place):
    data = {"kind": "synthetic", "task": "adding", "length": 12}
    (lab.folder / "config.yaml").write_text(yaml.safe_dump({"data": data} | SMALL))
    place.here("train", "config.yaml", *FULL, "--run", "here")
    place.there("train", "config.yaml", *FULL, "--run", "there")
    same(lab, "there", "here")


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm-layer-norm", "mingru"])
def test_other_cells_there(lab, place, cell):
    quiet = ["evaluation.every=null", "telemetry.gates_every=1000", "train.sequence_length=6"]
    words = ["train", "config.yaml", *FULL, *quiet, f"model.cell={cell}", "model.path=auto", "--run"]
    place.here(*words, "here")
    place.there(*words, "there")
    same(lab, "there", "here")


def test_the_stand_in_notices_what_it_is_for():
    with elsewhere.Elsewhere() as mode:
        x = torch.randn(3, 4).to(elsewhere.DEVICE)
        with pytest.raises(AssertionError, match="on two devices"):
            x + torch.randn(3, 4)
        with pytest.raises(TypeError, match="NumPy"):
            x.numpy()
        assert not mode.waits
        float(x.sum()), x.cpu(), (x > 0).nonzero(), x[0].tolist(), bool((x > 0).any())
    assert mode.waits.total() == 5
