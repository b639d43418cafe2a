"""Shipped recipes are found by name from any folder, with the files that they need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lstmcli.config import load_config
from lstmcli.config.recipes import find_recipe, point_to_shipped, recipe_names, shipped
from lstmcli.core.errors import ConfigError
from lstmcli.sweep.experiment import make_plan, trials


def test_a_recipe_is_found_by_name_and_its_data_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("air-passengers", ["train.max_steps=3"])
    assert Path(str(config.data.path)) == shipped() / "data" / "air-passengers.csv"
    assert config.train.max_steps == 3
    assert load_config("air-passengers", ["data.path=data/co2.csv"]).data.path == "data/co2.csv"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_a_valid_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_config(name)


def test_in_a_clone_paths_stay_as_they_are_written(monkeypatch):
    monkeypatch.chdir(shipped())
    assert load_config("co2").data.path == load_config("configs/co2.yaml").data.path == "data/co2.csv"


def test_a_file_goes_before_a_recipe_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("co2").mkdir()
    assert find_recipe("co2") == str(shipped() / "configs" / "co2.yaml")
    Path("quickstart").write_text("data: {path: mine.txt}\n")
    assert load_config("quickstart").data.path == "mine.txt"


def test_paths_of_ones_own_config_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("data: {path: data/co2.csv}\n")
    assert load_config("own.yaml").data.path == "data/co2.csv"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shakespere", "did you mean shakespeare"),
        ("zzzz", "recipes: adding, air-passengers"),
        ("configs/co2.yaml", "without a path: co2"),
        ("none.yaml", "no such file"),
        ("a\0b.yaml", "null byte"),
    ],
)
def test_an_unknown_name_lists_the_near_ones(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load_config(text)
    assert caught.value.exit_code == 3


def test_an_experiment_finds_its_own_cell_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan, lines = make_plan("gate-ablation")
    cells = {trial.labels["variant"]: trial.config.model.cell for trial in trials(plan, lines)}
    where, _, name = cells["sigmoid input"].rpartition(":")
    assert Path(where) == shipped() / "configs" / "experiments" / "cells.py" and Path(where).is_file()
    assert name == "SigmoidInputLSTM" and cells["lstm"] == "lstm"


@pytest.mark.parametrize("tree", [None, [], {"data": 3}, {"data": {"path": ["data/co2.csv"]}}])
def test_what_is_no_config_is_left_to_the_reader(tree):
    before = repr(tree)
    point_to_shipped(tree, shipped() / "configs" / "co2.yaml")
    assert repr(tree) == before
