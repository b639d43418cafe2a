"""Strict YAML: what every form means, and what is refused, with line and column."""

import time

import pytest

from lstmcli.config import load_config
from lstmcli.config.yaml_reader import MAX_BYTES, MAX_DEPTH, plain_scalar, read_yaml
from lstmcli.core.errors import ConfigError

GOOD = "data: {path: a.txt}\n"


def refusal(folder, content):
    """The message for a config of this content, with the file's name shortened to `run.yaml`."""
    path = folder / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert time.process_time() - began < 1.0
    assert caught.value.exit_code == 3
    return str(caught.value).replace(str(path), "run.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1e5", 1e5),
        ("1E+5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2.5e-3", -2.5e-3),
        ("1.", 1.0),
        ("010", 10),
        ("-7", -7),
        ("+7", 7),
        ("0o10", 8),
        ("0x1F", 31),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("nan", "nan"),
        ("1e", "1e"),
        (".", "."),
    ],
)
def test_a_plain_scalar_has_the_value_of_yaml_1_2(text, value):
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("quoted", ["'1'", '"true"', "'null'", "|-\n  3"])
def test_quotes_make_text_of_anything(quoted):
    assert isinstance(read_yaml(f"a: {quoted}").value["a"], str)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data:\n\tpath: x\n", "run.yaml:2:1: a tab is not allowed here: use spaces"),
        ("data:\n  path: x\n   kind: text\n", "run.yaml:3:8: a `:` is not expected here"),
        ("data:\n    path: x\n  kind: text\n", "run.yaml:3:3: this does not fit what is above"),
        ("data:\n  path: 'x\nseed: 1\n", "run.yaml:2:9: this quote is never closed"),
        ("data: {path: x\nseed: 1\n", "run.yaml:2:5: a comma or the closing bracket"),
        ("data: {path: *.txt}", "run.yaml:1:14: text that begins with * or & must be put in quote"),
        ("data: {path: @x}", "run.yaml:1:14: a value cannot begin with this character"),
        ("data: {path: ]", "run.yaml:1:14: a value is missing"),
        (b"", "run.yaml:1:1: the config is empty"),
        ("# only this\n\n", "run.yaml:1:1: the config is empty"),
        ("---\n", "the config is empty"),
        ("# first\n- data\n", "run.yaml:2:1: the config is a list"),
        ("3", "run.yaml:1:1: the config is 3"),
        (GOOD + "---\n" + GOOD, "run.yaml:2:1: a second document"),
        ("%YAML 1.1\n---\n" + GOOD, "directives such as %YAML are not supported"),
        (b"seed: 1\ndata: {path: \xe9}", "run.yaml:2:14: not UTF-8: byte 0xE9 at offset 21"),
        (GOOD.encode("utf-16"), "run.yaml:1:1: not UTF-8: UTF-16 at offset 0"),
        (b"seed: 1\n\x00ELF", "run.yaml:2:1: control character '\\x00' at offset 8"),
        (GOOD + "seed: .nan", "run.yaml:2:7: seed: the number is not finite"),
        (
            GOOD + "model: {dropout: -.inf}",
            "run.yaml:2:18: model.dropout: the number is not finite",
        ),
        (GOOD + "seed: 1e999", "run.yaml:2:7: seed: the number is not finite"),
        (GOOD + f"seed: {10**400}", "run.yaml:2:7: seed: the number is beyond 64 bits"),
        (GOOD + "seed: " + "9" * 5000, "run.yaml:2:7: seed: the number is beyond 64 bits"),
        ('data: {path: "\\ud800"}', "run.yaml:1:14: data.path: the text holds half of a surrogate"),
        ('data: {path: "\\UFFFFFFFF"}', "run.yaml:1:17: this is not valid YAML"),
        ("data:\n  <<: {path: x}\n", "run.yaml:2:3: data: merge keys (<<) are not supported"),
        (GOOD + "1: x", "run.yaml:2:1: a key must be text"),
        (GOOD + "true: x", "run.yaml:2:1: a key must be text"),
        (GOOD + "? [a, b]\n: x", "run.yaml:2:3: a key must be text"),
        ("data: !x {path: a}", "run.yaml:1:7: data: tags such as !x are not supported"),
        ("data: {path: !!str 3}", "run.yaml:1:14: data.path: tags such as !!str are not supported"),
    ],
)
def test_what_is_not_strict_yaml_is_refused_with_its_place(tmp_path, content, message):
    assert message in refusal(tmp_path, content)


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_config(path).data.path == "a.txt"
    assert "run.yaml:1:7: seed" in refusal(tmp_path, "\ufeffseed: x")


