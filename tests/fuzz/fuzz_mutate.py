"""Inputs that are nearly right: bytes and pieces of a seed changed, doubled, cut and mixed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"1" * 40, b"18446744073709551616", b"0x10", b"1_000", b"-0.0")
WORDS = (
    b"null", b"true", b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[31m", b"..",
    b"/etc/passwd", b"[" * 2000, b"{" * 500, b"&a [*a]", b"!!python/object:os.system", b"\r\n", b"\t", b'"',
)  # fmt: skip
TOKEN = re.compile(rb"[A-Za-z_]+|[-+.0-9eE]+|\s+|[^\w\s]")


def mutated(seeds: Sequence[bytes], draw: random.Random, most: int = 4) -> bytes:
    """One of the seeds after up to `most` changes; the same for the same state of `draw`."""
    data = draw.choice(seeds)
    for _ in range(draw.randint(0, most)):
        data = draw.choice(CHANGES)(data, draw, seeds)[: 1 << 16]
    return data


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    begin = draw.randint(0, len(data))
    return begin, min(len(data), begin + draw.choice((1, 1, 2, 4, 8, 64, 1024)))


def _flip(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def _cut(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    begin, end = _span(data, draw)
    return data[:begin] + data[end:]


def _truncate(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: draw.randint(0, len(data))]


def _double(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    begin, end = _span(data, draw)
    return data[:end] + data[begin:end] * draw.choice((1, 1, 2, 50)) + data[end:]


def _insert(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = draw.randint(0, len(data))
    return data[:place] + draw.choice(NUMBERS + WORDS) + data[place:]


def _noise(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    begin, end = _span(data, draw)
    return data[:begin] + draw.randbytes(draw.randint(0, 8)) + data[end:]


def _cross(data: bytes, draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    other = draw.choice(seeds)
    return data[: draw.randint(0, len(data))] + other[draw.randint(0, len(other)) :]


def _token(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """Another token where one stood: a number for a number, a word for a word, mostly."""
    found = list(TOKEN.finditer(data[:8192]))
    if not found:
        return data
    old = draw.choice(found)
    mine = old.group()
    alike = NUMBERS if mine[:1].isdigit() else WORDS if draw.random() < 0.5 else [draw.choice(found).group()]
    return data[: old.start()] + draw.choice(alike) + data[old.end() :]


def _swap(data: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """Two lines in each other's place."""
    lines = data.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
CHANGES: tuple[Change, ...] = (
    _flip, _cut, _truncate, _double, _insert, _noise, _cross, _token, _token, _token, _swap
)  # fmt: skip
