"""From a document to a Config: types, places, suggestions, all errors at once, the way back."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcli.config import Config, dump_config, load_config, parse_config
from lstmcli.core.errors import ConfigError
from lstmcli.kinds.text.settings import TextConfig


def document(**sections):
    return {"data": {"path": "a.txt"}, **sections}


def refusal(values, overrides=()):
    with pytest.raises(ConfigError) as caught:
        parse_config(values, "run", overrides)
    return str(caught.value)


def test_a_minimal_file_gives_the_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data:\n  path: a.txt\n")
    config = load_config(path)
    assert config == TextConfig.model_validate({"data": {"path": "a.txt"}})
    assert config.model.hidden_size == 256


def test_all_errors_are_listed_at_once_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "hidden_size: 3\n"
        "data:\n"
        "  path: [a.txt, 3]\n"
        "  splits: [0.9, -2]\n"
        "  min_count: '3'\n"
        "model:\n"
        "  num_layers: 65\n"
        "  dropout: &x .nan\n"
        "  tie_weights: no\n"
        "train:\n"
        "checkpoint: {keep: 1, keep: 2}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["train.lr=3", "telemetry.every=0"])
    assert str(caught.value).replace(str(path), "run.yaml").splitlines() == [
        "the config has 12 errors:",
        "run.yaml:1:1: hidden_size: there is no such setting; did you mean model.hidden_size?",
        "run.yaml:3:17: data.path[1]: must be text, found 3 (put text in quotes)",
        "run.yaml:4:17: data.splits[1]: must be at least 0.0, found -2",
        "run.yaml:5:14: data.min_count: must be a whole number, found the text '3' (write it without quotes)",
        "run.yaml:7:15: model.num_layers: must be at most 64, found 65",
        "run.yaml:8:12: model.dropout: anchors such as &x are not supported",
        "run.yaml:8:12: model.dropout: the number is not finite (NaN and infinity are not allowed)",
        "run.yaml:9:16: model.tie_weights: must be true or false, found the text 'no' (write true or false)",
        "run.yaml:10:1: train: is a section: indent its settings below it, found null",
        "run.yaml:11:23: checkpoint.keep: the key is set twice, in lines 11 and 11",
        "override 'train.lr=3': there is no such setting; did you mean train.learning_rate?",
        "override 'telemetry.every=0': telemetry.every: must be at least 1, found 0",
    ]


def test_a_single_error_is_a_single_line():
    assert refusal(document(seed=-1)) == "run: seed: must be at least 0, found -1"


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("train", "batch_size", True, "must be a whole number, found true"),
        ("train", "batch_size", "8", "must be a whole number, found the text '8'"),
        ("train", "batch_size", "1_000", "found the text '1_000' (write digits only)"),
        ("train", "batch_size", 1.5, "must be a whole number, found 1.5"),
        ("train", "batch_size", 1e300, "must be a whole number, found 1e+300"),
        ("train", "batch_size", -8, "must be at least 1, found -8"),
        ("train", "batch_size", None, "must be a whole number, found null (this setting cannot"),
        ("train", "batch_size", [8], "must be a whole number, found a list"),
        ("train", "learning_rate", True, "must be a number, found true"),
        ("train", "learning_rate", "1e-3", "found the text '1e-3' (write it without quotes)"),
        ("train", "learning_rate", 0, "must be above 0.0, found 0"),
        ("train", "learning_rate", math.nan, "the number is not finite"),
        ("train", "optimizer_options", {"eps": math.inf}, "the number is not finite"),
        ("train", "optimizer_options", {"eps": {1}}, "this set is not a value"),
        ("train", "optimizer_options", {1: 2}, "a key must be text"),
        ("train", "precision", "bf32", "must be 'auto', 'fp32' or 'bf16', found the text 'bf32'"),
        ("train", "device", "cudda", "did you mean 'cuda'?"),
        ("model", "dropout", 1.0, "must be below 1.0, found 1.0"),
        ("model", "tie_weights", 1, "must be true or false, found 1"),
        ("model", "tie_weights", "yes", "found the text 'yes' (write true or false)"),
        ("model", "cell", 3, "must be text, found 3"),
        ("data", "path", 3, "must be text or a list, found 3"),
        ("data", "splits", [], "must have at least 1 entries, found 0"),
        ("data", "splits", [0.1] * 4, "must have at most 3 entries, found 4"),
        ("data", "sha256", "ab", "must be 64 hexadecimal digits in lower case"),
    ],
)
def test_a_wrong_value_is_refused_in_plain_english(section, name, value, message):
    text = refusal(
        {"data": {"path": "a"}, section: {"path": "a", name: value}}
        if section == "data"
        else document(**{section: {name: value}})
    )
    assert text.startswith(f"run: {section}.{name}")
    assert message in text
    assert "http" not in text and "type=" not in text


@pytest.mark.parametrize("value", [1000.0, 1e3, 1000])
def test_a_whole_float_is_an_integer_where_one_is_wanted(value):
    steps = parse_config(document(train={"max_steps": value}), "run").train.max_steps
    assert steps == 1000 and type(steps) is int


def test_an_integer_is_a_float_where_one_is_wanted():
    rate = parse_config(document(train={"learning_rate": 1}), "run").train.learning_rate
    assert rate == 1.0 and type(rate) is float


def test_null_switches_an_optional_setting_off():
    assert parse_config(document(train={"clip_norm": None}), "run").train.clip_norm is None


@pytest.mark.parametrize("value", [None, 3, "x", [1], True])
def test_a_section_that_is_no_mapping_is_refused(value):
    assert "run: train: is a section: indent its settings below it" in refusal(document(train=value))


@pytest.mark.parametrize("value", [None, 3, [1], "data"])
def test_a_document_that_is_no_mapping_is_refused(value):
    assert refusal(value).startswith("run: the config is ")


def test_a_missing_section_without_a_default_is_named():
    assert refusal({}) == "run: data: it is missing, and has no default"


def test_settings_that_contradict_each_other_are_refused():
    text = refusal({"data": {"path": "a", "source": "python-stdlib"}})
    assert text == "run: data: give exactly one of path, url and source; found path and source"


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"sed": 1}, "did you mean seed?"),
        ({"trian": {}}, "did you mean train?"),
        ({"hidden_size": 1}, "did you mean model.hidden_size?"),
        ({"hiden_size": 1}, "did you mean model.hidden_size?"),
        (
            {"train.max_steps": 1},
            "write `max_steps` indented under `train:` (dotted names are for overrides)",
        ),
        ({"train": {"lr": 1}}, "did you mean train.learning_rate?"),
        ({"train": {"batchsize": 1}}, "did you mean train.batch_size?"),
        ({"train": {"dropout": 1}}, "did you mean model.dropout?"),
        ({"model": {"learning-rate": 1}}, "did you mean train.learning_rate?"),
        ({"telemetry": {"xyzzy": 1}}, "known here: every, gates_every, pictures, tensorboard"),
    ],
)
def test_an_unknown_key_suggests_the_nearest_name(values, advice):
    text = refusal(document(**values))
    assert "there is no such setting" in text
    assert text.endswith(advice)


def test_what_a_name_or_a_value_holds_cannot_steer_the_terminal():
    text = refusal(document(train={"\x1b[31m": 1, "device": "\x1b[31m", "x" * 999: 1}))
    assert "\x1b" not in text
    assert len(text) < 2000


def test_parsing_leaves_the_given_document_alone():
    values = document(train={"max_steps": 1e3, "optimizer_options": {"betas": [0.9, 0.99]}})
    parse_config(values, "run", ["train.optimizer_options.eps=1e-9", "data.url=null"])
    assert values == document(train={"max_steps": 1e3, "optimizer_options": {"betas": [0.9, 0.99]}})


def test_a_cycle_in_a_given_document_is_refused():
    options = {}
    options["again"] = options
    assert "nested deeper than 50" in refusal(document(train={"optimizer_options": options}))


def reload(config, folder):
    path = folder / "round.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    return load_config(path)


def test_a_dump_is_complete_and_in_the_order_of_the_schema(tmp_path):
    config = parse_config(document(train={"learning_rate": 1e-4, "clip_norm": None}), "run")
    lines = dump_config(config).splitlines()
    assert [line for line in lines if line[0] != " "] == [
        "seed: 1",
        "data:",
        "model:",
        "train:",
        "evaluation:",
        "telemetry:",
        "checkpoint:",
    ]
    named = [line.split(":")[0].strip() for line in lines if line[0] == " "]
    sections = [getattr(config, name) for name in type(config).model_fields if name != "seed"]
    assert named == [name for section in sections for name in type(section).model_fields]
    assert "  splits: [0.9, 0.1]" in lines and "  clip_norm: null" in lines
    assert reload(config, tmp_path) == config


words = st.text(max_size=12) | st.sampled_from(
    [
        "no",
        "1e5",
        "010",
        "null",
        "~",
        "<<",
        ".5",
        "0x1",
        "a: b",
        "# c",
        "'",
        "*a",
        "&a",
        "\x85\u2028",
    ]
)
plain = words.filter(lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text)
numbers = st.floats(allow_nan=False, allow_infinity=False)
options = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, database=None)
@given(
    path=plain | st.lists(plain, max_size=3),
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    clip=st.none() | st.just(1e-4),
    seed=st.integers(0, 2**63 - 1),
    extra=st.dictionaries(plain, options, max_size=3),
)
def test_every_config_survives_the_way_to_a_file_and_back(tmp_path_factory, path, rate, clip, seed, extra):
    train = {"learning_rate": rate, "clip_norm": clip, "optimizer_options": extra}
    config = parse_config({"seed": seed, "data": {"path": path}, "train": train}, "run")
    again = reload(config, tmp_path_factory.getbasetemp())
    assert repr(again) == repr(config)  # repr: 1 is not 1.0, and -0.0 is not 0.0


SYNTAX = (
    "data: path: train: max_steps: seed: - ? : , [ ] { } \" ' | > # *a &a !!int !x <<: --- ... "
    "%YAML 1 1e-4 .nan no null \\ \\x \\U00110000 @ é \x00"
)
PIECES = SYNTAX.split(" ")
SPACES = ("", " ", "\n", "\n  ", "\n    ", "\t", ", ")
pieces = st.builds(str.__add__, st.sampled_from(PIECES), st.sampled_from(SPACES))
texts = st.lists(pieces, max_size=30).map("".join) | st.text(max_size=60)


@settings(max_examples=300, deadline=None, database=None)
@given(content=texts.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=60))
def test_whatever_a_file_holds_it_is_a_config_or_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.yaml"
    path.write_bytes(content)
    began = time.process_time()
    try:
        assert isinstance(load_config(path), Config)
    except ConfigError as error:
        assert str(path) in str(error)
    assert time.process_time() - began < 1.0
