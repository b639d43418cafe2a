"""The process that makes trials."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from lstmcli.sweep import SAFELY
from lstmcli.sweep.experiments import worker


@pytest.fixture
def started(desk):
    """A worker for a plan of long trials and of some that fail."""
    plan = desk.plan(
        variants={
            "short": {},
            "long": {"train.max_steps": 1000000},
            "lost": {"data.path": "gone.txt"},
        },
        seeds=[1],
    )
    folder = desk.place(plan)
    command = [sys.executable, "-m", worker.__name__, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process, folder
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_trials_one_after_the_other_until_its_parent_is_gone(started):
    process, folder = started
    process.stdin.write("lost-seed1\nshort-seed1\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["lost-seed1\n", "short-seed1\n"]
    assert json.loads((folder / "short-seed1" / "trial.json").read_text())["state"] == "complete"
    assert not (folder / "lost-seed1" / "trial.json").exists()
    assert "there is no file gone.txt" in (folder / "logs" / "lost-seed1.log").read_text()
    assert "val loss" in (folder / "logs" / "short-seed1.log").read_text()
    process.stdin.write("long-seed1\n")
    process.stdin.flush()
    log = folder / "long-seed1" / "metrics.jsonl"
    deadline = time.monotonic() + 60.0
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.stdin.close()  # as when the parent is killed
    assert process.wait(30) == 143 and process.stdout.read() == ""
    assert list((folder / "long-seed1" / "checkpoints").glob("step_*"))
    assert "go on with" in (folder / "logs" / "long-seed1.log").read_text()


@pytest.mark.parametrize("module", ["lstmcli.sweep.experiments.worker", "lstmcli.sweep.tuning.trial"])
def test_nothing_is_imported_from_the_current_folder(tmp_path, module):
    for name in ("yaml", "numpy", "torch", "pydantic"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()\n")
    command = [sys.executable, *SAFELY, "-m", module, str(tmp_path / "none"), "none"]
    subprocess.run(command, cwd=tmp_path, input="none\n", text=True, capture_output=True, check=False)
    assert not (tmp_path / "ran").exists()
