"""Options that only some kinds of run have a use for. Each kind says which (`Kind.options`); here they become
options of the command, and one that is given in vain is an error, never ignored."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import typer

from lstmcli.core.errors import UsageError
from lstmcli.run.kind import Kind, kinds
from lstmcli.run.options import Chosen, Option, with_defaults

if TYPE_CHECKING:
    from lstmcli.run.trained import TrainedRun

LAST = ("trust", "as_json")
"""Options that most verbs have; they stand behind all others."""


class Given:
    """The kinds' options as they were given on the command line."""

    def __init__(self, verb: str, values: dict[str, Any], source: Callable[[str], Any]):
        self._verb = verb
        self._values = {name: value for name, value in values.items() if _is_given(source(name))}

    def words(self) -> list[str]:
        """The options that were given, as they are written."""
        return [found[0][1].written for name, found in _by_name(self._verb).items() if name in self._values]

    def of(self, run: TrainedRun, kind: Kind[Any]) -> Chosen:
        """What the kind of a run is asked for. UsageError: as `to` says."""
        return self.to(kind, f"{run.directory.name}, which learned {kind.purpose}", "such a run")

    def to(self, kind: Kind[Any], about: str, such: str) -> Chosen:
        """What a kind is asked for; `about` and `such` name what it is to do it with.

        Raises:
            UsageError: an option is for other kinds, or is repeated where the kind takes one.
        """
        own = {option.name: option for option in kind.options.get(self._verb, ())}
        known = {name: found[0][1] for name, found in _by_name(self._verb).items()}
        if others := [known[name].written for name in self._values if name not in own]:
            fitting = [option.written for option in own.values()]
            raise UsageError(
                f"{', '.join(others)}: of no use to {about}",
                f"for {such} there are {_listed(fitting)}" if fitting else "leave it out",
            )
        values = {name: _single(own[name], value) for name, value in self._values.items()}
        return with_defaults(tuple(own.values()), values)


class OfKinds:
    """A verb as a command: its own options, and before those that all verbs have the ones of every kind.

    The kinds are asked when a command line is read, so that those which came later count, too.
    """

    def __init__(self, verb: str, function: Callable[..., None]):
        self._verb, self._function = verb, function
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.__module__, self.__annotations__ = function.__module__, {}  # Typer reads the signature

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.KEYWORD_ONLY
        found = [inspect.Parameter("context", kind, annotation=typer.Context)]
        for each in self._own():
            if each.annotation not in (Given, typer.Context):
                found.append(each.replace(kind=kind))
        place = next((at for at, each in enumerate(found) if each.name in LAST), len(found))
        found[place:place] = [_parameter(options) for options in _by_name(self._verb).values()]
        return inspect.Signature(found)

    def __call__(self, context: typer.Context, **values: Any) -> None:
        of_kinds = {name: values.pop(name) for name in _by_name(self._verb)}
        for each in self._own():
            if each.annotation is Given:
                values[each.name] = Given(self._verb, of_kinds, context.get_parameter_source)
            elif each.annotation is typer.Context:
                values[each.name] = context
        self._function(**values)

    def _own(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self._function, eval_str=True).parameters.values())


def of_kinds(verb: str) -> Callable[[Callable[..., None]], OfKinds]:
    """Let a function be a verb; its parameter of the type `Given` holds what the kinds are asked for."""
    return lambda function: OfKinds(verb, function)


def _by_name(verb: str) -> dict[str, list[tuple[str, Option]]]:
    """The options of all kinds, each with the kinds that have it, in the order of the kinds."""
    found: dict[str, list[tuple[str, Option]]] = {}
    for kind in kinds():
        for option in kind.options.get(verb, ()):
            found.setdefault(option.name, []).append((kind.name, option))
    return found


def _parameter(found: list[tuple[str, Option]]) -> inspect.Parameter:
    """One parameter for the options of a name; where the kinds differ in the default it is left open."""
    options = [option for _, option in found]
    widest = next((option for option in options if _is_list(option)), options[0])
    alike = len({repr(option.default) for option in options}) == 1
    default = widest.default if alike else None
    annotation = widest.type if default is not None else widest.type | None
    details = typer.Option(
        *dict.fromkeys(name for each in options for name in (each.flag, each.short) if name),
        help=_help(found),
        min=widest.least,
        show_default=widest.shown or True,
    )
    return inspect.Parameter(
        widest.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, details],
    )


def _help(found: list[tuple[str, Option]]) -> str:
    """What it does, by kind where that differs."""
    texts: dict[str, list[str]] = {}
    for kind, option in found:
        texts.setdefault(option.help, []).append(kind)
    parts = [f"{', '.join(those)}: {text.rstrip('.')}" for text, those in texts.items()]
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _is_list(option: Option) -> bool:
    return get_origin(option.type) is list


def _single(option: Option, value: Any) -> Any:
    """A value of the option's own type, where another kind takes a list."""
    if _is_list(option) or not isinstance(value, list):
        return value
    if len(value) > 1:
        raise UsageError(f"{option.written} is given {len(value)} times, but this run takes one")
    return option.type(value[0])


def _is_given(source: Any) -> bool:
    # An enumeration of Click's, which Typer may bring itself.
    return source is not None and not source.name.startswith("DEFAULT")


def _listed(options: list[str]) -> str:
    return " and ".join([", ".join(options[:-1]), options[-1]] if options[1:] else options)
