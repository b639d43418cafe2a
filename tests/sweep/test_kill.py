"""Searches and experiments that are killed go on, and end as if they had never been stopped.

make torture KILLS=50     many kills, at random moments
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import yaml

pytest.importorskip("optuna")

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", "1"))
STEPS = 60
WORDS = {
    "tune": ["config.yaml", "--space", "space.yaml", "--trials", "3"],
    "experiment": ["grid.yaml"],
}
PLACES = {
    "lstmcli.sweep.pool:make_folder": 1,
    "lstmcli.core.files:os.replace": 4,
    "lstmcli.sweep.pool:Pool.give": 3,
    "lstmcli.sweep.pool:Pool.wait": 12,
    "lstmcli.sweep.pool:record_of": 4,
    "lstmcli.sweep.search:_Search.over": 3,
    "lstmcli.sweep.results:Results.document": 2,
}
"""Functions of the process that the user started, and about how often a whole sweep calls them."""


@pytest.fixture
def sweeps(lab):
    """A folder with a search of three trials and an experiment of three, a second or so each."""
    config = yaml.safe_load(
        lab.configure(
            train={"max_steps": STEPS}, evaluation={"every": 20}, checkpoint={"every": 20}
        ).read_text()
    )
    (lab.folder / "space.yaml").write_text("train.learning_rate: {low: 0.001, high: 0.02, log: true}\n")
    grid = {
        "title": "Small", "claim": "None.", "base": config, "seeds": [1], "measure": ["loss"],
        "variants": {"a": {}, "b": {"model.hidden_size": 12}, "c": {"train.learning_rate": 0.003}},
    }  # fmt: skip
    (lab.folder / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    lab.imports = ["optuna", "lstmcli.sweep.search", "lstmcli.sweep.worker"]
    return lab


def begin(lab, verb, run, *words, **more):
    return lab.process(verb, *WORDS[verb], *words, "--run", run, **more)


def go_on(lab, verb, run, *words, **more):
    return lab.process(verb, *words, "--resume", f"runs/{run}", **more)


def found(lab, run):
    """All that a search or experiment ended with, but for what the clock says."""
    document = json.loads((lab.path(run) / "results.json").read_text())
    clock = {"seconds", "seconds_all"}
    trials = [{k: v for k, v in trial.items() if k not in clock} for trial in document["trials"]]
    rows = [{**row, "numbers": row["numbers"]} for row in document.get("rows", [])]
    return trials, rows, document.get("best")


def workers(folder):
    """Processes that make trials of a folder."""
    running = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "lstmcli.sweep.worker" in words and str(folder) in " ".join(words):
            running.append(words)
    return running


WAIT, GIVE = "lstmcli.sweep.pool:Pool.wait", "lstmcli.sweep.pool:Pool.give"


@pytest.mark.parametrize(
    ("verb", "kills"),
    [
        ("tune", [(WAIT, 3, "SIGKILL"), ("lstmcli.sweep.search:_Search.over", 1, "SIGKILL")]),
        ("experiment", [(GIVE, 1, "after SIGKILL"), (GIVE, 2, "SIGKILL")]),
    ],
)
def test_killed_and_resumed_it_ends_as_if_it_had_never_been_stopped(sweeps, verb, kills):
    assert begin(sweeps, verb, "whole", "--jobs", 0).code == 0
    for number, fault in enumerate(kills):
        step = begin if number == 0 else go_on
        assert step(sweeps, verb, "cut", "--jobs", 1, faults=(fault,)).code == -9
    done = go_on(sweeps, verb, "cut", "--jobs", 0)
    assert done.code == 0, done.err
    assert found(sweeps, "cut") == found(sweeps, "whole")
    assert workers("runs/cut") == []


def test_a_damaged_record_and_what_an_earlier_version_left_stop_no_search(sweeps):
    """Optuna's journal was read to the last line, and its lock is a link to a path that may lead nowhere."""
    assert begin(sweeps, "tune", "s", "--jobs", 0).code == 0
    folder, before = sweeps.path("s"), found(sweeps, "s")
    (folder / "study.journal").write_text('{"op_code": 0, "worker_id": "a"}\n{"op_co')
    (folder / "study.journal.lock").symlink_to("runs/s/study.journal")
    (folder / "trial-0001" / "trial.json").write_bytes(b'{"trial": "trial-0001", "sta')
    (folder / ".lock").write_text("999999\n")  # of a process that is long gone
    again = go_on(sweeps, "tune", "s", "--jobs", 0)
    assert again.code == 0, again.err
    assert found(sweeps, "s") == before


def test_two_processes_never_work_on_one_search(sweeps):
    from lstmcli.core.locking import hold

    assert begin(sweeps, "tune", "s", faults=(("lstmcli.sweep.pool:Pool.give", 1, "SIGKILL"),)).code == -9
    with hold(sweeps.path("s")):
        refused = sweeps.lstm("tune", "--resume", "runs/s")
    assert refused.code == 7 and "in use by another process" in refused.err


@pytest.mark.torture
@pytest.mark.parametrize("verb", ["tune", "experiment"])
def test_torture(sweeps, verb, capsys):
    assert begin(sweeps, verb, "whole", "--jobs", 0).code == 0
    wanted, total, trial = found(sweeps, "whole"), 0, 0
    while total < KILLS:
        draw, run = random.Random(f"{SEED} {verb} {trial}"), f"trial-{trial}"
        kills = []
        while True:
            fault = ("clock", draw.randint(1, 12000), "SIGKILL")
            if draw.random() < 0.5:
                place = draw.choice(list(PLACES))
                fault = place, draw.randint(1, PLACES[place]), draw.choice(["SIGKILL", "after SIGKILL"])
            faults = (fault,) if len(kills) < 4 else ()
            begun = (sweeps.path(run) / f"{verb}.json").exists()
            if not begun and sweeps.path(run).exists():
                run += "x"  # killed before there was anything to go on with: its name is taken
            done = (go_on if begun else begin)(sweeps, verb, run, "--jobs", 1, faults=faults)
            if done.code != -9:
                break
            kills.append(fault)
        assert done.code == 0, (kills, done.err)
        assert found(sweeps, run) == wanted, kills
        total, trial = total + len(kills), trial + 1
    with capsys.disabled():
        print(f"\n{verb}: {total} kills in {trial} sweeps")
