"""How good a classifier is, beside what costs nothing: naive Bayes, which knows what the parts of a sequence
say of its class, without their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.core.tables import Table
from lstmcli.kinds.sequence.batch import Ints
from lstmcli.kinds.sequence.encoding import Sequences
from lstmcli.kinds.sequence.model import SequenceModel, rows_of

Floats = npt.NDArray[np.float64]
ORDERS = (1, 2, 3)
MOST_SYMBOLS = 3_000_000
"""Of the training text as many are counted."""


def grams_of(known: Sequences, train: Ints, sequences: Sequences, chosen: Ints, classes: int) -> Ints:
    """The likeliest class of each chosen text by its character 1- to 3-grams: the multinomial model with
    one added to every count (Laplace). An n-gram that training does not have says nothing."""
    kept = train[: max(1, int(np.searchsorted(np.cumsum(known.lengths[train]), MOST_SYMBOLS)) + 1)]
    base = int(known.values.max(initial=0)) + 2
    codes, owners = _grams(known, kept, base)
    grams, features = np.unique(codes, return_inverse=True)
    labels = known.labels[kept]
    counts = np.bincount(features * classes + labels[owners], minlength=len(grams) * classes)
    table = counts.reshape(len(grams), classes) + 1.0
    log_share = np.log(table / table.sum(0))
    scores = np.tile(np.log(np.bincount(labels, minlength=classes) + 1.0), (len(chosen), 1))
    codes, owners = _grams(sequences, chosen, base)
    place = np.searchsorted(grams, codes).clip(0, len(grams) - 1)
    found = grams[place] == codes
    for code in range(classes):
        scores[:, code] += np.bincount(owners[found], log_share[place[found], code], len(chosen))
    return np.asarray(scores.argmax(-1))


def _grams(sequences: Sequences, chosen: Ints, base: int) -> tuple[Ints, Ints]:
    """Every 1- to 3-gram inside the chosen texts as a number, and which text it is in."""
    lengths = sequences.lengths[chosen]
    starts = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(len(chosen)), lengths)
    where = np.arange(len(owner)) - np.repeat(starts - sequences.offsets[chosen], lengths)
    ids = sequences.values[where].astype(np.int64) + 1  # so that an n-gram is no longer one's beginning
    codes, owners = [], []
    for order in ORDERS:
        size = max(0, len(ids) - order + 1)
        code = np.zeros(size, dtype=np.int64)
        for k in range(order):
            code = code * base + ids[k : k + size]
        whole = owner[:size] == owner[order - 1 :][:size]
        codes.append(code[whole])
        owners.append(owner[:size][whole])
    return np.concatenate(codes), np.concatenate(owners)


def summary_of(sequences: Sequences, chosen: Ints) -> Floats:
    """Mean, deviation and last value of each column of the chosen series, (S, 3 C)."""
    bounds = [(sequences.offsets[k], sequences.offsets[k + 1]) for k in chosen]
    return np.stack([
        np.concatenate([part.mean(0), part.std(0), part[-1]])
        for part in (sequences.values[begin:end].astype(np.float64) for begin, end in bounds)
    ])  # fmt: skip


def naive_bayes(train: Floats, test: Floats, labels: Ints, classes: int) -> Ints:
    """The likeliest class of each row of `test` (S, F): each feature Gaussian by class, independent."""
    spread = train.std(0) + 1e-9
    scores = np.full((len(test), classes), -np.inf)
    for code in np.unique(labels):
        own = train[labels == code]
        mean, deviation = own.mean(0), np.maximum(own.std(0), 0.05 * spread)
        density = -0.5 * ((test - mean) / deviation) ** 2 - np.log(deviation)
        scores[:, code] = density.sum(1) + np.log(len(own))
    return np.asarray(scores.argmax(-1))


ROWS = 256
READ_AT_ONCE = 1 << 17
"""Most steps of all sequences in a batch."""
MOST_CLASSES = 30
"""Up to so many classes the table of confusions is reported ..."""
MOST_COLUMNS = 12
"""... and up to so many it is shown."""
BASELINES = {"majority": "most frequent class", "naive_bayes": "naive Bayes"}


@dataclass(frozen=True)
class ClassReport:
    """A classifier on a split; each baseline has accuracy and macro_f1, too."""

    split: str
    sequences: int
    loss: float  # nats per sequence
    accuracy: float
    macro_f1: float
    classes: list[dict[str, Any]]  # class, sequences, precision, recall, f1
    confusion: list[list[int]] | None  # rows: the true class; columns: the predicted one
    baselines: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def tables(self) -> list[Table]:
        """The model above what costs nothing; then each class, and what it is taken for."""
        rows = [["this model", f"{self.accuracy:.1%}", f"{self.macro_f1:.3f}", f"{self.loss:.4f}"]]
        for name, found in self.baselines.items():
            rows.append([BASELINES[name], f"{found['accuracy']:.1%}", f"{found['macro_f1']:.3f}", ""])
        title = f"{self.sequences:,} sequences, {len(self.classes)} classes"
        first = Table(title, ["", "accuracy", "macro F1", "nats"], rows)
        return [first, self._by_class()] if len(self.classes) <= MOST_CLASSES else [first]

    def _by_class(self) -> Table:
        names = [str(row["class"]) for row in self.classes]
        wide = self.confusion is not None and len(names) <= MOST_COLUMNS
        taken = self.confusion if wide and self.confusion is not None else [[]] * len(names)
        rows = [
            [name, f"{row['sequences']:,}", *(f"{row[k]:.3f}" for k in ("precision", "recall", "f1")),
             *map(str, others)]
            for name, row, others in zip(names, self.classes, taken, strict=True)
        ]  # fmt: skip
        heads = [name if len(name) <= 8 else name[:6] + ".." for name in names] if wide else []
        note = "The columns of classes: how often each was taken for that one." if wide else ""
        return Table("", ["class", "sequences", "precision", "recall", "F1", *heads], rows, note)


def report_on_classes(
    model: SequenceModel,
    sequences: Sequences,
    chosen: Ints,
    names: list[str],
    train: tuple[Sequences, Ints] | None,
    split: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> ClassReport:
    """The model on the chosen sequences; `train`: what the baselines learn from (None: no baselines)."""
    logits = logits_of(model, sequences, chosen, on_progress=on_progress)
    assert logits is not None  # nobody asked to stop
    wanted = sequences.labels[chosen]
    guessed = logits.argmax(-1)
    table = confusion(wanted, guessed, len(names))
    scores = class_rows(table, names)
    return ClassReport(
        split,
        len(chosen),
        cross_entropy(logits, wanted),
        float((guessed == wanted).mean()),
        macro_f1(table),
        scores,
        table.tolist() if len(names) <= MOST_CLASSES else None,
        {} if train is None else baselines(*train, sequences, chosen, len(names)),
    )


def logits_of(
    model: SequenceModel,
    sequences: Sequences,
    chosen: Ints,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Floats | None:
    """Logits (S, classes) in the order of `chosen`; None when `stop` asked to end early."""
    longest = int(sequences.lengths[chosen].max(initial=1))
    size = max(1, min(ROWS, READ_AT_ONCE // longest))
    place = np.empty(len(sequences.lengths), dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    found = np.empty((len(chosen), model.shape.outputs))
    device, training, done = model.head.weight.device, model.training, 0
    model.eval()
    try:
        with torch.no_grad():
            for part, batch in sequences.batches(chosen, size):
                if stop():
                    return None
                found[place[part]] = model(rows_of(batch, device)).cpu().double().numpy()
                done += len(part)
                if on_progress is not None:
                    on_progress(done, len(chosen))
    finally:
        model.train(training)
    return found


def probabilities(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def cross_entropy(logits: Floats, wanted: Ints) -> float:
    """Mean nats per sequence."""
    top = logits.max(-1)
    normalizer = top + np.log(np.exp(logits - top[:, None]).sum(-1))
    return float((normalizer - logits[np.arange(len(logits)), wanted]).mean())


def confusion(wanted: Ints, guessed: Ints, classes: int) -> Ints:
    """How often each true class (row) was taken for each class (column)."""
    return np.bincount(wanted * classes + guessed, minlength=classes * classes).reshape(classes, classes)


def class_rows(table: Ints, names: list[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class; 0 where there is nothing to divide by."""
    right, of, said = np.diag(table), table.sum(1), table.sum(0)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(of, 1)
    f1 = 2.0 * right / np.maximum(said + of, 1)
    columns = zip(names, of, precision, recall, f1, strict=True)
    return [
        {"class": name, "sequences": int(n), "precision": float(p), "recall": float(r), "f1": float(f)}
        for name, n, p, r, f in columns
    ]


