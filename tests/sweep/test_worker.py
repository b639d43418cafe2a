"""The process that makes trials."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from lstmcli.sweep import pool
from lstmcli.sweep.experiment import trials


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
    lines = {trial.name: trial.encode(False).decode() for trial in trials(plan)}
    process = subprocess.Popen(pool.command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process, folder, lines
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_trials_one_after_the_other_until_its_parent_is_gone(started):
    process, folder, lines = started
    process.stdin.write(lines["lost-seed1"] + lines["short-seed1"])
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["lost-seed1\n", "short-seed1\n"]
    assert json.loads((folder / "short-seed1" / "trial.json").read_text())["state"] == "complete"
    assert not (folder / "lost-seed1" / "trial.json").exists()
    assert "there is no file gone.txt" in (folder / "logs" / "lost-seed1.log").read_text()
    assert "val loss" in (folder / "logs" / "short-seed1.log").read_text()
    process.stdin.write(lines["long-seed1"])
    process.stdin.flush()
    log = folder / "long-seed1" / "metrics.jsonl"
    deadline = time.monotonic() + 60.0
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.stdin.close()  # as when the parent is killed
    assert process.wait(30) == 143 and process.stdout.read() == ""
    assert list((folder / "long-seed1" / "checkpoints").glob("step_*"))
    assert "go on with" in (folder / "logs" / "long-seed1.log").read_text()


def test_nothing_is_imported_from_the_current_folder(tmp_path):
    for name in ("yaml", "numpy", "torch", "pydantic"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()\n")
    done = subprocess.run(pool.command(tmp_path), cwd=tmp_path, input="", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
