"""Results in words and numbers, for standard output."""

from __future__ import annotations

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


def print_text(text: str) -> None:
    """Text of a model, as it is; made harmless where a terminal would act on it."""
    sys.stdout.write(sanitize(text) if sys.stdout.isatty() else text)
