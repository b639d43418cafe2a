"""Where runs lie and what a path means, from whichever folder a command is given."""

from __future__ import annotations

import pytest

from lstmcli.cli.app import hoisted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("train c.yaml --runs there", "--runs there train c.yaml"),
        ("--runs there runs", "--runs there runs"),
        ("eval x --runs=there --json", "--runs=there eval x --json"),
        ("eval x", "eval x"),
        ("generate x -- --runs", "generate x -- --runs"),
    ],
)
def test_the_folder_of_runs_may_be_named_anywhere(words, wanted):
    assert hoisted(words.split()) == wanted.split()


def test_runs_are_made_and_found_in_the_folder_that_is_named(lab, monkeypatch):
    made = lab.lstm("train", "config.yaml", "--run", "first", "--runs", "there", "train.max_steps=2")
    assert made.code == 0, made.err
    assert (lab.folder / "there" / "first" / "manifest.json").exists() and not lab.path("first").exists()
    assert "lstm eval there/first" in made.err  # the next command may be given no --runs
    assert lab.lstm("eval", "first").code == 5
    assert lab.lstm("--runs", "there", "eval", "latest").code == 0
    monkeypatch.setenv("LSTM_RUNS", "there")
    assert lab.lstm("eval", "first").code == 0
    assert "first" in lab.lstm("runs").out
    second = lab.lstm("train", "config.yaml", "--run", "second", "train.max_steps=2")
    assert "lstm eval second" in second.err and (lab.folder / "there" / "second").is_dir()
    assert lab.lstm("runs", "--runs", "elsewhere").out.startswith("no runs here")


def test_a_path_in_a_config_is_beside_it_and_one_on_the_command_line_is_here(lab):
    inside = lab.folder / "project"
    inside.mkdir()
    lab.configure("project/config.yaml", data={"path": "own.txt"})
    text = (lab.folder / "text.txt").read_text()
    (inside / "own.txt").write_text(text)
    assert lab.lstm("train", "project/config.yaml", "--run", "beside", "train.max_steps=2").code == 0
    assert "project/own.txt" in (lab.path("beside") / "config.yaml").read_text()
    assert lab.lstm("eval", "beside").code == 0
    here = lab.lstm(
        "train", "project/config.yaml", "data.path=text.txt", "--run", "here", "train.max_steps=2"
    )
    assert here.code == 0 and "path: text.txt" in (lab.path("here") / "config.yaml").read_text()
    (inside / "own.txt").unlink()
    missing = lab.lstm("train", "project/config.yaml", "--run", "missing")
    assert missing.code == 4 and "own.txt" in missing.err
    (lab.folder / "own.txt").write_text(text)  # not beside it: in the current folder
    assert lab.lstm("train", "project/config.yaml", "--run", "current", "train.max_steps=2").code == 0


def test_a_cell_lies_beside_its_config(lab):
    inside = lab.folder / "cells"
    inside.mkdir()
    (inside / "own.py").write_text("from lstmcli.cells.zoo.gru import GRU\n\n\nclass Mine(GRU):\n    pass\n")
    lab.configure("cells/config.yaml", model={"cell": "own.py:Mine", "path": "loop"})
    made = lab.lstm("train", "cells/config.yaml", "--run", "mine", "train.max_steps=2")
    assert made.code == 0, made.err
    assert "cells/own.py:Mine" in (lab.path("mine") / "config.yaml").read_text()
