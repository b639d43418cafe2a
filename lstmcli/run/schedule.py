"""Budgets and learning rates: pure functions of how far a run is."""

from __future__ import annotations

import math

from lstmcli.config.schema import Train


def progress(train: Train, step: int, steps_per_epoch: int, seconds: float) -> float:
    """Share of the budget that is used, 0 to 1: the largest of steps, epochs and minutes."""
    shares = [0.0]
    if train.max_steps is not None:
        shares.append(step / train.max_steps)
    if train.max_epochs is not None:
        shares.append(step / max(1, round(train.max_epochs * steps_per_epoch)))
    if train.max_minutes is not None:
        shares.append(seconds / (60.0 * train.max_minutes))
    return min(1.0, max(shares))


def learning_rate(train: Train, step: int, done: float, plateau_drops: int) -> float:
    """The learning rate of update number `step` (from 0) at progress `done`.

    Linear warm-up, then the schedule between `learning_rate` and `final_learning_rate`.
    """
    high, low = train.learning_rate, train.final_learning_rate
    if train.schedule == "linear":
        rate = low + (high - low) * (1.0 - done)
    elif train.schedule == "cosine":
        rate = low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * done))
    elif train.schedule == "plateau":
        rate = max(low, high * train.plateau_factor**plateau_drops)
    else:
        rate = high
    return rate * min(1.0, (step + 1) / max(1, train.warmup_steps))
