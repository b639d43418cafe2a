"""Prepared ids on disk, so that a text is read and encoded once.

    <cache>/<fingerprint[:16]>/   train.ids, val.ids, test.ids   raw ids in the vocabulary's dtype
                                  meta.json                      vocabulary, lengths, checksums
    <cache>/examined/<key>.json   checksums and lengths of files, by path, size, mtime and inode
    <cache>/downloads/            what data.url gave

A folder is written under a temporary name and renamed when it is complete. Ids are not flushed to
the disk by force: after a power cut `load` notices that they are missing, and they are made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lstmcli.core.errors import DataError, LstmError, ResourceError
from lstmcli.core.progress import Meter, Progress
from lstmcli.kinds.files.reading import FileFacts, Form, examine_file, read_error
from lstmcli.kinds.text.vocabulary import Ids, Vocabulary

FORMAT = 1
"""Raised by one whenever the same text would give other ids or another layout."""
EXAMINED = 2
"""The same for what is noted of a file by itself."""

META = "meta.json"
PRIVATE = 0o600
"""Mode of what is kept of a text: it may be anybody's letters, and lies in folders of mode 0700."""
PUBLISH_ATTEMPTS = 5
STALE_SECONDS = 24 * 3600
OWN_LEFTOVER = re.compile(r"\.[0-9a-f]{16}-\d+-[0-9a-f]{8}(\.tmp-\d)?\.tmp")  # the folder may be anybody's
RACY_NANOSECONDS = 2_000_000_000  # the coarsest clock of a common file system
COMMONEST = 10  # unknown characters that are remembered by name
PROBE_BLOCKS, PROBE_BYTES = 16, 4096

Stamp = tuple[str, int, int, int]


@dataclass(frozen=True)
class Prepared:
    """A prepared text as it lies on disk: read-only memory maps by split, and figures of it."""

    vocabulary: Vocabulary
    splits: dict[str, Ids]
    unknown: dict[str, int]
    commonest: dict[str, dict[str, int]]
    """Of each split the unknown characters that it has most often, and how often."""


