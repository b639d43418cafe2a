"""Which settings of `data` belong to which kind of data; those of another kind are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

FILES = ("path", "url", "sha256", "source", "splits", "test_path", "val_path")
READING = ("encoding", "newlines", "normalize")
TEXT = ("level", "min_count", "separator", *READING)
SERIES = (
    "layout", "time", "dayfirst", "target", "group", "frequency", "season", "known", "past", "static",
    "header", "decimal", "thousands", "missing", "context_length", "horizon", "val_length", "test_length",
    "calibration_length",
)  # fmt: skip
SYNTHETIC = ("task", "length", "symbols", "train_length")
LABELLED = ("label", "max_length")

ALLOWED = {
    "text": {*FILES, *TEXT, *LABELLED, "text"},
    "series": {*FILES, *SERIES, *LABELLED, "encoding"} - {"source", "val_path"},
    "synthetic": {*SYNTHETIC},
}
OWNERS = {name: [kind for kind, names in ALLOWED.items() if name in names] for name in
          {*FILES, *TEXT, *SERIES, *SYNTHETIC, *LABELLED, "text"}}  # fmt: skip

TASKS_WITH_SYMBOLS = ("copy", "recall", "dyck")
FORECASTING = (
    "context_length", "horizon", "val_length", "test_length", "known", "past", "static", "season", "layout",
    "frequency", "test_path", "header", "decimal", "thousands", "calibration_length",
)  # fmt: skip
"""Settings of series that have no place where whole series are classified."""


def misplaced(kind: str, given: Collection[str], order: Collection[str]) -> str | None:
    """What is wrong with the first of the settings in `order` that is given (differs from its default)
    and belongs to another kind; None: all is well."""
    for name in order:
        if name in given and name in OWNERS and kind not in OWNERS[name]:
            return f"{name} belongs to kind: {' or '.join(OWNERS[name])}, but the kind is {kind}"
    return None


def incomplete_synthetic(task: str | None, given: Collection[str]) -> str | None:
    """What a synthetic task lacks, or does not know."""
    if task is None:
        return "kind: synthetic needs a task, such as task: adding"
    if "symbols" in given and task not in TASKS_WITH_SYMBOLS:
        return f"symbols belongs to task: {' or '.join(TASKS_WITH_SYMBOLS)}, but the task is {task}"
    return None


def misplaced_label(kind: str, given: Mapping[str, Any]) -> str | None:
    """What does not go with a label, or only with one; `given`: the settings by name."""
    if lost := [name for name in (*READING, "separator") if name in given]:
        if given["label"] is not None:
            return f"{lost[0]} has no place beside a label: tables are UTF-8"
        if given["level"] == "bytes" and lost[0] in READING:
            return f"{lost[0]} has no place beside level: bytes, which reads files as they are"
    if given["label"] is None:
        if alone := [name for name in ("text", "max_length") if name in given]:
            return f"{alone[0]} is for classification: it needs a label"
        lacks = given["source"] == "python-packages"
        return "source: python-packages needs a label, such as label: package" if lacks else None
    if kind == "series":
        if wrong := [name for name in FORECASTING if name in given]:
            return f"{wrong[0]} is for forecasting: it has no place beside a label"
        lacks = given["group"] is None
        return "a label of series needs a group, the column that names the series" if lacks else None
    if given["source"] == "python-stdlib":
        return "source: python-stdlib has no label; python-packages has"
    return "level: bytes has no place beside a label: tables are text" if given["level"] == "bytes" else None
