"""Labelled sequences ready for training: split class by class, encoded, and cut into batches.

Rules
- The classes are the texts of the label's column, in the order of their code points.
- Splits are random by the seed and stratified: of each class the same shares, each class at least once in
  training. With `val_path` or `test_path`, `path` is training as a whole.
- The vocabulary, and the mean and deviation of numbers, come from training only. A missing number becomes
  the mean.
- Of a sequence longer than `max_length` its end is kept, which is where the answer is given.
- An epoch reads every sequence once, in a random order by the seed, but for what does not fill a batch.
  Sequences of like length go into one batch, so that little of it is padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lstmcli.core.errors import DataError
from lstmcli.core.progress import Progress, throttled
from lstmcli.kinds.files.cache import digest_of
from lstmcli.kinds.files.sources import download, expanded, find_files
from lstmcli.kinds.sequence.batch import Ints, SequenceBatch
from lstmcli.kinds.sequence.batches import generator_of
from lstmcli.kinds.sequence.encoding import Encoding, Sequences
from lstmcli.kinds.sequence.rows import SeriesRows, TextRows, package_lines, read_groups, read_texts
from lstmcli.kinds.sequence.settings import LabelledSeries, LabelledTable, LabelledTexts
from lstmcli.kinds.series.settings import MISSING
from lstmcli.kinds.text.vocabulary import Vocabulary, code_points

FORMAT = 1
SPLIT, ORDER = 10, 11
"""Streams of the seed's random numbers."""
POOL = 32
"""Batches whose sequences are sorted by length together."""


@dataclass(frozen=True)
class LabelledData:
    """Sequences with their encoding, and which of them are in which split."""

    sequences: Sequences
    encoding: Encoding
    splits: dict[str, Ints]  # train, val, test; those that are
    fingerprint: str
    summary: dict[str, Any]


DESCRIBED: dict[str, Any] = {"kind": None, "label": None, "text": "text", "target": None, "group": None,
             "time": None, "max_length": None, "min_count": 1, "missing": [*MISSING]}  # fmt: skip
"""Settings that the fingerprint of the data is made from, with what stands for those that such data lack."""


def prepare_labelled(data: LabelledTable, seed: int, progress: Progress | None = None) -> LabelledData:
    """The sequences of the configured table. DataError: the module's rules."""
    report = throttled(progress)
    read = {role: _read(data, role, report) for role in ("train", "val", "test") if _given(data, role)}
    rows = list(read.values())
    if data.path is not None and data.sha256 not in (None, rows[0].sha256):
        raise DataError(
            f"the table has the SHA-256 {rows[0].sha256}, but data.sha256 is {data.sha256}",
            "the file is not the one that the config was written for: replace it, or data.sha256",
        )
    own = [len(part.labels or []) for part in rows]
    labels = [name for part in rows for name in part.labels or []]
    classes = sorted(set(rows[0].labels or []))
    if len(classes) < 2:
        raise DataError(
            f"column {data.label} has one class only: {classes[0]!r}", "there is nothing to tell apart"
        )
    starts = np.concatenate([[0], np.cumsum(own)])
    splits = {k: np.arange(a, b) for k, a, b in zip(read, starts[:-1], starts[1:], strict=True)}
    if len(read) == 1:
        codes = np.array([classes.index(name) for name in labels])
        splits = stratified(codes, len(classes), data.splits, generator_of(seed, SPLIT))
    sequences, encoding = _encoded(data, rows, labels, classes, splits["train"])
    words = {name: getattr(data, name, other) for name, other in DESCRIBED.items()}
    fingerprint = digest_of(
        {"format": FORMAT, **words, "files": {role: part.sha256 for role, part in read.items()},
         "split": [data.splits, seed] if len(read) == 1 else None}
    )  # fmt: skip
    counted = {role: len(chosen) for role, chosen in splits.items()}
    summary = {"sequences": counted, "classes": len(classes), "longest": int(sequences.lengths.max()),
               "steps": len(sequences.values)}  # fmt: skip
    return LabelledData(sequences, encoding, splits, fingerprint, summary)


def _given(data: LabelledTable, role: str) -> bool:
    return role == "train" or getattr(data, f"{role}_path", None) is not None


def _read(data: LabelledTable, role: str, report: Progress) -> TextRows | SeriesRows:
    if role == "train" and getattr(data, "source", None) is not None:
        return package_lines()
    where = data.path if role == "train" else getattr(data, f"{role}_path")
    if where is not None:
        files = find_files(where, f"data.{'' if role == 'train' else role + '_'}path")
    else:
        folder = expanded(data.cache, "data.cache") / "downloads"
        files = [download(str(data.url), str(data.sha256), folder, report)]
    if len(files) != 1:
        raise DataError(f"data.label needs one table, but there are {len(files)}", "join them into one file")
    return read_table(files[0], data, report)


