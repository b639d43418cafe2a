"""What pruning deletes, what it never does, and what it does when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcli.run.checkpoint.store import checkpoints, discard_after, latest_valid, prune, verify


@pytest.fixture
def notices() -> list[str]:
    return []


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_newest_and_the_protected_stay(folder: Path, saved, notices) -> None:
    for step in range(1, 7):
        saved(step)
    prune(folder, 2, {1, 3, 99}, notices.append)
    assert list(checkpoints(folder)) == [1, 3, 5, 6] and len(names(folder)) == 4
    assert all(verify(path) == [] for path in checkpoints(folder).values()) and not notices
    prune(folder, 0, {3}, notices.append)
    assert list(checkpoints(folder)) == [3]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 30)), st.integers(0, 5), st.sets(st.integers(0, 30)))
def test_against_counting_by_hand(
    tmp_path_factory: pytest.TempPathFactory, steps: set[int], keep: int, protect: set[int]
) -> None:
    """A step stays if it is protected or has fewer than `keep` above it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in steps:
        (folder / f"step_{step:08d}").mkdir()
    prune(folder, keep, protect, print)
    stays = {s for s in steps if s in protect or sum(other > s for other in steps) < keep}
    assert set(checkpoints(folder)) == stays


def test_a_stale_higher_step_never_costs_the_one_just_written(folder: Path, saved, notices) -> None:
    """Resumed at 10 while 30 and 40 were there; the first commit of the new course is 20."""
    for step in (10, 30, 40):
        saved(step)
    written = saved(20, fill=2.0)
    prune(folder, 1, {20, 10}, notices.append)
    assert list(checkpoints(folder)) == [10, 20, 40]
    discard_after(folder, 10, notices.append, protect={20})
    assert list(checkpoints(folder)) == [10, 20] and latest_valid(folder, print) == written
    assert notices == ["removing checkpoints from before the resume at step 10: 40"]


def test_discarding_leaves_nothing_of_the_old_course(folder: Path, saved, notices) -> None:
    for step in (10, 12, 15, 20):
        saved(step)
    discard_after(folder, 10, notices.append, protect={15})
    assert names(folder) == {"step_00000010", "step_00000015"}
    discard_after(folder, 15, notices.append)
    assert len(notices) == 1, "nothing to remove, nothing to say"


def test_leftovers_are_cleaned(folder: Path, saved, notices) -> None:
    saved(1)
    for name in (".tmp-step_00000002", ".trash-step_00000000", ".old-step_00000001"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
    (folder / ".tmp-file").write_text("")
    (folder / "mine.txt").write_text("a user's own file")
    prune(folder, 1, set(), notices.append)
    assert names(folder) == {"step_00000001", "mine.txt"} and not notices


def test_a_link_is_removed_but_never_followed(folder: Path, saved, tmp_path: Path) -> None:
    saved(1)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("")
    (folder / ".trash-step_00000005").symlink_to(tmp_path / "precious")
    prune(folder, 1, set(), print)
    assert names(folder) == {"step_00000001"} and (tmp_path / "precious" / "file").exists()


@pytest.mark.parametrize("call", ["rename", "unlink", "rmdir"])
def test_a_failure_is_told_and_the_rest_is_done(
    folder: Path, saved, notices, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for step in (1, 2, 3, 4):
        saved(step)
    original = getattr(os, call)
    calls = []

    def failing_once(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise PermissionError(13, "Permission denied")
        return original(*args, **options)

    monkeypatch.setattr(os, call, failing_once)
    prune(folder, 2, set(), notices.append)
    assert len(notices) == 1 and "cannot remove" in notices[0] and "Permission denied" in notices[0]
    assert {3, 4} <= checkpoints(folder).keys() and 2 not in checkpoints(folder)
    prune(folder, 2, set(), notices.append)  # the next time it works
    assert names(folder) == {"step_00000003", "step_00000004"} and len(notices) == 1


def test_a_folder_that_is_gone_is_no_crash(folder: Path, notices) -> None:
    prune(folder, 1, set(), notices.append)
    discard_after(folder, 1, notices.append)
    assert len(notices) == 1 and "cannot prune" in notices[0]
