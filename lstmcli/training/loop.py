"""The training loop: evaluate, sample, save, stop?, step, log; until the budget is used."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from lstmcli.checkpoint.store import Snapshot, discard_after, prune, save_checkpoint
from lstmcli.config.load import dump_config
from lstmcli.errors import DivergedError
from lstmcli.measures.gates import gate_statistics
from lstmcli.notices import notice
from lstmcli.training.clock import Clock, agree
from lstmcli.training.course import settle
from lstmcli.training.optimizer import add_noise
from lstmcli.training.schedule import learning_rate, progress
from lstmcli.training.session import Session
from lstmcli.training.signals import StopSignals
from lstmcli.training.state import seed_step
from lstmcli.training.task import Score

EVALUATIONS = 1 << 40
"""Where the seeds of evaluations begin, beyond those of steps."""
NOISE = 1 << 41
"""Where those of the gradient noise of several ranks begin."""


def train(session: Session, stop: StopSignals) -> None:
    """Run the session to the end of its budget; its checkpoints and logs are the result.

    Raises:
        DivergedError: a loss or gradient is not finite; nothing was updated with it.
        Interrupted, Terminated: asked to stop; the state is saved.
    """
    state = session.state
    clock = Clock(state.progress.seconds, time.perf_counter())
    saved = _mark(session) if session.resumed_from is not None else None
    interval = _Interval(state.progress.tokens, clock.seconds())
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
        wanted = over or improved or stop.asked or outdated or _checkpoint_due(session)
        if wanted and saved != _mark(session):
            _save(session, clock)
            saved = _mark(session)
            agree(session.ranks, stop, clock)
        if stop.asked:
            raise stop.asked(_farewell(session))
        if over:
            return
        _step(session, done, stop, clock)
        if state.progress.step % session.config.telemetry.every == 0:
            _log(session, interval, clock)
        _log_gates(session)
        session.console.step(state.progress.step, _progress(session, clock))


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
    """One update on the next batch. Everything random in it follows from (seed, step, rank)."""
    state, config, ranks = session.state, session.config, session.ranks
    numbers = state.progress
    seed_step(config.seed, numbers.step, ranks.rank)
    rate = learning_rate(config.train, numbers.step, done, numbers.plateau_drops)
    state.model.train()
    measured = session.measure(numbers.step, state.carried)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * measured.pace
    share = ranks.share_of(measured.terms)
    loss = measured.loss if share == 1.0 else measured.loss * share
    loss.backward()  # type: ignore[no-untyped-call]
    if config.train.gradient_noise:
        if ranks.many:  # the same noise on every rank
            seed_step(config.seed, NOISE + numbers.step)
        add_noise(state.model.parameters(), config.train.gradient_noise, numbers.step)
    norm = _clip(session)
    shown = loss if measured.shown is None else measured.shown * share
    found = agree(session.ranks, stop, clock, float(loss.detach()), float(shown.detach()))
    _check_finite(session, [row[0] for row in found], norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update(numbers.step, done)
    state.carried = measured.carried
    numbers.step += 1
    numbers.tokens += measured.size
    numbers.loss_sum += sum(row[1] for row in found) / ranks.size
    numbers.loss_count += 1
    numbers.learning_rate, numbers.gradient_norm = rate, float(norm)


def _clip(session: Session) -> Tensor:
    """The norm of the whole gradient, which is then at most `clip_norm`."""
    limit = session.config.train.clip_norm
    parameters = [p for p in session.state.model.parameters() if p.grad is not None]
    return torch.nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)


def _check_finite(session: Session, losses: list[float], norm: Tensor) -> None:
    """Every rank sees the losses of all, so all of them stop here."""
    wrong = [rank for rank, loss in enumerate(losses) if not math.isfinite(loss)]
    if not wrong and bool(torch.isfinite(norm)):
        return
    step = session.state.progress.step
    kind = "loss" if wrong else "gradient"
    where = f" of rank {wrong[0]}" if wrong and session.ranks.many else ""
    raise DivergedError(
        f"the {kind}{where} is not finite at step {step} (batch {step}); the update was not made",
        f"last good checkpoint: {_last_good(session)}; "
        "try a smaller train.learning_rate or train.clip_norm, or train.precision=fp32",
    )


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
    return over or (every is not None and numbers.step > 0 and numbers.step % every == 0)


def _checkpoint_due(session: Session) -> bool:
    step, every = session.state.progress.step, session.config.checkpoint.every
    return every is not None and step > 0 and step % every == 0


def _has_stopped_early(session: Session) -> bool:
    patience = session.config.train.early_stopping
    return patience is not None and session.state.progress.stale_evaluations >= patience


def _evaluate(session: Session, stop: StopSignals) -> bool:
    """Validate, log, show something; whether this is the best so far. Interrupted, it leaves no trace."""
    state, numbers = session.state, session.state.progress
    session.console.phase("evaluating")
    seed_step(session.config.seed, EVALUATIONS + numbers.step)  # some forecasts are drawn
    with state.average.in_place() if state.average is not None else nullcontext():
        score = _same_score(session, session.task.evaluate(lambda: stop.heard is not None))
        if score is None:
            return False
        numbers.evaluated_at, numbers.last_val_loss = numbers.step, score.loss
        improved = _note_score(session, score.loss)
        session.logger.scalars(numbers.step, score.values)
        session.console.evaluated(numbers.step, score.loss, improved)
        if session.ranks.first:
            session.task.show(numbers.step, session.logger, session.console)
    session.logger.flush()
    return improved


def _same_score(session: Session, score: Score | None) -> Score | None:
    """What decides about the run is rank 0's score, and none if any rank was interrupted."""
    if not session.ranks.many:
        return score
    loss = math.nan if score is None else score.loss
    rows = session.ranks.exchange(float(score is None), loss)
    interrupted = any(row[0] for row in rows)
    return None if interrupted or score is None else Score(rows[0][1], score.values)


