"""Naive Bayes: what the parts of a sequence say of its class, without their order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lstmcli.kinds.sequence.batch import Ints
from lstmcli.kinds.sequence.encoding import Sequences

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
