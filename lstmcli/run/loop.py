"""The training loop: evaluate, sample, save, stop?, step, log; until the budget is used. At the end of the
file stand budgets and learning rates, pure functions of how far a run is."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from lstmcli.config.load import dump_config
from lstmcli.config.schema import Train
from lstmcli.core.errors import DivergedError
from lstmcli.core.notices import notice
from lstmcli.run.checkpoint.store import Snapshot, discard_after, prune, save_checkpoint
from lstmcli.run.clock import Clock, Pulse, agree
from lstmcli.run.hooks import Evaluation
from lstmcli.run.same_run import FINGERPRINT
from lstmcli.run.session import Session, check_identity
from lstmcli.run.set_back import settle
from lstmcli.run.signals import Ended, StopSignals
from lstmcli.run.state import seed_step
from lstmcli.run.task import Score
from lstmcli.run.update import HINT, update

EVALUATIONS = 1 << 40
"""Where the seeds of evaluations begin, beyond those of steps."""


def train(session: Session, stop: StopSignals) -> None:
    """Run the session to the end of its budget; its checkpoints and logs are the result.

    Raises:
        DivergedError: a loss or gradient is not finite; nothing was updated with it.
        Interrupted, Terminated: asked to stop; the state is saved.
    """
    with Pulse() as pulse:
        _train(session, stop, Clock(session.state.progress.seconds, time.perf_counter(), pulse))


def _train(session: Session, stop: StopSignals, clock: Clock) -> None:
    state = session.state
    saved = _mark(session) if session.resumed_from is not None else None
    interval = _Interval(state.progress.tokens, clock.seconds())
    saved_at = clock.seconds()
    agree(session.ranks, stop, clock)
    while True:
        done = _progress(session, clock)
        over = done >= 1.0 or _has_stopped_early(session)
        improved = False
        if _evaluation_due(session, over) and not stop.asked:
            improved = _evaluate(session, stop)
            agree(session.ranks, stop, clock)
            over = over or _has_stopped_early(session)
        # A checkpoint of this step that lacks its evaluation is replaced.
        outdated = saved is not None and saved[0] == state.progress.step
        wanted = (
            over or improved or stop.asked or outdated or _checkpoint_due(session, clock.seconds() - saved_at)
        )
        if wanted and saved != _mark(session):
            _save(session, clock)
            saved = _mark(session)
            agree(session.ranks, stop, clock)
            saved_at = clock.seconds()
        if stop.asked and stop.asked is not Ended:
            raise stop.asked(_farewell(session))
        if over or stop.asked:
            return
        _step(session, done, stop, clock)
        step = state.progress.step
        if step % session.config.telemetry.every == 0:
            _log(session, interval, clock)
        for hook in session.hooks:
            stop.end(hook.on_step(step, _progress(session, clock)))


def is_complete(session: Session) -> bool:
    """Whether a resumed run has nothing left to do."""
    if session.resumed_from is None:
        return False
    over = _progress(session, Clock(session.state.progress.seconds, time.perf_counter())) >= 1.0
    return (over or _has_stopped_early(session)) and not _evaluation_due(session, over=True)


def _mark(session: Session) -> tuple[int, int]:
    """Tells what a checkpoint would hold from what an earlier one does."""
    return session.state.progress.step, session.state.progress.evaluated_at


@dataclass
class _Interval:
    """What the last logged line stood at, for the speed since."""

    tokens: int
    seconds: float


def _step(session: Session, done: float, stop: StopSignals, clock: Clock) -> None:
    """One update on the next batch, at the rate that the schedule has for it."""
    numbers, config = session.state.progress, session.config
    rate = learning_rate(config.train, numbers.step, done, numbers.plateau_drops)
    exchange = partial(agree, session.ranks, stop, clock)
    try:
        update(session.state, session.objective, config, rate, done, session.ranks, exchange)
    except DivergedError as error:
        raise DivergedError(error.message, f"last good checkpoint: {_last_good(session)}; {HINT}") from None


def _check_weights(session: Session) -> None:
    """An update may leave the range of its numbers though its loss and gradient did not."""
    for name, value in session.state.model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            step = session.state.progress.step
            raise DivergedError(
                f"the update before step {step} made {name} infinite; it is not saved",
                f"last good checkpoint: {_last_good(session)}; try a smaller train.learning_rate",
            )


def _last_good(session: Session) -> str:
    found = sorted(session.run.checkpoints.glob("step_*"))
    return str(found[-1]) if found else "none yet"


def _progress(session: Session, clock: Clock) -> float:
    step, each = session.state.progress.step, session.task.steps_per_epoch
    return progress(session.config.train, step, each, clock.seconds())


def _evaluation_due(session: Session, over: bool) -> bool:
    numbers, every = session.state.progress, session.config.evaluation.every
    if not session.task.has_validation or numbers.evaluated_at == numbers.step:
        return False
    if numbers.step == 0:  # what inherited weights are worth before anything is learned
        return over or session.inherited
    return over or (every is not None and numbers.step % every == 0)


def _checkpoint_due(session: Session, seconds: float) -> bool:
    """`seconds`: of training since the last checkpoint."""
    step, wanted = session.state.progress.step, session.config.checkpoint
    by_step = wanted.every is not None and step % wanted.every == 0
    by_time = wanted.minutes is not None and seconds >= 60.0 * wanted.minutes
    return step > 0 and (by_step or by_time)


def _has_stopped_early(session: Session) -> bool:
    patience = session.config.train.early_stopping
    return patience is not None and session.state.progress.stale_evaluations >= patience


def _evaluate(session: Session, stop: StopSignals) -> bool:
    """Validate, and tell the hooks; whether this is the best so far. Interrupted, it leaves no trace."""
    state, numbers = session.state, session.state.progress
    for hook in session.hooks:
        hook.on_evaluating(numbers.step)
    seed_step(session.config.seed, EVALUATIONS + numbers.step)  # some forecasts are drawn
    with state.average.in_place() if state.average is not None else nullcontext():
        score = _same_score(session, session.task.evaluate(lambda: stop.heard is not None))
        if score is None:
            return False
        numbers.evaluated_at, numbers.last_val_loss = numbers.step, score.loss
        improved = _note_score(session, score.loss, score.final)
        for hook in session.hooks:
            stop.end(hook.on_evaluation(Evaluation(numbers.step, score.loss, score.values, improved)))
    return improved


def _same_score(session: Session, score: Score | None) -> Score | None:
    """What decides about the run is rank 0's score, and none if any rank was interrupted."""
    if not session.ranks.many:
        return score
    loss = math.nan if score is None else score.loss
    rows = session.ranks.exchange(float(score is None), loss)
    interrupted = any(row[0] for row in rows)
    return None if interrupted or score is None else score._replace(loss=rows[0][1])