def _note_score(session: Session, loss: float) -> bool:
    numbers, train = session.state.progress, session.config.train
    if session.state.average is not None:
        session.state.average.evaluated(loss)
    if not math.isfinite(loss):
        notice(f"the validation loss is {loss} at step {numbers.step}; it is never the best")
    improved = math.isfinite(loss) and (numbers.best_loss is None or loss < numbers.best_loss)
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
    session.logger.scalars(numbers.step, values)
    session.console.logged(numbers.step, values)


def _per_second(session: Session) -> str:
    return "tokens_per_second" if session.task.unit == "symbols" else f"{session.task.unit}_per_second"


def _log_gates(session: Session) -> None:
    every, step = session.config.telemetry.gates_every, session.state.progress.step
    if session.ranks.first and every is not None and (step % every == 0 or step == 1):
        session.logger.scalars(step, gate_statistics(session.task.traces()))


def _save(session: Session, clock: Clock) -> None:
    """Commit a checkpoint, then clear away what it supersedes."""
    state, run = session.state, session.run
    _check_weights(session)
    carried = session.ranks.gathered(state.carried)
    if not session.ranks.first:
        return
    state.progress.seconds = clock.seconds()
    session.console.phase("saving")
    session.logger.flush()  # a resume expects the log of all steps up to the checkpoint
    files = session.task.files() | {"config.yaml": dump_config(session.config)}
    step = state.progress.step
    save_checkpoint(run.checkpoints, Snapshot(step, state.tensors(carried), state.document(), files))
    kept = (step, state.progress.best_step, session.resumed_from)
    protect = {number for number in kept if number is not None}
    if session.resumed_from is not None and not session.discarded:
        discard_after(run.checkpoints, session.resumed_from, notice, protect={step})
        settle(run)
        session.discarded = True
    prune(
        run.checkpoints,
        session.config.checkpoint.keep,
        protect,
        notice,
    )


def _farewell(session: Session) -> str:
    return (
        f"stopped at step {session.state.progress.step}; all is saved in {session.run.path}\n"
        f"  go on with: lstm train --resume {session.run.name}"
    )
