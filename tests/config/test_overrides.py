"""Overrides on the command line: `key=value`, stronger than the file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcli.config import Config, parse_config
from lstmcli.core.errors import ConfigError

SHA = "0" * 64
URL = {"data": {"url": "https://example.org/a.txt", "sha256": SHA}}


def configured(*overrides, document=None):
    return parse_config(document or {"data": {"path": "a.txt"}}, "run", overrides)


def refusal(*overrides, document=None):
    with pytest.raises(ConfigError) as caught:
        configured(*overrides, document=document)
    return str(caught.value)


def test_an_override_is_stronger_than_the_file_and_the_file_than_the_defaults():
    document = {"data": {"path": "a"}, "model": {"hidden_size": 8, "num_layers": 3}}
    model = configured("model.hidden_size=16", document=document).model
    assert (model.hidden_size, model.num_layers, model.dropout) == (16, 3, 0.0)


def test_a_value_is_yaml_by_the_rules_of_the_file():
    words = ["train.learning_rate=1e-4", "train.batch_size=1e3", "train.clip_norm=null", "seed=010"]
    config = configured(*words, "data.splits=[.5, .5]", "train.optimizer='AdamW'")
    assert config.train.learning_rate == 1e-4
    assert config.train.batch_size == 1000
    assert config.train.clip_norm is None
    assert config.seed == 10
    assert config.data.splits == [0.5, 0.5]
    assert config.train.optimizer == "AdamW"


def test_an_override_is_split_at_its_first_equals_sign():
    assert configured("data.path=a=b.txt").data.path == "a=b.txt"


def test_overrides_reach_into_the_options_of_the_optimizer():
    document = {"data": {"path": "a"}, "train": {"optimizer_options": {"eps": 1e-9}}}
    words = ["train.optimizer_options.betas=[0.9,0.99]", "train.optimizer_options.a.b=1"]
    options = configured(*words, document=document).train.optimizer_options
    assert options == {"eps": 1e-9, "betas": [0.9, 0.99], "a": {"b": 1}}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.lr=3", "there is no such setting; did you mean train.learning_rate?"),
        ("hidden_size=3", "there is no such setting; did you mean model.hidden_size?"),
        ("trian.max_step=3", "there is no such setting; did you mean train.max_steps?"),
        ("--seed=3", "there is no such setting; did you mean seed?"),
        ("every=3", "did you mean evaluation.every or telemetry.every or checkpoint.every?"),
        ("nothing.like=3", "known here: data, model, train,"),
        ("train=3", "train is a whole section; override its settings, such as train.batch_size="),
        ("train={batch_size: 3}", "train is a whole section"),
        ("seed.x=3", "seed is a single setting, with nothing inside"),
        ("data.splits.0=3", "data.splits is a single setting, with nothing inside"),
        ("data.path=", "there is no value"),
        ("data.path=  ", "there is no value"),
        ("data.path=# x", "there is no value"),
        ("data.path", "an override is written name=value"),
        ("=3", "the name is incomplete"),
        ("train..lr=3", "the name is incomplete"),
        ("train.=3", "the name is incomplete"),
        ("data.path=[1", "data.path: a comma or the closing bracket is missing"),
        ("data.cache=*.txt", "data.cache: text that begins with * or & must be put in quotes"),
        ("data.path=!!python/name:os.system x", "data.path: tags such as !!python/name:os.system"),
        ("data.path=a\n---\nb", "data.path: a second document begins here"),
        ("data.path=\x00", "data.path: a control character is not allowed"),
        ("data.path=\udcff", "data.path: a control character is not allowed"),
        ("seed=.nan", "seed: the number is not finite"),
        ("seed=no", "seed: must be a whole number, found the text 'no'"),
        ("model.dropout=-0.1", "model.dropout: must be at least 0.0, found -0.1"),
        ("data.splits=[0.9,2]", "data: splits must begin above 0 and add up to at most 1"),
        ("data.splits=[0.9,0.9]", "data: splits must begin above 0 and add up to at most 1"),
        ("train.optimizer_options.a.b=" + "[" * 60, "nested deeper than 50"),
        ("train.optimizer_options" + ".a" * 60 + "=1", "nested deeper than 50"),
    ],
)
def test_a_wrong_override_is_quoted_with_what_is_wrong(word, message):
    text = refusal(word)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"override {word[:40]!r}"[:-1])
    assert message in text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("seed=1", "seed=1"),
        ("train.optimizer_options={}", "train.optimizer_options.eps=1"),
        ("train.optimizer_options.eps=1", "train.optimizer_options={}"),
    ],
)
def test_the_same_key_twice_is_refused(first, second):
    assert refusal(first, second) == f"override {second!r}: the override {first!r} sets the same"


def test_all_wrong_overrides_are_listed_at_once_with_the_errors_of_the_file():
    document = {"data": {"path": "a"}, "seed": True, "train": {"max_steps": -1}}
    lines = refusal("train.lr=1", "train=3", "model.hidden_size=0", document=document).splitlines()
    assert len(lines) == 6
    assert [line.split(":")[0] for line in lines[1:]] == [
        "run",
        "run",
        "override 'train.lr=1'",
        "override 'train=3'",
        "override 'model.hidden_size=0'",
    ]


def test_a_faulty_value_in_the_file_may_be_mended_by_an_override():
    assert configured("seed=2", document={"data": {"path": "a"}, "seed": -1}).seed == 2


def test_an_override_cannot_reach_into_what_is_no_mapping():
    document = {"data": {"path": "a"}, "train": {"optimizer_options": {"a": 3}}}
    text = refusal("train.optimizer_options.a.b=1", document=document)
    assert "the config has 3 where this setting would be" in text


@pytest.mark.parametrize(
    ("word", "path", "source"),
    [("data.path=my.txt", "my.txt", None), ("data.source=python-stdlib", None, "python-stdlib")],
)
def test_a_text_by_override_takes_the_place_of_the_url_and_its_checksum(word, path, source):
    data = configured(word, document=URL).data
    assert (data.path, data.source, data.url, data.sha256) == (path, source, None, None)


def test_a_url_by_override_takes_the_place_of_the_path():
    data = configured("data.url=https://example.org", f"data.sha256='{SHA}'").data
    assert (data.path, data.url, data.sha256) == (None, "https://example.org", SHA)


def test_a_new_url_by_override_keeps_the_rest_of_the_file():
    data = configured("data.url=https://example.org/b", document=URL).data
    assert (data.url, data.sha256) == ("https://example.org/b", SHA)


def test_null_for_one_text_does_not_drop_another():
    assert configured("data.path=null", document=URL).data.url == URL["data"]["url"]


def test_two_texts_by_override_are_an_error():
    text = refusal("data.path=a", "data.source=python-stdlib", document=URL)
    assert "give exactly one of path, url and source; found path and source" in text
    assert text.startswith("override 'data.source=python-stdlib': data: ")


@settings(max_examples=200, deadline=None, database=None)
@given(
    name=st.sampled_from(["seed", "data.path", "train.optimizer_options.x"]) | st.text(max_size=9),
    value=st.text(max_size=20),
)
def test_whatever_an_override_holds_it_is_a_config_or_a_config_error(name, value):
    try:
        assert isinstance(configured(f"{name}={value}"), Config)
    except ConfigError as error:
        assert "override " in str(error)


def test_an_error_between_settings_is_said_of_the_override_at_fault_and_of_no_other():
    adding = {"data": {"kind": "synthetic", "task": "adding", "length": 50}}
    for words in (["model.pooling=mean", "train.max_steps=3"], ["train.max_steps=3", "model.pooling=mean"]):
        said = refusal(*words, document=adding)
        assert "override 'model.pooling=mean': model.pooling" in said and "max_steps" not in said
    in_the_file = adding | {"model": {"pooling": "mean"}}
    said = refusal("train.max_steps=3", document=in_the_file)
    assert "run: model.pooling" in said and "override" not in said
