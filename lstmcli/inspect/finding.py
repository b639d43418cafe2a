"""What every look inside a run gives: one shape, so that each can be printed, drawn and put on a page."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from lstmcli.core.errors import UsageError
from lstmcli.core.tables import Table
from lstmcli.run.kind import kind_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstmcli.inspect.source import Reading
    from lstmcli.run.trained import TrainedRun


class Finding(Protocol):
    def document(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        ...

    def tables(self) -> list[Table]:
        """What a person reads in the terminal."""
        ...

    def figures(self) -> dict[str, Figure]:
        """Pictures by a short name that serves as part of a file's name."""
        ...


def look(topic: str, run: TrainedRun, reading: Reading, *details: Any) -> Any:
    """A finding about a run, by the way that its kind has for the topic (`Kind.topics`).

    UsageError: it has none.
    """
    kind = kind_of(run.config)
    place = kind.topics.get(topic)
    if place is None:
        raise UsageError(
            f"{run.directory.name} learned {kind.purpose}; such a run has no lstm inspect {topic}",
            f"it has {', '.join(kind.topics)}" if kind.topics else None,
        )
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)(run, reading, *details)
