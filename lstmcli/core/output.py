"""Results in words and numbers, for standard output."""

from __future__ import annotations

import io
import json
import math
import sys
from typing import Any

from lstmcli.core.terminal import one_line, sanitize


def print_json(result: Any) -> None:
    """One JSON object; NaN and infinity, which JSON has not, become null."""
    sys.stdout.write(json.dumps(_finite(result), indent=2, ensure_ascii=True, default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_rows(rows: list[list[str]], right: int = 1) -> None:
    """Rows in aligned columns; those from number `right` on are flush right."""
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in shown) for k in range(len(shown[0]))]
    for row in shown:
        cells = [
            c.ljust(w) if k < right else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def print_line(text: str) -> None:
    """A line (or several) for a person, with nothing in it that a terminal would act on."""
    sys.stdout.write(sanitize(text) + "\n")


class TextOut:
    """Text of a model on standard output, piece by piece: as it is in a file or pipe; on a terminal made
    harmless, CRLF and CR shown as the line ends that they are."""

    def __init__(self) -> None:
        self._ends = io.IncrementalNewlineDecoder(None, translate=True)
        self.terminal = sys.stdout.isatty()

    def write(self, text: str) -> None:
        print_text(self._ends.decode(text) if self.terminal else text)
        if self.terminal:
            sys.stdout.flush()

    def write_bytes(self, raw: bytes) -> None:
        """Into a file or pipe, whatever they are."""
        sys.stdout.flush()
        if (binary := getattr(sys.stdout, "buffer", None)) is None:  # standard output was replaced by text
            sys.stdout.write(raw.decode("utf-8", "replace"))
        else:
            binary.write(raw)
            binary.flush()


def print_text(text: str) -> None:
    """Text of a model, as it is; made harmless where a terminal would act on it."""
    sys.stdout.write(sanitize(text) if sys.stdout.isatty() else text)
