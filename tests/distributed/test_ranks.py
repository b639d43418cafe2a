"""Several processes learn one model: the curve of one, one voice, one end, and a resume that is exact."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

LOOP = "lstmcli.run.loop"
SERIES = {
    "data": {
        "kind": "series", "path": "table.csv", "time": "day", "context_length": 8, "horizon": 3,
        "splits": [0.7, 0.3], "missing": ["", "gap"],
    },
    "forecast": {"loss": "quantile", "patch_length": 2},
}  # fmt: skip


@pytest.fixture
def lab(lab):
    lab.configure(
        data={"splits": [0.8, 0.2]}, train={"max_steps": 30}, telemetry={"every": 1}, evaluation={"every": 10}
    )
    return lab


def curve(lab, run):
    return [r["train/loss"] for r in lab.metrics(run) if "train/loss" in r]


def validation(lab, run):
    return [r["val/loss"] for r in lab.metrics(run) if "val/loss" in r]


def train(lab, size, run, *words, **options):
    codes, out, err = lab.ranks(size, "train", "config.yaml", *words, "--run", run, **options)
    assert codes == [0] * size, err
    return out, err


def write_table(lab, gaps):
    """A month of two waves; with `gaps` some values are missing, so that ranks see unlike numbers."""
    rows = ["day,a,b"]
    for day in range(150):
        a, b = np.sin(day / 3), np.cos(day / 5)
        empty = gaps and day % 7 == 3
        rows.append(f"{np.datetime64('2020-01-01') + day},{'gap' if empty else f'{a:.5f}'},{b:.5f}")
    (lab.folder / "table.csv").write_text("\n".join(rows) + "\n")
    config = yaml.safe_load((lab.folder / "config.yaml").read_text())
    del config["train"]["sequence_length"], config["evaluation"]["sample_length"]  # of texts
    (lab.folder / "series.yaml").write_text(yaml.safe_dump(config | SERIES))


@pytest.mark.parametrize("size", [2, 4])
def test_the_curve_of_several_ranks_is_that_of_one(lab, size):
    words = ["train.max_steps=100"]
    lab.train("one", *words)
    train(lab, size, "many", *words)
    assert len(curve(lab, "one")) == 100
    assert np.abs(np.subtract(curve(lab, "many"), curve(lab, "one"))).max() < 1e-5
    assert np.abs(np.subtract(validation(lab, "many"), validation(lab, "one"))).max() < 1e-5
    one, many = lab.checkpoint("one"), lab.checkpoint("many")
    assert one.tensors.keys() == many.tensors.keys()
    for name, value in one.tensors.items():  # the carried state of all streams, too
        assert np.abs(value - many.tensors[name]).max() < 1e-4, name
    assert one.document["progress"]["tokens"] == many.document["progress"]["tokens"]


def test_the_curve_of_series_with_gaps_is_that_of_one(lab):
    write_table(lab, gaps=True)
    for run, size in (("one", 1), ("two", 2)):
        codes, _, err = lab.ranks(size, "train", "series.yaml", "train.max_steps=40", "--run", run)
        assert codes == [0] * size, err
    assert np.abs(np.subtract(curve(lab, "two"), curve(lab, "one"))).max() < 1e-5
    assert np.abs(np.subtract(validation(lab, "two"), validation(lab, "one"))).max() < 1e-5


def test_rank_0_alone_writes_and_speaks(lab):
    out, err = train(lab, 4, "quiet", "--json")
    assert json.loads(out)["steps"] == 30
    assert err.count("run quiet in") == 1 and err.count("done ") == 1
    assert "rank" not in err and "Warning" not in err
    assert len(lab.metrics("quiet")) == len({r["step"] for r in lab.metrics("quiet")}) + 3 + 4  # val, gates
    manifest = json.loads((lab.path("quiet") / "manifest.json").read_text())
    assert manifest["ranks"] == 4 and manifest["state"] == "complete"


def test_ranks_drop_other_units_and_are_repeatable(lab):
    for run in ("a", "b"):
        train(lab, 2, run, "model.dropout=0.3")
    lab.train("one", "model.dropout=0.3")
    assert curve(lab, "a") == curve(lab, "b") != curve(lab, "one")


def test_gradient_noise_is_the_same_on_every_rank(lab):
    train(lab, 2, "noisy", "train.gradient_noise=0.1")  # else the ranks' weights would part
    assert (
        np.isfinite(curve(lab, "noisy")).all() and validation(lab, "noisy")[-1] < validation(lab, "noisy")[0]
    )


EVERYTHING = [
    *("model.dropout=0.2", "model.weight_drop=0.1", "train.average=0.9", "train.state_reset=0.2"),
    *("train.early_stopping=9", "checkpoint.every=7"),
]


@pytest.mark.parametrize(
    ("size", "what", "code"), [(2, "SIGTERM", 143), (2, "SIGKILL", -9), (4, "SIGKILL", -9)]
)
def test_stopped_or_killed_and_resumed_is_bit_equal(lab, same, size, what, code):
    train(lab, size, "whole", *EVERYTHING)
    hit = size - 1
    words = ["train", "config.yaml", *EVERYTHING, "--run", "cut"]
    codes, _, err = lab.ranks(size, *words, faults=[(f"{LOOP}:_step", 18, what, hit)])
    assert codes[hit] == code
    assert set(codes[:hit]) == {code if what == "SIGTERM" else 7}, err
    assert lab.steps("cut")[-1] == (18 if what == "SIGTERM" else 14)
    codes, _, err = lab.ranks(size, "train", "--resume", "cut")
    assert codes == [0] * size, err
    same(lab, "whole", "cut")


def test_resumed_with_another_number_of_ranks(lab):
    lab.train("one")
    fault = [(f"{LOOP}:_step", 13, "SIGTERM", 0)]
    codes, _, _ = lab.ranks(2, "train", "config.yaml", "--run", "more", faults=fault)
    assert codes == [143, 143] and lab.steps("more")[-1] == 13
    fault = [(f"{LOOP}:_step", 8, "SIGTERM", 3)]
    codes, _, err = lab.ranks(4, "train", "--resume", "more", faults=fault)
    assert codes == [143] * 4 and "began with ranks 2, now 4" in err and err.count("not bit for bit") == 1
    assert lab.lstm("train", "--resume", "more").code == 0
    assert np.abs(np.subtract(curve(lab, "more"), curve(lab, "one"))).max() < 1e-5


def test_a_batch_that_cannot_be_divided(lab):
    codes, _, err = lab.ranks(3, "train", "config.yaml", "--run", "odd")
    assert codes == [3, 3, 3] and err.count("train.batch_size 4") == 1
    assert "3 or 6" in err and not lab.path("odd").exists()


def test_a_loss_that_is_not_finite_on_one_rank_stops_all(lab):
    fault = [("torch.nn.functional:cross_entropy", 14, "nan", 1)]
    words = ["train", "config.yaml", "evaluation.every=20", "--run", "nan"]
    codes, _, err = lab.ranks(2, *words, faults=fault)
    assert codes == [6, 6] and err.count("error: ") == 1
    assert "the loss of rank 1 is not finite at step 13" in err and "step_00000010" in err
    assert lab.steps("nan") == [10]
    assert json.loads((lab.path("nan") / "manifest.json").read_text())["state"] == "diverged"


def test_a_rank_that_is_killed_is_noticed_and_said_once(lab):
    fault = [(f"{LOOP}:_step", 14, "SIGKILL", 1)]
    codes, _, err = lab.ranks(4, "train", "config.yaml", "--run", "r", faults=fault)
    assert codes == [7, -9, 7, 7] and err.count("error: ") == 1 and "Traceback" not in err
    assert "has lost another rank" in err and "--resume" in err


def test_rank_0_that_is_killed_while_it_saves_ends_the_others(lab, same):
    train(lab, 2, "whole")
    fault = [("lstmcli.run.checkpoint.write:write_durably", 8, "SIGKILL", 0)]
    codes, _, err = lab.ranks(2, "train", "config.yaml", "--run", "r", faults=fault)
    assert codes == [-9, 7] and "Traceback" not in err
    assert lab.ranks(2, "train", "--resume", "r")[0] == [0, 0]
    same(lab, "whole", "r")


def test_the_others_wait_for_a_slow_save(lab):
    fault = [("lstmcli.run.checkpoint.write:write_durably", 2, "sleep=3", 0)]
    train(lab, 2, "slow", faults=fault, LSTM_RANK_TIMEOUT="1")


def test_a_rank_that_hangs_is_given_up(lab):
    fault = [(f"{LOOP}:_step", 5, "sleep=5", 1)]
    words = ["train", "config.yaml", "--run", "r"]
    codes, _, err = lab.ranks(2, *words, faults=fault, LSTM_RANK_TIMEOUT="1")
    assert codes == [7, 7] and "has lost another rank" in err, err


def test_a_rank_that_is_stopped_is_given_up_and_goes_too(lab):
    """SIGSTOP: the others end at once, and the stopped one when it wakes up; what was saved goes on."""
    waker = f"run={lab.folder}/wake"
    (lab.folder / "wake").write_text("#!/bin/sh\n(sleep 4; kill -CONT $PPID) >/dev/null 2>&1 </dev/null &\n")
    (lab.folder / "wake").chmod(0o755)
    fault = [(f"{LOOP}:_step", 14, f"{waker} SIGSTOP", 1)]
    codes, _, err = lab.ranks(2, "train", "config.yaml", "--run", "r", faults=fault, LSTM_RANK_TIMEOUT="1")
    assert codes == [7, 7] and err.count("error: ") == 1 and "has lost another rank" in err, err
    assert lab.steps("r") == [10] and lab.lstm("train", "--resume", "r").code == 0


KINDS = {
    "labelled": {"path": "rows.csv", "label": "label", "splits": [0.7, 0.3]},
    "synthetic": {"kind": "synthetic", "task": "recall", "length": 3, "symbols": 3},
    "series": SERIES["data"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_with_another_number_of_ranks(lab, kind):
    """Of every kind: a rank is killed, the others end; one process goes on with what was saved."""
    write_table(lab, gaps=True)
    rows = [f"{'xyz'[k % 3] * (3 + k % 5)},{'abc'[k % 3]}" for k in range(60)]
    (lab.folder / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    config = yaml.safe_load((lab.folder / "series.yaml").read_text())
    if kind != "series":
        config = {k: v for k, v in config.items() if k != "forecast"} | {"data": KINDS[kind]}
    (lab.folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["train.max_steps=24", "checkpoint.every=7"]
    fault = [(f"{LOOP}:_step", 17, "SIGKILL", 1)]
    codes, _, err = lab.ranks(2, "train", "config.yaml", *words, "--run", "r", faults=fault)
    assert codes == [7, -9] and err.count("error: ") == 1 and "Traceback" not in err, err
    resumed = lab.lstm("train", "--resume", "r")
    assert resumed.code == 0 and "began with ranks 2, now 1" in resumed.err and lab.steps("r")[-1] == 24


def test_a_config_that_differs_between_ranks_is_told(lab):
    """Each machine has a file of its own: here rank 1 has read another one."""
    other = lab.configure("other.yaml", train={"learning_rate": 0.5, "max_steps": 30})
    lab.configure(train={"max_steps": 30})
    change = f"run=cp,{other},{lab.folder}/config.yaml"
    faults = [("lstmcli.cli.train:_read", 1, "sleep=1", 0), ("lstmcli.cli.train:_read", 1, "sleep=3", 1)]
    faults.append(("clock", 2000, change, 0))
    codes, _, err = lab.ranks(2, "train", "config.yaml", "--run", "r", faults=faults)
    assert codes == [4, 4] and err.count("error: ") == 1, err
    assert "have not the same config, data or arithmetic" in err and not lab.path("r").exists()


def test_a_fault_of_one_rank_is_told_by_it_and_ends_all(lab):
    """A disk that is full for rank 0 only."""
    fault = [("lstmcli.run.checkpoint.write:_write_parts", 1, "fsize=100", 0)]
    codes, _, err = lab.ranks(2, "train", "config.yaml", "--run", "full", faults=fault)
    assert codes == [7, 7] and err.count("error:") == 1 and "cannot save checkpoint" in err


def test_a_run_that_exists_is_refused_once(lab):
    train(lab, 2, "taken")
    codes, _, err = lab.ranks(2, "train", "config.yaml", "--run", "taken")
    assert codes == [2, 2] and err.count("exists already") == 1


@pytest.mark.parametrize("named", [True, False])
def test_a_restart_of_all_ranks_goes_on_from_the_last_checkpoint(lab, same, named):
    """What `torchrun --max-restarts` does after it lost a rank."""
    train(lab, 2, "whole")
    words = ["train", "config.yaml", *(["--run", "r"] if named else [])]
    launch = {"TORCHELASTIC_RUN_ID": "launch-1", "TORCHELASTIC_RESTART_COUNT": "0"}
    fault = [(f"{LOOP}:_step", 14, "SIGKILL", 1)]
    assert lab.ranks(2, *words, faults=fault, **launch)[0] == [7, -9]
    again = launch | {"TORCHELASTIC_RESTART_COUNT": "1"}
    fault = [(f"{LOOP}:_step", 3, "SIGKILL", 0)]
    codes, _, err = lab.ranks(2, *words, faults=fault, **again)
    assert codes == [-9, 7] and "going on with run" in err
    last = launch | {"TORCHELASTIC_RESTART_COUNT": "2"}
    codes, _, err = lab.ranks(2, *words, **last)
    assert codes == [0, 0], err
    runs = sorted(p.name for p in (lab.folder / "runs").iterdir())
    assert len(runs) == 2
    same(lab, "whole", next(name for name in runs if name != "whole"))


def test_a_restart_before_the_first_checkpoint_begins_anew(lab, same):
    train(lab, 2, "whole")
    launch = {"TORCHELASTIC_RUN_ID": "launch-1", "TORCHELASTIC_RESTART_COUNT": "0"}
    fault = [(f"{LOOP}:_step", 4, "SIGKILL", 1)]
    words = ["train", "config.yaml", "--run", "r"]
    assert lab.ranks(2, *words, faults=fault, **launch)[0] == [7, -9]
    codes, _, err = lab.ranks(2, *words, **(launch | {"TORCHELASTIC_RESTART_COUNT": "1"}))
    assert codes == [0, 0] and "begins again at step 0" in err
    same(lab, "whole", "r")


def test_a_restart_never_touches_the_run_of_another_launch(lab):
    train(lab, 2, "r")
    before = lab.listing("runs/r")
    launch = {"TORCHELASTIC_RUN_ID": "launch-2", "TORCHELASTIC_RESTART_COUNT": "1"}
    codes, _, err = lab.ranks(2, "train", "config.yaml", "--run", "r", **launch)
    assert codes == [2, 2] and "exists already" in err
    assert lab.listing("runs/r") == before
