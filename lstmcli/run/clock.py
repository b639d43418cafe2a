"""The time of a run, and what several ranks must see alike between two steps."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from lstmcli.core.notices import notice
from lstmcli.run.distributed import Ranks
from lstmcli.run.signals import StopSignals

BEAT = 0.5
"""Seconds between two looks at the time by a thread of its own."""
GAP = 5.0
"""Seconds without a look from which on the process may have been stopped."""
BUSY = 0.1
"""The share of such a gap that the process must have computed, or it was stopped (SIGSTOP, a frozen
container, a machine that slept). A long computation that lets no other thread in takes a processor's time."""


class Pulse:
    """Notices, while it is entered, how long the process stood still."""

    def __init__(self) -> None:
        self.lost = 0.0  # seconds
        self._last = (time.perf_counter(), time.process_time())
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def beat(self) -> float:
        """Look at the time; the seconds lost so far."""
        with self._lock:
            now = (time.perf_counter(), time.process_time())
            gap, computed = now[0] - self._last[0], now[1] - self._last[1]
            self._last = now
            if gap > GAP and computed < BUSY * gap:
                self.lost += gap
                notice(f"this process stood still for {gap:,.0f} s, which do not count as training")
            return self.lost

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            self.beat()


@dataclass
class Clock:
    """Seconds of this run, those before a resume included."""

    before: float
    started: float
    pulse: Pulse = field(default_factory=Pulse)
    agreed: float | None = None  # rank 0's, where there are several

    def seconds(self) -> float:
        return self.own() if self.agreed is None else self.agreed

    def own(self) -> float:
        lost = self.pulse.beat()
        return self.before + time.perf_counter() - self.started - lost


def agree(ranks: Ranks, stop: StopSignals, clock: Clock, *numbers: float) -> list[list[float]]:
    """Let all ranks see the same wish to stop and the same time; the numbers of each rank, in a step."""
    if not ranks.many:
        return [list(numbers)]
    rows = ranks.exchange(stop.code, clock.own(), *numbers, patient=not numbers)
    stop.agree([row[0] for row in rows])
    clock.agreed = rows[0][1]
    return [row[2:] for row in rows]
