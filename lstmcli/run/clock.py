"""The time of a run, and what several ranks must see alike between two steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lstmcli.run.distributed import Ranks
from lstmcli.run.signals import StopSignals


@dataclass
class Clock:
    """Seconds of this run, those before a resume included."""

    before: float
    started: float
    agreed: float | None = None  # rank 0's, where there are several

    def seconds(self) -> float:
        return self.own() if self.agreed is None else self.agreed

    def own(self) -> float:
        return self.before + time.perf_counter() - self.started


def agree(ranks: Ranks, stop: StopSignals, clock: Clock, *numbers: float) -> list[list[float]]:
    """Let all ranks see the same wish to stop and the same time; the numbers of each rank, in a step."""
    if not ranks.many:
        return [list(numbers)]
    rows = ranks.exchange(stop.code, clock.own(), *numbers, patient=not numbers)
    stop.agree([row[0] for row in rows])
    clock.agreed = rows[0][1]
    return [row[2:] for row in rows]
