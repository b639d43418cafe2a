"""lstm runs: what there is and how it stands."""

from __future__ import annotations

import json


def test_no_runs_yet(lab):
    outcome = lab.lstm("runs")
    assert outcome.code == 0 and "no runs here yet" in outcome.out
    assert lab.lstm("runs", "--json").json == {"runs": []}


def test_runs_in_every_state(lab, monkeypatch):
    lab.train("finished")
    step = "lstmcli.run.loop:_step"
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


def test_one_run_is_shown_with_its_results_and_its_config(lab):
    lab.train("one")
    shown = lab.lstm("runs", "show", "one")
    assert shown.code == 0 and "best loss" in shown.out and "checkpoints" in shown.out
    assert "hidden_size" in shown.out
    found = lab.lstm("runs", "show", "one", "--json").json
    assert found["run"] == "one" and found["step"] == 20 and found["state"] == "complete"
    assert found["best_loss"] == lab.checkpoint("one").document["best"]["loss"]
    assert found["config"]["model"]["cell"] == "lstm" and 20 in found["checkpoints"]


def test_runs_are_set_side_by_side_with_the_settings_that_differ(lab):
    lab.train("one")
    lab.train("two", "train.learning_rate=0.003", "checkpoint.every=null")
    rows = lab.lstm("runs", "compare", "one", "two").out.splitlines()
    assert rows[0].split() == ["one", "two"]
    differing = [row.split() for row in rows[rows.index("settings that differ") + 2 :]]
    assert ["train.learning_rate", "0.01", "0.003"] in differing or any(
        row[0] == "train.learning_rate" and row[2] == "0.003" for row in differing
    )
    assert {row[0] for row in differing} == {"train.learning_rate", "checkpoint.every"}
    assert next(row for row in differing if row[0] == "checkpoint.every")[2] == "null"
    found = lab.lstm("runs", "compare", "one", "two", "--json").json["runs"]
    assert [run["settings"]["train.learning_rate"] for run in found][1] == 0.003
    assert "all settings are the same" in lab.lstm("runs", "compare", "one", "one").out


def test_wrong_words_are_told(lab):
    lab.train("one")
    for words, said in (
        (["foo"], "there is no lstm runs 'foo'"),
        (["show"], "takes one run, found 0"),
        (["compare", "one"], "two runs or more, found 1"),
        (["list", "one"], "takes no run"),
    ):
        outcome = lab.lstm("runs", *words)
        assert outcome.code == 2 and said in outcome.err
    assert lab.lstm("runs", "show", "absent").code == 5
