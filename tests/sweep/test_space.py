"""What may vary: a file is read strictly, and every end of every range must fit the config."""

from __future__ import annotations

import pytest

from lstmcli.config.load import parse_config
from lstmcli.core.errors import ConfigError
from lstmcli.sweep.space import (
    Range,
    check_space,
    default_space,
    from_json,
    load_space,
    own_settings,
    to_json,
    with_settings,
)

TEXT = parse_config({"data": {"path": "a.txt"}}, "test")


def write(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def test_a_space_is_ranges_and_lists(tmp_path):
    path = write(
        tmp_path,
        "train.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
        "model.hidden_size: {low: 32, high: 64, step: 16}\nmodel.cell: [lstm, gru]\n",
    )
    space = load_space(path)
    assert space["train.learning_rate"] == Range(low=1e-4, high=1e-2, log=True)
    assert space["model.hidden_size"].whole and not space["train.learning_rate"].whole
    assert space["model.cell"] == ["lstm", "gru"]
    check_space(TEXT, space)
    assert from_json(to_json(space)) == space


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names settings"),
        ("- 1", "names settings"),
        ("train.learning_rate: 3", "give {low"),
        ("train.learning_rate: []", "one or more plain values"),
        ("train.learning_rate: {low: 1, hig: 2}", "did you mean high?"),
        ("train.learning_rate: {low: 2, high: 1}", "low 2 must be below high 1"),
        ("train.learning_rate: {low: 0.0, high: 1, log: true}", "log needs a low above 0"),
        ("train.learning_rate: {low: a, high: 1}", "train.learning_rate"),
        ("a: 1\na: 2", "twice|duplicate|again"),
    ],
)
def test_a_wrong_space_is_told_with_its_place(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load_space(write(tmp_path, text))
    assert "space.yaml" in caught.value.message


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"train.learning_rat": [1e-3]}, "learning_rate"),
        ({"model.dropout": Range(low=0.0, high=1.0)}, "model.dropout: 1.0"),
        ({"model.hidden_size": [64, 0]}, "model.hidden_size: 0"),
        ({"forecast.patch_length": ["x"]}, "forecast.patch_length"),
    ],
)
def test_a_space_that_the_config_refuses_is_told_before_anything_is_trained(space, said):
    with pytest.raises(ConfigError, match="space: .*" + said):
        check_space(TEXT, space)


def test_settings_go_into_the_config():
    made = with_settings(TEXT, {"train.learning_rate": 1e-5, "train.average": None, "model.cell": "gru"})
    assert (made.train.learning_rate, made.train.average, made.model.cell) == (1e-5, None, "gru")


@pytest.mark.parametrize(
    "data",
    [
        {"path": "a.txt"},
        {"kind": "series", "path": "a.csv"},
        {"kind": "synthetic", "task": "adding", "length": 10},
    ],
)
def test_the_space_of_each_kind_of_data_fits_its_config(data):
    config = parse_config({"data": data}, "test")
    space = default_space(config)
    check_space(config, space)
    assert len(space) >= 4 and any(k.startswith("forecast.") for k in space) is (data.get("kind") == "series")


def test_what_a_config_has_itself_is_found_where_the_space_holds_it():
    space = {
        "train.learning_rate": Range(low=1e-4, high=1.0, log=True),
        "model.dropout": Range(low=0.0, high=0.5, step=0.05),
        "model.hidden_size": Range(low=16, high=1024, log=True),
        "train.average": [None, 0.99],
    }
    config = with_settings(TEXT, {"model.dropout": 0.15, "model.hidden_size": 48})
    own = own_settings(config, space)
    assert own == {
        "train.learning_rate": config.train.learning_rate,
        "model.dropout": 0.15,
        "model.hidden_size": 48,
        "train.average": None,
    }
    assert own_settings(with_settings(config, {"model.dropout": 0.12}), space) is None
    assert own_settings(with_settings(config, {"model.dropout": 0.6}), space) is None
    assert own_settings(with_settings(config, {"train.average": 0.5}), space) is None
    assert own_settings(config, {"model.hidden_size": Range(low=16, high=64, step=16)}) is not None
    assert own_settings(config, {"model.hidden_size": Range(low=16, high=64, step=32)}) is not None
    assert own_settings(config, {"model.hidden_size": Range(low=17, high=65, step=16)}) is None
    assert own_settings(config, {"train.average": Range(low=0.9, high=0.99)}) is None
    assert own_settings(config, {"model.tie_weights": [0, 1]}) is None
    assert own_settings(config, {"model.tie_weights": [False, True]}) == {"model.tie_weights": False}
    assert own_settings(config, {"train.optimizer_options.weight": [1]}) is None