def test_windows_line_ends_are_accepted_and_counted_once(tmp_path):
    assert "run.yaml:3:7" in refusal(tmp_path, "data:\r\n  path: x\r\nseed: x\r\n")


def test_duplicate_keys_are_refused_naming_both_lines(tmp_path):
    message = refusal(tmp_path, GOOD + "train:\n  max_steps: 1\n  batch_size: 2\n  max_steps: 3\n")
    assert message == "run.yaml:5:3: train.max_steps: the key is set twice, in lines 3 and 5"


def test_the_first_of_two_equal_keys_is_checked_too(tmp_path):
    message = refusal(tmp_path, GOOD + "seed: -1\nseed: 2\n")
    assert "run.yaml:2:7: seed: must be at least 0, found -1" in message
    assert "run.yaml:3:1: seed: the key is set twice, in lines 2 and 3" in message


def test_a_python_tag_is_refused_and_nothing_is_executed(tmp_path):
    trap = tmp_path / "trap"
    tag = "!!python/object/apply:os.mkdir"
    message = refusal(tmp_path, f"data:\n  path: {tag} ['{trap}']\n")
    assert f"run.yaml:2:9: data.path: tags such as {tag} are not supported" in message
    assert not trap.exists()


def test_anchors_and_aliases_are_refused(tmp_path):
    message = refusal(tmp_path, "data: {path: &a x, cache: *a}\n")
    assert "run.yaml:1:14: data.path: anchors such as &a are not supported" in message
    assert "run.yaml:1:27: data.cache: the alias *a is not supported" in message


def test_an_alias_bomb_is_refused(tmp_path):
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert "alias *a0 is not supported" in refusal(tmp_path, "\n".join(rows))


def test_a_cycle_is_refused(tmp_path):
    assert "alias *a is not supported" in refusal(tmp_path, "data: &a {path: *a}\n")


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "[{a: ", "{a: "])
def test_deep_nesting_is_refused(tmp_path, opening):
    message = refusal(tmp_path, opening * (MAX_BYTES // len(opening)))
    assert f"nested deeper than {MAX_DEPTH}" in message


def test_nesting_up_to_the_limit_is_read():
    text = "{a: " * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert not read_yaml(text).problems
    assert read_yaml("{a: " + text + "}").problems


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 1_000_001])
def test_an_oversized_file_is_refused(tmp_path, size):
    message = refusal(tmp_path, GOOD + "#" * (size - len(GOOD)))
    assert message.startswith("run.yaml: larger than 262,144 bytes")


def test_a_file_of_the_largest_size_is_read(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(GOOD + "#" * (MAX_BYTES - len(GOOD)))
    assert load_config(path).data.path == "a.txt"


def test_too_many_values_are_refused_in_time(tmp_path):
    message = refusal(tmp_path, "data: {path: [" + "x," * 100_000 + "]}")
    assert message.startswith("run.yaml:1:") and message.endswith("more than 10,000 values")


def test_a_file_full_of_errors_is_refused_in_time_with_the_first_of_them(tmp_path):
    message = refusal(tmp_path, "".join(f"  k{n}: !t &a v\n" for n in range(4_000)))
    assert "more than 50 errors" in message.splitlines()[0]
    assert len(message.splitlines()) == 52


def test_a_file_full_of_unknown_names_is_refused_in_time(tmp_path):
    message = refusal(tmp_path, GOOD + "".join(f"learn{n}: 1\n" for n in range(4_000)))
    assert "more than 50 errors" in message.splitlines()[0]


def test_a_missing_file_a_directory_and_an_impossible_name_are_config_errors(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="null byte"):
        load_config("a\0b")
