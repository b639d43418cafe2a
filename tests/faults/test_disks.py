"""Disks that are full, read-only or busy, while a run is trained on them."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

LOOP = "lstmcli.run.loop"


def bytes_of_a_checkpoint(lab):
    """Of a run with the lab's settings; nothing of it stays."""
    lab.train("measure", "train.max_steps=10")
    return sum(file.stat().st_size for file in lab.path("measure").glob("checkpoints/step_*/*"))


def test_a_disk_fills_up_and_the_run_goes_on_when_there_is_room(lab, disk):
    """A file system of two and a half checkpoints."""
    each = bytes_of_a_checkpoint(lab)
    place = disk(lab.folder / "runs", int(2.5 * each))
    failed = lab.lstm("train", "config.yaml", "train.max_steps=60", "--run", "r")
    assert failed.code == 7 and "Traceback" not in failed.err
    assert "No space left on device" in failed.err and "bytes needed: " in failed.err
    needed = int(failed.err.partition("bytes needed: ")[2].partition(", bytes free")[0].replace(",", ""))
    assert 0.8 * each < needed < 1.2 * each
    kept = lab.steps("r")
    assert kept in ([10], [10, 20])
    assert lab.lstm("eval", "r@last", "--json").json["step"] == kept[-1]
    subprocess.run(["mount", "-o", "remount,size=8m", str(place)], check=True)  # somebody makes room
    resumed = lab.lstm("train", "--resume", "r")
    assert resumed.code == 0 and lab.steps("r")[-1] == 60, resumed.err


@pytest.mark.parametrize("tensorboard", ["false", "true"])
def test_no_room_for_the_log_costs_the_log_alone(lab, tensorboard):
    """No file may grow beyond 25 KB: a checkpoint's do not, the log of 150 steps does."""
    words = ["train.max_steps=150", "telemetry.every=1", "telemetry.gates_every=null", "checkpoint.every=75"]
    words += [f"telemetry.tensorboard={tensorboard}", "evaluation.every=75", "model.hidden_size=8"]
    outcome = lab.process(
        "train", "config.yaml", *words, "--run", "r", faults=[(f"{LOOP}:_step", 5, "fsize=25000")]
    )
    assert outcome.code == 0 and "Traceback" not in outcome.err, outcome.err
    assert outcome.err.count("training goes on without it") == 1
    assert "part of the log is missing" in outcome.err.splitlines()[-1]
    assert lab.steps("r") == [75, 150] and (lab.path("r") / "metrics.jsonl").stat().st_size <= 25_000
    whole = lab.process("train", "config.yaml", *words, "--run", "whole")
    assert whole.code == 0
    one, two = lab.checkpoint("r").tensors, lab.checkpoint("whole").tensors
    assert all(np.array_equal(value, two[name]) for name, value in one.items())


def test_a_disk_that_is_read_only(lab, disk, read_only):
    place = disk(lab.folder / "runs", 4 << 20)
    lab.train("r", "train.max_steps=10")
    read_only(place)
    for words in (["train", "--resume", "r", "train.max_steps=20"], ["train", "config.yaml", "--run", "s"]):
        refused = lab.lstm(*words)
        assert refused.code == 7 and "Read-only" in refused.err and "Traceback" not in refused.err, (
            refused.err
        )
    assert lab.lstm("eval", "r").code == 0 and lab.lstm("generate", "r", "--length", 3).code == 0
    assert lab.lstm("runs").code == 0


def test_pruning_that_fails_is_told_and_training_goes_on(lab, disk):
    """A checkpoint that cannot be renamed: something is mounted on it."""
    lab.train("r", "train.max_steps=10")
    disk(lab.path("r") / "checkpoints" / "step_00000010", 1 << 20)
    words = ["train", "--resume", "r@10", "train.max_steps=40", "checkpoint.keep=1"]
    broken = lab.lstm(*words)
    assert broken.code == 5 and "step_00000010" in broken.err  # it is empty now: named, so refused
    for step in (20, 30):
        (lab.path("r") / "checkpoints" / f"step_{step:08d}").mkdir()
    lab.train("s", "train.max_steps=40", "checkpoint.keep=1", "evaluation.every=null", "checkpoint.every=40")
    run = lab.path("s") / "checkpoints"
    stale = run / "step_00000030"
    stale.mkdir()
    disk(stale, 1 << 20)
    resumed = lab.lstm("train", "--resume", "s@40", "train.max_steps=60", "checkpoint.every=10")
    assert resumed.code == 0, resumed.err
    assert (
        "cannot remove" in resumed.err
        and "step_00000030" in resumed.err
        and "training goes on" in resumed.err
    )
    assert {30, 60} <= set(lab.steps("s")) and 50 not in lab.steps("s")


def test_a_manifest_is_whole_however_a_run_ends(lab, disk):
    """The states of a run are noted by replacing a file: a disk without a byte of room keeps the old one."""
    each = bytes_of_a_checkpoint(lab)
    disk(lab.folder / "runs", int(1.5 * each))
    failed = lab.lstm("train", "config.yaml", "--run", "r")
    assert failed.code == 7
    assert json.loads((lab.path("r") / "manifest.json").read_text())["state"] in ("failed", "running")