def digest_of(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def stamps(files: Sequence[Path]) -> list[Stamp]:
    """What changes when a file does: path, size, modification time and inode."""
    found = []
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise read_error(path, error) from error
        found.append((str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino))
    return found


class Cache:
    """The folder `data.cache`."""

    def __init__(self, folder: Path):
        self.folder = folder

    # --- what is known of the text files -------------------------------------------------------

    def examine(
        self, files: Sequence[Path], seen: Sequence[Stamp], form: Form, report: Progress
    ) -> list[FileFacts]:
        """Checksum and length of each file; files with known stamps are not read again."""
        facts = self.recall(seen, form)
        if facts is None:
            meter = Meter(report, "reading", sum(size for _, size, _, _ in seen))
            facts = [examine_file(path, form, meter) for path in files]
            if stamps(files) != list(seen):
                raise changed_while_read(files)
            self._remember(seen, form, facts)
        return facts

    def recall(self, seen: Sequence[Stamp], form: Form) -> list[FileFacts] | None:
        """The facts of files with these stamps, if they have been examined before."""
        found = _read_sealed(self._facts_path(seen, form))
        if found is None or len(found.get("files", ())) != len(seen):
            return None
        return [FileFacts(**facts) for facts in found["files"]]

    def _remember(self, seen: Sequence[Stamp], form: Form, facts: list[FileFacts]) -> None:
        newest = max(mtime for _, _, mtime, _ in seen)
        if time.time_ns() - newest < RACY_NANOSECONDS:
            return  # one more change could leave the same time stamp
        path = self._facts_path(seen, form)
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
        with suppress(OSError):  # a convenience; what must be written complains by itself
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_sealed(temporary, {"files": [asdict(each) for each in facts]})
            os.replace(temporary, path)

    def _facts_path(self, seen: Sequence[Stamp], form: Form) -> Path:
        key = digest_of([EXAMINED, form.level, form.stated, [list(stamp) for stamp in seen]])
        return self.folder / "examined" / f"{key[:32]}.json"

    # --- prepared texts ------------------------------------------------------------------------

    def load(self, fingerprint: str) -> Prepared | None:
        """The prepared text, or None where there is none that is whole."""
        folder = self._prepared(fingerprint)
        meta = _read_sealed(folder / META)
        if meta is None or (meta.get("format"), meta.get("fingerprint")) != (FORMAT, fingerprint):
            return None
        try:
            vocabulary = Vocabulary.from_json(meta["vocabulary"])
            splits = {
                name: _mapped(folder / f"{name}.ids", vocabulary, facts)
                for name, facts in meta["splits"].items()
            }
        except (OSError, ValueError, LstmError):
            return None
        unknown = {name: facts["unknown"] for name, facts in meta["splits"].items()}
        commonest = {name: facts.get("commonest", {}) for name, facts in meta["splits"].items()}
        return Prepared(vocabulary, splits, unknown, commonest)

    @contextmanager
    def building(self, fingerprint: str, bytes_needed: int) -> Iterator[Path]:
        """A temporary folder for the ids; it becomes the prepared text unless an error leaves.

        ResourceError if the disk does not take it. Two processes that build the same text at once
        do not disturb each other: the second finds the first one's folder and drops its own.
        """
        token = f"{os.getpid()}-{secrets.token_hex(4)}"
        temporary = self.folder / f".{fingerprint[:16]}-{token}.tmp"
        try:
            temporary.mkdir(mode=0o700, parents=True)
            self._remove_stale()
            yield temporary
            for file in temporary.iterdir():
                file.chmod(PRIVATE)
            self._publish(temporary, fingerprint)
        except OSError as error:
            raise ResourceError(
                f"cannot write the prepared text to {self.folder.absolute()}: "
                f"{error.strerror or error}; it needs {bytes_needed:,} bytes",
                "make room, or set data.cache to a folder that can be written",
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, fingerprint: str) -> None:
        """Rename the folder to its final name, over a damaged one if there is one."""
        target = self._prepared(fingerprint)
        for attempt in range(1, PUBLISH_ATTEMPTS + 1):
            try:
                os.rename(temporary, target)
                return
            except OSError:
                if attempt == PUBLISH_ATTEMPTS:
                    raise
            if self.load(fingerprint) is not None:
                return  # another process was faster
            damaged = temporary.with_name(f"{temporary.name}-{attempt}.tmp")
            with suppress(OSError):
                os.rename(target, damaged)
                _remove(damaged)

    def _remove_stale(self) -> None:
        """Folders that killed processes left half-written."""
        for leftover in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                if (
                    OWN_LEFTOVER.fullmatch(leftover.name)
                    and time.time() - leftover.stat().st_mtime > STALE_SECONDS
                ):
                    _remove(leftover)

    def _prepared(self, fingerprint: str) -> Path:
        return self.folder / fingerprint[:16]


def write_meta(
    folder: Path,
    fingerprint: str,
    vocabulary: Vocabulary,
    symbols: dict[str, int],
    unknown: dict[str, Counter[str]],
) -> None:
    """Seal a folder of ids: written last, it makes them a prepared text."""
    splits = {
        name: {
            "symbols": symbols[name],
            "unknown": unknown[name].total(),
            "commonest": dict(unknown[name].most_common(COMMONEST)),
            "probe": _probe(folder / f"{name}.ids"),
        }
        for name in symbols
    }
    meta = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "vocabulary": vocabulary.to_json(),
        "splits": splits,
    }
    _write_sealed(folder / META, meta)


def changed_while_read(files: Sequence[Path]) -> DataError:
    names = f"{files[0]}" if len(files) == 1 else f"one of {len(files)} files ({files[0]} ...)"
    return DataError(f"{names} changed while it was read", "start again when it is complete")


def _mapped(path: Path, vocabulary: Vocabulary, facts: dict[str, Any]) -> Ids:
    if path.stat().st_size != facts["symbols"] * vocabulary.dtype.itemsize:
        raise ValueError(f"{path} has the wrong size")
    if _probe(path) != facts["probe"]:
        raise ValueError(f"{path} has other ids than were written")
    return np.memmap(path, dtype=vocabulary.dtype, mode="r")


def _probe(path: Path) -> str:
    """Checksum of some blocks from the first to the last: cheap, and finds pages never written."""
    digest = hashlib.sha256()
    last = max(0, path.stat().st_size - PROBE_BYTES)
    with open(path, "rb") as file:
        for index in range(PROBE_BLOCKS):
            file.seek(last * index // (PROBE_BLOCKS - 1))
            digest.update(file.read(PROBE_BYTES))
    return digest.hexdigest()


def _write_sealed(path: Path, value: dict[str, Any]) -> None:
    sealed = {**value, "checksum": digest_of(value)}
    path.write_text(json.dumps(sealed, indent=1), encoding="ascii")
    path.chmod(PRIVATE)


def _read_sealed(path: Path) -> dict[str, Any] | None:
    """The value that was sealed; None if the file is missing, cut or altered."""
    try:
        found = json.loads(path.read_bytes())
        checksum = found.pop("checksum")
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) and digest_of(found) == checksum else None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
