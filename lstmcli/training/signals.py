"""SIGINT and SIGTERM while training: finish the step, save, go. A second SIGINT stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from lstmcli.errors import Interrupted, Terminated

CODES: tuple[type[Interrupted] | None, ...] = (None, Interrupted, Terminated)
"""What several ranks tell each other; of different wishes the last of these holds."""


class StopSignals:
    """While entered, remembers that somebody asked to stop instead of stopping anywhere.

    Several ranks stop at one step: `asked` is then what they agreed on, `heard` what this one was told.
    """

    def __init__(self, many: bool = False) -> None:
        self.heard: type[Interrupted] | None = None
        self._many, self._agreed = many, 0
        self._before: dict[int, object] = {}

    @property
    def asked(self) -> type[Interrupted] | None:
        return CODES[self._agreed] if self._many else self.heard

    @asked.setter
    def asked(self, reason: type[Interrupted] | None) -> None:
        self.heard = reason

    @property
    def code(self) -> int:
        """What this rank was told, for the others."""
        return CODES.index(self.heard) if self.heard in CODES else 1

    def agree(self, codes: list[float]) -> None:
        """Take over what the ranks were told."""
        self._agreed = int(max(codes))

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self.heard = Terminated
        elif self.heard is not None:
            raise KeyboardInterrupt
        else:
            self.heard = Interrupted
