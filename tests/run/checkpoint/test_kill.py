"""SIGKILL at every system call: the last committed checkpoint is always there, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstmcli.run.checkpoint.store import (
    Snapshot,
    checkpoints,
    latest_valid,
    prune,
    read_checkpoint,
    resolve,
    save_checkpoint,
    verify,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


def aftermath(scenario: str, root: Path) -> list[Path]:
    """The folders left by a kill at each call, in order; the last is of the run that ended."""
    script = Path(__file__).with_name("kill_script.py")
    command = [sys.executable, str(script), scenario, str(root)]
    environment = {"PYTHONPATH": str(script.parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=60)
    folders = sorted(root.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 10, "the kills did not reach the work"
    return folders


def fill_of(path: Path) -> float:
    """Read a checkpoint; all its parts must come from the same save."""
    found = read_checkpoint(path, framework="numpy")
    fills = {found.document["fill"], *found.tensors["model.w"], *found.tensors["random"]}
    assert len(fills) == 1
    return float(fills.pop())


def silent(message: str) -> None:
    raise AssertionError(f"an unfinished checkpoint is no damage: {message}")


def test_while_saving_the_next_step(tmp_path: Path) -> None:
    folders = aftermath("next_step", tmp_path / "runs")
    newest = [fill_of(latest_valid(folder, silent)) for folder in folders]
    assert newest == sorted(newest), "once committed, it stays"
    assert newest[0] == 1 and newest[-1] == 2
    assert all(fill_of(resolve(folder, "1", silent)) == 1 for folder in folders)


def test_while_replacing_the_same_step(tmp_path: Path) -> None:
    folders = aftermath("same_step", tmp_path / "runs")
    fills = [fill_of(latest_valid(folder, silent)) for folder in folders]
    assert fills == sorted(fills) and fills[0] == 1 and fills[-1] == 2
    aside = [folder for folder in folders if not (folder / "step_00000001").exists()]
    assert aside, "no kill fell between the two renames"
    assert all(fill_of(resolve(folder, "1", silent)) == 1 for folder in aside)


def test_the_next_save_goes_on_and_cleans_up(tmp_path: Path) -> None:
    for folder in aftermath("same_step", tmp_path / "runs"):
        arrays = {"model.w": np.full(2, 3.0, np.float32), "random": np.full(2, 3, np.uint8)}
        for step in (1, 2):
            save_checkpoint(folder, Snapshot(step, arrays, {"fill": 3}))
        prune(folder, 2, set(), silent)
        assert sorted(path.name for path in folder.iterdir()) == ["step_00000001", "step_00000002"]
        assert all(fill_of(path) == 3 for path in checkpoints(folder).values())


def test_pruning_first_puts_a_checkpoint_back_that_had_stepped_aside(tmp_path: Path) -> None:
    for folder in aftermath("same_step", tmp_path / "runs"):
        prune(folder, 1, set(), silent)
        assert [path.name for path in folder.iterdir()] == ["step_00000001"]
        assert fill_of(folder / "step_00000001") in (1, 2)


def test_while_pruning(tmp_path: Path) -> None:
    for folder in aftermath("pruning", tmp_path / "runs"):
        assert {2, 4} <= checkpoints(folder).keys()
        assert all(verify(path) == [] for path in checkpoints(folder).values())
        prune(folder, 1, {2}, silent)
        assert {path.name for path in folder.iterdir()} == {"step_00000002", "step_00000004"}
