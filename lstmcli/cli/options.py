"""Options that only some kinds of run have a use for: one given in vain is an error, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from lstmcli.errors import UsageError

if TYPE_CHECKING:
    from lstmcli.api import AnyRun

LEARNED = {
    "text": "to write text",
    "series": "to forecast series",
    "labelled": "to classify",
    "synthetic": "a synthetic task",
}


def refuse_others(context: typer.Context, run: AnyRun, uses: Mapping[str, tuple[str, ...]]) -> None:
    """See that each option given is of use to the run.

    Args:
        uses: names of parameters by what a run learned (`data.learned`); those in none are for all.

    Raises:
        UsageError: one is for other runs.
    """
    learned = run.config.data.learned
    others = {name for names in uses.values() for name in names} - set(uses[learned])
    given = [
        _option(parameter)
        for parameter in context.command.params
        if parameter.name in others and _is_given(context, parameter.name)
    ]
    if given:
        instead = f"for such a run there are {_listed(context, uses[learned])}"
        raise UsageError(
            f"{', '.join(given)}: of no use to {run.directory.name}, which learned {LEARNED[learned]}",
            instead if uses[learned] else "leave it out",
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)  # an enumeration of Click's, which Typer may bring itself
    return source is not None and not source.name.startswith("DEFAULT")


def _listed(context: typer.Context, names: tuple[str, ...]) -> str:
    options = {parameter.name: _option(parameter) for parameter in context.command.params}
    found = [options[name] for name in names]
    return " and ".join([", ".join(found[:-1]), found[-1]] if found[1:] else found)


def _option(parameter: Any) -> str:
    return str(max(parameter.opts, key=len))
