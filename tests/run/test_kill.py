"""A run that was killed, at whatever moment, and resumed is the run that was never stopped."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

LOOP = "lstmcli.run.loop"
EVERYTHING = [
    "model.dropout=0.3",
    "train.state_reset=0.2",
    "train.warmup_steps=12",
    "train.weight_decay=0.1",
    "train.early_stopping=9",
    "train.max_steps=50",
    "evaluation.every=10",
    "checkpoint.every=7",
    "telemetry.every=4",
    "telemetry.gates_every=6",
]
SCHEDULES = {
    "cosine": ["train.schedule=cosine"],
    "plateau": ["train.schedule=plateau", "train.plateau_patience=1", "train.learning_rate=3.0"],
}


@pytest.fixture(scope="module", params=SCHEDULES)
def whole(request, shared_lab):
    """The name of a run that was never stopped, and the words that make it."""
    words = EVERYTHING + SCHEDULES[request.param]
    name = f"whole-{request.param}"
    shared_lab.train(name, *words)
    return name, words


def test_the_run_that_is_compared_uses_what_it_should(shared_lab, whole):
    name, _ = whole
    numbers = shared_lab.checkpoint(name).document["progress"]
    carried = [v for k, v in shared_lab.checkpoint(name).tensors.items() if k.startswith("carried.")]
    assert len(carried) == 4 and all(np.abs(c).max() > 0 for c in carried)
    assert numbers["loss_count"] == 2  # of the steps 49 and 50, not logged yet
    if name == "whole-plateau":
        assert numbers["plateau_drops"] > 0


@pytest.mark.parametrize(
    ("where", "call"),
    [
        (f"{LOOP}:_step", 9),  # one step after the first checkpoint
        (f"{LOOP}:_step", 15),  # right after a checkpoint, at an epoch's end
        (f"{LOOP}:_step", 27),  # mid-epoch, between two checkpoints (21 and 28)
        (f"{LOOP}:_step", 50),  # the last one
        (f"{LOOP}:_log", 6),  # between an update and its line in the log
        ("lstmcli.kinds.text.task:evaluate_text", 2),  # at the start of an evaluation
        ("lstmcli.kinds.text.task:sample_text", 3),  # an evaluation is logged, its checkpoint is not written
        (f"{LOOP}:save_checkpoint", 4),  # before a checkpoint
        ("os:fsync", 40),  # within one
        (f"{LOOP}:prune", 5),  # after one
    ],
)
def test_killed_and_resumed_is_bit_equal(shared_lab, whole, same, where, call):
    name, words = whole
    run = f"{name}-{where.partition(':')[2]}-{call}"
    killed = shared_lab.process(
        "train", "config.yaml", *words, "--run", run, faults=[(where, call, "SIGKILL")]
    )
    assert killed.code == -9 and shared_lab.steps(run)
    resumed = shared_lab.lstm("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    same(shared_lab, name, run)


def test_killed_again_and_again_is_bit_equal(shared_lab, whole, same):
    name, words = whole
    run = f"{name}-thrice"
    draw = random.Random(3)
    first = [(f"{LOOP}:_step", draw.randint(8, 14), "SIGKILL")]
    assert shared_lab.process("train", "config.yaml", *words, "--run", run, faults=first).code == -9
    for _ in range(3):
        fault = [(f"{LOOP}:_step", draw.randint(8, 13), "SIGKILL")]
        assert shared_lab.process("train", "--resume", run, faults=fault).code == -9
    assert shared_lab.lstm("train", "--resume", run).code == 0
    same(shared_lab, name, run)


@pytest.mark.parametrize("tensorboard", ["false", "true"])
def test_killed_before_the_first_checkpoint_a_run_resumes_from_step_0(lab, same, tensorboard):
    words = [f"telemetry.tensorboard={tensorboard}", "model.dropout=0.2", "telemetry.every=1"]
    fault = [(f"{LOOP}:_step", 7, "SIGKILL")]
    assert lab.process("train", "config.yaml", *words, "--run", "young", faults=fault).code == -9
    assert lab.steps("young") == [] and lab.metrics("young")
    told = lab.lstm("generate", "young")
    assert told.code == 5 and "no checkpoint" in told.err and "--resume" in told.err
    taken = lab.lstm("train", "config.yaml", "--run", "young")
    assert taken.code == 2 and "--resume young" in taken.err
    assert lab.process("train", "--resume", "young", faults=fault).code == -9
    resumed = lab.lstm("train", "--resume", "young")
    assert resumed.code == 0 and "begins again at step 0" in resumed.err
    lab.train("whole", *words)
    same(lab, "whole", "young")


# The places at which a directory is there and its run has not begun.
UNBORN = [
    ("lstmcli.run.session:create_run", "after SIGKILL"),
    ("lstmcli.run.session:check_unbegun", "SIGKILL"),
    ("lstmcli.run.session:_write_config", "SIGKILL"),
    ("lstmcli.run.session:_write_config", "after SIGKILL"),
]


@pytest.mark.parametrize(("where", "what"), UNBORN)
def test_killed_before_it_began_the_name_is_free_again(lab, where, what):
    killed = lab.process("train", "config.yaml", "--run", "r", faults=[(where, 1, what)])
    assert killed.code == -9 and lab.path("r").is_dir()
    refused = lab.lstm("train", "--resume", "r")
    assert refused.code == 5 and "--run r" in refused.err and "Traceback" not in refused.err
    again = lab.lstm("train", "config.yaml", "--run", "r")
    assert again.code == 0 and lab.steps("r") == [10, 20], again.err


@pytest.mark.parametrize(
    ("where", "call", "what"),
    [
        *((where, 1, what) for where, what in UNBORN[1:3]),
        ("lstmcli.run.session:note_own_cell", 1, "SIGKILL"),
        (f"{LOOP}:_step", 4, "SIGKILL"),
        (f"{LOOP}:_step", 14, "SIGTERM"),
    ],
)
def test_the_documented_batch_script_goes_on_after_every_requeue(lab, same, where, call, what):
    """Its line that chooses between a new run and --resume is taken from the page and run by a shell."""
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("if [ -e"))

    def requeued(**options):
        environment = {"NAME": "job", "CONFIG": "config.yaml", "PATH": "/usr/bin:/bin"}
        said = subprocess.run(
            ["bash", "-c", f"{line}; echo $what"], cwd=lab.folder, env=environment, capture_output=True
        )
        return lab.process("train", *said.stdout.decode().split(), **options)

    assert requeued(faults=[(where, call, what)]).code in (-9, 143)
    assert requeued(faults=[(f"{LOOP}:_step", 2, "SIGKILL")]).code == -9
    assert requeued().code == 0
    lab.train("whole")
    same(lab, "whole", "job")


def test_a_checkpoint_is_written_when_so_many_minutes_of_training_have_gone_by(lab):
    words = ["checkpoint.every=null", "evaluation.every=null", "checkpoint.keep=99"]
    lab.train("often", *words, "checkpoint.minutes=1e-9")
    assert lab.steps("often") == list(range(1, 21))
    lab.train("never", *words, "checkpoint.minutes=null")
    assert lab.steps("never") == [20]
    lab.train("default", *words)
    assert lab.steps("default") == [20]


def test_tensorboard_of_a_killed_run_has_every_step_once(lab):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["telemetry.tensorboard=true", "telemetry.every=1", "checkpoint.every=4", "train.max_steps=30"]
    faults = [(f"{LOOP}:_step", 19, "SIGKILL")]  # 16 was saved, 17 and 18 were logged past it
    assert lab.process("train", "config.yaml", *words, "--run", "tb", faults=faults).code == -9
    assert lab.process("train", "--resume", "tb").code == 0
    events = accumulator.EventAccumulator(str(lab.path("tb"))).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == list(range(1, 31))
    assert [e.step for e in events.Scalars("val/loss")] == [10, 20, 30]
    in_file = {r["step"]: r["train/loss"] for r in lab.metrics("tb") if "train/loss" in r}
    for event in events.Scalars("train/loss"):
        assert event.value == np.float32(in_file[event.step])


def test_tensorboard_without_its_quick_loader_has_every_step_once(lab):
    """It takes the first session's start for the run's own."""
    slow = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_accumulator")
    words = ["telemetry.tensorboard=true", "telemetry.pictures=false", "telemetry.every=1"]
    fault = [(f"{LOOP}:_step", 14, "SIGKILL")]
    assert lab.process("train", "config.yaml", *words, "--run", "tb", faults=fault).code == -9
    assert lab.process("train", "--resume", "tb").code == 0
    events = slow.EventAccumulator(str(lab.path("tb"))).Reload()
    for tag, steps in (("train/loss", list(range(1, 21))), ("val/loss", [10, 20])):
        assert [event.step for event in events.Tensors(tag)] == steps


def test_tensorboard_has_an_evaluation_once_that_was_cut_off_and_made_up_for_twice(lab):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["telemetry.tensorboard=true", "telemetry.pictures=false", "train.max_steps=30"]
    faults = [("lstmcli.kinds.text.evaluate:_windows", 2, "SIGTERM")]  # within the one at step 20
    assert lab.process("train", "config.yaml", *words, "--run", "tb", faults=faults).code == 143
    faults = [(f"{LOOP}:save_checkpoint", 1, "SIGKILL")]  # it was made up for, and logged, but not saved
    assert lab.process("train", "--resume", "tb", faults=faults).code == -9
    assert lab.process("train", "--resume", "tb").code == 0
    events = accumulator.EventAccumulator(str(lab.path("tb"))).Reload()
    assert [e.step for e in events.Scalars("val/loss")] == [10, 20, 30]
    assert [e.step for e in events.Scalars("train/loss")] == [5, 10, 15, 20, 25, 30]
    assert [e.step for e in events.Scalars("gates/layer0/forget/mean")] == [1, 10, 20, 30]


def test_a_run_directory_that_is_deleted_is_not_made_anew(lab):
    faults = [(f"{LOOP}:_step", 13, f"remove={lab.path('gone')}")]
    failed = lab.process("train", "config.yaml", "--run", "gone", faults=faults)
    assert failed.code == 7 and "cannot save checkpoint" in failed.err and "Traceback" not in failed.err
    assert not lab.path("gone").exists()


def test_a_run_directory_on_another_machine_resumes_bit_equal(shared_lab, whole, same, tmp_path, monkeypatch):
    name, words = whole
    run = f"{name}-moved"
    faults = [(f"{LOOP}:_step", 30, "SIGKILL")]
    assert shared_lab.process("train", "config.yaml", *words, "--run", run, faults=faults).code == -9
    moved = shutil.copytree(shared_lab.path(run), tmp_path / "else" / "where")
    resumed = shared_lab.lstm("train", "--resume", moved)
    assert resumed.code == 0, resumed.err
    shutil.copytree(moved, shared_lab.path(f"{run}-back"))
    same(shared_lab, name, f"{run}-back")
