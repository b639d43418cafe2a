"""Going on with a run: where it stopped, from an earlier step, for longer, and never as something else."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

LOOP = "lstmcli.run.loop"
HALF = 13  # no multiple of anything


def stopped_at(lab, run, step, *words):
    """A run that was asked to stop before update number `step`."""
    fault = [(f"{LOOP}:_step", step, "SIGTERM")]
    outcome = lab.process("train", "config.yaml", *words, "--run", run, faults=fault)
    assert outcome.code == 143, outcome.err
    return outcome


@pytest.fixture(scope="module")
def whole(shared_lab):
    shared_lab.train("whole", "train.max_steps=35", "model.dropout=0.2")
    return "whole"


@pytest.mark.parametrize("step", [HALF, 15, 30, 31])  # an epoch has 15 steps
def test_stopped_mid_epoch_or_at_an_epochs_end_and_resumed_is_bit_equal(shared_lab, whole, same, step):
    run = f"stopped-{step}"
    stopped_at(shared_lab, run, step, "train.max_steps=35", "model.dropout=0.2")
    assert shared_lab.lstm("train", "--resume", run).code == 0
    same(shared_lab, whole, run)


def test_resumed_twice_is_bit_equal(shared_lab, whole, same):
    stopped_at(shared_lab, "twice", 8, "train.max_steps=35", "model.dropout=0.2")
    fault = [(f"{LOOP}:_step", 9, "SIGTERM")]
    assert shared_lab.process("train", "--resume", "twice", faults=fault).code == 143
    assert shared_lab.lstm("train", "--resume", "twice").code == 0
    same(shared_lab, whole, "twice")


def test_resuming_a_complete_run_says_so_and_changes_nothing(lab):
    lab.train("done")

    def listed():  # what is noted of a text's file depends on how long ago it was written
        return {
            k: v
            for k, v in lab.listing().items()
            if not (k.endswith(".lock") or k.startswith("cache/examined"))
        }

    before = listed()
    again = lab.lstm("train", "--resume", "done", "--json")
    assert again.code == 0 and "already complete" in again.err
    assert again.json["steps"] == 20 and again.json["run"] == "done"
    assert listed() == before


def test_resume_from_an_older_step_replaces_what_came_after_it(lab, same):
    lab.train("straight", "train.max_steps=40")
    lab.train("back", "train.max_steps=40")
    assert lab.steps("back") == [10, 20, 30, 40]
    fault = [(f"{LOOP}:_step", 3, "SIGKILL")]  # before the first commit nothing of the old course goes
    assert lab.process("train", "--resume", "back@20", faults=fault).code == -9
    assert lab.steps("back") == [10, 20, 30, 40]
    fault = [(f"{LOOP}:_step", 12, "SIGTERM")]
    stopped = lab.process("train", "--resume", "back@20", faults=fault)
    assert stopped.code == 143 and lab.steps("back") == [10, 20, 30, 32]
    assert "removing checkpoints" in stopped.err and "40" in stopped.err
    assert lab.lstm("train", "--resume", "back").code == 0
    assert lab.steps("back") == [10, 20, 30, 32, 40]
    same(lab, "straight", "back")


def test_a_run_that_was_set_back_stays_so_when_it_is_killed_before_its_first_commit(lab, same):
    lab.train("straight", "train.max_steps=40")
    lab.train("back", "train.max_steps=40")
    fault = [(f"{LOOP}:_step", 3, "SIGKILL")]
    assert lab.process("train", "--resume", "back@20", faults=fault).code == -9
    assert lab.metrics("back")[-1]["step"] == 20  # the log goes on from there, so the run must, too
    fault = [(f"{LOOP}:_step", 4, "SIGKILL")]
    again = lab.process("train", "--resume", "back", faults=fault)
    assert again.code == -9 and "set back to step 20" in again.err and "30, 40" in again.err
    assert lab.steps("back") == [10, 20, 30, 40]  # still there, for --resume back@40
    fault = [(f"{LOOP}:discard_after", 1, "SIGKILL")]  # committed, but the old course is not cleared away
    assert lab.process("train", "--resume", "back", faults=fault).code == -9
    assert lab.steps("back") == [10, 20, 30, 40]  # 30 is the new one
    last = lab.lstm("train", "--resume", "back")
    assert last.code == 0 and "goes on from step 30" in last.err
    same(lab, "straight", "back")
    assert "set_back" not in json.loads((lab.path("back") / "manifest.json").read_text())


def test_the_course_that_was_left_can_be_taken_again_until_the_first_commit(lab, same):
    lab.train("straight", "train.max_steps=40")
    lab.train("back", "train.max_steps=40")
    fault = [(f"{LOOP}:_step", 3, "SIGKILL")]
    assert lab.process("train", "--resume", "back@20", faults=fault).code == -9
    last = lab.lstm("train", "--resume", "back@40")
    assert last.code == 0 and "already complete" in last.err
    assert lab.steps("back") == [10, 20, 30, 40]
    assert "already complete" in lab.lstm("train", "--resume", "back").err


def test_resume_from_a_step_that_is_not_there(lab):
    lab.train("short")
    refused = lab.lstm("train", "--resume", "short@15")
    assert refused.code == 5 and "step 15" in refused.err and "10, 20" in refused.err


def test_resume_with_a_longer_budget_goes_on_and_keeps_it(lab):
    lab.train("more", "train.schedule=constant")
    longer = lab.lstm("train", "--resume", "more", "train.max_steps=30", "--json")
    assert longer.code == 0 and longer.json["steps"] == 30
    assert lab.steps("more") == [10, 20, 30]
    lab.train("at-once", "train.schedule=constant", "train.max_steps=30")
    for name, value in lab.checkpoint("at-once").tensors.items():
        assert np.array_equal(value, lab.checkpoint("more").tensors[name]), name


def test_a_longer_budget_outlives_the_next_stop(lab):
    lab.train("more")
    fault = [(f"{LOOP}:_step", 5, "SIGTERM")]
    assert lab.process("train", "--resume", "more", "train.max_steps=40", faults=fault).code == 143
    resumed = lab.lstm("train", "--resume", "more", "--json")
    assert resumed.code == 0 and resumed.json["steps"] == 40


@pytest.mark.parametrize(
    "word",
    [
        *(
            "model.hidden_size=32",
            "model.num_layers=1",
            "model.zoneout=0.5",
            "seed=8",
            "train.precision=bf16",
        ),
        *("train.sequence_length=8", "train.optimizer=SGD", "data.splits=[0.8,0.2]", "train.freeze=[head]"),
    ],
)
def test_resume_as_another_run_is_refused_and_names_the_command_that_begins_it(shared_lab, whole, word):
    before = shared_lab.listing()
    refused = shared_lab.lstm("train", "--resume", whole, word)
    assert refused.code == 5 and word.partition("=")[0] in refused.err
    begins = f"lstm train runs/{whole}/config.yaml --from {whole} {word.partition('=')[0]}="
    assert begins in refused.err.replace("'", "")
    assert shared_lab.listing() == before


def test_the_command_that_a_refusal_names_works(lab):
    import shlex

    lab.train("narrow")
    refused = lab.lstm("train", "--resume", "narrow", "data.splits=[0.8, 0.2]", "train.sequence_length=8")
    command = shlex.split(refused.err.splitlines()[-1])
    assert command[0] == "lstm" and "data.splits=[0.8, 0.2]" in command
    begun = lab.lstm(*command[1:], "--run", "begun", "train.max_steps=2")
    assert begun.code == 0 and "narrow at step" in begun.err


def test_every_setting_of_a_run_either_may_change_or_may_not():
    from lstmcli.kinds.sequence.settings import LabelledConfig
    from lstmcli.kinds.text.settings import TextConfig
    from lstmcli.run.same_run import MAY_CHANGE

    known = {f"{s}.{k}" for each in (TextConfig, LabelledConfig) for s, field in each.model_fields.items()
             if hasattr(field.annotation, "model_fields") for k in field.annotation.model_fields}  # fmt: skip
    assert {name for name in MAY_CHANGE if "." in name} <= known


def test_another_batch_size_goes_on_with_states_that_begin_anew(lab):
    lab.train("wide")
    resumed = lab.lstm("train", "--resume", "wide", "train.batch_size=2", "train.max_steps=30", "--json")
    assert resumed.code == 0 and resumed.json["steps"] == 30, resumed.err
    assert "the carried states begin anew" in resumed.err.replace("\n", " ")
    assert lab.checkpoint("wide").tensors["carried.0.0"].shape[0] == 2
    again = lab.lstm("train", "--resume", "wide", "train.max_steps=40")  # now that is its batch size
    assert again.code == 0 and "carried" not in again.err


def test_more_dropout_is_the_same_run(lab):
    lab.train("dry")
    resumed = lab.lstm("train", "--resume", "dry", "model.dropout=0.5", "train.max_steps=30")
    assert resumed.code == 0, resumed.err
    assert "dropout: 0.5" in (lab.path("dry") / "config.yaml").read_text()


def test_another_evaluation_begins_the_best_loss_anew(lab):
    lab.train("judged")
    resumed = lab.lstm(
        "train", "--resume", "judged", "evaluation.max_tokens=30", "train.max_steps=30", "--json"
    )
    assert resumed.code == 0 and "begin anew" in resumed.err.replace("\n", " ")
    assert resumed.json["best"]["step"] in (20, 30)
    again = lab.lstm("train", "--resume", "judged", "train.max_steps=40")
    assert again.code == 0 and "begin anew" not in again.err


def test_a_config_given_beside_resume_may_change_how_it_trains(lab):
    lab.train("first")
    lab.configure("other.yaml", train={"max_steps": 30, "learning_rate": 0.001, "clip_norm": None})
    resumed = lab.lstm("train", "other.yaml", "--resume", "first", "--json")
    assert resumed.code == 0 and resumed.json["steps"] == 30
    lab.configure("wide.yaml", model={"hidden_size": 64})
    refused = lab.lstm("train", "wide.yaml", "--resume", "first")
    assert refused.code == 5 and "model.hidden_size" in refused.err


def test_resume_and_run_together_are_refused(shared_lab, whole):
    refused = shared_lab.lstm("train", "--resume", whole, "--run", "new")
    assert refused.code == 2 and "--resume" in refused.err


def test_resume_in_the_dry_shows_the_plan_and_changes_nothing(shared_lab, whole):
    before = shared_lab.listing("runs")
    plan = shared_lab.lstm("train", "--resume", whole, "train.max_steps=50", "--dry-run", "--json")
    assert plan.code == 0 and plan.json["dry_run"] and "15 steps an epoch" in plan.err
    assert shared_lab.listing("runs") == before


def test_data_changed_since_the_checkpoint(lab):
    lab.train("old-data", "train.max_steps=30", "train.early_stopping=9")
    best = lab.checkpoint("old-data").document["best"]
    text = lab.folder / "text.txt"
    text.write_text(text.read_text().replace("cat", "tca")[:1100])
    refused = lab.lstm("train", "--resume", "old-data")
    assert refused.code == 4 and "changed" in refused.err and "--force" in refused.err
    assert "--from old-data" in refused.err
    forced = lab.lstm("train", "--resume", "old-data", "--force", "train.max_steps=40", "--json")
    assert forced.code == 0 and "going on by --force" in forced.err and forced.json["steps"] == 40
    numbers = lab.checkpoint("old-data").document
    assert numbers["best"]["step"] in (30, 40) and numbers["best"]["loss"] != best["loss"]
    manifest = json.loads((lab.path("old-data") / "manifest.json").read_text())
    (accepted,) = manifest["forced"]
    assert accepted["step"] == 30 and accepted["to"] == manifest["data_fingerprint"] != accepted["from"]
    assert numbers["data_fingerprint"] == manifest["data_fingerprint"]
    after = lab.lstm("train", "--resume", "old-data", "train.max_steps=45")  # known from now on
    assert after.code == 0 and "changed" not in after.err and "anew" not in after.err
    assert "changed" not in lab.lstm("eval", "old-data").err


def test_a_kill_after_force_leaves_no_best_of_the_old_data(lab):
    lab.train("killed")
    text = lab.folder / "text.txt"
    text.write_text(text.read_text().replace("cat", "tca"))
    fault = [(f"{LOOP}:_evaluate", 1, "SIGKILL")]
    killed = lab.process("train", "--resume", "killed", "--force", "train.max_steps=30", faults=fault)
    assert killed.code == -9 and lab.steps("killed") == [10, 20]
    old = lab.checkpoint("killed").document["best"]["loss"]
    resumed = lab.lstm("train", "--resume", "killed", "--json")
    assert resumed.code == 0 and resumed.json["best"]["loss"] != old
    assert resumed.json["best"]["step"] in (20, 30)


def test_data_that_were_moved(lab):
    stopped_at(lab, "moved", HALF)
    (lab.folder / "text.txt").rename(lab.folder / "elsewhere.txt")
    missing = lab.lstm("train", "--resume", "moved")
    assert missing.code == 4 and "text.txt" in missing.err
    found = lab.lstm("train", "--resume", "moved", "data.path=elsewhere.txt", "data.cache=cache2", "--json")
    assert found.code == 0 and found.json["steps"] == 20


@pytest.mark.parametrize("replaced", ["xyz!" * 300, None])
def test_a_new_vocabulary_cannot_be_forced(lab, replaced):
    stopped_at(lab, "old-symbols", HALF)
    text = lab.folder / "text.txt"
    text.write_text(replaced or text.read_text().replace("w", "Z"))  # as many symbols, others
    before = lab.listing("runs/old-symbols/checkpoints")
    refused = lab.lstm("train", "--resume", "old-symbols", "--force")
    assert (refused.code == 5 and "symbols: 1 new ('Z') and 1 lost ('w')" in refused.err) or replaced
    assert refused.code == 5 and "--from old-symbols" in refused.err
    assert lab.listing("runs/old-symbols/checkpoints") == before
    assert "forced" not in json.loads((lab.path("old-symbols") / "manifest.json").read_text())


def test_two_processes_cannot_train_one_run(lab):
    from lstmcli.run.directory import RunDir, lock

    stopped_at(lab, "busy", HALF)
    with lock(RunDir(lab.path("busy"))):
        refused = lab.process("train", "--resume", "busy")
    assert refused.code == 7 and "in use by another process" in refused.err
    assert lab.lstm("train", "--resume", "busy").code == 0


def test_the_manifest_says_how_the_run_stands(lab, monkeypatch):
    def state():
        return json.loads((lab.path("r") / "manifest.json").read_text())["state"]

    stopped_at(lab, "r", HALF)
    assert state() == "interrupted"
    seen = []
    from lstmcli.run import loop

    original = loop._step
    monkeypatch.setattr(loop, "_step", lambda *a: (seen.append(state()), original(*a))[1])
    assert lab.lstm("train", "--resume", "r").code == 0
    assert set(seen) == {"running"} and state() == "complete"


def test_an_evaluation_that_was_cut_off_at_the_last_step_is_made_up_for_once(lab, same):
    lab.train("whole")
    # The second evaluation is that of the last step; the signal arrives within it.
    fault = [("lstmcli.kinds.text.evaluate:_windows", 2, "SIGTERM")]
    assert lab.process("train", "config.yaml", "--run", "cut", faults=fault).code == 143
    assert lab.steps("cut")[-1] == 20
    assert lab.lstm("train", "--resume", "cut").code == 0
    same(lab, "whole", "cut")
    again = lab.lstm("train", "--resume", "cut")
    assert again.code == 0 and "already complete" in again.err
    same(lab, "whole", "cut")


@pytest.mark.parametrize("place", ["_step", "save_checkpoint"])
def test_killed_after_a_cut_off_evaluation_was_made_up_for(lab, same, place):
    lab.train("whole", "train.max_steps=30")
    fault = [("lstmcli.kinds.text.evaluate:_windows", 2, "SIGTERM")]
    words = ["train", "config.yaml", "train.max_steps=30", "--run", "cut"]
    assert lab.process(*words, faults=fault).code == 143
    assert lab.steps("cut")[-1] == 20
    fault = [(f"{LOOP}:{place}", 1, "SIGKILL")]
    assert lab.process("train", "--resume", "cut", faults=fault).code == -9
    assert lab.lstm("train", "--resume", "cut").code == 0
    same(lab, "whole", "cut")


def test_a_checkpoint_is_never_ahead_of_the_log(lab, monkeypatch):
    from lstmcli.run import loop
    from lstmcli.run.telemetry.logger import Logger

    calls = []
    sync, save = Logger.sync, loop.save_checkpoint
    monkeypatch.setattr(Logger, "sync", lambda self: (calls.append("sync"), sync(self))[1])
    monkeypatch.setattr(loop, "save_checkpoint", lambda *a: (calls.append("save"), save(*a))[1])
    lab.train("logged", "evaluation.every=null", "train.max_steps=10", "checkpoint.every=5")
    assert calls[0] == "sync" and all(before == "sync" for before, call in pairwise(calls) if call == "save")


FORMER = """
from pathlib import Path
from lstmcli.cells import GatedCell

