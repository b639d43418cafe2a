"""A sine or a sawtooth, one step ahead and then on its own.

The wave has amplitude 1, a random phase, and a period of 10 to 50 steps (uniform). The first half of T
steps shows it; in the second half the next value is the answer at each step. Evaluation also lets the
model go on from the middle by itself, reading its own answers (`free_mse`), which only a model that has
the wave's frequency and phase can do. It counts as solved when that error is below a tenth of the wave's
variance (0.05 for the sine, 0.033 for the sawtooth).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lstmcli.kinds.sequence.batch import SequenceBatch, places_at
from lstmcli.kinds.sequence.synthetic.task import Baselines, Generator, SyntheticTask

PERIODS = (10.0, 50.0)
Turns = npt.NDArray[np.float64]
Wave = Callable[[Turns], Turns]


def shown(length: int) -> int:
    """Steps before the first answer."""
    return max(1, length // 2)


def steps(length: int) -> int:
    return max(2, length)


def draw(generator: Generator, length: int, count: int, wave: Wave) -> SequenceBatch:
    """Inputs (T, B, 1); answers (N, 1): the values that follow."""
    length = steps(length)
    period, phase = generator.uniform(*PERIODS, count), generator.random(count)
    values = wave(np.arange(length + 1)[:, None] / period + phase).astype(np.float32)[..., None]
    asked = np.arange(shown(length) - 1, length)
    places = places_at(asked[:, None], count)
    ends = np.full(count, length, dtype=np.int64)
    return SequenceBatch(values[:-1], places, values[asked + 1].reshape(-1, 1), ends)


def sine_wave(turns: Turns) -> Turns:
    return np.sin(2.0 * np.pi * turns)


def sawtooth_wave(turns: Turns) -> Turns:
    """From -1 up to 1, and down again at once."""
    return 2.0 * (turns % 1.0) - 1.0


def _task(name: str, wave: Wave, variance: float, change: Wave) -> SyntheticTask:
    """`change`: the mean squared change from step to step at a frequency."""
    last = float(change(1.0 / np.linspace(*PERIODS, 4001)).mean())

    def baselines(length: int) -> Baselines:
        return {"the mean": {"mse": variance, "free_mse": variance}, "the last value": {"mse": last}}

    return SyntheticTask(
        name,
        outputs=1,
        inputs=1,
        draw=lambda generator, length, count: draw(generator, length, count, wave),
        steps=steps,
        baselines=baselines,
        solved=lambda scores: scores["free_mse"] < 0.1 * variance,
        rule=f"squared error of the free-running wave below {0.1 * variance:.3f}",
        free_from=shown,
    )


def sine(symbols: int | None) -> SyntheticTask:
    return _task("sine", sine_wave, 0.5, lambda f: 1.0 - np.cos(2.0 * np.pi * f))


def sawtooth(symbols: int | None) -> SyntheticTask:
    # It rises by 2f in 1 - f of the steps, and falls by 2 - 2f in f of them.
    return _task("sawtooth", sawtooth_wave, 1.0 / 3.0, lambda f: 4.0 * f * (1.0 - f))
