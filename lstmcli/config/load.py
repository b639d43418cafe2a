"""A file and `key=value` overrides become a Config: defaults, then the file, then the overrides.

Whatever is wrong ends as one ConfigError that lists all errors, each with its place:
`run.yaml:LINE:COLUMN: data.splits: ...`, or `override 'train.lr=3': ...`. Two exceptions: text
that is not YAML hides what follows it, and the settings of a section are compared with each other
(such as path with url) only once each of them is right by itself.

Types are strict. A whole float is accepted where an integer is wanted (`1e3`, `1000.0`), an
integer where a float is wanted; nothing else is converted, so neither `"3"` nor `true` is a number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_origin

import yaml
from pydantic import ValidationError

from lstmcli.config.forms import form_of, forms, kind_of_data, readers, sections, settings_of
from lstmcli.config.json_schema import describe, dotted, explain, quoted, suggest
from lstmcli.config.recipes import find_recipe, point_beside, point_to_shipped
from lstmcli.config.schema import Config
from lstmcli.config.yaml_reader import (
    Path,
    Place,
    Reading,
    from_values,
    plain_scalar,
    read_text,
    read_yaml,
)
from lstmcli.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

MOST_ERRORS = 50  # listed in one message
_ABOUT_THE_KEY = ("extra_forbidden", "model_type", "value_error")  # else about the value
_AFTER_THE_FILE = (2**31, 0)
_TEXT_FROM = ("path", "url", "source")  # of `data`; just one of them is set


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = (), of_run: bool = False) -> Config:
    """Read a YAML file, or the shipped recipe of that name, and apply overrides (`model.hidden_size=256`).

    An override is split at its first `=`; its value is YAML. It may reach into
    `train.optimizer_options` (`train.optimizer_options.betas=[0.9, 0.99]`), but may not replace a
    whole section. An override of one of `data.path`, `data.url` and `data.source` takes the place
    of another one in the file, and of its `data.sha256`: `data.path=my.txt` works on every recipe.

    Args:
        of_run: the file is a run's, which may have begun when settings that nothing read were let pass: they
            are left out.

    Raises:
        ConfigError: all that is wrong.
    """
    where = find_recipe(path)
    reading = read_yaml(read_text(where))
    point_to_shipped(reading.value, where)
    point_beside(reading.value, where)
    if of_run:
        _drop_foreign(reading)
    return _build(reading, where, overrides)


def parse_text(text: str, where: str) -> Config:
    """The same for the YAML of a run that is in memory."""
    reading = read_yaml(text)
    _drop_foreign(reading)
    return _build(reading, where, ())


def _drop_foreign(reading: Reading) -> None:
    if isinstance(reading.value, dict):
        for section, name in _foreign(reading.value):
            del reading.value[section][name]


def parse_config(document: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> Config:
    """The same for values that are parsed already; ``where`` names them in messages."""
    return _build(from_values(document), where, overrides)


def dump_config(config: Config) -> str:
    """Every setting as YAML, in the schema's order; `load_config` gives the same Config again."""
    return yaml.dump(
        config.model_dump(),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=2**31,
        default_flow_style=False,
    )


