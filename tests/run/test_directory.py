"""Run directories: names, finding, locking, listing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmcli.core.errors import ResourceError, RunError, UsageError
from lstmcli.run import directory as rundir
from lstmcli.run.checkpoint.store import Snapshot, save_checkpoint
from lstmcli.run.directory import (
    RunDir,
    create_run,
    find_run,
    list_runs,
    lock,
    read_json,
    split_reference,
    write_json_atomic,
)

PROJECT = Path(__file__).parents[2]
BAD_NAMES = [
    *("", ".", "..", "../x", "a/b", "a\\b", "/etc", ".hidden", "-rf", "a..b", "x" * 101, "a b"),
    *("ä", "a\n", "a\0", "con", "NUL.txt", "com1", "ends.", "a@b", "latest", "~", "$HOME"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make(root: Path, name: str, step: int | None = 10, **manifest: Any) -> RunDir:
    run = create_run("config", name, root)
    content = {"created": "2024-05-01T12:00:00+00:00", "state": "complete", "cell": "lstm"}
    write_json_atomic(run.manifest_path, {**content, "parameters": 1234, **manifest})
    if step is not None:
        document = {"best": {"step": step, "loss": 1.5}}
        arrays = {"model.w": np.ones(3, np.float32), "random": np.zeros(9, np.uint8)}
        save_checkpoint(run.checkpoints, Snapshot(step, arrays, document))
    return run


# --- making


def test_default_name_is_the_config_and_the_time(root: Path) -> None:
    run = create_run("shakespeare", None, root)
    assert re.fullmatch(r"shakespeare-\d{8}-\d{6}", run.name) and run.path == root / run.name
    assert run.config_path == run.path / "config.yaml"
    assert run.manifest_path == run.path / "manifest.json"
    assert run.metrics_path == run.path / "metrics.jsonl"
    assert run.checkpoints == run.path / "checkpoints" and run.checkpoints.is_dir()


def test_default_names_never_collide(root: Path) -> None:
    names = [create_run("a", None, root).name for _ in range(30)]
    assert len(set(names)) == 30
    assert any(re.fullmatch(r"a-\d{8}-\d{6}-2", name) for name in names)


@pytest.mark.parametrize("config", ["my config.v2", "..", "-x", "", "ünï", "a" * 300, "con", "a/b"])
def test_default_name_is_plain_whatever_the_config_is_called(root: Path, config: str) -> None:
    assert find_run(create_run(config, None, root).name, root).path.parent == root


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        create_run("config", name, root)
    assert not root.exists()


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "_x", "1", "x" * 100, "console", "best"])
def test_good_names(root: Path, name: str) -> None:
    assert create_run("config", name, root).name == name


def test_a_run_is_never_overwritten(root: Path, tmp_path: Path) -> None:
    make(root, "mine")
    (root / "file").write_text("kept")
    (root / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "link"):
        with pytest.raises(UsageError, match="exists already"):
            create_run("config", name, root)
    assert (root / "file").read_text() == "kept" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_root_that_cannot_be_written(tmp_path: Path, name: str | None) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(ResourceError, match="cannot make a run directory"):
            create_run("config", name, root)
    with pytest.raises(ResourceError, match="cannot make a run directory"):
        create_run("config", name, Path("/proc/nothing"))


# --- finding


def test_by_name_and_by_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(root, "mine")
    assert find_run("mine", root) == run
    assert find_run(str(run.path), Path("elsewhere")).name == "mine"
    assert find_run(f"{run.path}/", root).name == "mine"
    monkeypatch.chdir(run.path)
    assert find_run(".", root).name == "mine"
    monkeypatch.chdir(root.parent)
    assert find_run("runs/mine").name == find_run("mine").name == "mine"


def test_a_missing_run_suggests_near_names(root: Path) -> None:
    for name in ("lstm-large", "lstm-small", "other"):
        make(root, name, step=None)
    with pytest.raises(RunError, match="no run 'lstm-smal'") as caught:
        find_run("lstm-smal", root)
    assert caught.value.hint and caught.value.hint.startswith("did you mean: lstm-small")
    assert "other" not in caught.value.hint


@pytest.mark.parametrize("text", [*BAD_NAMES[:-3], "x" * 5000, "no-such-run"])
def test_what_is_no_run(root: Path, text: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError):
        find_run(text, root)


def test_a_linked_name_is_refused(root: Path, tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "theirs")
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere" / "theirs")
    with pytest.raises(RunError, match="symbolic link"):
        find_run("link", root)
    assert list_runs(root) == []


def test_latest_is_the_run_created_last(root: Path) -> None:
    """Whatever was touched since, and though its directory may be older."""
    make(root, "a", created="2024-05-02T00:00:00Z")
    make(root, "b", created="2024-05-03T01:00:00+02:00")  # 23:00 UTC on the 2nd
    make(root, "c", created="2024-05-01T00:00:00")
    (root / "c" / "metrics.jsonl").write_text("")
    assert find_run("latest", root).name == "b"
    assert [run.name for run in list_runs(root)] == ["b", "a", "c"]


@pytest.mark.parametrize("created", [None, 5, "yesterday", "2024-13-01T00:00:00"])
def test_without_a_time_in_the_manifest_the_directory_counts(root: Path, created: Any) -> None:
    os.utime(make(root, "old", created=created).path, (1e9, 1e9))  # in 2001
    make(root, "new")
    assert find_run("latest", root).name == "new"
    os.utime(root / "old", (3e9, 3e9))
    assert find_run("latest", root).name == "old"


def test_latest_of_none(root: Path) -> None:
    for _ in range(2):
        with pytest.raises(RunError, match="there is no run"):
            find_run("latest", root)
        (root / "not-a-run").mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mine", ("mine", None)),
        ("mine@1000", ("mine", "1000")),
        ("latest@best", ("latest", "best")),
        ("runs/mine@last", ("runs/mine", "last")),
        ("/data/me@home/mine", ("/data/me@home/mine", None)),
        ("/data/me@home/mine@5", ("/data/me@home/mine", "5")),
    ],
)
def test_references(text: str, parts: tuple[str, str | None]) -> None:
    assert split_reference(text) == parts


@pytest.mark.parametrize("text", ["a@", "@5", "a@x", "a@-1", "a@1.5", "a@²", "a@1@", "a@" + "1" * 99])
def test_bad_references(text: str) -> None:
    with pytest.raises(UsageError, match="does not name a run and a step"):
        split_reference(text)


# --- locking

HOLDER = """
import sys, time
from pathlib import Path
from lstmcli.run.directory import RunDir, lock
with lock(RunDir(Path(sys.argv[1]))):
    print("locked", flush=True)
    time.sleep(60)
