"""From an experiment to its trials."""

from __future__ import annotations

import pytest

from lstmcli.core.errors import ConfigError, RunError, UsageError
from lstmcli.sweep.experiment import load_plan, make_plan, trials


def test_every_variant_at_every_value_with_every_seed(desk):
    plan = desk.plan(over={"train.sequence_length": [8, 16]})
    made = trials(plan)
    assert [t.name for t in made] == [
        f"{variant}-{at}-seed{seed}" for variant in ("narrow", "wide") for at in (8, 16) for seed in (1, 2)
    ]
    last = made[-1].config
    assert (last.model.hidden_size, last.train.sequence_length, last.seed) == (12, 16, 2)
    first = made[0].config
    assert (first.model.hidden_size, first.train.sequence_length, first.seed) == (8, 8, 1)


def test_a_trial_has_one_thread_unless_the_base_says_otherwise(desk):
    assert trials(desk.plan())[0].config.train.threads == 1
    base = {**desk_base(), "train": {"threads": 2, "max_steps": 1}}
    assert trials(desk.plan(base=base))[0].config.train.threads == 2


def desk_base():
    return {"data": {"path": "text.txt"}}


def test_overrides_hold_for_every_trial_but_not_for_what_varies(desk):
    assert {t.config.train.max_steps for t in trials(desk.plan("train.max_steps=3"))} == {3}
    with pytest.raises(UsageError, match=r"varies model\.hidden_size itself"):
        desk.plan("model.hidden_size=4")
    with pytest.raises(UsageError, match="varies seed itself"):
        desk.plan("seed=4")


@pytest.mark.parametrize(("count", "seeds"), [(1, [5]), (2, [5, 9]), (4, [5, 9, 10, 11])])
def test_more_or_fewer_seeds_than_the_file_has(desk, count, seeds):
    path = desk.write(seeds=[5, 9])
    assert make_plan(str(path), seeds=count)[0].experiment.seeds == seeds


def test_a_quick_look_has_one_seed_and_the_quick_settings(desk):
    path = desk.write(quick={"train.max_steps": 1}, variants={"a": {"train.max_steps": 9}})
    assert [t.config.train.max_steps for t in trials(make_plan(str(path), quick=True)[0])] == [1]


def test_a_wrong_setting_is_said_with_the_variant_and_its_line(desk):
    path = desk.write(variants={"good": {}, "bad": {"model.hiden_size": 4}})
    plan, lines = make_plan(str(path))
    line = next(k for k, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("  bad:"))
    with pytest.raises(ConfigError) as caught:
        trials(plan, lines)
    assert f"small.yaml:{line}: bad: override 'model.hiden_size=4'" in str(caught.value)
    assert "did you mean model.hidden_size?" in str(caught.value)


def test_a_wrong_base_is_said_as_such(desk):
    path = desk.write(base={"data": {"path": "text.txt"}, "train": {"max_step": 4}})
    plan, lines = make_plan(str(path))
    with pytest.raises(
        ConfigError, match=r"small\.yaml:3: base: train\.max_step: .*did you mean train\.max_st"
    ):
        trials(plan, lines)


def test_names_that_differ_in_signs_alone_stay_apart(desk):
    plan = desk.plan(variants={"a b": {}, "a/b": {}, "forget -2": {}, "forget +2": {}}, count=1)
    names = [t.name for t in trials(plan)]
    assert names == ["a-b-seed1", "a-b-seed1.2", "forget--2-seed1", "forget-+2-seed1"]


def test_a_plan_survives_in_its_directory(desk):
    plan = desk.plan("train.max_steps=3", count=1)
    folder = desk.place(plan)
    again = load_plan(folder)
    assert again == plan
    assert trials(again) == trials(plan)
    assert {t.config.model.hidden_size for t in trials(again) if t.labels["variant"] == "wide"} == {12}
    with pytest.raises(RunError, match="holds no experiment"):
        load_plan(desk.folder)


@pytest.mark.parametrize(
    ("kind", "what"),
    [("text", "generate"), ("synthetic", "gradients"), ("series", "gradients"), ("series", "generate")],
)
def test_what_a_kind_does_not_measure_is_refused_before_anything_is_trained(desk, task, kind, what):
    base = {"text": desk_base(), "synthetic": task, "series": {"data": {"kind": "series", "path": "t.csv"}}}
    path = desk.write(base=base[kind], measure=[what])
    plan, lines = make_plan(str(path))
    with pytest.raises(
        ConfigError, match=rf"small\.yaml:\d+: measure: {what} is not for .* {kind}"
    ) as caught:
        trials(plan, lines)
    assert "loss or eval" in str(caught.value)
