"""Progress of long reads and downloads, told to whoever asked, at most about 20 times a second."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (label, bytes done, bytes in total); a total of 0 means unknown."""

INTERVAL_SECONDS = 0.05


def throttled(progress: Progress | None) -> Progress:
    """The same callback, called only so often; the end of a stage is always told."""
    last = -INTERVAL_SECONDS

    def report(label: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        finished = 0 < total <= done
        if progress is not None and (finished or now - last >= INTERVAL_SECONDS):
            last = now
            progress(label, done, total)

    return report


class Meter:
    """Adds up the chunks of one stage and reports the sum."""

    def __init__(self, report: Progress, label: str, total: int):
        self._report, self._label, self._total = report, label, total
        self._done = 0

    def __call__(self, chunk: bytes) -> None:
        self._done = min(self._done + len(chunk), self._total)
        self._report(self._label, self._done, self._total)
