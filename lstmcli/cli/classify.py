"""`lstm generate` of a classifier: the class of a text, or of every row or group of a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.cli.output import print_json, print_line, print_text
from lstmcli.core.errors import UsageError
from lstmcli.core.tables import to_csv, write_rows

if TYPE_CHECKING:
    from lstmcli.kinds.sequence.trained import ClassifierRun, Prediction

LIKELIEST = 5
"""Classes that are shown of one text."""


def write_classes(
    run: ClassifierRun, text: str | None, table: Path | None, output: Path | None, as_json: bool
) -> None:
    """Classify `text` or the rows of `table`. Without --output and --json CSV goes to standard output, or
    for one text a few lines."""
    if (text is None) == (table is None):
        found = "none of them" if text is None else "both"
        raise UsageError(f"a classifier needs a text (--prompt) or a table (--input); found {found}")
    predictions = run.classify([text] if text is not None else str(table))
    if output is not None:
        write_rows(output, *_rows(predictions))
    if as_json:
        print_json(_result(run, predictions))
    elif output is not None:
        print_line(f"wrote {output}")
    elif text is not None:
        _show(predictions[0])
    else:
        print_text(to_csv(*_rows(predictions)))


def _rows(predictions: list[Prediction]) -> tuple[list[str], list[list[Any]]]:
    """Columns, and a row per sequence: its row or group, its class, how likely that is, and each class."""
    classes = list(predictions[0].probabilities) if predictions else []
    columns = ["sequence", "label", "probability", *(f"p_{name}" for name in classes)]
    rows = []
    for found in predictions:
        shares = [found.probabilities[name] for name in (found.label, *classes)]
        rows.append([found.name, found.label, *(float(f"{share:.6g}") for share in shares)])
    return columns, rows


def _result(run: ClassifierRun, predictions: list[Prediction]) -> dict[str, Any]:
    rows = [
        {"sequence": p.name, "label": p.label, "probability": p.probabilities[p.label],
         "probabilities": p.probabilities}
        for p in predictions
    ]  # fmt: skip
    return {"run": run.directory.name, "step": run.step, "rows": rows}


def _show(found: Prediction) -> None:
    ranked = sorted(found.probabilities.items(), key=lambda pair: -pair[1])[:LIKELIEST]
    width = max(len(name) for name, _ in ranked)
    for name, share in ranked:
        print_line(f"{name.ljust(width)}  {100.0 * share:5.1f}%")
    sys.stdout.flush()
