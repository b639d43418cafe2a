"""Which checkpoint a user gets, and what is told about those passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstmcli.core.errors import RunError, UsageError
from lstmcli.run.checkpoint.store import latest_valid, resolve


def damage(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)


@pytest.fixture
def notices() -> list[str]:
    return []


def test_the_newest_is_chosen_by_number_not_by_name(folder: Path, saved, notices) -> None:
    for step in (100_000_000, 99_999_999, 5):
        saved(step)
    assert latest_valid(folder, notices.append).name == "step_100000000" and not notices


def test_damaged_newer_ones_are_passed_over_aloud(folder: Path, saved, notices) -> None:
    for step in (1, 2, 3):
        saved(step)
    damage(folder / "step_00000003")
    (folder / "step_00000002" / "state.safetensors").write_bytes(b"")
    assert latest_valid(folder, notices.append).name == "step_00000001"
    assert "step_00000003" in notices[0] and "SHA-256 differs" in notices[0]
    assert "step_00000002" in notices[1] and "truncated: 0 of" in notices[1]
    assert latest_valid(folder, print) == resolve(folder, "last", print)


def test_none_is_sound(folder: Path, saved, notices) -> None:
    with pytest.raises(RunError, match="no checkpoint in"):
        latest_valid(folder, notices.append)
    damage(saved(1))
    with pytest.raises(RunError, match=r"no sound checkpoint.*SHA-256 differs"):
        latest_valid(folder, notices.append)


def test_what_is_no_checkpoint_is_passed_over(folder: Path, saved, notices, tmp_path) -> None:
    saved(1)
    for name in ("step_2", "step_000000003", "step_00000004x", ".tmp-step_00000005", "other"):
        (folder / name).mkdir()
    (folder / "step_00000006").write_text("a file")
    (folder / "step_00000007").symlink_to(folder / "step_00000001")
    assert latest_valid(folder, notices.append).name == "step_00000001" and not notices


def test_a_named_step_must_be_sound(folder: Path, saved, notices) -> None:
    for step in (1, 2):
        saved(step)
    damage(folder / "step_00000002")
    assert resolve(folder, "1", notices.append).name == "step_00000001"
    assert resolve(folder, "0001", notices.append).name == "step_00000001"
    with pytest.raises(RunError, match="SHA-256 differs"):
        resolve(folder, "2", notices.append)
    with pytest.raises(RunError, match="no checkpoint of step 7") as caught:
        resolve(folder, "7", notices.append)
    assert caught.value.hint == "there are: 1, 2" and not notices


@pytest.mark.parametrize("word", ["", "newest", "-1", "1.5", "¹", "9" * 30])
def test_other_words_are_a_usage_error(folder: Path, saved, word: str) -> None:
    saved(1)
    with pytest.raises(UsageError):
        resolve(folder, word, print)


@pytest.mark.parametrize("which", ["best", None])
def test_the_best_is_what_the_newest_document_says(folder: Path, saved, notices, which) -> None:
    saved(1, best=1)
    saved(2, best=2)
    saved(3, best=2)
    path = resolve(folder, which, notices.append)
    assert path.name == "step_00000002" and not notices
    assert resolve(folder, "last", notices.append).name == "step_00000003"


@pytest.mark.parametrize("which", ["best", None])
def test_the_best_is_the_last(folder: Path, saved, notices, which) -> None:
    saved(2, best=2)
    assert resolve(folder, which, notices.append).name == "step_00000002" and not notices


@pytest.mark.parametrize("which", ["best", None])
def test_a_missing_or_damaged_best_gives_way_to_the_last(folder: Path, saved, notices, which) -> None:
    saved(2, best=1)
    assert resolve(folder, which, notices.append).name == "step_00000002"
    assert "best checkpoint, step 1: it is missing" in notices[0]
    damage(saved(1))
    assert resolve(folder, which, notices.append).name == "step_00000002"
    assert "step 1: " in notices[1] and "SHA-256 differs" in notices[1]


def test_no_best_yet(folder: Path, saved, notices) -> None:
    saved(2)
    assert resolve(folder, None, notices.append).name == "step_00000002" and not notices
    assert resolve(folder, "best", notices.append).name == "step_00000002"
    assert "no best checkpoint is known" in notices[0]


def test_nan_is_passed_over(folder: Path, saved, notices) -> None:
    saved(1)
    saved(2, fill=float("nan"))
    assert latest_valid(folder, notices.append).name == "step_00000001"
    assert "NaN" in notices[0]
    with pytest.raises(RunError, match="NaN"):
        resolve(folder, "2", print)
