"""What the tool has to say beside its results, each thing once per process, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

from lstmcli.core.terminal import sanitize

_said: set[str] = set()
_write: list[Callable[[str], None]] = []


def notice(text: str) -> None:
    """Say `text` once."""
    if text in _said:
        return
    _said.add(text)
    if _write:
        _write[-1](text)
        return
    with suppress(OSError):  # what is lost on the way to a person is no fault of the run's
        print(f"note: {sanitize(text)}", file=sys.stderr, flush=True)


def route_notices(write: Callable[[str], None] | None) -> None:
    """Send notices through `write` (a live view, say); None: back to standard error."""
    _write.clear()
    if write is not None:
        _write.append(write)
