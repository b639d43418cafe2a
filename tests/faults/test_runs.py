"""Faults that only a whole run shows: memory, foreign checkpoints, processes left behind, all at once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

LOOP = "lstmcli.run.loop"
PACKAGE = Path(__file__).parents[2] / "lstmcli"


# --- killed and resumed, with everything on -----------------------------------------------------


def test_killed_with_everything_on_and_resumed_is_bit_equal(lab):
    """Dropout, carried state with resets, a schedule, averaging, weight decay."""
    words = [
        "model.dropout=0.3",
        "train.state_reset=0.2",
        "train.average=0.9",
        "train.schedule=cosine",
        "train.weight_decay=0.1",
    ]
    words += ["train.max_steps=24", "checkpoint.every=5", "telemetry.every=3"]
    lab.train("whole", *words)
    for run, fault in (("a", (f"{LOOP}:_step", 18, "SIGKILL")), ("b", ("os:fsync", 40, "SIGKILL"))):
        assert lab.process("train", "config.yaml", *words, "--run", run, faults=[fault]).code == -9
        assert lab.lstm("train", "--resume", run).code == 0
        one, other = lab.checkpoint("whole"), lab.checkpoint(run)
        assert one.tensors.keys() == other.tensors.keys()
        assert all(np.array_equal(value, other.tensors[name]) for name, value in one.tensors.items())
        assert lab.metrics("whole") == lab.metrics(run)


# --- processes ----------------------------------------------------------------------------------


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
def test_a_terminated_run_is_saved_in_time_and_leaves_no_process_behind(lab):
    """Data are read by the process itself: there are no workers that a signal could leave behind."""
    words = ["train", "config.yaml", "train.max_steps=1000000", "telemetry.tensorboard=true", "--run", "r"]
    started = subprocess.Popen(
        [sys.executable, "-m", "lstmcli", *words], cwd=lab.folder, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(lab.path("r").glob("checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    born = children(started.pid)
    os.kill(started.pid, signal.SIGTERM)
    asked = time.monotonic()
    started.communicate(timeout=30)
    assert started.returncode == 143 and time.monotonic() - asked < 30
    assert not born and not any(Path(f"/proc/{pid}").exists() for pid in born)
    assert lab.lstm("eval", "r@last").code == 0


# --- memory -------------------------------------------------------------------------------------


def test_memory_that_runs_out_is_one_message_and_the_last_checkpoint_is_safe(lab):
    """A limit on the address space: the next large tensor cannot be had."""
    text = (lab.folder / "text.txt").read_text()
    (lab.folder / "text.txt").write_text(text * 36)
    words = ["train.batch_size=256", "train.sequence_length=64", "model.hidden_size=128", "model.path=loop"]
    words += ["checkpoint.every=2", "evaluation.every=null", "train.max_steps=9"]
    faults = [(f"{LOOP}:_step", 4, "room=1000000")]
    failed = lab.process("train", "config.yaml", *words, "--run", "r", faults=faults)
    assert failed.code == 7 and "out of memory" in failed.err and "Traceback" not in failed.err, failed.err
    kept = lab.steps("r")  # what the allocator still holds may last for a step or two
    assert "train.batch_size" in failed.err and kept and max(kept) < 9
    assert lab.lstm("eval", "r@last", "--json").json["step"] == max(kept)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.hidden_size=1000000000"], "4,000,000,032,000,000,000 bytes of memory (4.0 EB)"),
        (["model.embedding_size=1000000000000"], "choose a smaller model.hidden_size"),
        (["model.cell=mogrifier-lstm", "model.hidden_size=1000000000"], "EB"),
        (["model.cell=minlstm", "model.hidden_size=10000000"], "bytes of memory"),
    ],
)
def test_a_model_that_no_memory_holds_is_refused_before_it_is_made(lab, words, said):
    began = time.monotonic()
    for verb in (["train"], ["train", "--dry-run"], ["validate"]):
        refused = lab.lstm(*verb, "config.yaml", *words)
        assert refused.code == 7 and said in refused.err and " are free (" in refused.err, refused.err
    assert time.monotonic() - began < 10 and not (lab.folder / "runs").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train.batch_size=1000000000000"], 4),
        (["train.sequence_length=1000000000000"], 4),
        (["train.threads=1000000000"], 3),
        (["model.num_layers=1000000000"], 3),
        (["seed=1000000000000000000000"], 3),
    ],
)
def test_other_absurd_sizes_are_refused_at_once(lab, words, code):
    refused = lab.lstm("train", "config.yaml", *words)
    assert refused.code == code and "Traceback" not in refused.err


def test_more_samples_than_memory_holds_are_refused(trained_lab):
    for number in (10**12, 10**8):
        refused = trained_lab.lstm("generate", "good", "--num", number, "--length", 1)
        assert refused.code == 7 and f"symbols in {number:,} samples needs" in refused.err
    assert trained_lab.lstm("cells", "check", "lstm", "--hidden", 10**9).code == 2


SERIES = """
data: {kind: series, path: t.csv, time: t, context_length: 8, horizon: 4, splits: [0.7, 0.3]}
train: {max_steps: 3, threads: 1}
model: {hidden_size: 8, path: fused}
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train.batch_size=1000000000000"], 7),
        (["train.batch_size=1000000000"], 7),
        (["data.context_length=1000000000"], 7),
        (["data.horizon=1000000000"], 4),
        (["forecast.lags=[10000000000]"], 7),
        (["forecast.channel_embedding=1000000000000"], 7),
        (["forecast.series_embedding=1000000000000"], 7),
        (["forecast.patch_length=1000000000", "data.context_length=1000000000"], 7),
        (["forecast.loss=gaussian", "forecast.decoder=recursive", "forecast.samples=1000000000000"], 7),
        (["forecast.members=64", "model.hidden_size=20000"], 7),
    ],
)
def test_absurd_sizes_of_series_are_refused_before_anything_is_written(lab, words, code):
    (lab.folder / "t.csv").write_text("t,a\n" + "".join(f"{k},{k % 7}\n" for k in range(300)))
    (lab.folder / "s.yaml").write_text(SERIES)
    refused = lab.lstm("train", "s.yaml", *words)
    assert refused.code == code and "Traceback" not in refused.err, refused.err
    assert not (lab.folder / "runs").exists()


