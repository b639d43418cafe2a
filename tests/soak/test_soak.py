"""Hours in minutes: over 20,000 steps a run's memory and open files stay as they are, its log grows evenly.

Run by `make soak`; the figures are printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, mode
from typing import NamedTuple

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks at /proc"),
]
STEPS = int(os.environ.get("SOAK_STEPS", "20000"))
PICTURES = 200_000
"""Bytes of a set of pictures, at most."""
WORDS = [
    f"train.max_steps={STEPS}", "train.warmup_steps=100", "telemetry.every=20", "telemetry.gates_every=200",
    "telemetry.tensorboard=true", "evaluation.every=1000", "checkpoint.every=500", "checkpoint.keep=2",
]  # fmt: skip


class Look(NamedTuple):
    """A running process at a moment."""

    step: int
    memory: int  # bytes resident
    files: int  # open
    log: int  # bytes of metrics.jsonl
    events: int  # bytes of TensorBoard's file


def look(pid, run):
    memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    step = json.loads(lines[-1])["step"] if lines else 0
    sizes = [sum(path.stat().st_size for path in run.glob(name)) for name in ("metrics.jsonl", "events.*")]
    return Look(step, memory, files, *sizes)


@pytest.fixture(scope="module")
def looks(shared_lab):
    lab = shared_lab
    command = [sys.executable, "-m", "lstmcli", "train", "config.yaml", *WORDS, "--run", "r"]
    started = subprocess.Popen(command, cwd=lab.folder, stderr=subprocess.DEVNULL)
    found = []
    while started.poll() is None:
        time.sleep(1.0)
        try:
            found.append(look(started.pid, lab.path("r")))
        except (OSError, ValueError, IndexError):  # not begun yet, ended already, or half a line
            continue
    assert started.returncode == 0 and lab.steps("r")[-1] == STEPS
    assert len(list(lab.path("r").glob("checkpoints/*"))) <= 3
    return found


def part(looks, first, last):
    """The looks at these shares of the steps."""
    return [one for one in looks if first * STEPS <= one.step <= last * STEPS]


def test_memory_stays_as_it_is(looks):
    early, late = part(looks, 0.2, 0.4), part(looks, 0.8, 1.0)
    before, after = mean(one.memory for one in early), mean(one.memory for one in late)
    change = f"{after / before - 1:+.2%}"
    print(f"\nmemory: {before / 1e6:.1f} MB at a third, {after / 1e6:.1f} MB at the end ({change})")
    assert after <= 1.02 * before


def test_open_files_stay_as_they_are(looks):
    """The commonest number: a checkpoint that is being written opens some for a moment."""
    counts = [mode(one.files for one in part(looks, *shares)) for shares in ((0.2, 0.4), (0.8, 1.0))]
    print(f"\nopen files: {counts[0]} at a third, {counts[1]} at the end")
    assert counts[0] == counts[1]


def test_the_log_grows_evenly(looks):
    for name in ("log", "events"):
        rates = []
        for first in (0.2, 0.5):
            some = part(looks, first, first + 0.3)
            rates.append((getattr(some[-1], name) - getattr(some[0], name)) / (some[-1].step - some[0].step))
        print(f"\n{name}: {rates[0]:.1f} bytes a step, then {rates[1]:.1f}")
        # Pictures come by the clock, so one set more may fall into the second half.
        more = PICTURES / (0.3 * STEPS) if name == "events" else 0.0
        assert rates[1] <= 1.1 * rates[0] + more
