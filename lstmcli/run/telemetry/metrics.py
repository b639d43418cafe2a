"""metrics.jsonl: one JSON object per logged step, with the same tags as TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lstmcli.core.errors import RunError
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
    """All whole records; a last line that a kill cut short is left out. RunError: something in one that is
    no number, or a file that is none."""
    records = []
    if os.path.lexists(path):
        if path.is_symlink() or not path.is_file():
            raise RunError(f"{path} is not an ordinary file")
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and type(record.get("step")) is int:
                _check(record, f"{path} is damaged: line {number}")
                records.append(record)
    return records


def _check(record: dict[str, Any], where: str) -> None:
    for key, value in record.items():
        if type(value) not in (int, float) or (isinstance(value, int) and abs(value) >= 2**53):
            raise RunError(f"{where}: {key}: {str(value)[:60]!r} is no number that is logged")
    if record["step"] < 0:
        raise RunError(f"{where}: step: {record['step']} is below nought")


def _drop_after(path: Path, last_step: int, evaluated: bool) -> None:
    """Drop what lies past `last_step`, and its evaluation, too, if the checkpoint does not know it."""
    kept = [r for r in read_metrics(path) if r["step"] <= last_step]
    if not evaluated:
        kept = [r for r in kept if r["step"] < last_step or "val/loss" not in r]
    write_atomic(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
