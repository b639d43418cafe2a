"""Signals while training: finish the step, save, go. A second SIGINT stops at once.

Beside SIGINT and SIGTERM these are SIGHUP (the terminal or the connection is gone), SIGUSR1 (a batch system
warns) and SIGXCPU (the limit of processor time is reached). Where one of the three is ignored, as `nohup`
ignores SIGHUP, the run goes on.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from lstmcli.core.errors import CpuTimeOver, HungUp, Interrupted, Signalled, Terminated


class Ended(Interrupted):
    """A hook of the run asked for its end, which is not an error: this is never raised."""


CODES: tuple[type[Interrupted] | None, ...] = (
    *(None, Ended, Interrupted, Signalled, CpuTimeOver, HungUp, Terminated),
)
"""What several ranks tell each other; of different wishes the last of these holds."""

ENDINGS: dict[str, type[Terminated]] = {
    "SIGTERM": Terminated, "SIGHUP": HungUp, "SIGUSR1": Signalled, "SIGXCPU": CpuTimeOver
}  # fmt: skip
"""What asks for the end beside Ctrl-C; not every system has all of them."""


class StopSignals:
    """While entered, remembers that somebody asked to stop instead of stopping anywhere.

    Several ranks stop at one step: `asked` is then what they agreed on, `heard` what this one was told.
    """

    def __init__(self, many: bool = False) -> None:
        self.heard: type[Interrupted] | None = None
        self.reason: str | None = None  # why a hook of this rank asked for the end
        self._many, self._agreed = many, 0
        self._before: dict[int, object] = {}

    @property
    def asked(self) -> type[Interrupted] | None:
        return CODES[self._agreed] if self._many else self.heard

    def end(self, reason: str | None) -> None:
        """Ask for the end of the run, as a hook does; None: do not."""
        if reason is not None:
            self.heard, self.reason = self.heard or Ended, self.reason or reason

    @property
    def code(self) -> int:
        """What this rank was told, for the others."""
        return CODES.index(self.heard)

    def agree(self, codes: list[float]) -> None:
        """Take over what the ranks were told."""
        self._agreed = int(max(codes))

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _numbers():
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
        if number != signal.SIGINT:
            self.heard = ENDINGS[signal.Signals(number).name]
        elif self.heard not in (None, Ended):
            raise KeyboardInterrupt
        else:
            self.heard = Interrupted


def _numbers() -> list[signal.Signals]:
    """The signals to listen to: those that are there and that nobody chose to ignore."""
    found = [getattr(signal, name) for name in ENDINGS if hasattr(signal, name)]
    rest = [number for number in found if number != signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, *(n for n in rest if signal.getsignal(n) != signal.SIG_IGN)]
