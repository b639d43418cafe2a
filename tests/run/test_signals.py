"""Asked to stop: finish the step, save, say how to go on, and leave with the signal's exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

LOOP = "lstmcli.run.loop"


@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGUSR1", 138), ("SIGXCPU", 152)],
)
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(lab, same, name, code):
    stopped = lab.process(
        "train", "config.yaml", "--run", "r", "--json", faults=[(f"{LOOP}:_step", 13, name)]
    )
    assert stopped.code == code and lab.steps("r") == [10, 13]
    assert "stopped at step 13" in stopped.err and "lstm train --resume r" in stopped.err
    assert stopped.out == "" and "Traceback" not in stopped.err and "error" not in stopped.err
    lab.train("whole")
    assert lab.lstm("train", "--resume", "r").code == 0
    same(lab, "whole", "r")


def test_under_nohup_a_run_goes_on(lab):
    """What nohup does is to ignore SIGHUP for the process that it starts."""
    faults = [("lstmcli.run.execute:_assemble", 1, "nohup"), (f"{LOOP}:_step", 13, "SIGHUP")]
    ended = lab.process("train", "config.yaml", "--run", "r", faults=faults)
    assert ended.code == 0 and lab.steps("r") == [10, 20], ended.err


@pytest.mark.parametrize("name", ["SIGHUP", "SIGXCPU"])
def test_what_ends_a_run_while_it_saves_lets_the_save_end(lab, name):
    faults = [("lstmcli.run.checkpoint.write:write_durably", 8, name)]  # in the second save
    stopped = lab.process("train", "config.yaml", "--run", "r", faults=faults)
    assert stopped.code in (129, 152) and lab.steps("r") == [10, 20]


def test_a_second_interrupt_stops_at_once_and_leaves_the_last_checkpoint(lab, same):
    stopped = lab.process(
        "train", "config.yaml", "--run", "r", faults=[(f"{LOOP}:_step", 13, "SIGINT SIGINT")]
    )
    assert stopped.code == 130 and lab.steps("r") == [10]
    assert "Traceback" not in stopped.err and "interrupted" in stopped.err
    manifest = json.loads((lab.path("r") / "manifest.json").read_text())
    assert manifest["state"] == "interrupted"
    lab.train("whole")
    assert lab.lstm("train", "--resume", "r").code == 0
    same(lab, "whole", "r")


def test_a_second_interrupt_while_saving_leaves_no_half_checkpoint(lab):
    faults = [("lstmcli.run.checkpoint.write:write_durably", 8, "SIGINT SIGINT")]  # in the second save
    stopped = lab.process("train", "config.yaml", "--run", "r", faults=faults)
    assert stopped.code == 130 and lab.steps("r") == [10]
    assert [p.name for p in (lab.path("r") / "checkpoints").iterdir()] == ["step_00000010"]


def test_a_termination_while_saving_lets_the_save_end(lab):
    faults = [("lstmcli.run.checkpoint.write:write_durably", 8, "SIGTERM")]
    stopped = lab.process("train", "config.yaml", "--run", "r", faults=faults)
    assert stopped.code == 143 and lab.steps("r") == [10, 20]
    assert lab.checkpoint("r").step == 20


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_evaluation_is_abandoned_and_made_up_for_on_resume(lab, same, name):
    words = ["train.max_steps=30", "model.dropout=0.2"]
    fault = [("lstmcli.kinds.text.evaluate:_windows", 1, name)]
    stopped = lab.process("train", "config.yaml", *words, "--run", "r", faults=fault)
    assert stopped.code in (130, 143) and lab.steps("r") == [10]
    assert not any("val/loss" in record for record in lab.metrics("r"))
    lab.train("whole", *words)
    assert lab.lstm("train", "--resume", "r").code == 0
    same(lab, "whole", "r")


def test_a_signal_after_the_last_step_still_counts_the_run_as_complete(lab):
    fault = [
        ("lstmcli.kinds.text.task:sample_text", 2, "SIGTERM")
    ]  # in the last evaluation, too late to abandon it
    stopped = lab.process("train", "config.yaml", "--run", "r", faults=fault)
    assert stopped.code in (0, 143) and lab.steps("r") == [10, 20]
    again = lab.lstm("train", "--resume", "r")
    assert again.code == 0 and "already complete" in again.err
    assert json.loads((lab.path("r") / "manifest.json").read_text())["state"] == "complete"


def test_a_process_started_from_a_shell_is_stopped_from_outside(lab):
    """No fault is built in here: a real command, and a signal at a moment that nobody chose."""
    words = ["train", "config.yaml", "train.max_steps=1000000", "checkpoint.keep=2", "--run", "r"]
    command = [sys.executable, "-m", "lstmcli", *words]
    started = subprocess.Popen(command, cwd=lab.folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(lab.path("r").glob("checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGTERM)
    _, said = started.communicate(timeout=30)
    assert started.returncode == 143 and "lstm train --resume r" in said
    last = lab.checkpoint("r")
    assert f"stopped at step {last.step};" in said
    assert lab.lstm("eval", "r@last", "--json").json["step"] == last.step
