"""Which config fits which data: one per kind, told apart by `data.kind` and by what is given beside it.

A config lies with its kind (lstmcli/kinds/*/settings.py) and is imported when it is first asked for;
`add_form` makes one of anybody's known.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from pydantic.fields import FieldInfo

from lstmcli.config.schema import Config
from lstmcli.config.section import Section
from lstmcli.core.own_code import import_own_kinds

_forms: list[str | type[Config]] = [
    "lstmcli.kinds.text.settings:TextConfig",
    "lstmcli.kinds.series.settings:SeriesConfig",
    "lstmcli.kinds.sequence.settings:LabelledTextConfig",
    "lstmcli.kinds.sequence.settings:LabelledSeriesConfig",
    "lstmcli.kinds.sequence.settings:SyntheticConfig",
]


def add_form(form: type[Config]) -> None:
    """Make a config known to every command, in this process."""
    if form not in forms():
        _forms.append(form)
        sections.cache_clear()


def forms() -> list[type[Config]]:
    """All configs that there are."""
    import_own_kinds()
    for number, found in enumerate(_forms):
        if isinstance(found, str):
            module, _, name = found.partition(":")
            _forms[number] = getattr(import_module(module), name)
    return [form for form in _forms if not isinstance(form, str)]


def form_of(data: object) -> type[Config] | None:
    """The config for a section `data` as it was written; None: there is no such kind."""
    given = data if isinstance(data, Mapping) else {}
    kind = given.get("kind", "text")
    fitting = [
        form
        for form in forms()
        if kind_of_data(form) == kind and all(given.get(mark) is not None for mark in form.marks)
    ]
    return max(fitting, key=lambda form: len(form.marks), default=None)


def kind_of_data(form: type[Config]) -> Any:
    """The `data.kind` of such a config."""
    return settings_of(form, "data")["kind"].default


@cache
def settings_of(form: type[Config], section: str) -> dict[str, FieldInfo]:
    """The settings of one of its sections, by name; none if it has no such section."""
    field = form.model_fields.get(section)
    kind = field.annotation if field is not None else None
    return dict(kind.model_fields) if isinstance(kind, type) and issubclass(kind, Section) else {}


def readers(section: str, name: str) -> list[type[Config]]:
    """The configs that have a setting."""
    import_own_kinds()
    return [form for form, _ in sections().get(section, {}).get(name, ())]


@cache
def sections() -> dict[str, dict[str, list[tuple[type[Config], FieldInfo]]]]:
    """Of each section its settings, and in which configs they are; "" holds those outside of any."""
    found: dict[str, dict[str, list[tuple[type[Config], FieldInfo]]]] = {"": {}}
    for form in forms():
        for top, field in form.model_fields.items():
            own = settings_of(form, top)
            part = found.setdefault(top, {}) if own else found[""]
            for name, setting in (own or {top: field}).items():
                part.setdefault(name, []).append((form, setting))
    return found
