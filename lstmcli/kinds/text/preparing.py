"""How a text becomes prepared ids: splits, then the vocabulary, then the ids. See text.py."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError, ResourceError
from lstmcli.core.progress import Meter, Progress
from lstmcli.kinds.files.cache import Cache, Prepared, Stamp, changed_while_read, stamps, write_meta
from lstmcli.kinds.files.reading import FileFacts, Form, read_pieces
from lstmcli.kinds.text.vocabulary import CODE_POINTS, Ids, Vocabulary, code_points

if TYPE_CHECKING:
    from lstmcli.kinds.text.settings import TextSource

SPLITS = ("train", "val", "test")
BUILD_ATTEMPTS = 3
PAIRS_FROM = 1 << 16  # bytes; below, folding the table of pairs costs more than it saves


@dataclass(frozen=True)
class Source:
    """Files that are joined, what they looked like, and what was read then."""

    files: list[Path]
    seen: list[Stamp]
    facts: list[FileFacts]
    form: Form

    @property
    def marks(self) -> list[str]:
        """What follows each file, before the next one."""
        return [*(self.form.mark(facts.last) for facts in self.facts[:-1]), ""]

    @property
    def symbols(self) -> int:
        marks = self.marks if self.form.level == "characters" else [mark.encode() for mark in self.marks]
        return sum(each.symbols for each in self.facts) + sum(map(len, marks))

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.facts)


@dataclass(frozen=True)
class _Split:
    """The symbols from start to stop of a source."""

    name: str
    source: str
    start: int
    stop: int


def _plan(data: TextSource, sources: dict[str, Source]) -> list[_Split]:
    """The splits there are, in the order of their symbols."""
    if len(sources) > 1:
        plan = [_Split(role, role, 0, source.symbols) for role, source in sources.items()]
    else:
        edges = split_edges(sources["train"].symbols, data.splits)
        plan = [
            _Split(name, "train", start, stop)
            for name, share, start, stop in zip(SPLITS, data.splits, edges, edges[1:], strict=False)
            if share > 0
        ]
    for split in plan:
        if split.stop - split.start < 2:
            is_shared = len(sources) == 1
            raise _too_short(data, split, sources[split.source].symbols, is_shared)
    return plan


def split_edges(symbols: int, shares: Sequence[float]) -> list[int]:
    """Where splits begin and end: 0, then floor(symbols x the shares so far), in exact decimals."""
    edges, so_far = [0], Fraction(0)
    for share in shares:
        so_far += Fraction(repr(share))
        whole = so_far > 1 - Fraction(1, 10**9)  # three times 0.3333333333333333 is meant as 1
        edges.append(symbols if whole else math.floor(symbols * so_far))
    return edges


def _too_short(data: TextSource, split: _Split, symbols: int, is_shared: bool) -> DataError:
    return DataError(
        f"the {split.name} split has {split.stop - split.start} of the text's {symbols} symbols, "
        "but it takes two to predict one from the other",
        "use a longer text" + (f", or other data.splits than {data.splits}" if is_shared else ""),
    )


def build(
    data: TextSource, sources: dict[str, Source], cache: Cache, fingerprint: str, report: Progress
) -> Prepared:
    """Build the vocabulary, encode every split into the cache, and map it."""
    plan = _plan(data, sources)
    vocabulary = _learn_vocabulary(data, sources["train"], plan[0].stop, report)
    symbols = {split.name: split.stop - split.start for split in plan}
    needed = sum(symbols.values()) * vocabulary.dtype.itemsize
    for _ in range(BUILD_ATTEMPTS):  # another process may just be clearing a damaged one away
        with cache.building(fingerprint, needed) as folder:
            unknown = {name: Counter[str]() for name in symbols}
            meter = Meter(report, "encoding", sum(source.bytes for source in sources.values()))
            for role, source in sources.items():
                splits = [split for split in plan if split.source == role]
                _encode(source, splits, vocabulary, folder, unknown, meter)
                if stamps(source.files) != source.seen:
                    raise changed_while_read(source.files)
            write_meta(folder, fingerprint, vocabulary, symbols, unknown)
        if prepared := cache.load(fingerprint):
            return prepared
    raise ResourceError(
        f"the prepared text in {cache.folder.absolute()} vanishes or is damaged at once",
        "set data.cache to another folder",
    )


def _learn_vocabulary(data: TextSource, source: Source, stop: int, report: Progress) -> Vocabulary:
    """The vocabulary of the source's first ``stop`` symbols."""
    meter = Meter(report, "counting", source.bytes * stop // source.symbols)
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    position = 0
    for piece in _pieces(source, meter):
        found = _histogram(piece[: stop - position])
        counts[: len(found)] += found
        position += len(piece)
        if position >= stop:
            break
    kept = counts >= data.min_count if data.level == "characters" else counts > 0
    # Characters left out are one symbol more: the unknown one.
    if np.count_nonzero(kept) + bool(counts[~kept].any()) < 2:
        raise _one_symbol(data, source, counts)
    if data.level == "bytes":
        return Vocabulary("bytes")
    return Vocabulary.from_counts(counts, data.min_count)


def _histogram(piece: str | bytes) -> npt.NDArray[np.intp]:
    """How often each code point (each byte, at level bytes) occurs, up to the highest."""
    codes = code_points(piece) if isinstance(piece, str) else np.frombuffer(piece, dtype=np.uint8)
    if codes.dtype != np.uint8 or len(codes) < PAIRS_FROM:
        return np.bincount(codes)
    # Counting pairs of bytes takes half as many steps; each byte is the first or second of a pair.
    even = len(codes) // 2 * 2
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    counts: npt.NDArray[np.intp] = pairs.sum(axis=0) + pairs.sum(axis=1)
    counts[codes[even:]] += 1
    return counts


def _one_symbol(data: TextSource, source: Source, counts: npt.NDArray[np.int64]) -> DataError:
    if np.count_nonzero(counts) > 1:
        return DataError(
            f"no character of {source.files[0]} occurs data.min_count = {data.min_count} times in "
            "the training text: all would be unknown",
            f"lower data.min_count; the most frequent character occurs {counts.max()} times",
        )
    only = chr(int(counts.argmax()))
    return DataError(
        f"the training text of {source.files[0]} repeats the single symbol {only!r}",
        "there is nothing to learn from it: use another text",
    )


def _encode(
    source: Source,
    splits: list[_Split],
    vocabulary: Vocabulary,
    folder: Path,
    unknown: dict[str, Counter[str]],
    meter: Meter,
) -> None:
    """Write the ids of each split of one source, reading it once; count the unknown ones."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(open(folder / f"{s.name}.ids", "wb")) for s in splits]
        position = 0
        for piece in _pieces(source, meter):
            for split, output in zip(splits, outputs, strict=True):
                part = piece[max(split.start - position, 0) : max(split.stop - position, 0)]
                ids = vocabulary.encode(part)
                output.write(ids.data)
                if isinstance(part, str):
                    unknown[split.name] += unknown_characters(part, ids, vocabulary)
            position += len(piece)


def unknown_characters(text: str, ids: Ids, vocabulary: Vocabulary) -> Counter[str]:
    """How often each character of the text occurs that the vocabulary lacks; `ids`: of the text."""
    places = np.flatnonzero(ids == vocabulary.unknown)
    codes, counts = np.unique(code_points(text)[places], return_counts=True)
    return Counter(dict(zip(map(chr, codes.tolist()), counts.tolist(), strict=True)))


def _pieces(source: Source, meter: Meter) -> Iterator[str | bytes]:
    for path, mark in zip(source.files, source.marks, strict=True):
        yield from read_pieces(path, source.form, meter)
        yield mark.encode() if source.form.level == "bytes" else mark
