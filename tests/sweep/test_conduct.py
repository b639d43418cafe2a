"""Trials side by side in processes of their own: what becomes of them, and of those that fail."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import pytest

from lstmcli.core.errors import Interrupted, Terminated, UsageError
from lstmcli.sweep import pool
from lstmcli.sweep.experiment import conduct, load_plan, trials

# What stands in for a worker: it writes a trial's record, fails, dies, or waits to be ended.
WORKER = """
import json, os, sys, time
from pathlib import Path
folder, fate, sleep = Path(sys.argv[1]), json.loads(sys.argv[2]), float(sys.argv[3])
for line in sys.stdin:
    name = json.loads(line)["name"]
    variant, seed = name.rsplit("-seed", 1)
    began = time.time()
    if fate.get(variant) == "dies":
        os._exit(9)
    if fate.get(variant) == "is killed":
        os.kill(os.getpid(), 9)
    if fate.get(variant) == "waits":
        Path(f"pid-{os.getpid()}").touch()
        time.sleep(60)
    if fate.get(variant) == "fails":
        (folder / "logs" / f"{name}.log").write_text("step 1\\nerror: no such luck\\n  try again\\n")
    else:
        (folder / name).mkdir()
        time.sleep(sleep)
        record = {"trial": name, "variant": variant, "at": None, "seed": int(seed), "state": "complete",
                  "numbers": {"best_loss": 1.0}, "curves": {}, "began": began, "ended": time.time()}
        (folder / name / "trial.json").write_text(json.dumps(record))
    print(name, flush=True)
"""


@pytest.fixture
def stand_in(monkeypatch):
    """Let workers be small scripts, and the trials of a variant end in some way."""

    def use(fate, sleep=0.0):
        words = [sys.executable, "-I", "-c", WORKER]
        monkeypatch.setattr(
            pool, "command", lambda folder: [*words, str(folder), json.dumps(fate), str(sleep)]
        )

    return use


def conducted(desk, jobs=2, **changes):
    plan = desk.plan(**changes)
    folder = desk.place(plan)
    told = []
    records = conduct(folder, plan, trials(plan), jobs, lambda t, r: told.append((t.name, r["state"])))
    return records, told, folder


def test_all_records_come_in_the_order_of_the_grid(desk, stand_in):
    stand_in({})
    records, told, _ = conducted(desk)
    assert [r["trial"] for r in records] == ["narrow-seed1", "narrow-seed2", "wide-seed1", "wide-seed2"]
    assert sorted(told) == sorted((r["trial"], "complete") for r in records)


def test_all_variants_have_one_seed_before_any_has_the_next(desk, stand_in):
    stand_in({})
    _, told, _ = conducted(desk, jobs=1)
    assert [name for name, _ in told] == ["narrow-seed1", "wide-seed1", "narrow-seed2", "wide-seed2"]


def test_so_many_at_a_time(desk, stand_in):
    stand_in({}, sleep=0.15)
    for jobs in (1, 2):
        records, _, folder = conducted(desk, jobs)
        spans = [(r["began"], r["ended"]) for r in records]
        most = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
        assert most == jobs
        folder.rename(folder.with_name(f"done{jobs}"))


def test_a_trial_that_fails_is_told_and_the_rest_goes_on(desk, stand_in):
    stand_in({"narrow": "fails"})
    records, told, folder = conducted(desk)
    assert [r["state"] for r in records] == ["failed", "failed", "complete", "complete"]
    assert records[0]["message"] == "error: no such luck\n  try again" and len(told) == 4
    assert not (folder / "narrow-seed1" / "trial.json").exists()


def test_a_worker_that_dies_costs_its_trial_alone(desk, stand_in):
    stand_in({"narrow": "dies"})
    records, told, _ = conducted(desk, jobs=1)
    assert [r["state"] for r in records] == ["failed", "failed", "complete", "complete"]
    assert records[0]["message"] == "it said nothing" and len(told) == 4


def test_a_worker_that_is_killed_is_said_to_be(desk, stand_in):
    stand_in({"narrow": "is killed"})
    records, _, _ = conducted(desk, jobs=2)
    assert [r["state"] for r in records] == ["failed", "failed", "complete", "complete"]
    assert records[0]["message"] == "error: its process was ended by SIGKILL, as when memory runs out"


def test_a_resume_reads_what_is_done_and_makes_the_rest(desk, stand_in):
    stand_in({"wide": "fails"})
    first, _, folder = conducted(desk)
    stand_in({"narrow": "fails"})
    plan = load_plan(folder)
    again = conduct(folder, plan, trials(plan), 2, lambda trial, record: None)
    assert again[:2] == first[:2] and [r["state"] for r in again] == ["complete"] * 4


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_who_is_asked_to_stop_ends_all_trials(desk, stand_in, number, kind):
    stand_in({"narrow": "waits", "wide": "waits"})

    def ask():
        deadline = time.monotonic() + 20
        while len(list(desk.folder.glob("pid-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(kind, match="lstm experiment --resume"):
        conducted(desk)
    thread.join()
    pids = [int(path.name.removeprefix("pid-")) for path in desk.folder.glob("pid-*")]
    assert len(pids) == 2  # the other two were never begun
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_in_this_process_a_trial_that_cannot_be_made_is_told(desk):
    records, _, folder = conducted(
        desk, jobs=0, variants={"lost": {"data.path": "gone.txt"}, "narrow": {}}, seeds=[1]
    )
    assert [r["state"] for r in records] == ["failed", "complete"] and "gone.txt" in records[0]["message"]
    assert json.loads((folder / "narrow-seed1" / "trial.json").read_text()) == records[1]


def test_an_experiment_is_never_overwritten(desk):
    plan = desk.plan()
    desk.place(plan)
    with pytest.raises(UsageError, match="never overwritten"):
        desk.place(plan)
