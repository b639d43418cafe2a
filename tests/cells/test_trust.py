"""A run from a stranger runs none of its code until the user has said so."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from lstmcli.cells import trust

CELL = """
import pathlib
import torch
from torch import nn
from lstmcli.cells import FreeCell

pathlib.Path("ran.txt").write_text("ran")

class Mine(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, hidden_size)

    def step(self, x_t, state):
        h = torch.tanh(self.from_input(x_t) + state[0])
        return h, (h,), {"update": h}
"""
WORDS = ["model.path=auto", "model.num_layers=1", "evaluation.sample_length=0", "train.max_steps=4"]
VERBS = {
    "generate": ["generate", "r", "--length", 3],
    "eval": ["eval", "r"],
    "resume": ["train", "--resume", "r", "train.max_steps=6"],
}


@pytest.fixture
def made(lab):
    """A run of a cell in mine.py, trained here."""
    (lab.folder / "mine.py").write_text(CELL)
    lab.train("r", "model.cell=mine.py:Mine", *WORDS)
    (lab.folder / "ran.txt").unlink()
    return lab


@pytest.fixture
def stranger(made, monkeypatch, tmp_path_factory):
    """The same run on the machine of somebody who has never seen it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("elsewhere")))
    return made


def ran(lab):
    return (lab.folder / "ran.txt").exists()


def change(lab, name, **values):
    """Alter `cell.json` or `config.yaml` of every checkpoint, with the right checksums: nothing is too
    much work for a stranger."""
    folders = [lab.path("r"), *lab.path("r").glob("checkpoints/*")]
    for folder in folders:
        path = folder / name
        if not path.exists():
            continue
        text = path.read_text()
        for old, new in values.items():
            text = text.replace({"cell": "mine.py:Mine", "origin": '"origin": "mine.py"'}[old], new)
        path.write_text(text)
        if folder != folders[0]:
            manifest = json.loads((folder / "manifest.json").read_text())
            data = path.read_bytes()
            manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_run_without_a_checkpoint_runs_the_cell_that_it_began_with_and_no_other(
    made, monkeypatch, tmp_path
):
    """It has no copy of its cell: what was noted when it began decides."""
    shutil.rmtree(made.path("r") / "checkpoints")
    again = made.lstm("train", "--resume", "r")
    assert again.code == 0 and "begins again" in again.err and ran(made)
    shutil.rmtree(made.path("r") / "checkpoints")
    (made.folder / "ran.txt").unlink()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_STATE_HOME", str(tmp_path))
        refused = made.lstm("train", "--resume", "r")
        assert refused.code == 5 and "--trust" in refused.err and not ran(made)
    (made.folder / "mine.py").write_text(CELL + "# another\n")
    refused = made.lstm("train", "--resume", "r")
    assert refused.code == 5 and "--trust" in refused.err and not ran(made)
    assert made.lstm("train", "--resume", "r", "--trust").code == 0 and ran(made)


@pytest.mark.parametrize("verb", VERBS)
def test_code_that_came_with_a_run_is_refused_until_it_is_trusted(stranger, verb):
    (stranger.folder / "mine.py").unlink()
    refused = stranger.lstm(*VERBS[verb])
    assert refused.code == 5 and not ran(stranger)
    assert "came with code of its own, class Mine in " in refused.err and "--trust" in refused.err
    assert "cell.py (mine.py is not here)" in refused.err and "Traceback" not in refused.err
    trusted = stranger.lstm(*VERBS[verb], "--trust")
    assert trusted.code == 0 and ran(stranger) and "runs code that came with the run" in trusted.err


def test_trust_is_for_one_command_but_training_on_makes_the_cell_ones_own(stranger):
    (stranger.folder / "mine.py").unlink()
    assert stranger.lstm("eval", "r", "--trust").code == 0
    assert stranger.lstm("eval", "r").code == 5
    assert stranger.lstm(*VERBS["resume"], "--trust").code == 0
    assert stranger.lstm("eval", "r").code == 0


def test_in_python(stranger, monkeypatch):
    import lstmcli
    from lstmcli.core.errors import RunError

    (stranger.folder / "mine.py").unlink()
    monkeypatch.chdir(stranger.folder)
    monkeypatch.setattr(trust, "_allowed", set())
    with pytest.raises(RunError, match="trust=True"):
        _ = lstmcli.load("r").model
    assert lstmcli.load("r", trust=True).model is not None


def test_the_original_that_is_as_it_was_needs_no_trust_and_is_announced(stranger):
    outcome = stranger.lstm("eval", "r")
    assert outcome.code == 0 and ran(stranger)
    assert f"runs the code of {stranger.folder / 'mine.py'}" in outcome.err


def test_an_original_that_differs_is_not_the_one(stranger):
    (stranger.folder / "mine.py").write_text(CELL + "# changed\n")
    refused = stranger.lstm("eval", "r")
    assert refused.code == 5 and not ran(stranger) and "is not what the run began with" in refused.err


