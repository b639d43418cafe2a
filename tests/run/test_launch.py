"""What the environment says of several ranks."""

from __future__ import annotations

import json

import pytest

from lstmcli.core.errors import UsageError
from lstmcli.run.launch import Launch, launched_run, read_launch

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in (*NAMES, "TORCHELASTIC_RESTART_COUNT", "LSTM_RANK_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


def say(monkeypatch, *values):
    for name, value in zip(NAMES, values, strict=False):
        monkeypatch.setenv(name, str(value))


def test_a_process_alone():
    assert read_launch() == Launch() and not read_launch().many


def test_one_rank_of_several(monkeypatch):
    say(monkeypatch, 5, 8, 1, 4, "job")
    assert read_launch() == Launch(5, 8, 1, 4, 0, "job")


def test_launches_without_an_id_of_their_own_are_told_apart(monkeypatch):
    say(monkeypatch, 0, 2, 0, 2, "none")
    assert read_launch().name not in (None, "none")


@pytest.mark.parametrize("values", [(2, 2, 0, 1), (-1, 2, 0, 1), (0, 2, 0, 3), (0, 2, 2, 2), ("x", 2, 0, 1)])
def test_an_environment_that_contradicts_itself(monkeypatch, values):
    say(monkeypatch, *values)
    with pytest.raises(UsageError, match="RANK"):
        read_launch()


@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", ""])
def test_a_timeout_that_is_none(monkeypatch, value):
    monkeypatch.setenv("LSTM_RANK_TIMEOUT", value)
    with pytest.raises(UsageError, match="LSTM_RANK_TIMEOUT"):
        read_launch()


def test_only_a_restart_finds_the_run_of_its_launch(tmp_path):
    for name, launch in (("a", "one"), ("b", "two"), ("c", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps({"created": "x", "launch": launch}))
    (tmp_path / "d").mkdir()
    assert launched_run(Launch(name="two"), tmp_path) is None
    assert launched_run(Launch(name="two", restarts=1), tmp_path).name == "b"
    assert launched_run(Launch(name="three", restarts=1), tmp_path) is None
    assert launched_run(Launch(restarts=1), tmp_path) is None
