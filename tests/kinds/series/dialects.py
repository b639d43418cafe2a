"""Tables in the dialects of the world, each with the values that a person sees in it.

    python -m tests.kinds.series.dialects [COUNT]     read COUNT files (2,000), and print what is misread

A file is read to the values of its model, or refused with a message that names it. Nothing between.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import random
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.notices import route_notices
from lstmcli.kinds.series.propose import propose_series
from lstmcli.kinds.series.settings import SeriesTable
from lstmcli.kinds.series.table.panel import prepare_series

START = datetime(2020, 1, 1)
SEPARATORS = [",", ";", "\t", "|"]
NUMBERS = [(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (",", "\u00a0"), (".", "'"), (".", " ")]
TIMES = [
    "%Y-%m-%d", "%Y-%m-%dT00:00:00Z", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y",
    "%b %d, %Y", "%Y-%m-%d 00:00:00 UTC", "%d.%m.%y", "%m/%d/%Y 12:00 AM", "unix", "%d %B %Y",
]  # fmt: skip
ENCODINGS = ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"]
PACKED = ["", "gz", "bz2", "zip", "zst"]
NEWLINES = ["\n", "\r\n", "\r"]
SIGNS = ["", "€", "%", "$"]


@dataclass(frozen=True)
class Model:
    """What is in a table, however it is written."""

    name: str
    columns: dict[str, list[float | None]]
    decimals: dict[str, int]


def models(seed: int = 0, rows: int = 60) -> list[Model]:
    """Twenty small tables: one to three columns of numbers of different sizes, some with nothing in them."""
    draw = random.Random(seed)
    names = ["Größe", "umsatz", "prix", "café", "value"]
    made = []
    for number in range(20):
        columns: dict[str, list[float | None]] = {}
        decimals = {}
        for name in draw.sample(names, draw.randint(1, 3)):
            digits, size = draw.choice([0, 0, 1, 2, 3]), draw.choice([1, 90, 4000, 3_000_000])
            values = [
                round(draw.uniform(-0.2 if number % 4 == 0 else 0.1, 1) * size, digits) for _ in range(rows)
            ]
            columns[name] = [None if number % 5 == 0 and draw.random() < 0.1 else value for value in values]
            decimals[name] = digits
        made.append(Model(f"table{number}", columns, decimals))
    return made


def written(value: float | None, digits: int, number: tuple[str, str], sign: str) -> str:
    if value is None:
        return ""
    point, between = number
    text = f"{value:,.{digits}f}"
    text = text.replace(",", "\0").replace(".", point).replace("\0", between)
    return {"": text, "$": f"${text}"}.get(sign, f"{text} {sign}") if not text.startswith("-") else text


def stamp(day: datetime, form: str) -> str:
    return str(int((day - datetime(1970, 1, 1)).total_seconds())) if form == "unix" else day.strftime(form)


Dialect = tuple[str, tuple[str, str], str, str, str, bool, str, str]


def dialects(count: int, seed: int = 1) -> list[Dialect]:
    """A sample of all combinations, the same for one seed."""
    every = itertools.product(SEPARATORS, NUMBERS, TIMES, ENCODINGS, PACKED, [True, False], NEWLINES, SIGNS)
    return random.Random(seed).sample(list(every), count)


def table(model: Model, dialect: Dialect) -> bytes | None:
    """The bytes of the file; None: an encoding has no such character."""
    separator, number, form, encoding, packed, header, newline, sign = dialect
    names = list(model.columns)
    signs = {name: sign if all((v or 0) >= 0 for v in model.columns[name]) else "" for name in names}
    rows = [["date", *names]] if header else []
    for k in range(len(model.columns[names[0]])):
        cells = [written(model.columns[n][k], model.decimals[n], number, signs[n]) for n in names]
        rows.append([stamp(START + timedelta(days=k), form), *cells])
    lines = [separator.join(f'"{c}"' if separator in c else c for c in row) for row in rows]
    try:
        raw = (newline.join(lines) + newline).encode(encoding)
    except UnicodeEncodeError:
        return None
    return raw if not packed else pack(raw, packed)


def pack(raw: bytes, way: str) -> bytes:
    if way in ("gz", "bz2"):
        return gzip.compress(raw, mtime=0) if way == "gz" else bz2.compress(raw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "packed")
        if way == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("table.csv", raw)
        else:
            path.write_bytes(_zstd(raw))
        return path.read_bytes()


def _zstd(raw: bytes) -> bytes:
    """A frame of Zstandard with one raw block (RFC 8878): nothing is compressed, but all is packed."""
    head = b"\x28\xb5\x2f\xfd" + b"\xa0" + len(raw).to_bytes(4, "little")
    blocks, size = b"", 1 << 16
    for begin in range(0, len(raw), size):
        block = raw[begin : begin + size]
        last = begin + size >= len(raw)
        blocks += (len(block) << 3 | last).to_bytes(3, "little") + block
    return head + blocks


def outcome(path: Path, model: Model, dialect: Dialect) -> str:
    """`read`, `refused: ...` by a message with the file's name, or `misread: ...`."""
    try:
        found = propose_series(path)
        panel = prepare_series(SeriesTable(path=str(path), splits=[1.0], **found.columns)).panel
    except (DataError, UsageError) as error:
        return (
            f"refused: {error.message}"
            if path.name in error.message
            else f"misread: no name in {error.message}"
        )
    expected = np.array([[np.nan if v is None else v for v in column] for column in model.columns.values()]).T
    names = list(model.columns) if dialect[5] else [f"column{k + 2}" for k in range(expected.shape[1])]
    if panel.targets != names:
        return f"misread: columns {panel.targets} instead of {names}"
    last = len(expected) - 1
    if panel.values.shape != expected.shape or panel.grid is None:
        return f"misread: shape {panel.values.shape} instead of {expected.shape}"
    times = [f"{label:.10}" for label in panel.grid.labels([0, last])]
    wanted = [f"{START + timedelta(days=k):%Y-%m-%d}" for k in (0, last)]
    if times != wanted:
        return f"misread: times {times} instead of {wanted}"
    same = np.isclose(panel.values, expected, rtol=1e-12, equal_nan=True).all()
    return "read" if same else f"misread: {panel.values[~np.isclose(panel.values, expected)][:3]}"


def run(count: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Counts of what became of the files, and what was misread."""
    counts: Counter[str] = Counter()
    wrong = []
    everything = models()
    for number, dialect in enumerate(dialects(count)):
        model = everything[number % len(everything)]
        raw = table(model, dialect)
        if raw is None:
            counts["cannot be written"] += 1
            continue
        path = folder / f"t{number}.csv{'.' if dialect[4] else ''}{dialect[4]}"
        path.write_bytes(raw)
        became = outcome(path, model, dialect)
        counts[became.split(":")[0]] += 1
        if not became.startswith("read"):
            wrong.append(f"{dialect} {model.name}: {became}")
        path.unlink()
    return counts, wrong


if __name__ == "__main__":
    route_notices(lambda said: None)
    with tempfile.TemporaryDirectory() as here:
        figures, others = run(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, Path(here))
    print(*others, dict(figures), sep="\n")
    sys.exit(bool(figures["misread"]))
