"""An experiment file: what is wrong with it is said with its place."""

from __future__ import annotations

import pytest

from lstmcli.core.errors import ConfigError
from lstmcli.sweep.experiment import find_experiment, load_experiment

GOOD = """title: Small
claim: Wide is better.
base:
  data: {path: text.txt}
variants:
  narrow: {}
  wide: {model.hidden_size: 12}
"""


def refusal(tmp_path, text):
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    return str(caught.value).replace(str(path), "e.yaml")


def test_a_good_file_has_defaults_and_knows_its_lines(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(GOOD)
    experiment, lines = load_experiment(path)
    assert experiment.seeds == [1, 2, 3] and experiment.measure == ["eval"] and experiment.over == {}
    assert lines["variants", "wide"] == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "sedes: [1]\n", "e.yaml:8:1: sedes: an experiment has no such setting; did you mean seeds?"),
        (GOOD + "seeds: [1, x]\n", "e.yaml:8:12: seeds[1]: must be a whole number, found the text 'x'"),
        (GOOD + "measure: [los]\n", "e.yaml:8:11: measure[0]: must be 'loss', 'eval', 'gradients'"),
        (GOOD + "against: widest\n", "against must name a variant: narrow, wide"),
        (GOOD + "seeds: [3, 3]\n", "seeds must differ"),
        (GOOD + "over: {data.length: [1], train.max_steps: [2]}\n", "over: must have at most 1 entries"),
        (GOOD.replace("  wide: {", "  narrow: {"), "e.yaml:7:3: variants.narrow: the key is set twice"),
        ("title: x\n", "claim: it is missing"),
        ("- a\n", "an experiment is a mapping"),
        ("title: [\n", "e.yaml:"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, said):
    assert said in refusal(tmp_path, text)


def test_all_errors_are_said_at_once(tmp_path):
    said = refusal(tmp_path, GOOD + "minutes: -1\nseeds: []\n")
    assert "e.yaml:8:10: minutes: must be above 0" in said and "seeds: must have at least 1" in said


def test_the_base_may_begin_with_another_config(tmp_path):
    (tmp_path / "below.yaml").write_text("seed: 5\ntrain: {batch_size: 3, max_steps: 9}\ndata: {path: t}\n")
    path = tmp_path / "e.yaml"
    path.write_text(GOOD.replace("data: {path: text.txt}", "config: below.yaml\n  train: {max_steps: 7}"))
    base = load_experiment(path)[0].base
    assert base == {"seed": 5, "train": {"batch_size": 3, "max_steps": 7}, "data": {"path": "t"}}
    path.write_text(GOOD.replace("data: {path: text.txt}", "config: gone.yaml"))
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file"):
        load_experiment(path)


def test_an_experiment_is_found_by_name_or_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_experiment("copy").is_absolute()  # nothing is here: the one that comes with the tool
    own = tmp_path / "configs" / "experiments" / "copy.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(GOOD)
    assert find_experiment("copy").resolve() == own
    assert str(find_experiment("some/where.yaml")) == "some/where.yaml"
    with pytest.raises(ConfigError, match="did you mean copy"):
        find_experiment("copi")
    with pytest.raises(ConfigError, match=r"there are: .*forget-bias"):
        find_experiment("zzzz")
