"""One update of the weights: the training step that everything shares.

Training, the search for a learning rate, benchmarks and the rehearsal of `--dry-run` call `update`, so
that what they measure is what a run does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lstmcli.config.schema import Config
from lstmcli.core.errors import DivergedError
from lstmcli.engine.stack import StackState
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.optimizer import add_noise
from lstmcli.run.state import TrainState, seed_step
from lstmcli.run.task import Measured

NOISE = 1 << 41
"""Where the seeds of the gradient noise of several ranks begin, beyond those of steps and evaluations."""
HINT = "try a smaller train.learning_rate or train.clip_norm, or train.precision=fp32"
Objective = Callable[[int, StackState], Measured]
"""The forward pass of update number `step` from the carried state."""
Exchange = Callable[..., list[list[float]]]
"""Gives each rank the numbers of all ranks, one row a rank."""


def update(
    state: TrainState,
    objective: Objective,
    config: Config,
    rate: float,
    done: float = 0.0,
    ranks: Ranks = ALONE,
    exchange: Exchange | None = None,
) -> float:
    """Make the update number `state.progress.step`. Everything random in it follows from (seed, step, rank).

    Args:
        state: what the update changes: weights, optimizer, carried state, average and the run's numbers.
        rate: the learning rate of a full window; a window of another length has its share of it.
        done: the share of the run's budget that is used up, from 0 to 1.
        exchange: how ranks tell each other their losses; None: as `ranks` does.

    Returns:
        The loss that is shown: of this update alone, the mean over all ranks, without penalties.

    Raises:
        DivergedError: a loss or gradient is not finite; nothing was updated with it.
    """
    numbers = state.progress
    seed_step(config.seed, numbers.step, ranks.rank)
    state.model.train()
    measured = objective(numbers.step, state.carried)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * measured.pace
    share = ranks.share_of(measured.terms)
    loss = measured.loss if share == 1.0 else measured.loss * share
    loss.backward()  # type: ignore[no-untyped-call]
    if config.train.gradient_noise:
        if ranks.many:  # the same noise on every rank
            seed_step(config.seed, NOISE + numbers.step)
        add_noise(state.model.parameters(), config.train.gradient_noise, numbers.step)
    norm = clip(state, config.train.clip_norm)
    shown = loss if measured.shown is None else measured.shown * share
    # The one moment of an update at which the program waits for the device.
    own_loss, own_shown, whole_norm = torch.stack([loss.detach(), shown.detach(), norm.to(loss)]).tolist()
    rows = (exchange or ranks.exchange)(own_loss, own_shown)
    check_finite(state, [row[0] for row in rows], whole_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update(numbers.step, done)
    state.carried = measured.carried
    mean = sum(row[1] for row in rows) / ranks.size
    numbers.step += 1
    numbers.tokens += measured.size
    numbers.loss_sum += mean
    numbers.loss_count += 1
    numbers.learning_rate, numbers.gradient_norm = rate, whole_norm
    return mean


def clip(state: TrainState, limit: float | None) -> Tensor:
    """The norm of the whole gradient, which is then at most `limit` (None: as it is)."""
    parameters = [p for p in state.model.parameters() if p.grad is not None]
    return torch.nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)


def check_finite(state: TrainState, losses: list[float], norm: float) -> None:
    """DivergedError unless all is finite. Every rank sees the losses of all, so all of them stop here."""
    wrong = [rank for rank, loss in enumerate(losses) if not math.isfinite(loss)]
    if not wrong and math.isfinite(norm):
        return
    step, kind = state.progress.step, "loss" if wrong else "gradient"
    where = f" of rank {wrong[0]}" if wrong and len(losses) > 1 else ""
    raise DivergedError(
        f"the {kind}{where} is not finite at step {step} (batch {step}); the update was not made", HINT
    )
