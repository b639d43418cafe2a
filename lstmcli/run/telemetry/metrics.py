"""metrics.jsonl: one JSON object per logged step, with the same tags as TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lstmcli.run.directory import write_atomic


class MetricsFile:
    """Appends records; a resumed run first drops what was logged past its checkpoint."""

    def __init__(self, path: Path, last_step: int | None = None, evaluated: bool = True):
        self.path = path
        if last_step is not None and path.exists():
            _drop_after(path, last_step, evaluated)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: dict[str, Any]) -> None:
        self._file.write(json.dumps({"step": step, **values}, allow_nan=True) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """What is logged outlives a power cut from here on."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole records; a last line that a kill cut short is left out."""
    records = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                records.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
    return [r for r in records if isinstance(r, dict) and isinstance(r.get("step"), int)]


def _drop_after(path: Path, last_step: int, evaluated: bool) -> None:
    """Drop what lies past `last_step`, and its evaluation, too, if the checkpoint does not know it."""
    kept = [r for r in read_metrics(path) if r["step"] <= last_step]
    if not evaluated:
        kept = [r for r in kept if r["step"] < last_step or "val/loss" not in r]
    write_atomic(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