def test_what_was_trained_here_is_remembered(made):
    (made.folder / "mine.py").unlink()
    assert made.lstm("eval", "r").code == 0 and ran(made)
    noted = json.loads(trust.state_file().read_text())["cells"]
    assert len(noted) == len(set(noted)) and all(len(key) == 64 for key in noted)


@pytest.mark.parametrize("place", ["runs/r/evil.py", "runs/evil.py", "runs/r/../evil.py"])
def test_a_file_beside_the_run_is_no_original(stranger, place):
    """A run may bring the file that its config names, identical to the copy."""
    path = stranger.folder / place
    shutil.copy(stranger.folder / "mine.py", path)
    change(stranger, "config.yaml", cell=f"{place}:Mine")
    change(stranger, "cell.json", cell=f"{place}:Mine", origin=f'"origin": "{place}"')
    refused = stranger.lstm("eval", "r")
    assert refused.code == 5 and not ran(stranger), refused.err


def test_a_module_beside_the_run_is_no_original(stranger, monkeypatch):
    monkeypatch.syspath_prepend(str(stranger.folder))
    shutil.copy(stranger.folder / "mine.py", stranger.folder / "runs" / "evil.py")
    change(stranger, "config.yaml", cell="runs.evil:Mine")
    change(stranger, "cell.json", cell="runs.evil:Mine", origin='"origin": "runs.evil"')
    assert stranger.lstm("eval", "r").code == 5 and not ran(stranger)


def test_a_record_of_one_cell_does_not_vouch_for_another(stranger):
    """The copy is the user's own cell, but the config names something else."""
    (stranger.folder / "other.py").write_text(CELL)
    change(stranger, "config.yaml", cell="other.py:Mine")
    refused = stranger.lstm("eval", "r")
    assert refused.code == 5 and not ran(stranger) and "is of the cell mine.py:Mine" in refused.err


def test_a_name_without_a_copy_is_not_imported(stranger):
    for path in stranger.path("r").glob("checkpoints/*"):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["files"]["cell.json"]
        (path / "manifest.json").write_text(json.dumps(manifest))
    refused = stranger.lstm("eval", "r")
    assert refused.code == 5 and not ran(stranger) and "holds no copy" in refused.err


@pytest.mark.parametrize("file", ["lstmcli.cells.py", "lstmcli.py", "lstmcli.cells.base.py"])
def test_a_file_that_is_called_as_the_package_is_not_the_package(stranger, file):
    """Trust follows what is loaded, not the beginning of a name."""
    (stranger.folder / "mine.py").rename(stranger.folder / file)
    for folder in [stranger.path("r"), *stranger.path("r").glob("checkpoints/*")]:
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace("cell: mine.py:Mine", f"cell: {file}:Mine"))
        if folder != stranger.path("r"):
            without_the_copy(folder)
    for words in VERBS.values():
        refused = stranger.lstm(*words)
        assert refused.code == 5 and "--trust" in refused.err, refused.err
    assert not ran(stranger)


def without_the_copy(folder):
    """The checkpoint as a stranger makes it: sound, and with no source to compare."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("cell.py", "cell.json"):
        (folder / name).unlink()
        del manifest["files"][name]
    data = (folder / "config.yaml").read_bytes()
    manifest["files"]["config.yaml"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_looking_for_a_module_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    inner = tmp_path / "outer_package" / "inner_package"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("raise SystemExit('ran')")
    (inner / "leaf.py").write_text("raise SystemExit('ran')")
    found = trust.module_files("outer_package.inner_package.leaf")
    assert [path.name for path in found] == ["__init__.py", "__init__.py", "leaf.py"]
    for name in ("outer_package.nothing", "nothing_at_all", "math.x", "", ".", "a b"):
        assert trust.module_files(name) == []


def test_a_note_that_cannot_be_written_costs_a_notice(lab, monkeypatch):
    (lab.folder / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(lab.folder / "file"))
    (lab.folder / "mine.py").write_text(CELL)
    outcome = lab.lstm("train", "config.yaml", "model.cell=mine.py:Mine", *WORDS, "--run", "r")
    assert outcome.code == 0 and "could not be noted" in outcome.err


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cells": 3}', b"\xff", b'{"cells": [[1]]}'])
def test_a_damaged_note_trusts_nobody(made, content):
    trust.state_file().write_bytes(content)
    (made.folder / "mine.py").unlink()
    assert made.lstm("eval", "r").code == 5


def test_a_note_keeps_the_newest_records(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(trust, "MOST", 3)
    records = [dict.fromkeys(trust.FIELDS, str(k)) for k in range(5)]
    for record in records:
        trust.remember(record)
    assert [trust.is_remembered(record) for record in records] == [False, False, True, True, True]
    assert trust.state_file().parent.stat().st_mode & 0o077 == 0


def test_a_new_run_has_nobody_to_trust(lab):
    refused = lab.lstm("train", "config.yaml", "--trust")
    assert refused.code == 2 and "--resume" in refused.err
