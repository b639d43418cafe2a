"""lstm runs: what there is and how it stands."""

from __future__ import annotations

import json


def test_no_runs_yet(lab):
    outcome = lab.lstm("runs")
    assert outcome.code == 0 and "no runs here yet" in outcome.out
    assert lab.lstm("runs", "--json").json == {"runs": []}


def test_runs_in_every_state(lab, monkeypatch):
    lab.train("finished")
    step = "lstmcli.training.loop:_step"
    lab.process("train", "config.yaml", "--run", "stopped", faults=[(step, 13, "SIGTERM")])
    lab.process("train", "config.yaml", "--run", "killed", faults=[(step, 13, "SIGKILL")])
    lab.process("train", "config.yaml", "--run", "young", faults=[(step, 2, "SIGKILL")])
    lab.lstm("train", "config.yaml", "train.learning_rate=1e36", "train.warmup_steps=0", "--run", "diverged")
    (lab.folder / "runs" / "no-run").mkdir()
    found = {run["name"]: run for run in lab.lstm("runs", "--json").json["runs"]}
    states = {name: run["state"] for name, run in found.items()}
    assert states == {
        "finished": "complete",
        "stopped": "interrupted",
        "killed": "interrupted",
        "young": "interrupted",
        "diverged": "diverged",
    }
    assert {name: run["step"] for name, run in found.items() if name in ("finished", "stopped")} == {
        "finished": 20,
        "stopped": 13,
    }
    assert found["finished"]["cell"] == "lstm" and found["finished"]["parameters"] == 4237
    best = lab.checkpoint("finished").document["best"]["loss"]
    assert found["finished"]["best_loss"] == best
    table = lab.lstm("runs").out.splitlines()
    assert table[0].split() == ["run", "state", "cell", "step", "best", "loss", "age"]
    assert table[-1].split()[:5] == ["finished", "complete", "lstm", "20", f"{best:.4f}"]  # the oldest


def test_a_damaged_run_does_not_hide_the_others(lab):
    lab.train("good")
    lab.train("bad")
    (lab.path("bad") / "manifest.json").write_text("{")
    (lab.path("bad") / "config.yaml").write_text("[")
    outcome = lab.lstm("runs", "--json")
    found = {run["name"]: run["state"] for run in json.loads(outcome.out)["runs"]}
    assert outcome.code == 0 and found == {"good": "complete", "bad": "damaged"}
    assert lab.lstm("runs").code == 0
