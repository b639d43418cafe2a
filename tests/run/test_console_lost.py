"""The console is expendable: a run trains on when nobody reads what it says any longer."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading

import pytest


def run(lab, descriptor, *words, faults=()):
    """`lstm WORDS` whose standard error is `descriptor`; the exit code."""
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        lab._start(words, faults, {}, [nothing, nothing, descriptor])
    finally:
        os.close(nothing)
        os.close(descriptor)
    return lab._warm().wait()[0]


def manifest(lab, name):
    return json.loads((lab.path(name) / "manifest.json").read_text())


def pipe_without_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize(
    ("where", "said"), [(pipe_without_reader, "Broken pipe"), (full_disk, "No space left on device")]
)
def test_a_console_that_takes_nothing_costs_the_run_nothing(lab, same, where, said):
    assert run(lab, where(), "train", "config.yaml", "--run", "r") == 0
    found = manifest(lab, "r")
    assert found["state"] == "complete" and found["console_lost"] == said
    lab.train("whole")
    assert "console_lost" not in manifest(lab, "whole")
    same(lab, "whole", "r")


def test_a_terminal_that_vanishes(lab, same):
    """The live view is drawn on it, and it is gone after the first picture."""
    ours, theirs = pty.openpty()

    def look():
        os.read(ours, 1)
        os.close(ours)

    looking = threading.Thread(target=look)
    looking.start()
    assert run(lab, theirs, "train", "config.yaml", "--run", "r") == 0
    looking.join()
    assert manifest(lab, "r")["state"] == "complete"
    lab.train("whole")
    same(lab, "whole", "r")


def test_a_terminal_that_vanishes_with_its_session_leaves_all_saved(lab):
    ours, theirs = pty.openpty()
    os.close(ours)
    faults = [("lstmcli.run.loop:_step", 13, "SIGHUP")]
    assert run(lab, theirs, "train", "config.yaml", "--run", "r", faults=faults) == 129
    assert lab.steps("r") == [10, 13] and manifest(lab, "r")["state"] == "interrupted"


def test_a_disk_that_has_room_again_hears_what_is_missing(tmp_path, monkeypatch):
    """The end of a run tells it where one can read it."""
    from lstmcli.core import terminal

    class Full:
        def __init__(self):
            self.room, self.text = True, ""

        def write(self, text):
            if not self.room:
                raise OSError(28, "No space left on device")
            self.text += text

        def flush(self):
            pass

    console = Full()
    monkeypatch.setattr(sys, "stderr", console)
    terminal.make_console_expendable()
    terminal.make_console_expendable()  # once is enough
    for room in (True, False, True):
        console.room = room
        print("said", file=sys.stderr, end=" ")
    assert console.text == "said said " and terminal.console_lost() == "No space left on device"


@pytest.mark.parametrize("stream", ["2>&1 | head -n 1", "2> /dev/full"])
def test_from_a_shell_the_exit_code_is_that_of_the_run(lab, stream):
    """Python itself would try again to write what was lost, and leave with 120."""
    line = f"{sys.executable} -m lstmcli train config.yaml train.max_steps=2 --run r {stream}"
    ended = subprocess.run(["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], cwd=lab.folder, check=False)
    assert ended.returncode == 0 and manifest(lab, "r")["state"] == "complete"


def test_a_result_that_cannot_be_written_is_told_with_its_own_code(lab):
    line = f"{sys.executable} -m lstmcli runs --json > /dev/full"
    ended = subprocess.run(["bash", "-c", line], cwd=lab.folder, capture_output=True, check=False)
    assert ended.returncode == 7 and b"No space left" in ended.stderr
