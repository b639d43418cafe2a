"""What the schema tells the world: JSON Schema for editors, plain English for error messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
    from lstmcli.config.schema import Config

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_one_line_descriptions(Config.model_json_schema()),
    }


def _one_line_descriptions(node: Any) -> Any:
    """The same tree, with the line breaks of the docstrings gone."""
    if isinstance(node, list):
        return [_one_line_descriptions(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: " ".join(value.split())
        if key == "description" and isinstance(value, str)
        else _one_line_descriptions(value)
        for key, value in node.items()
    }


@lru_cache
def sections() -> dict[str, tuple[str, ...]]:
    """The settings of each section, by name; "" holds the settings outside of any."""
    from lstmcli.config.schema import Config, Section

    found: dict[str, tuple[str, ...]] = {"": ()}
    for name, setting in Config.model_fields.items():
        kind = setting.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found[name] = tuple(kind.model_fields)
        else:
            found[""] += (name,)
    return found


def suggest(path: tuple[str | int, ...]) -> str:
    """The advice for a name that does not exist: the nearest ones that do.

    In this order: the same name in another section, a like name in this one, a like name anywhere.
    """
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
