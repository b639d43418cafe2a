"""What a person sees while a run trains: a live view on a terminal, else one line per interval."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from lstmcli.core.notices import route_notices
from lstmcli.core.terminal import sanitize

REFRESH = 0.25  # seconds between two pictures of the live view


class Console:
    """Everything goes to standard error. `quiet` keeps only notices."""

    def __init__(self, quiet: bool = False):
        self.rich = RichConsole(stderr=True, highlight=False)
        self.live_wanted = self.rich.is_terminal and not quiet
        self.quiet = quiet
        self._live: Live | None = None
        self._bar: Progress | None = None
        self._task: Any = None
        self._last_drawn = 0.0
        self._phase = ""
        self._numbers: dict[str, float] = {}
        self._val: tuple[int, float] | None = None
        self._best: tuple[int, float] | None = None
        self._sample = ""
        self._started: tuple[float, float] | None = None
        self._done = 0.0
        self._at = 0

    def line(self, text: str) -> None:
        """A plain line, above the live view if there is one."""
        if not self.quiet:
            self.rich.print(Text(sanitize(text)), soft_wrap=True)

    def data_progress(self, label: str, done: int, total: int) -> None:
        """Progress of preparing data, in bytes."""
        if not self.live_wanted:
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
            )
            self._bar = Progress(*columns, console=self.rich, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(label, total=total)
        self._bar.update(self._task, description=label, completed=done, total=total)

    def end_data(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> Console:
        if self.live_wanted:
            self._live = Live(self._view(), console=self.rich, auto_refresh=False, transient=True)
            self._live.start()
            route_notices(lambda text: self.line(f"note: {text}"))
        return self

    def __exit__(self, *_: object) -> None:
        self.end_data()
        if self._live is not None:
            self._live.stop()
            self._live = None
            route_notices(None)

    def step(self, step: int, done: float) -> None:
        """After every update: cheap, and draws only now and then."""
        now = time.perf_counter()
        if self._started is None:
            self._started = (now, done)
        self._at, self._done, self._phase = step, done, ""
        self._draw()

    def phase(self, what: str) -> None:
        self._phase = what
        self._draw(force=True)

    def logged(self, step: int, values: dict[str, float]) -> None:
        self._numbers = values
        if self._live is None:
            self.line(
                f"step {step:>6}  loss {values['train/loss']:.4f}  lr {values['train/learning_rate']:.2e}"
                f"  grad {values['train/gradient_norm']:.2f}"
                f"  {_speed(values)}  {_percent(self._done)}"
            )

    def evaluated(self, step: int, loss: float, improved: bool) -> None:
        self._val = (step, loss)
        if improved:
            self._best = (step, loss)
        if self._live is None:
            self.line(f"step {step:>6}  val loss {loss:.4f}{'  best so far' if improved else ''}")

    def sample(self, text: str) -> None:
        self._sample = sanitize(text)

    def _draw(self, force: bool = False) -> None:
        now = time.perf_counter()
        if self._live is not None and (force or now - self._last_drawn >= REFRESH):
            self._last_drawn = now
            self._live.update(self._view(), refresh=True)

    def _view(self) -> Group:
        width = max(20, self.rich.width)
        bar = Progress(BarColumn(bar_width=max(5, min(40, width - 40))), console=self.rich)
        bar.add_task("", total=1000, completed=round(1000 * self._done))
        head = Table.grid(padding=(0, 1))
        head.add_row(
            bar,
            _percent(self._done),
            f"step {self._at}",
            self._left(),
            Text(self._phase, style="dim"),
        )
        parts: list[Any] = [head]
        if self._numbers:
            parts.append(Text(_losses(self._numbers, self._val, self._best)))
        if self._sample:
            lines = self._sample.strip("\n").split("\n")[:6]
            parts.append(Text("\n".join("  " + line[: width - 3] for line in lines), style="dim"))
        return Group(*parts)

    def _left(self) -> str:
        if self._started is None or self._done <= self._started[1]:
            return ""
        spent = time.perf_counter() - self._started[0]
        left = spent * (1.0 - self._done) / (self._done - self._started[1])
        return f"{duration(left)} left"


def _percent(share: float) -> str:
    return f"{100.0 * share:3.0f}%"


def _losses(numbers: dict[str, float], val: tuple[int, float] | None, best: tuple[int, float] | None) -> str:
    parts = [f"loss {numbers['train/loss']:.4f}"]
    if val is not None:
        parts.append(f"val {val[1]:.4f}")
    if best is not None:
        parts.append(f"best {best[1]:.4f} at step {best[0]}")
    parts.append(_speed(numbers))
    parts.append(f"lr {numbers['train/learning_rate']:.2e}")
    return "   ".join(parts)


def _speed(numbers: dict[str, float]) -> str:
    if "speed/tokens_per_second" in numbers:
        return f"{numbers['speed/tokens_per_second']:,.0f} symbols/s"
    if "speed/sequences_per_second" in numbers:
        return f"{numbers['speed/sequences_per_second']:,.0f} sequences/s"
    return f"{numbers.get('speed/windows_per_second', 0.0):,.0f} windows/s"


def duration(seconds: float) -> str:
    """A length of time as a person says it: 43 s, 12:05 min, 3:20 h, 5 days."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d} h"
    return f"{seconds / 86400:.0f} days"