"""


def holder(run: RunDir) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "locked\n"
    return process


def test_two_processes_one_run(root: Path) -> None:
    """The second is told who has it; a killed holder frees it at once; other runs are free."""
    run = make(root, "mine", state="running")
    with holder(run) as process:
        try:
            with pytest.raises(ResourceError, match=rf"in use by .*pid {process.pid}\b"), lock(run):
                pass
            with lock(make(root, "other")):
                assert list_runs(root)[-1].state == "running"
        finally:
            process.send_signal(signal.SIGKILL)
    assert {summary.name: summary.state for summary in list_runs(root)}["mine"] == "interrupted"
    with lock(run):
        pass


def test_the_lock_is_freed_after_an_error_and_can_be_taken_again(root: Path) -> None:
    run = make(root, "mine")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock(run):
            raise ZeroDivisionError
    with lock(run), pytest.raises(ResourceError, match=f"pid {os.getpid()}"), lock(run):
        pass


def test_listing_in_between_does_not_spoil_a_lock(root: Path, monkeypatch) -> None:
    """Looking at a lock takes it for an instant; whoever wants it waits that long."""
    from lstmcli.core import locking

    run = make(root, "mine")
    original = locking._try_lock
    answers = [False, False]
    monkeypatch.setattr(locking, "_try_lock", lambda d: answers.pop() if answers else original(d))
    with lock(run):
        assert not answers


def test_a_run_that_cannot_be_locked(root: Path, tmp_path: Path) -> None:
    run = make(root, "mine")
    (tmp_path / "precious").write_text("text")
    (run.path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ResourceError, match="cannot lock"), lock(run):
        pass
    assert (tmp_path / "precious").read_text() == "text"
    with pytest.raises(ResourceError, match="cannot lock"), lock(RunDir(root / "gone")):
        pass


# --- listing


def test_a_complete_run(root: Path) -> None:
    run = make(root, "mine", step=500, created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    (summary,) = list_runs(root)
    assert (summary.name, summary.path, summary.state) == ("mine", run.path, "complete")
    assert (summary.step, summary.best_loss, summary.cell) == (500, 1.5, "lstm")
    assert summary.parameters == 1234 and summary.problem is None
    assert 0 <= summary.age_seconds < 60
    assert not (run.path / ".lock").exists(), "listing writes nothing"


@pytest.mark.parametrize("state", ["interrupted", "diverged", "failed", "complete"])
def test_states(root: Path, state: str) -> None:
    make(root, "mine", state=state)
    assert list_runs(root)[0].state == state


def test_a_running_run_is_at_the_step_it_logged_last(root: Path) -> None:
    run = make(root, "mine", step=10, state="running")
    lines = [json.dumps({"step": step, "train/loss": 1.0}) for step in (20, 30)]
    run.metrics_path.write_text("\n".join([*lines, '{"step": 4']))  # the last line is half written
    with lock(run):
        assert (list_runs(root)[0].state, list_runs(root)[0].step) == ("running", 30)
    assert (list_runs(root)[0].state, list_runs(root)[0].step) == ("interrupted", 10)


def test_only_the_end_of_the_metrics_is_needed(root: Path) -> None:
    run = make(root, "mine", step=None, state="failed")
    line = '{"step": 7, "loss": 1.0}\n'
    run.metrics_path.write_text('{"step": 6}\n' + line * 20_000)
    assert list_runs(root)[0].step == 7


def test_an_empty_run(root: Path) -> None:
    create_run("config", "mine", root)
    assert (list_runs(root)[0].state, list_runs(root)[0].step) == ("empty", None)


def test_no_runs(root: Path) -> None:
    assert list_runs(root) == []
    root.mkdir()
    (root / "file").write_text("")
    (root / ".hidden").mkdir()
    (root / "not-a-run").mkdir()
    assert list_runs(root) == []


DAMAGE = {
    "manifest missing": lambda run: run.manifest_path.unlink(),
    "manifest no JSON": lambda run: run.manifest_path.write_text("{"),
    "manifest binary": lambda run: run.manifest_path.write_bytes(b"\xff\x00"),
    "manifest a list": lambda run: run.manifest_path.write_text("[]"),
    "manifest deep": lambda run: run.manifest_path.write_text("[" * 100_000),
    "manifest a folder": lambda run: (run.manifest_path.unlink(), run.manifest_path.mkdir()),
    "state unknown": lambda run: run.manifest_path.write_text('{"state": ["x"]}'),
    "checkpoint truncated": lambda run: (run.checkpoints / "step_00000010" / "model.safetensors").write_bytes(
        b"x"
    ),
    "checkpoint without manifest": lambda run: (run.checkpoints / "step_00000010" / "manifest.json").unlink(),
    "document damaged": lambda run: (run.checkpoints / "step_00000010" / "state.json").write_text(
        "x" * (run.checkpoints / "step_00000010" / "state.json").stat().st_size
    ),
    "checkpoints a file": lambda run: (
        run.checkpoints.rename(run.path / "moved"),
        run.checkpoints.write_text(""),
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_listed_beside_the_sound_ones(root: Path, case: str) -> None:
    make(root, "sound")
    DAMAGE[case](make(root, "broken"))
    summaries = {summary.name: summary for summary in list_runs(root)}
    assert summaries["sound"].state == "complete"
    assert summaries["broken"].state == "damaged" and summaries["broken"].problem
    assert find_run("broken", root).name == "broken"


def test_odd_values_are_left_out(root: Path) -> None:
    run = make(root, "mine", step=None, cell=["x"], parameters="many")
    for best in (3, {"loss": "low"}, {"loss": float("nan")}, {"loss": 10**400}, None):
        save_checkpoint(run.checkpoints, Snapshot(1, {}, {"best": best}))
        (summary,) = list_runs(root)
        assert (summary.best_loss, summary.cell, summary.parameters) == (None, None, None)
        assert summary.state == "complete" and summary.step == 1


# --- JSON files


def test_json_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    write_json_atomic(path, {"a": "ä", "x": 0.1})
    assert read_json(path) == {"a": "ä", "x": 0.1}

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="No space left"):
        patch.setattr(os, "write", full)
        write_json_atomic(path, {"b": 1})
    assert read_json(path) == {"a": "ä", "x": 0.1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]


def test_writing_json_follows_no_planted_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("text")
    for name in (".tmp-manifest.json", "manifest.json"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_json_atomic(tmp_path / "manifest.json", {})
    assert (tmp_path / "precious").read_text() == "text"
    assert read_json(tmp_path / "manifest.json") == {}


def test_reading_json_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        read_json(tmp_path / "manifest.json")


def test_this_module_needs_neither_numpy_nor_torch() -> None:
    code = "import sys, lstmcli.run.directory; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0
    assert str(rundir.runs_folder()) == "runs"
