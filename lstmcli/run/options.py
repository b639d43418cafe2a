"""What a verb of the command line can be asked for, where that differs from kind to kind of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Chosen = Mapping[str, Any]
"""What a kind is asked for: all its options of a verb by name, those not given at their defaults."""


@dataclass(frozen=True)
class Option:
    """An option that a kind has a use for. Kinds that share one may describe it differently, each for itself,
    and one of them may take a list where others take a single value."""

    flag: str
    """As it is written: --top-k, or --inside/--no-inside."""
    help: str
    type: Any = str
    """str, int, float, bool, Path, or a list of one of them for what may be repeated."""
    default: Any = None
    least: float | None = None
    """The smallest number that is taken."""
    short: str | None = None
    shown: str | None = None
    """The default in words, where it is found only later."""

    @property
    def written(self) -> str:
        """How messages name it."""
        return self.flag.partition("/")[0]

    @property
    def name(self) -> str:
        return self.written.removeprefix("--").replace("-", "_")


def with_defaults(options: tuple[Option, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """All options by name: as given, else at their defaults."""
    return {option.name: given.get(option.name, option.default) for option in options}
