"""What a power cut may leave: a checkpoint never outlives its log, and a run's directory is on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def order(monkeypatch):
    """What was flushed, renamed and written, in order."""
    seen = []
    fsync, rename = os.fsync, os.rename

    def flushed(descriptor):
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(old, new):
        seen.append(("rename", str(Path(new).resolve())))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    return seen


def test_the_log_is_on_the_disk_before_a_checkpoint_is_committed(lab, order, monkeypatch):
    from lstmcli.run.telemetry.metrics import MetricsFile

    write = MetricsFile.write

    def written(self, step, values):
        order.append(("write", str(self.path.resolve())))
        write(self, step, values)

    monkeypatch.setattr(MetricsFile, "write", written)
    lab.train("r", "telemetry.tensorboard=true", "telemetry.pictures=false")
    metrics = str((lab.path("r") / "metrics.jsonl").resolve())
    commits = [k for k, (what, where) in enumerate(order) if what == "rename" and "/step_" in where]
    assert len(commits) == 2
    for commit in commits:
        before = order[:commit]
        last_write = max(k for k, each in enumerate(before) if each == ("write", metrics))
        after = [where for what, where in before[last_write:] if what == "fsync"]
        assert metrics in after and str(lab.path("r").resolve()) in after
        assert any("events.out.tfevents" in where for where in after)


def test_the_directory_of_a_new_run_is_on_the_disk(lab, order):
    lab.train("r", "train.max_steps=1")
    flushed = [where for what, where in order if what == "fsync"]
    root = (lab.folder / "runs").resolve()
    assert flushed.index(str(root / "r")) < flushed.index(str(root))
