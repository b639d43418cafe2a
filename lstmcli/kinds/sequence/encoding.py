"""Sequences of a table as arrays, and how they become that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError, RunError
from lstmcli.kinds.sequence.batch import Ints, SequenceBatch, places_at
from lstmcli.kinds.sequence.rows import SeriesRows, lengths_of
from lstmcli.kinds.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Sequences:
    """S sequences, one after the other, with their classes."""

    values: npt.NDArray[Any]  # (N,) ids or (N, I) numbers
    offsets: Ints  # (S + 1,)
    labels: Ints  # (S,); -1: unknown

    @cached_property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    def batch(self, chosen: Ints) -> SequenceBatch:
        """The chosen sequences (B,), padded on the right by zeros."""
        lengths = self.lengths[chosen]
        step = np.arange(int(lengths.max()))[:, None]
        inside = step < lengths
        where = np.where(inside, self.offsets[chosen] + step, 0)
        values = self.values[where]
        padded = np.where(inside if values.ndim == 2 else inside[..., None], values, 0)
        inputs: Any = padded.astype(np.int64 if values.ndim == 2 else np.float32)
        return SequenceBatch(inputs, places_at(lengths - 1, len(chosen)), self.labels[chosen], lengths)

    def batches(self, chosen: Ints, batch_size: int) -> Iterator[tuple[Ints, SequenceBatch]]:
        """All of the chosen, shortest first: which they are, and the batch."""
        ordered = chosen[np.argsort(self.lengths[chosen], kind="stable")]
        for first in range(0, len(ordered), batch_size):
            part = ordered[first : first + batch_size]
            yield part, self.batch(part)


@dataclass(frozen=True)
class Encoding:
    """How texts or numbers of a table become sequences; made from the training part."""

    classes: list[str]
    vocabulary: Vocabulary | None = None  # of texts
    columns: tuple[str, ...] = ()  # of numbers, with their
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    max_length: int | None = None

    def to_json(self) -> dict[str, Any]:
        vocabulary = None if self.vocabulary is None else self.vocabulary.to_json()
        return {**vars(self), "vocabulary": vocabulary}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Encoding:
        """RunError: it is damaged."""
        try:
            numbers: dict[str, Any] = {k: tuple(map(float, found[k])) for k in ("means", "deviations")}
            numbers["columns"] = tuple(map(str, found["columns"]))
            vocabulary = None if found["vocabulary"] is None else Vocabulary.from_json(found["vocabulary"])
            return cls(
                [str(name) for name in found["classes"]],
                vocabulary,
                **numbers,
                max_length=found["max_length"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the checkpoint's sequence.json is damaged: {error}") from error

    def fits(self, symbols: int, inputs: int, outputs: int) -> bool:
        """Whether a model of this alphabet, so many numbers per step and so many classes can read it."""
        known = 0 if self.vocabulary is None else self.vocabulary.size
        sizes = {len(self.columns), len(self.means), len(self.deviations)}
        return (known, sizes, len(self.classes)) == (symbols, {inputs}, outputs)

    def texts(self, texts: list[str], labels: list[str] | None) -> Sequences:
        assert self.vocabulary is not None  # the caller reads texts
        kept = [text if self.max_length is None else text[-self.max_length :] for text in texts]
        offsets = np.concatenate([[0], np.cumsum(lengths_of(kept))]).astype(np.int64)
        return Sequences(self.vocabulary.encode("".join(kept)), offsets, self.codes(labels, len(texts)))

    def series(self, rows: SeriesRows) -> Sequences:
        scaled = (rows.values - np.array(self.means)) / np.array(self.deviations)
        scaled = np.nan_to_num(scaled, nan=0.0).astype(np.float32)
        codes = self.codes(rows.labels, len(rows.names))
        if self.max_length is None:
            return Sequences(scaled, rows.offsets, codes)
        lengths = np.minimum(np.diff(rows.offsets), self.max_length)
        kept = np.concatenate(
            [scaled[end - n : end] for end, n in zip(rows.offsets[1:], lengths, strict=True)]
        )
        return Sequences(kept, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), codes)

    def codes(self, labels: list[str] | None, count: int) -> Ints:
        """The number of each class. DataError: one that training does not have."""
        if labels is None:
            return np.full(count, -1, dtype=np.int64)
        numbers = {name: number for number, name in enumerate(self.classes)}
        if wrong := next((name for name in labels if name not in numbers), None):
            shown = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
            raise DataError(f"the class {wrong!r} is not among those of training", f"they are: {shown}")
        return np.array([numbers[name] for name in labels], dtype=np.int64)
