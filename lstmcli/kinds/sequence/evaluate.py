"""How good a model's answers are: all of them are collected, then judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.kinds.sequence.batch import SequenceBatch
from lstmcli.kinds.sequence.model import SequenceModel, rows_of

Floats = npt.NDArray[np.float64]


class Answers(NamedTuple):
    """What a model says of N places in S sequences."""

    given: npt.NDArray[np.float32]  # (N, D) logits, or numbers
    wanted: npt.NDArray[np.generic]  # (N,) classes, or (N, D) numbers
    sequence: npt.NDArray[np.int64]  # (N,) which sequence an answer belongs to
    sequences: int


def collect(
    model: SequenceModel,
    batches: Iterable[SequenceBatch],
    stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[int], None] | None = None,
) -> Answers | None:
    """The model's answers; None when `stop` asked to end early. `on_batch` hears how many sequences
    have been read."""
    device = model.head.weight.device
    given, wanted, owners, done = [], [], [], 0
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                if stop():
                    return None
                given.append(model(rows_of(batch, device)).cpu().numpy())
                wanted.append(batch.targets)
                size = len(batch.lengths)
                owners.append(done + batch.places % size)
                done += size
                if on_batch is not None:
                    on_batch(done)
    finally:
        model.train(training)
    return Answers(np.concatenate(given), np.concatenate(wanted), np.concatenate(owners), done)


def class_scores(answers: Answers) -> dict[str, float]:
    """`loss` in nats, `accuracy`, and `exact`: the share of sequences whose answers are all right."""
    nats = answer_losses(answers)
    right = answers.given.argmax(-1) == answers.wanted
    wrong = np.bincount(answers.sequence[~right], minlength=answers.sequences)
    return {
        "loss": float(nats.mean()),
        "accuracy": float(right.mean()),
        "exact": float((wrong == 0).mean()),
    }


def answer_losses(answers: Answers) -> Floats:
    """Cross-entropy of each answer in nats, (N,)."""
    logits = answers.given.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    normalizer = np.log(np.exp(logits).sum(-1))
    chosen = logits[np.arange(len(logits)), answers.wanted.astype(np.int64)]
    return np.asarray(normalizer - chosen)


def number_scores(answers: Answers) -> dict[str, float]:
    """`mse`, which is the loss, too."""
    error = float(((answers.given.astype(np.float64) - answers.wanted.astype(np.float64)) ** 2).mean())
    return {"loss": error, "mse": error}


@torch.no_grad()
def free_error(model: SequenceModel, batch: SequenceBatch, start: int) -> float:
    """Mean squared error of a model that has read `start` steps of a batch and then reads its own answers
    instead of the rest."""
    truth = torch.from_numpy(batch.inputs).to(model.head.weight.device)  # (T, B, 1)
    outputs, state = model.outputs(truth[:start], model.initial_state(truth.shape[1]))
    value = model.answer(outputs[-1])
    errors: list[Tensor] = []
    for wanted in truth[start:]:
        errors.append((value - wanted).square().mean())
        outputs, state = model.outputs(value.unsqueeze(0), state)
        value = model.answer(outputs[-1])
    return float(torch.stack(errors).double().mean())
