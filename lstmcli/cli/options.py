"""Options that only some kinds of run have a use for: one given in vain is an error, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from lstmcli.core.errors import UsageError

if TYPE_CHECKING:
    from lstmcli.api import AnyRun


def refuse_others(context: typer.Context, run: AnyRun, uses: Mapping[str, tuple[str, ...]]) -> None:
    """See that each option given is of use to the run.

    Args:
        uses: names of parameters by what a run learned (`config.learned`); those in none are for all.

    Raises:
        UsageError: one is for other runs.
    """
    from lstmcli.run.kind import kind_named

    learned = run.config.learned
    others = {name for names in uses.values() for name in names} - set(uses[learned])
    options = {parameter.name: str(max(parameter.opts, key=len)) for parameter in context.command.params}
    given = [option for name, option in options.items() if name in others and _is_given(context, name)]
    if given:
        fitting = [options[name] for name in uses[learned]]
        purpose = kind_named(learned).purpose
        raise UsageError(
            f"{', '.join(given)}: of no use to {run.directory.name}, which learned {purpose}",
            f"for such a run there are {_listed(fitting)}" if fitting else "leave it out",
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)  # an enumeration of Click's, which Typer may bring itself
    return source is not None and not source.name.startswith("DEFAULT")


def _listed(options: list[str]) -> str:
    return " and ".join([", ".join(options[:-1]), options[-1]] if options[1:] else options)