def test_a_checkpoint_that_no_memory_holds_is_refused_unread(lab):
    """A file with a hole of a terabyte, and a manifest that agrees with its size."""
    lab.train("r", "train.max_steps=10")
    folder = next(lab.path("r").glob("checkpoints/step_*"))
    size = 1 << 40
    try:
        os.truncate(folder / "model.safetensors", size)
    except OSError:
        pytest.skip("this disk has no room for a hole")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"]["size"] = size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused = lab.lstm("generate", "r")
    assert refused.code == 7 and "TB" in refused.err


# --- checkpoints of another model ---------------------------------------------------------------


def rewrite(lab, run, name, change):
    """Change the tensors in a file of the last checkpoint, rightly signed."""
    folder = sorted(lab.path(run).glob("checkpoints/step_*"))[-1]
    tensors = safetensors.numpy.load_file(folder / name)
    change(tensors)
    data = safetensors.numpy.save(tensors)
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


HEAD = "head.weight"
FOREIGN = {
    "missing": (lambda t: t.pop(HEAD), "no tensor head.weight"),
    "extra": (lambda t: t.update(more=np.zeros(3, np.float32)), "a tensor more"),
    "shape": (lambda t: t.update({HEAD: t[HEAD][:, :-1].copy()}), "head.weight has shape"),
    "dtype": (lambda t: t.update({HEAD: t[HEAD].astype(np.float64)}), "head.weight has dtype"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_tensors_that_are_not_the_models_are_named(lab, case):
    lab.train("r", "train.max_steps=10", "model.path=fused")
    change, said = FOREIGN[case]
    rewrite(lab, "r", "model.safetensors", change)
    for words in (["train", "--resume", "r@10", "train.max_steps=12"], ["eval", "r@10"]):
        refused = lab.lstm(*words)
        assert refused.code == 5 and said in refused.err and "Traceback" not in refused.err, refused.err


def test_a_training_state_that_is_not_the_models_is_named(lab):
    lab.train("r", "train.max_steps=10")
    rewrite(lab, "r", "state.safetensors", lambda t: t.pop("carried.0.0"))
    refused = lab.lstm("train", "--resume", "r@10", "train.max_steps=12")
    assert refused.code == 5 and "no tensor carried.0.0" in refused.err


def test_a_checkpoint_that_holds_nan_is_refused(lab):
    lab.train("r", "train.max_steps=10")
    rewrite(lab, "r", "model.safetensors", lambda t: t[HEAD].__setitem__((0, 0), np.nan))
    for words in (["train", "--resume", "r@10"], ["eval", "r@10"], ["generate", "r@10"]):
        refused = lab.lstm(*words)
        assert refused.code == 5 and "head.weight holds 1 values that are NaN" in refused.err


@pytest.mark.parametrize("version", [3, 0, "1", None])
def test_a_checkpoint_of_another_format_version(lab, version):
    lab.train("r", "train.max_steps=10")
    path = next(lab.path("r").glob("checkpoints/step_*/manifest.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    refused = lab.lstm("generate", "r@10")
    assert refused.code == 5
    assert (
        "format version 3; this lstmcli reads versions 1 to 2" if version == 3 else "format_version"
    ) in refused.err


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", "manifest.json", "checkpoints"])
def test_a_link_within_a_run_is_refused_and_what_it_points_to_is_untouched(lab, name):
    lab.train("r", "train.max_steps=10")
    inside, outside = lab.path("r") / name, lab.folder / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    before = lab.listing("outside") if outside.is_dir() else outside.read_bytes()
    for words in (["train", "--resume", "r", "train.max_steps=20"], ["eval", "r"]):
        refused = lab.lstm(*words)
        assert refused.code == 5 and "symbolic link" in refused.err
    assert (lab.listing("outside") if outside.is_dir() else outside.read_bytes()) == before


# --- what is only in validation -----------------------------------------------------------------


def test_a_validation_that_overflows_is_told_and_never_the_best(lab):
    """Values beyond fp32 in the validation part: every loss of training is a number, that one is not."""
    rows = [f"{k},{k % 7 if k < 220 else 1e38 * (k % 3)}" for k in range(300)]
    (lab.folder / "t.csv").write_text("t,a\n" + "\n".join(rows) + "\n")
    (lab.folder / "s.yaml").write_text(SERIES)
    words = ["forecast.loss=mse", "evaluation.every=2", "checkpoint.every=1"]
    outcome = lab.lstm("train", "s.yaml", *words, "--run", "r", "--json")
    assert outcome.code == 0 and "it is never the best" in outcome.err, outcome.err
    assert outcome.json["best"] == {"step": None, "loss": None}


# --- nothing is unpickled -----------------------------------------------------------------------


def test_nothing_in_the_package_can_unpickle():
    """No call that reads a pickle, by any of its names. `torch.load` and NumPy's `load` are among them."""
    modules = r"\b(c?pickle|dill|joblib|shelve|marshal|cloudpickle)\b"
    calls = modules + r"|\btorch\.load\(|\b(np|numpy)\.load\(|allow_pickle|_object_list|gather_object"
    own = PACKAGE / "engine" / "checks" / "check_step.py"  # a cell there and back in memory; nothing is read
    for path in set(PACKAGE.rglob("*.py")) - {own}:
        code = re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text(encoding="utf-8"))
        assert not re.search(calls, code), path