def read_table(
    path: Path, data: LabelledTable, report: Progress, labelled: bool = True
) -> TextRows | SeriesRows:
    if isinstance(data, LabelledSeries):
        return read_groups(path, data, report, labelled)
    assert isinstance(data, LabelledTexts)
    return read_texts(path, data, report, labelled)


def stratified(
    codes: Ints, classes: int, shares: list[float], generator: np.random.Generator
) -> dict[str, Ints]:
    """Which sequences go into which split: of each class the same shares, in a random order."""
    bounds = np.cumsum(shares)
    parts: list[list[Ints]] = [[] for _ in shares]
    for code in range(classes):
        members = generator.permutation(np.flatnonzero(codes == code))
        ends = np.round(bounds * len(members) + 1e-9).astype(np.int64)
        ends[0] = max(1, ends[0])
        ends = np.maximum.accumulate(ends)
        for part, begin, end in zip(parts, np.concatenate([[0], ends[:-1]]), ends, strict=True):
            part.append(members[begin:end])
    found = {
        role: np.sort(np.concatenate(part))
        for role, part in zip(("train", "val", "test"), parts, strict=False)
    }
    return {role: chosen for role, chosen in found.items() if len(chosen)}


def _encoded(
    data: LabelledTable, rows: list[TextRows | SeriesRows], labels: list[str], classes: list[str], train: Ints
) -> tuple[Sequences, Encoding]:
    first = rows[0]
    if isinstance(first, SeriesRows):
        encoding = _fitted(first, classes, train, data.max_length)
        return encoding.series(first), encoding
    texts = [text for part in rows if isinstance(part, TextRows) for text in part.texts]
    points = code_points("".join(texts[k] for k in train))
    vocabulary = Vocabulary.from_counts(np.bincount(points), getattr(data, "min_count", 1))
    encoding = Encoding(classes, vocabulary, max_length=data.max_length)
    return encoding.texts(texts, labels), encoding


def _fitted(rows: SeriesRows, classes: list[str], train: Ints, max_length: int | None) -> Encoding:
    """Mean and deviation of each column over the training series."""
    inside = np.zeros(len(rows.names), dtype=bool)
    inside[train] = True
    values = rows.values[np.repeat(inside, np.diff(rows.offsets))]
    empty = np.isnan(values).all(0)
    if empty.any():
        raise DataError(
            f"column {rows.columns[int(empty.argmax())]} has no value in training",
            "leave it out of data.target",
        )
    means, deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    deviations[deviations == 0.0] = 1.0
    return Encoding(
        classes, None, tuple(rows.columns), tuple(means.tolist()), tuple(deviations.tolist()), max_length
    )


class LabelledBatches:
    """Batch number i of rank r, as a pure function of (seed, i, r) and the data. DataError: too few."""

    def __init__(
        self, sequences: Sequences, chosen: Ints, batch_size: int, seed: int, rank: int = 0, ranks: int = 1
    ):
        together = batch_size * ranks
        self.steps_per_epoch = len(chosen) // together
        if self.steps_per_epoch == 0:
            raise DataError(
                f"training has {len(chosen):,} sequences, but a batch needs {together:,}",
                f"set train.batch_size to at most {len(chosen):,}",
            )
        self._sequences, self._chosen = sequences, chosen
        self._size, self._seed, self._rank, self._ranks = batch_size, seed, rank, ranks
        self._epoch: tuple[int, Ints] | None = None

    def __getitem__(self, step: int) -> SequenceBatch:
        if step < 0:
            raise IndexError(f"there is no step {step}")
        epoch, number = divmod(step, self.steps_per_epoch)
        return self._sequences.batch(self._order(epoch)[number, self._rank :: self._ranks])

    def _order(self, epoch: int) -> Ints:
        """(steps, B) which sequences each batch of the epoch has; made once per epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._drawn(generator_of(self._seed, ORDER, epoch))
        return self._epoch[1]

    def _drawn(self, generator: np.random.Generator) -> Ints:
        together = self._size * self._ranks
        mixed = generator.permutation(self._chosen)[: self.steps_per_epoch * together]
        lengths = self._sequences.lengths
        pools = [mixed[k : k + POOL * together] for k in range(0, len(mixed), POOL * together)]
        sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
        rows = np.concatenate(sorted_pools).reshape(-1, together)
        return generator.permutation(rows, axis=0)