def _note_score(session: Session, loss: float, final: bool) -> bool:
    numbers, train = session.state.progress, session.config.train
    if session.state.average is not None:
        session.state.average.evaluated(loss)
    if not math.isfinite(loss):
        notice(f"the validation loss is {loss} at step {numbers.step}; it is never the best")
    better = numbers.best_loss is None or loss < numbers.best_loss
    improved = math.isfinite(loss) and (better or final)
    if improved:
        numbers.best_step, numbers.best_loss = numbers.step, loss
    numbers.stale_evaluations = 0 if improved else numbers.stale_evaluations + 1
    numbers.plateau_stale = 0 if improved else numbers.plateau_stale + 1
    if numbers.plateau_stale >= train.plateau_patience:
        numbers.plateau_drops += 1
        numbers.plateau_stale = 0
    return improved


def _log(session: Session, interval: _Interval, clock: Clock) -> None:
    numbers = session.state.progress
    loss = numbers.loss_sum / numbers.loss_count
    seconds = clock.seconds()
    speed = (numbers.tokens - interval.tokens) / max(1e-9, seconds - interval.seconds)
    interval.tokens, interval.seconds = numbers.tokens, seconds
    numbers.loss_sum, numbers.loss_count = 0.0, 0
    values = session.task.loss_values(loss) | {
        "train/learning_rate": numbers.learning_rate,
        "train/gradient_norm": numbers.gradient_norm,
        "train/epoch": numbers.step / session.task.steps_per_epoch,
        f"speed/{_per_second(session)}": speed,
        "speed/seconds": seconds,
    }
    for hook in session.hooks:
        hook.on_log(numbers.step, values)


def _per_second(session: Session) -> str:
    return "tokens_per_second" if session.task.unit == "symbols" else f"{session.task.unit}_per_second"


def _save(session: Session, clock: Clock) -> None:
    """Commit a checkpoint, then clear away what it supersedes."""
    state, run = session.state, session.run
    _check_weights(session)
    carried = session.ranks.gathered(state.carried)
    if not session.ranks.first:
        return
    check_identity(session)
    state.progress.seconds = clock.seconds()
    for hook in session.hooks:
        hook.on_saving(state.progress.step)
    files = session.task.files() | {"config.yaml": dump_config(session.config)}
    step = state.progress.step
    document = state.document() | {FINGERPRINT: session.task.fingerprint}
    folder = save_checkpoint(run.checkpoints, Snapshot(step, state.tensors(carried), document, files))
    kept = (step, state.progress.best_step, session.resumed_from)
    protect = {number for number in kept if number is not None}
    if session.resumed_from is not None and not session.discarded:
        discard_after(run.checkpoints, session.resumed_from, notice, protect={step})
        settle(run)
        session.discarded = True
    prune(run.checkpoints, session.config.checkpoint.keep, protect, notice)
    for hook in session.hooks:
        hook.on_checkpoint(step, folder)


def _farewell(session: Session) -> str:
    return (
        f"stopped at step {session.state.progress.step}; all is saved in {session.run.path}\n"
        f"  go on with: lstm train --resume {session.run.reference}"
    )


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
