"""What every look inside a run gives: one shape, so that each can be printed, drawn and put on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lstmcli.core.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
