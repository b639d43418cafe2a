"""Full disks, damaged and planted files: nothing that is sound is lost, nothing is executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest

from lstmcli.run.telemetry.metrics import MetricsFile

LOOP = "lstmcli.run.loop"


def last_file(lab, run, name="model.safetensors"):
    return lab.path(run) / "checkpoints" / f"step_{lab.steps(run)[-1]:08d}" / name


# --- disks


@pytest.mark.parametrize("limit", [10_000, 0])
def test_disk_full_while_a_checkpoint_is_saved(lab, limit):
    """A limit on the size of files stands for the full disk: at 10,000 bytes only the weights do not
    fit, at 0 nothing can be written any longer, the manifest included."""
    faults = [(f"{LOOP}:save_checkpoint", 2, f"fsize={limit}")]
    words = ["train", "config.yaml", "telemetry.gates_every=null", "--run", "r"]
    failed = lab.process(*words, faults=faults)
    assert failed.code == 7 and "Traceback" not in failed.err
    assert "cannot save checkpoint" in failed.err and "bytes needed: " in failed.err
    needed = int(failed.err.partition("bytes needed: ")[2].partition(", bytes free")[0].replace(",", ""))
    assert needed > 4 * 3 * 4237  # three numbers per parameter
    assert lab.steps("r") == [10] and lab.checkpoint("r").step == 10
    state = json.loads((lab.path("r") / "manifest.json").read_text())["state"]
    assert state == ("failed" if limit else "running")  # the old manifest is whole, at least
    assert lab.lstm("eval", "r", "--json").json["step"] == 10
    assert lab.lstm("train", "--resume", "r").code == 0 and lab.steps("r") == [10, 20]


def test_disk_full_for_the_log_costs_the_log_only(lab, monkeypatch):
    def full(self, step, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MetricsFile, "write", full)
    outcome = lab.lstm("train", "config.yaml", "--run", "r")
    assert outcome.code == 0 and lab.steps("r") == [10, 20]
    assert outcome.err.count("training goes on without it") == 1
    assert "part of the log is missing" in outcome.err.splitlines()[-1]


def test_a_run_directory_that_vanishes_ends_without_a_traceback(lab):
    faults = [(f"{LOOP}:_step", 13, f"remove={lab.path('r')}")]
    outcome = lab.process("train", "config.yaml", "--run", "r", faults=faults)
    assert outcome.code in (0, 7) and "Traceback" not in outcome.err


def test_a_folder_for_runs_that_cannot_be_made(lab):
    (lab.folder / "runs").write_text("a file where the folder should be")
    refused = lab.lstm("train", "config.yaml", "--run", "r")
    assert refused.code == 7 and "cannot make a run directory" in refused.err


# --- damage


def test_a_truncated_newest_checkpoint_is_passed_over_but_not_when_named(lab):
    lab.train("r")
    file = last_file(lab, "r")
    file.write_bytes(file.read_bytes()[:-100])
    named = lab.lstm("train", "--resume", "r@20")
    assert named.code == 5 and "truncated" in named.err and "step_00000020" in named.err
    for words in (["generate", "r@last", "--length", "5"], ["eval", "r"]):
        outcome = lab.lstm(*words)
        assert outcome.code == 0 and "WARNING" in outcome.err and "truncated" in outcome.err
    resumed = lab.lstm("train", "--resume", "r")
    assert resumed.code == 0 and "passed over" in resumed.err
    assert lab.checkpoint("r").step == 20  # made again


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "vocab.json"])
def test_one_flipped_byte_is_seen(lab, name):
    lab.train("r")
    file = last_file(lab, "r", name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for words in (["train", "--resume", "r@20"], ["generate", "r@20"], ["eval", "r@20"]):
        refused = lab.lstm(*words)
        assert refused.code == 5 and "SHA-256" in refused.err and name in refused.err, words
        assert refused.out == ""


def test_every_checkpoint_damaged(lab):
    lab.train("r")
    for step in (10, 20):
        shutil.rmtree(lab.path("r") / "checkpoints" / f"step_{step:08d}" / "model.safetensors", True)
        (lab.path("r") / "checkpoints" / f"step_{step:08d}" / "model.safetensors").unlink()
    refused = lab.lstm("generate", "r")
    assert refused.code == 5 and "no sound checkpoint" in refused.err


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml"])
def test_a_run_without_its_manifest_or_config_says_which_is_missing(lab, name):
    lab.train("r")
    (lab.path("r") / name).unlink()
    refused = lab.lstm("train", "--resume", "r")
    assert refused.code in (3, 5) and name in refused.err and "Traceback" not in refused.err


# --- plants


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_malicious_pickle_in_the_run_directory_is_never_unpickled(lab):
    lab.train("r")
    mark = lab.folder / "exploded"
    bomb = pickle.dumps(Bomb(str(mark)))
    folders = [lab.path("r"), lab.path("r") / "checkpoints", last_file(lab, "r").parent]
    for folder in folders:
        for name in ("model.pt", "checkpoint.pth", "data.pkl", "optimizer.bin", "vocab.pkl", "model.npy"):
            (folder / name).write_bytes(bomb)
    assert lab.lstm("train", "--resume", "r", "train.max_steps=25").code == 0
    assert lab.lstm("eval", "r").code == 0 and lab.lstm("generate", "r", "--length", "5").code == 0
    assert lab.lstm("runs").code == 0
    # and in place of a file that is read
    last_file(lab, "r").write_bytes(bomb)
    assert lab.lstm("generate", "r@25").code == 5
    assert not mark.exists()
    pickle.loads(bomb)  # the bomb itself is live
    assert mark.exists()


@pytest.mark.parametrize("name", ["..", "../r", "a/b", "/tmp/x", ".hidden", "-r", "a b", "latest", ""])
def test_a_new_run_with_a_name_that_leads_elsewhere_is_refused(lab, name):
    before = lab.listing()
    refused = lab.lstm("train", "config.yaml", f"--run={name}")
    assert refused.code == 2 and "cannot name a run" in refused.err
    assert {k: v for k, v in lab.listing().items() if not k.startswith("cache")} == before


def test_a_run_that_exists_is_never_overwritten(lab):
    lab.train("r")
    before = lab.listing("runs")
    refused = lab.lstm("train", "config.yaml", "--run", "r")
    assert refused.code == 2 and "exists already" in refused.err and "--resume r" in refused.err
    assert lab.listing("runs") == before


def test_a_run_behind_a_symbolic_link_is_refused(lab):
    lab.train("r")
    (lab.folder / "runs" / "link").symlink_to("r")
    for words in (["train", "--resume", "link"], ["generate", "link"], ["eval", "link"]):
        refused = lab.lstm(*words)
        assert refused.code == 5 and "symbolic link" in refused.err


def test_runs_that_are_not_there(lab):
    lab.train("shakespeare")
    for words in (["train", "--resume", "shakespear"], ["generate", "shakespear"], ["eval", "shakespear"]):
        refused = lab.lstm(*words)
        assert refused.code == 5 and "shakespeare" in refused.err
    for reference in ("..", "../..", "nothing/here", "r@@", "shakespeare@x"):
        assert lab.lstm("generate", reference).code in (2, 5)
