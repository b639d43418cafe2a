"""Run a piece of work once for each system call it makes, killed at that call by SIGKILL.

    python kill_script.py SCENARIO FOLDER

FOLDER/0, FOLDER/1, ... are then what the kill at call 0, 1, ... left; the last one was not killed.
Each is forked from this process, which has no thread and no PyTorch.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstmcli.run.checkpoint.store import Snapshot, prune, save_checkpoint

CALLS = ("mkdir", "open", "write", "fsync", "close", "rename", "replace", "unlink", "rmdir")


def snapshot(step: int, fill: float) -> Snapshot:
    tensors = {"model.w": np.full(7, fill, np.float32), "random": np.full(5, fill, np.uint8)}
    return Snapshot(step, tensors, {"fill": fill}, {"vocab.json": "[]"})


def first_save(folder: Path) -> None:
    save_checkpoint(folder, snapshot(1, 1))


def next_step(folder: Path) -> None:
    save_checkpoint(folder, snapshot(2, 2))


def same_step(folder: Path) -> None:
    save_checkpoint(folder, snapshot(1, 2))


def pruning(folder: Path) -> None:
    for step in (2, 3, 4):
        save_checkpoint(folder, snapshot(step, step))
    arm()
    prune(folder, 1, {2}, print)


SCENARIOS = {"next_step": next_step, "same_step": same_step, "pruning": pruning}
left = -1  # calls until the kill


def arm() -> None:
    global left
    left = int(os.environ["KILL_AT"])


def deadly(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **options: Any) -> Any:
        global left
        if left == 0:
            if name == "write":  # half of it arrives
                call(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **options)

    return wrapper


def child(scenario: str, folder: Path, kill_at: int) -> None:
    os.environ["KILL_AT"] = str(kill_at)
    first_save(folder)
    for name in CALLS:
        setattr(os, name, deadly(name, getattr(os, name)))
    if scenario != "pruning":
        arm()
    SCENARIOS[scenario](folder)


def main(scenario: str, root: Path) -> None:
    root.mkdir()
    for number in range(1000):
        pid = os.fork()
        if pid == 0:
            child(scenario, root / str(number), number)
            os._exit(0)
        if os.waitpid(pid, 0)[1] == 0:
            return
    sys.exit("the work never ended")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
