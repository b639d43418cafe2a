"""What `lstm eval` says of a model of a synthetic task: all of its answers are collected, then judged,
beside what costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.core.tables import Table
from lstmcli.kinds.sequence.batch import Ints, SequenceBatch
from lstmcli.kinds.sequence.batches import held_batches
from lstmcli.kinds.sequence.model import SequenceModel, rows_of
from lstmcli.kinds.sequence.synthetic.task import Facts, SyntheticTask

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


SEQUENCES = 1000
"""How many are made where `evaluation.max_windows` does not say."""
READ_AT_ONCE = 1 << 16
"""Most steps of all sequences in a batch: what a batch takes does not grow with their length."""
STRETCH = 10
FARTHEST = 1000
"""How far beyond the length the longest accepted string is looked for."""
NAMES = {
    "loss": "nats", "mse": "squared error", "accuracy": "accuracy", "exact": "sequences right",
    "free_mse": "free-running error", "loss_all_steps": "nats over all steps",
}  # fmt: skip


@dataclass(frozen=True)
class LengthScore:
    """One length: the model's scores, those of guesses, and whether the task is solved there."""

    length: int
    sequences: int
    answers: int
    scores: dict[str, float]  # loss, and accuracy and exact, or mse; and what the task adds
    baselines: dict[str, dict[str, float]]
    solved: bool
    by_distance: list[dict[str, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        found = {k: v for k, v in vars(self).items() if k not in ("scores", "by_distance")}
        rows = {"by_distance": self.by_distance} if self.by_distance else {}
        return {**found, **self.scores, **rows}

    def table(self) -> Table:
        """The model above what costs nothing, and its answers by distance."""
        names = [k for k in NAMES if k in self.scores and not (k == "loss" and "mse" in self.scores)]
        rows = [["this model", *(_shown(k, self.scores.get(k)) for k in names)]]
        for row in self.by_distance:
            label = f"  {row['from']:.0f} to {row['to']:.0f} steps away ({row['answers']:,.0f} answers)"
            rows.append([label, *(_shown(k, row.get(k)) for k in names)])
        for name, scores in self.baselines.items():
            rows.append([name, *(_shown(k, scores.get(k)) for k in names)])
        said = "solved" if self.solved else "not solved"
        title = f"length {self.length}: {said} ({self.sequences:,} sequences, {self.answers:,} answers)"
        return Table(title, ["", *(NAMES[k] for k in names)], rows)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("accuracy", "exact"):
        return f"{100.0 * value:.1f}%"
    return f"{value:.4f}" if value >= 0.001 or value == 0.0 else f"{value:.2e}"


@dataclass(frozen=True)
class SyntheticReport:
    """Scores at one or several lengths."""

    task: str
    rule: str
    lengths: list[LengthScore]
    longest_string: int | None = None
    """of a language: the largest n up to which all strings are accepted"""

    @property
    def longest_solved(self) -> int | None:
        """The longest length that is known to be solved."""
        if self.longest_string is not None:
            return self.longest_string or None
        return max((found.length for found in self.lengths if found.solved), default=None)

    def tables(self) -> list[Table]:
        """One for each length; below the last one what is solved."""
        tables = [found.table() for found in self.lengths]
        return [*tables[:-1], tables[-1]._replace(note=f"{self._said()}\nsolved: {self.rule}")]

    def _said(self) -> str:
        if self.longest_string is not None:
            return f"all strings up to n = {self.longest_string} accepted"
        if len(self.lengths) == 1:
            return f"task {self.task}"
        longest = self.longest_solved
        return "solved at none of the lengths" if longest is None else f"longest solved: {longest}"

    def to_json(self) -> dict[str, Any]:
        """The scores at the first length, and all of them in `lengths`."""
        rows = [found.to_json() for found in self.lengths]
        return {"task": self.task, "rule": self.rule, **rows[0], "lengths": rows,
                "longest_solved": self.longest_solved}  # fmt: skip


def report_on_task(
    model: SequenceModel,
    task: SyntheticTask,
    lengths: Sequence[int],
    sequences: int,
    seed: int,
    split: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> SyntheticReport:
    """Evaluate at each of the lengths, on sequences that training has not seen."""
    found = []
    for number, length in enumerate(lengths):

        def show(done: int, number: int = number) -> None:
            if on_progress is not None:
                on_progress(number * sequences + min(done, sequences), len(lengths) * sequences)

        score = score_length(model, task, length, sequences, seed, split, on_batch=show)
        assert score is not None  # nobody asked to stop
        found.append(score)
    longest = longest_accepted(model, task.strings, max(lengths)) if task.strings is not None else None
    return SyntheticReport(task.name, task.rule, found, longest)


def longest_accepted(
    model: SequenceModel, strings: Callable[[Ints], SequenceBatch], length: int, at_once: int = 32
) -> int:
    """The largest n up to which the strings of all sizes are right; looked for up to `STRETCH` times the
    length (but hardly beyond `FARTHEST`), so what is found may be less than the truth."""
    limit = max(length, min(STRETCH * length, FARTHEST))
    for first in range(1, limit + 1, at_once):
        sizes = np.arange(first, min(first + at_once, limit + 1))
        answers = collect(model, [strings(sizes)])
        assert answers is not None
        wrong = answers.sequence[answers.given.argmax(-1) != answers.wanted]
        if len(wrong):
            return int(sizes[wrong.min()]) - 1
    return limit


def score_length(
    model: SequenceModel,
    task: SyntheticTask,
    length: int,
    sequences: int,
    seed: int,
    split: str,
    stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[int], None] | None = None,
) -> LengthScore | None:
    """Scores at one length; None when `stop` asked to end early."""

    def batches() -> Iterator[SequenceBatch]:
        at_once = max(1, min(256, READ_AT_ONCE // task.steps(length)))
        return held_batches(task, length, sequences, at_once, seed, split)

    answers = collect(model, batches(), stop, on_batch)
    if answers is None:
        return None
    scores = number_scores(answers) if model.shape.numbers else class_scores(answers)
    if task.free_from is not None:
        scores["free_mse"] = _free(model, batches(), task.free_from(length))
    if task.further is not None:
        scores |= task.further(scores, length)
    baselines, rows = task.baselines(length), []
    if task.facts is not None:
        facts = Facts(*map(np.concatenate, zip(*map(task.facts, batches()), strict=True)))
        baselines[task.thumb] = {"accuracy": float((facts.guess == answers.wanted).mean())}
        rows = by_distance(answers, facts.distance)
    return LengthScore(
        length, answers.sequences, len(answers.given), scores, baselines, task.solved(scores), rows
    )


def _free(model: SequenceModel, batches: Iterator[SequenceBatch], start: int) -> float:
    """The mean over sequences."""
    errors, sizes = zip(*((free_error(model, b, start), len(b.lengths)) for b in batches), strict=True)
    return float(np.average(errors, weights=sizes))


def by_distance(answers: Answers, distance: Ints) -> list[dict[str, float]]:
    """Loss and accuracy of the answers by distance, in rows that double: 1, 2 to 3, 4 to 7, ..."""
    nats, right = answer_losses(answers), answers.given.argmax(-1) == answers.wanted
    octave = np.log2(distance).astype(np.int64)
    rows = []
    for number in np.unique(octave):
        of = octave == number
        rows.append({
            "from": int(2**number), "to": int(2 ** (number + 1) - 1), "answers": int(of.sum()),
            "loss": float(nats[of].mean()), "accuracy": float(right[of].mean()),
        })  # fmt: skip
    return rows