def macro_f1(table: Ints) -> float:
    """The mean F1 of the classes that occur or were said."""
    seen = (table.sum(0) + table.sum(1)) > 0
    f1 = 2.0 * np.diag(table) / np.maximum(table.sum(0) + table.sum(1), 1)
    return float(f1[seen].mean())


def baselines(
    known: Sequences, train: Ints, sequences: Sequences, chosen: Ints, classes: int
) -> dict[str, dict[str, float]]:
    """The most frequent class of training, and naive Bayes: on character 1- to 3-grams of texts, on mean,
    deviation and last value of each column of series."""
    wanted = sequences.labels[chosen]
    most = int(np.bincount(known.labels[train], minlength=classes).argmax())
    guesses = {"majority": np.full(len(chosen), most, dtype=np.int64)}
    if known.values.ndim == 1:
        guesses["naive_bayes"] = grams_of(known, train, sequences, chosen, classes)
    else:
        features = summary_of(known, train), summary_of(sequences, chosen)
        guesses["naive_bayes"] = naive_bayes(*features, known.labels[train], classes)
    return {
        name: {
            "accuracy": float((guessed == wanted).mean()),
            "macro_f1": macro_f1(confusion(wanted, guessed, classes)),
        }
        for name, guessed in guesses.items()
    }
