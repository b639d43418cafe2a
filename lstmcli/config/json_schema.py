"""What the schema tells the world: JSON Schema for editors, plain English for error messages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from lstmcli.config.schema import Config

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
}
_BOUNDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
}
_PATTERNS = {"^[0-9a-f]{64}$": "must be 64 hexadecimal digits in lower case"}


def json_schema() -> dict[str, Any]:
    """Every setting with its type, bounds, default and description; unknown keys are not allowed.

    `configs/schema.json` is this, written by `json.dumps(json_schema(), indent=1)` and a newline.
    """
    from lstmcli.config.forms import forms, sections
    from lstmcli.config.schema import Config

    defined: dict[str, Any] = {}
    top: dict[str, Any] = {}
    for section, settings in sections().items():
        for name, found in settings.items():
            if section:
                shown = _merged([(form, _property(form, section, name)) for form, _ in found])
                title = section.capitalize()
                defined.setdefault(title, _section(title, section))["properties"][name] = shown
                top[section] = {"$ref": f"#/$defs/{title}"}
            else:
                top[name] = found[0][0].model_json_schema()["properties"][name]
    order = [name for form in forms() for name in form.model_fields]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": defined,
        "additionalProperties": False,
        "description": _one_line(inspect.getdoc(Config) or "").partition(". ")[0] + ".",
        "properties": _one_line_descriptions({name: top[name] for name in dict.fromkeys(order)}),
        "required": ["data"],
        "title": "Config",
        "type": "object",
    }


def _section(title: str, name: str) -> dict[str, Any]:
    """What holds the settings of a section; its text is of what all kinds have in common, if that exists."""
    from lstmcli.config.forms import forms
    from lstmcli.config.schema import Config

    owners: list[type[Config]] = [Config, *forms()]
    kind: Any = next(form.model_fields[name].annotation for form in owners if name in form.model_fields)
    text = inspect.getdoc(kind)
    return {"additionalProperties": False, "description": _one_line(text or ""), "properties": {},
            "title": title, "type": "object"}  # fmt: skip


def _property(form: type[Config], section: str, name: str) -> dict[str, Any]:
    """The JSON schema of a setting; one that a kind only narrows is described where all have it."""
    from lstmcli.config.schema import Config

    kind: Any = form.model_fields[section].annotation
    found: dict[str, Any] = kind.model_json_schema()["properties"][name]
    if "description" not in found:
        shared: Any = Config.model_fields[section].annotation
        found["description"] = shared.model_fields[name].description
    return found


def _merged(found: list[tuple[type[Config], dict[str, Any]]]) -> dict[str, Any]:
    """A setting as the configs have it, where it says so of which kinds it is."""
    from lstmcli.config.forms import forms

    (_, first), *others = found
    shown = dict(first)
    called: dict[str, list[str]] = {}
    for form, setting in found:
        called.setdefault(_one_line(setting["description"]), []).append(form.called)
    few = len(found) < len(forms()) - 1  # what all kinds with files have needs no names
    shown["description"] = " ".join(
        f"{', '.join(names)}: {text}" if few or len(called) > 1 else text for text, names in called.items()
    )
    if "const" in first and others:
        values = list(dict.fromkeys(setting["const"] for _, setting in found))
        shown = {name: value for name, value in shown.items() if name != "const"} | {"enum": values}
    return shown


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _one_line_descriptions(node: Any) -> Any:
    """The same tree, with the line breaks of the docstrings gone."""
    if isinstance(node, list):
        return [_one_line_descriptions(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _one_line(value)
        if key == "description" and isinstance(value, str)
        else _one_line_descriptions(value)
        for key, value in node.items()
    }


def suggest(path: tuple[str | int, ...]) -> str:
    """The advice for a name that does not exist: the nearest ones that do.

    In this order: the same name in another section, a like name in this one, a like name anywhere.
    """
    from lstmcli.config.forms import sections

    known = {(part, name): dotted((part, name)) for part, names in sections().items() for name in names}
    tops = [*filter(None, sections()), *sections()[""]]
    leaf = str(path[-1])
    if len(path) == 1 and leaf in known.values():
        section, _, name = leaf.partition(".")
        return f"write `{name}` indented under `{section}:` (dotted names are for overrides)"
    if len(path) == 1 and (near := _nearest(leaf, tops)):
        return f"did you mean {near}?"
    section = "" if len(path) == 1 else _nearest(str(path[0]), filter(None, sections())) or ""
    if (section, leaf) in known:
        return f"did you mean {known[section, leaf]}?"
    if same := [shown for (_, name), shown in known.items() if name == leaf]:
        return f"did you mean {' or '.join(same)}?"
    for where in (section, None):
        names = {name: shown for (part, name), shown in known.items() if where in (part, None)}
        if near := _nearest(leaf, names):
            return f"did you mean {names[near]}?"
    return f"known here: {', '.join(sections()[section] if section else tops)}"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    """The name whose initials these are (lr: learning_rate), or the most alike."""
    short, names = name[:40].lower().replace("-", "_"), list(names)
    for candidate in names:
        if len(short) > 1 and short == "".join(word[0] for word in candidate.split("_")):
            return candidate
    return next(iter(get_close_matches(short, names, n=1)), None)


def dotted(path: Iterable[str | int]) -> str:
    """("data", "splits", 0) as data.splits[0]."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += f".{part}" if re.fullmatch(r"[\w-]{1,60}", part) else f".{quoted(part)}"
    return shown.removeprefix(".")


def describe(value: Any) -> str:
    """What was found, in the words of a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"{value}"


def quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def explain(errors: list[ErrorDetails], path: tuple[str | int, ...]) -> str:
    """Plain English for pydantic's errors about one value (several: none of its types fits)."""
    kinds, value, context = (
        [e["type"] for e in errors],
        errors[0]["input"],
        errors[0].get("ctx", {}),
    )
    if all(kind in _WANTED for kind in kinds):
        wanted = " or ".join(_WANTED[kind] for kind in kinds)
        return f"must be {wanted}, found {describe(value)}{_remedy(kinds[0], value)}"
    kind = kinds[0]
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind].format(**context)}, found {describe(value)}"
    if kind == "extra_forbidden":
        return f"there is no such setting; {suggest(path)}"
    if kind == "missing":
        return "it is missing, and has no default"
    if kind == "model_type":
        return f"is a section: indent its settings below it, found {describe(value)}"
    if kind == "literal_error":
        near = _nearest(str(value), re.findall(r"'([^']*)'", context["expected"]))
        advice = f"; did you mean {near!r}?" if near else ""
        return f"must be {context['expected']}, found {describe(value)}{advice}"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        wanted = _PATTERNS.get(pattern, f"must match {pattern}")
        return f"{wanted}, found {describe(value)}"
    if kind in ("too_short", "too_long"):
        most = context.get("min_length", context.get("max_length"))
        bound = "at least" if kind == "too_short" else "at most"
        return f"must have {bound} {most} entries, found {context['actual_length']}"
    message = errors[0]["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _remedy(kind: str, value: Any) -> str:
    """How to mend a value of the wrong type, where that can be guessed."""
    if value is None:
        return " (this setting cannot be switched off; leave it out for its default)"
    if kind == "bool_type":
        return " (write true or false)" if isinstance(value, str) else ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return " (put text in quotes)"
    if kind in ("int_type", "float_type") and isinstance(value, str):
        plain = re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", value)
        if plain or re.fullmatch(r"[-+]?[0-9][0-9_, ']*(\.[0-9]+)?", value):
            return " (write it without quotes)" if plain else " (write digits only)"
    return ""
