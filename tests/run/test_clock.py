"""Time in which a process stood still is no time of training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from lstmcli.run import clock as clocks
from lstmcli.run.clock import Clock, Pulse


class Times:
    """A clock on the wall and one of the processor, set by hand."""

    def __init__(self, monkeypatch):
        self.wall = self.cpu = 100.0
        monkeypatch.setattr(clocks.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(clocks.time, "process_time", lambda: self.cpu)

    def go(self, wall, cpu):
        self.wall += wall
        self.cpu += cpu


@pytest.mark.parametrize(
    ("wall", "cpu", "counted"),
    [
        (1.0, 1.0, 1.0),
        (4.9, 0.0, 4.9),  # a look that is a little late
        (3600.0, 0.01, 0.0),  # stopped, or asleep
        (90.0, 80.0, 90.0),  # one long computation
    ],
)
def test_a_gap_without_any_computation_does_not_count(monkeypatch, wall, cpu, counted):
    times = Times(monkeypatch)
    clock = Clock(7.0, times.wall, Pulse())
    times.go(2.0, 2.0)
    assert clock.own() == pytest.approx(9.0)
    times.go(wall, cpu)
    assert clock.own() == pytest.approx(9.0 + counted)


STOPPED = """
import os, sys, time
from lstmcli.run import clock as clocks
clocks.GAP, clocks.BEAT = 0.5, 0.05
with clocks.Pulse() as pulse:
    clock = clocks.Clock(0.0, time.perf_counter(), pulse)
    time.sleep(0.1)
    print("ready", flush=True)
    sys.stdin.readline()
    print(clock.seconds(), flush=True)
"""


def test_a_process_that_is_stopped_does_not_train():
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(2.0)
    os.kill(process.pid, signal.SIGCONT)
    told, _ = process.communicate("\n", timeout=30)
    assert float(told) < 1.5