class _Dumper(yaml.SafeDumper):
    """Quotes all text that the reader, or a YAML 1.1 reader, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if not text.isprintable():
        style = '"'  # with escapes: line breaks such as U+0085 do not survive otherwise
    elif text == "<<" or not isinstance(plain_scalar(text), str):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)


def _build(reading: Reading, where: str, words: Sequence[str]) -> Config:
    report = _Report(where, reading, set(reading.unreadable))
    for problem in reading.problems:
        report.file_error(problem.path, problem.text, problem.place)
    _parse_overrides(words, report)
    config, tree = None, reading.value
    if isinstance(tree, dict):
        _apply_overrides(tree, report)
        config = _validate(tree, report)
    elif not report.is_unreadable(()):
        found = "empty" if tree is None else describe(tree)
        text = f"the config is {found}; it must be a mapping with at least a `data:` section"
        report.file_error((), text, reading.values.get(()))
    if config is None or report.errors:
        raise report.error()
    return config


@dataclass(frozen=True)
class _Override:
    path: Path
    word: str
    value: Any


@dataclass
class _Report:
    """All that is wrong, and where the values came from."""

    where: str
    reading: Reading
    unreadable: set[Path]
    overrides: list[_Override] = field(default_factory=list)
    errors: list[tuple[Place, str]] = field(default_factory=list)

    def file_error(self, path: Path, text: str, place: Place | None) -> None:
        position = f":{place[0]}:{place[1]}" if place else ""
        name = f" {dotted(path)}:" if path else ""
        self.errors.append((place or (0, 0), f"{self.where}{position}:{name} {text}"))

    def override_error(self, word: str, text: str, path: Path = ()) -> None:
        name = f" {dotted(path)}:" if path else ""
        self.errors.append((_AFTER_THE_FILE, f"override {quoted(word)}:{name} {text}"))

    def setting_error(self, path: Path, text: str, kind: str) -> None:
        """An error in the final values, shown where the value at fault was written."""
        for override in reversed(self.overrides):
            inside = path[: len(override.path)] == override.path
            # An override can break what a section's settings must be to each other; of an error without a
            # place, no override can be said to be at fault.
            if inside or (kind == "value_error" and path and override.path[: len(path)] == path):
                return self.override_error(override.word, text, path)
        self.file_error(path, text, self.reading.place(path, kind in _ABOUT_THE_KEY))

    def is_unreadable(self, path: Path, kind: str = "") -> bool:
        """Whether what an error is about could not be read, and an error of its own says so."""
        if kind in ("value_error", "missing"):  # these can come from a part that is not there
            return any(_overlap(path, other) for other in self.unreadable)
        return any(path[:end] in self.unreadable for end in range(len(path) + 1))

    def error(self) -> ConfigError:
        lines = [text for _, text in sorted(self.errors, key=lambda error: error[0])]
        count = str(len(lines))
        if len(lines) > MOST_ERRORS:
            count = f"more than {MOST_ERRORS}"
            lines[MOST_ERRORS:] = ["..."]
        return ConfigError("\n".join([f"the config has {count} errors:"][: len(lines) - 1] + lines))


def _overlap(a: Path, b: Path) -> bool:
    """Whether one of them is the other, or lies within it."""
    return a[: len(b)] == b[: len(a)]


_PATHS = (("data", "path"), ("data", "val_path"), ("data", "test_path"))


def _parse_overrides(words: Sequence[str], report: _Report) -> None:
    for word in words:
        name, equals, value = word.partition("=")
        path: Path = tuple(name.strip().split("."))
        wrong = _wrong_target(path) if equals else "an override is written name=value"
        if wrong is None and value.lstrip()[:1] in ("", "#"):
            wrong = "there is no value (null switches an optional setting off)"
        same = (other.word for other in report.overrides if _overlap(path, other.path))
        if wrong is None and (other := next(same, None)):
            wrong = f"the override {quoted(other)} sets the same"
        if wrong is not None:
            report.override_error(word, wrong)
            if len(path) > 1:
                report.unreadable.add(path)
            continue
        if path in _PATHS and value.strip() == "-":
            wrong = (
                "standard input cannot be read again, to resume or evaluate the run: write it to a file first"
            )
            report.override_error(word, wrong, path)
            report.unreadable.add(path)
            continue
        if path in _PATHS and value.startswith("*"):
            value = f'"{value}"'  # a pattern, where YAML would read an alias
        reading = read_yaml(value, depth=len(path))
        for problem in reading.problems:
            report.override_error(word, problem.text, path + problem.path)
        report.unreadable.update(path + inner for inner in reading.unreadable)
        report.overrides.append(_Override(path, word, reading.value))


def _wrong_target(path: Path) -> str | None:
    """Why nothing of this name can be overridden."""
    top, *rest = path
    names = tuple(sections().get(str(top), ()))
    if "" in path:
        return "the name is incomplete"
    if not rest and names:
        return f"{top} is a whole section; override its settings, such as {top}.{names[0]}=..."
    if not rest and top in sections()[""]:
        return None
    if top in sections()[""]:
        return f"{top} is a single setting, with nothing inside"
    if not rest or rest[0] not in names:
        return f"there is no such setting; {suggest(path[:2])}"
    setting = sections()[str(top)][str(rest[0])][0][1]
    if len(rest) > 1 and get_origin(setting.annotation) is not dict:
        return f"{dotted(path[:2])} is a single setting, with nothing inside"
    return None


def _apply_overrides(tree: dict[str, Any], report: _Report) -> None:
    _drop_other_text(tree, {o.path[1]: o.value for o in report.overrides if o.path[0] == "data"})
    for override in report.overrides:
        node: Any = tree
        *parents, leaf = override.path
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node
        if isinstance(node, dict):
            node[leaf] = override.value
        else:
            text = f"the config has {describe(node)} where this setting would be"
            report.override_error(override.word, text)


def _drop_other_text(tree: dict[str, Any], overrides: dict[str | int, Any]) -> None:
    """Let an override of path, url or source take the place of another one in the file."""
    data = tree.get("data")
    if not isinstance(data, dict) or all(overrides.get(name) is None for name in _TEXT_FROM):
        return
    if any(data.get(name) is not None for name in _TEXT_FROM if name not in overrides):
        for name in (*_TEXT_FROM, "sha256"):
            data.pop(name, None)


def _validate(tree: dict[str, Any], report: _Report) -> Config | None:
    form = form_of(tree.get("data"))
    if form is None:
        kinds = list(dict.fromkeys(repr(kind_of_data(form)) for form in forms()))
        wanted = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
        error: Any = {"type": "literal_error", "input": tree["data"]["kind"], "ctx": {"expected": wanted}}
        report.setting_error(("data", "kind"), explain([error], ("data", "kind")), "literal_error")
        return None
    for section, name in _foreign(tree):
        value = tree[section].pop(name)
        if all(_differs(value, settings_of(other, section)[name]) for other in readers(section, name)):
            report.setting_error((section, name), _misplaced(section, name, form), "extra_forbidden")
    for section in [name for name, value in tree.items() if name in sections() and value == {}]:
        if section not in form.model_fields:
            del tree[section]
    return _made(form, tree, report)


def _foreign(tree: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sections and names of settings that are of other configs than the one that fits the data."""
    form = form_of(tree.get("data"))
    if form is None:
        return []
    return [
        (section, name)
        for section, values in tree.items()
        if isinstance(values, dict)
        for name in values
        if name not in settings_of(form, section) and readers(section, name)
    ]


