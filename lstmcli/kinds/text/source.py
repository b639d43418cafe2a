"""Text files become symbol ids: checked, split, encoded, kept on disk, memory-mapped.

Rules
- Text is UTF-8, or in the encoding that `data.encoding` states. Bytes that are not, and NULs, are errors
  (exit 4) with their offset and line, and with what the file seems to be; with `data.level: bytes` anything
  at all is read, as it is. Compressed files are refused at level characters, and told of at level bytes.
- A byte order mark at a file's start is dropped (at level characters). Line ends stay as they are (CRLF is
  two symbols, and told) unless `data.newlines: unix` makes them line feeds; `data.normalize` gives
  characters their composed or decomposed form.
- Several files are joined in their order, each a document: where one does not end with a line end, a line
  feed stands between it and the next (nothing at level bytes), or else what `data.separator` says between
  any two. Files that end as text files do are joined as they always were, so their fingerprints and
  figures stay. An empty file is an error.
- Splits are contiguous, in file order, and counted in symbols: of n symbols, `splits: [0.9, 0.1]`
  gives the first floor(0.9 n) to training. What shares below 1 leave over is not used. Each split
  needs two symbols.
- With `val_path` or `test_path`, `path` is training text as a whole, and `splits` does not count.
- The vocabulary comes from the training text only, sorted by code point; characters rarer there
  than `min_count` are left out. Whatever a split has beyond it is the unknown symbol (id 0), and is
  counted in the summary. At level bytes the vocabulary is always the 256 bytes.
- Training text in which only one symbol occurs is an error: there is nothing to learn.
- `sha256` is compared with the one file of `path` or `url`.
- Ids are uint8, uint16 or uint32, whichever is the smallest for the vocabulary.
- The fingerprint depends on the files' contents (not their names), their roles and order, level,
  splits, min_count and the format of the ids.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcli.core.errors import DataError
from lstmcli.core.progress import Progress, throttled
from lstmcli.kinds.files.cache import FORMAT, Cache, Prepared, digest_of, stamps
from lstmcli.kinds.files.reading import Form, read_pieces
from lstmcli.kinds.files.sources import download, download_path, expanded, find_files, stdlib_files
from lstmcli.kinds.text.preparing import Source, build, unknown_characters
from lstmcli.kinds.text.vocabulary import Ids, Vocabulary

if TYPE_CHECKING:
    from lstmcli.kinds.text.settings import TextSource


@dataclass(frozen=True)
class TextData:
    """A text ready for training. The splits are read-only memory maps of ids, (symbols,)."""

    vocabulary: Vocabulary
    train: Ids
    val: Ids | None
    test: Ids | None
    fingerprint: str
    summary: dict[str, Any]
    """files, bytes, symbols and unknown (by split), vocabulary (its size), seconds, cached,
    mb_per_second (None if cached)."""
    notices: tuple[str, ...] = ()
    """What a person should know of the text before anything is learned from it."""


def prepare_text(data: TextSource, progress: Progress | None = None) -> TextData:
    """The splits and vocabulary of the configured text, from the cache where it has been prepared.

    ``progress`` hears (label, bytes done, bytes in total). DataError: the module's rules.
    ResourceError: no network, or a cache folder that cannot be written.
    """
    report = throttled(progress)
    cache = Cache(expanded(data.cache, "data.cache"))
    located = _locate(data, cache, report)
    started = time.perf_counter()
    form = Form.of(data)
    sources = {}
    for role, files in located.items():
        seen = stamps(files)
        sources[role] = Source(files, seen, cache.examine(files, seen, form, report), form)
    _check_sha256(data, sources["train"])
    fingerprint = _fingerprint(data, sources)
    prepared = cache.load(fingerprint)
    cached = prepared is not None
    if prepared is None:
        prepared = build(data, sources, cache, fingerprint, report)
    summary = _summary(sources, prepared, cached, time.perf_counter() - started)
    splits = prepared.splits
    return TextData(
        prepared.vocabulary,
        splits["train"],
        splits.get("val"),
        splits.get("test"),
        fingerprint,
        summary,
        (*_line_ends(sources), *_unknown(prepared)),
    )


def encode_file(path: Path, vocabulary: Vocabulary) -> Ids:
    """The ids of another text in the vocabulary of a run, (symbols,): UTF-8, line ends as they are."""
    return encode_files([Path(path)], vocabulary, Form(vocabulary.level))[0]


def encode_files(paths: Sequence[Path], vocabulary: Vocabulary, form: Form) -> tuple[Ids, list[str]]:
    """The ids of other texts in the vocabulary of a run, (symbols,), in memory, joined and shaped as the
    training text was; and what should be told of them.

    Characters that the vocabulary does not hold become its unknown symbol. DataError: as for the
    training text.
    """
    found: list[Ids] = []
    unknown, last = Counter[str](), ""
    for number, path in enumerate(paths):
        marks = [form.mark(last)] if number else []
        for piece in (*marks, *read_pieces(path, form)):
            ids = vocabulary.encode(piece)
            found.append(ids)
            if isinstance(piece, str) and vocabulary.level == "characters":
                unknown += unknown_characters(piece, ids, vocabulary)
            last = str(piece[-1:]) if piece else last
    symbols = sum(map(len, found))
    return np.concatenate(found), unknown_told("the text", unknown.total(), symbols, unknown)


# --- what should be told -----------------------------------------------------------------------

TOLD_FROM = 1e-3
"""The share of unknown symbols above which they are told."""
NAMED = 10


def _unknown(prepared: Prepared) -> list[str]:
    """Of the unknown symbols: the loss counts them, and training follows the loss."""
    names = {"train": "the training text", "val": "the validation text", "test": "the test text"}
    told: list[str] = []
    for split, count in prepared.unknown.items():
        told += unknown_told(names[split], count, len(prepared.splits[split]), prepared.commonest[split])
    return told


def unknown_told(what: str, count: int, symbols: int, commonest: Mapping[str, int]) -> list[str]:
    """A sentence on the unknown symbols of a text if they are more than a thousandth of it."""
    if count <= TOLD_FROM * symbols:
        return []
    most = Counter(commonest).most_common(NAMED)
    named = ", ".join(f"{each!r} (U+{ord(each):04X}) {number:,} times" for each, number in most)
    more = f"; most often {named}" if named else ""
    return [
        f"{count:,} of the {symbols:,} symbols of {what} ({100 * count / symbols:.1f}%) are unknown: the "
        f"vocabulary of the training text lacks them, and the loss counts them{more}"
    ]


def _line_ends(sources: dict[str, Source]) -> list[str]:
    told = []
    for source in sources.values():
        for path, facts in zip(source.files, source.facts, strict=True):
            if (facts.crlf or facts.cr) and source.form.newlines == "keep":
                found = line_ends(facts.crlf, facts.cr)
                told.append(f"{path} has {found}; `data.newlines: unix` makes each one line feed")
    more = [f"{len(told) - 3} more files have such line ends"] if len(told) > 3 else []
    return told[:3] + more


def line_ends(crlf: int, cr: int) -> str:
    """What is said of line ends that are no line feed."""
    pairs = [f"{crlf:,} line ends of Windows (CRLF, two symbols each)"] if crlf else []
    return " and ".join(pairs + ([f"{cr:,} carriage returns (CR) as line ends"] if cr else []))


# --- where it comes from -----------------------------------------------------------------------


def _locate(data: TextSource, cache: Cache, report: Progress) -> dict[str, list[Path]]:
    """The files by role: train (split further if it stands alone), val, test."""
    found = {"train": _main_files(data, cache, report)}
    if data.val_path is not None:
        found["val"] = find_files(data.val_path, "data.val_path")
    if data.test_path is not None:
        found["test"] = find_files(data.test_path, "data.test_path")
    return found


def _main_files(data: TextSource, cache: Cache, report: Progress) -> list[Path]:
    if data.path is not None:
        return find_files(data.path, "data.path")
    if data.url is None:
        return stdlib_files()
    assert data.sha256 is not None  # the schema asks for it
    folder = cache.folder / "downloads"
    target = download_path(data.url, data.sha256, folder)
    known = cache.recall(stamps([target]), Form.of(data)) if target.is_file() else None
    if known and known[0].sha256 == data.sha256:
        return [target]
    return [download(data.url, data.sha256, folder, report)]


def _check_sha256(data: TextSource, source: Source) -> None:
    if data.sha256 is None:
        return
    if len(source.files) != 1:
        raise DataError(
            f"data.sha256 is the checksum of one file, but there are {len(source.files)}",
            "remove data.sha256, or join the files into one",
        )
    found = source.facts[0].sha256
    if found != data.sha256:
        raise DataError(
            f"{source.files[0]} has the SHA-256 {found}, but data.sha256 is {data.sha256}",
            "the file is not the one that the config was written for: replace it, or data.sha256",
        )


def _fingerprint(data: TextSource, sources: dict[str, Source]) -> str:
    form = sources["train"].form
    # Only what makes other ids counts: a text without any of it has the fingerprint that it always had.
    stated = {**form.stated, "marks": {role: source.marks for role, source in sources.items()}}
    if not any(mark for marks in stated["marks"].values() for mark in marks):
        stated.pop("marks")
    return digest_of(
        {
            **stated,
            "format": FORMAT,
            "level": data.level,
            "splits": data.splits if len(sources) == 1 else None,
            "min_count": data.min_count if data.level == "characters" else None,
            "files": {role: [facts.sha256 for facts in source.facts] for role, source in sources.items()},
        }
    )


def _summary(sources: dict[str, Source], prepared: Prepared, cached: bool, seconds: float) -> dict[str, Any]:
    size = sum(source.bytes for source in sources.values())
    return {
        "files": sum(len(source.files) for source in sources.values()),
        "bytes": size,
        "symbols": {name: len(ids) for name, ids in prepared.splits.items()},
        "unknown": prepared.unknown,
        "vocabulary": prepared.vocabulary.size,
        "seconds": seconds,
        "cached": cached,
        "mb_per_second": None if cached else size / 1e6 / max(seconds, 1e-9),
    }
