"""SIGINT and SIGTERM while training: finish the step, save, go. A second SIGINT stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from lstmcli.errors import Interrupted, Terminated


class StopSignals:
    """While entered, remembers that somebody asked to stop instead of stopping anywhere."""

    def __init__(self) -> None:
        self.asked: type[Interrupted] | None = None
        self._before: dict[int, object] = {}

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
            self.asked = Terminated
        elif self.asked is not None:
            raise KeyboardInterrupt
        else:
            self.asked = Interrupted
