"""The directory of a run that trains is that run's: what lies in its place is never written into."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys

import pytest

from lstmcli.core import locking
from lstmcli.core.errors import ResourceError
from lstmcli.core.locking import STAND_IN, hold, is_held

LOOP = "lstmcli.run.loop"
STEP = f"{LOOP}:_step"


def test_another_run_in_the_place_of_one_that_trains_is_left_alone(lab):
    lab.train("other", "train.max_steps=10")
    before = lab.listing("runs/other")
    runs = lab.folder / "runs"
    swap = f"run=mv,{runs}/r,{runs}/moved run=mv,{runs}/other,{runs}/r"
    ended = lab.process("train", "config.yaml", "--run", "r", faults=[(STEP, 13, swap)])
    assert ended.code == 7 and "Traceback" not in ended.err
    assert "another directory" in ended.err and f"lies in {runs.resolve()}/moved" in ended.err
    now = {name.replace("runs/r/", "runs/other/"): data for name, data in lab.listing("runs/r").items()}
    assert now == before and lab.steps("moved") == [10]


def test_files_of_another_run_in_the_directory_are_seen(lab):
    """The directory is the same one; its content is not."""
    lab.train("other", "train.max_steps=10")
    copy = f"run=cp,{lab.path('other')}/manifest.json,{lab.path('r')}/manifest.json"
    ended = lab.process("train", "config.yaml", "--run", "r", faults=[(STEP, 13, copy)])
    assert ended.code == 7 and "holds another run" in ended.err and lab.steps("r") == [10]
    assert json.loads((lab.path("r") / "manifest.json").read_text())["state"] == "complete"


def test_a_directory_that_moves_away_is_told_and_not_made_anew(lab):
    move = f"run=mv,{lab.path('r')},{lab.path('moved')}"
    ended = lab.process("train", "config.yaml", "--run", "r", faults=[(STEP, 13, move)])
    assert ended.code == 7 and "is gone" in ended.err and "moved" in ended.err and not lab.path("r").exists()
    assert lab.lstm("train", "--resume", "moved").code == 0


def test_a_lock_that_is_deleted_is_made_anew(lab, same):
    delete = f"run=rm,{lab.path('r')}/.lock"
    ended = lab.process("train", "config.yaml", "--run", "r", faults=[(STEP, 13, delete)])
    assert ended.code == 0 and "made anew" in ended.err and (lab.path("r") / ".lock").exists()
    lab.train("whole")
    same(lab, "whole", "r")


def test_a_deleted_lock_does_not_let_two_processes_train_one_run(lab):
    """Another process begins meanwhile: the first one sees its lock, and ends without a word in the run."""
    taken = f"run=rm,{lab.path('r')}/.lock run=touch,{lab.path('r')}/.lock"
    ended = lab.process("train", "config.yaml", "--run", "r", faults=[(STEP, 13, taken)])
    assert ended.code == 7 and "another lock" in ended.err and lab.steps("r") == [10]


def test_a_checkpoint_of_another_run_is_not_gone_on_with(lab):
    lab.train("r", "train.max_steps=10")
    lab.train("other", "train.max_steps=15", "train.sequence_length=8")
    shutil.copytree(
        lab.path("other") / "checkpoints" / "step_00000015", lab.path("r") / "checkpoints" / "step_00000015"
    )
    refused = lab.lstm("train", "--resume", "r", "train.max_steps=20")
    assert refused.code == 5 and "of another run" in refused.err and "train.sequence_length" in refused.err


# --- a file system without locks


@pytest.fixture
def no_locks(monkeypatch):
    """As Lustre is without `-o flock`."""

    def flock(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr("lstmcli.core.notices._said", set())


def other_process(code="import time; time.sleep(60)"):
    return subprocess.Popen([sys.executable, "-c", code])


def test_without_locks_a_file_says_who_trains(tmp_path, no_locks, capsys):
    with hold(tmp_path) as held:
        made = json.loads((tmp_path / STAND_IN).read_text())
        assert made["pid"] == os.getpid() and made["host"] == platform.node() and held.problem() is None
        assert is_held(tmp_path)
        with pytest.raises(ResourceError, match=f"pid {os.getpid()} on"), hold(tmp_path):
            pass
        assert (tmp_path / STAND_IN).exists()
    assert not (tmp_path / STAND_IN).exists() and not is_held(tmp_path)
    assert capsys.readouterr().err.count("has no locks") == 1


def test_what_a_dead_process_left_is_free_and_a_living_one_is_not(tmp_path, no_locks):
    other = other_process()
    made = {"host": platform.node(), "pid": other.pid, "started": locking._started(other.pid)}
    (tmp_path / ".lock").touch()
    (tmp_path / STAND_IN).write_text(json.dumps(made))
    assert is_held(tmp_path)
    with pytest.raises(ResourceError, match=f"pid {other.pid}"), hold(tmp_path):
        pass
    (tmp_path / STAND_IN).write_text(json.dumps(made | {"started": "another boot:1"}))
    with hold(tmp_path):  # the number belongs to another process now
        pass
    other.kill()
    other.wait()
    (tmp_path / STAND_IN).write_text(json.dumps(made))
    assert not is_held(tmp_path)
    with hold(tmp_path):
        assert json.loads((tmp_path / STAND_IN).read_text())["pid"] == os.getpid()


def test_of_another_host_nobody_can_tell(tmp_path, no_locks):
    (tmp_path / STAND_IN).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": None}))
    with pytest.raises(ResourceError, match="pid 1 on elsewhere") as caught, hold(tmp_path):
        pass
    assert "delete" in str(caught.value)


def test_a_run_trains_without_locks(lab, no_locks):
    trained = lab.train("r")
    assert trained.err.count("has no locks") == 1
    assert not (lab.path("r") / STAND_IN).exists()
    assert lab.lstm("runs", "--json").json["runs"][0]["state"] == "complete"


# --- the order of runs


def test_latest_is_the_run_that_was_made_last_though_the_clock_was_set_back(lab, monkeypatch):
    from datetime import UTC, datetime, timedelta

    from lstmcli.run import directory

    class Yesterday(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) - timedelta(days=1)

    lab.train("first", "train.max_steps=1")
    monkeypatch.setattr(directory, "datetime", Yesterday)
    lab.train("second", "train.max_steps=1")
    lab.train("third", "train.max_steps=1")
    names = [run["name"] for run in lab.lstm("runs", "--json").json["runs"]]
    assert names == ["third", "second", "first"]
    assert lab.lstm("eval", "latest", "--json").json["run"].endswith("third")
    assert datetime.now(UTC)  # the patch is of that module alone