DECLARED = ("bias", "peep", "scale") if Path("before").exists() else ("scale", "bias", "peep")

class Cell(GatedCell):
    gates = ("candidate",)
    vectors = {name: {"scale": 1.0, "bias": 0.0, "peep": 0.5}[name] for name in DECLARED}

    def pointwise(self, z, state, *vectors):
        h = (vectors[0] * z[0] + vectors[1] + vectors[2] * state[0]).tanh()
        return (h,), (h,)
"""
"""Its vectors by position, as format 1 gave them: with the file `before` declared in alphabetical order, as
which the others were taken."""
RENAMED = {"bias": "scale", "peep": "bias", "scale": "peep"}


def in_format_1(run):
    for path in run.glob("checkpoints/step_*/manifest.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 1}))


def test_a_checkpoint_of_format_1_computes_and_resumes_as_it_was_trained(lab):
    """Format 1 handed vectors over in alphabetical order: what such a run has learned as the first of the
    alphabet is what the cell takes for the first that it declares."""
    (lab.folder / "cell.py").write_text(FORMER)
    (lab.folder / "before").touch()
    words = ["model.cell=cell.py:Cell", "model.path=engine", "model.dropout=0.2", "train.average=0.9"]
    lab.train("straight", *words)
    stopped_at(lab, "former", HALF, *words)
    (lab.folder / "before").unlink()
    in_format_1(lab.path("former"))
    text = ["--prompt", "the", "--seed", "1", "--length", "60"]
    resumed = lab.lstm("train", "--resume", "former")
    assert resumed.code == 0 and resumed.err.count("format 1") == 1, resumed.err
    found, wanted = lab.checkpoint("former"), lab.checkpoint("straight")
    assert found.format_version == 2 and found.tensors.keys() == wanted.tensors.keys()
    for name, value in wanted.tensors.items():
        *place, last = name.split(".")
        own = ".".join([*place, RENAMED[last]]) if place[-1:] == ["vectors"] else name
        assert np.array_equal(found.tensors[own], value), name
    assert lab.metrics("former") == lab.metrics("straight")
    said = lab.lstm("generate", "former", *text).out
    in_format_1(lab.path("straight"))
    former = lab.lstm("generate", "straight", *text)
    assert former.out == said and former.err.count("format 1") == 1
    assert (
        lab.lstm("eval", "straight", "--json").json["loss"]
        == lab.lstm("eval", "former", "--json").json["loss"]
    )


def test_a_resume_says_why_the_precision_is_what_it_was(lab):
    lab.train("auto", "train.precision=auto")
    manifest = json.loads((lab.path("auto") / "manifest.json").read_text())
    words = f"in {manifest['precision']} (as at the start: {manifest['precision_reason']})"
    assert words in lab.lstm("train", "--resume", "auto", "train.max_steps=25").err.replace("\n", " ")
    lab.train("given")
    assert "in fp32 (as configured)" in lab.lstm("train", "--resume", "given", "train.max_steps=25").err