def _differs(value: object, setting: FieldInfo) -> bool:
    """Whether a value is another than a setting's default (True is not 1)."""
    default = setting.get_default(call_default_factory=True)
    return value != default or isinstance(value, bool) is not isinstance(default, bool)


def _misplaced(section: str, name: str, form: type[Config]) -> str:
    called = " or ".join(other.called for other in readers(section, name))
    if section == "data":
        return f"{name} belongs to kind: {called}, but the kind is {form.called}"
    return f"nothing reads it where the kind is {form.called}, but where it is {called}; leave it out"


def _made(form: type[Config], tree: dict[str, Any], report: _Report) -> Config | None:
    try:
        return form.model_validate(tree)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    if _whole_floats_to_ints(tree, errors):
        return _made(form, tree, report)
    groups = [(path, group, group[0]["type"]) for path, group in _by_setting(errors)]
    groups = [group for group in groups if not report.is_unreadable(group[0], group[2])]
    for path, group, kind in groups[: MOST_ERRORS + 1]:  # looking for the nearest name takes time
        report.setting_error(path, explain(group, path), kind)
    return None


def _whole_floats_to_ints(tree: dict[str, Any], errors: list[ErrorDetails]) -> bool:
    changed = False
    for error in errors:
        value = error["input"] if error["type"] == "int_type" else None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
            *parents, leaf = _path(error["loc"])
            node: Any = tree
            for part in parents:
                node = node[part]
            node[leaf], changed = int(value), True
    return changed


def _path(location: Path) -> Path:
    """Where an error's value is; pydantic puts names of types between, where several are allowed."""
    return (*location[:2], *(part for part in location[2:] if isinstance(part, int)))


def _by_setting(errors: list[ErrorDetails]) -> list[tuple[Path, list[ErrorDetails]]]:
    """Errors by the path of their value. Where a list is allowed beside other types, an error in
    an item says more than one about the list."""
    groups: dict[Path, list[ErrorDetails]] = {}
    for error in errors:
        groups.setdefault(_path(error["loc"]), []).append(error)
    with_items = {path[:2] for path in groups if len(path) > 2}
    return [(path, group) for path, group in groups.items() if path not in with_items]
