"""What `lstm eval` and `lstm generate` do with a classifier and with a model of a synthetic task, and what
they can be asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import UsageError
from lstmcli.core.output import print_line, print_text
from lstmcli.run.kind import Evaluated, Progress
from lstmcli.run.options import Chosen, Option

if TYPE_CHECKING:
    from lstmcli.kinds.sequence.trained import ClassifierRun, Prediction, SyntheticRun

EVAL_LABELLED = (
    Option("--data", "another table", Path),
    Option("--split", "val, test or train; default test, else val"),
)
EVAL_SYNTHETIC = (
    Option("--split", "val or test; default test"),
    Option("--length", "evaluate at this length; may be repeated", list[int], least=1),
)
GENERATE = (
    Option("--prompt", "text to classify"),
    Option("--prompt-file", "file to classify; - is standard input"),
    Option("--input", "a table of texts or series to classify", Path),
    Option("--output", "write the classes as .csv or .parquet", Path, short="-o"),
)
LIKELIEST = 5
"""Classes that are shown of one text."""


def evaluate_classes(run: ClassifierRun, chosen: Chosen, on_progress: Progress) -> Evaluated:
    """A split, or all rows of another labelled table."""
    report = run.evaluate(chosen["data"], chosen["split"], on_progress)
    return Evaluated(report.split, report)


def evaluate_task(run: SyntheticRun, chosen: Chosen, on_progress: Progress) -> Evaluated:
    """Fresh sequences, at each of the lengths."""
    split = chosen["split"] or "test"
    return Evaluated(split, run.evaluate(chosen["length"], split, on_progress=on_progress))


def write_classes(run: ClassifierRun, chosen: Chosen, as_json: bool) -> dict[str, Any]:
    """Classify a text or the rows of a table. Without --output and --json CSV goes to standard output, or
    for one text a few lines."""
    from lstmcli.core.tables import check_file, to_csv, write_rows

    output = chosen["output"]
    if output is not None:
        check_file(output)
    text, table = _text(run, chosen), chosen["input"]
    if (text is None) == (table is None):
        found = "none of them" if text is None else "both"
        raise UsageError(f"a classifier needs a text (--prompt) or a table (--input); found {found}")
    predictions = run.classify([text] if text is not None else str(table))
    if output is not None:
        write_rows(output, *_rows(predictions))
    if as_json:
        return _document(run, predictions)
    if output is not None:
        print_line(f"wrote {output}")
    elif text is not None:
        _show(predictions[0])
    else:
        print_text(to_csv(*_rows(predictions)))
    return {}


def _text(run: ClassifierRun, chosen: Chosen) -> str | None:
    from lstmcli.kinds.text.verbs import decoded, read_prompt

    if chosen["prompt"] is None and chosen["prompt_file"] is None:
        return None
    level = getattr(run.config.data, "level", "characters")
    return decoded(chosen["prompt"] or "", read_prompt(chosen), chosen["prompt_file"], level)


def _rows(predictions: list[Prediction]) -> tuple[list[str], list[list[Any]]]:
    """Columns, and a row per sequence: its row or group, its class, how likely that is, and each class."""
    classes = list(predictions[0].probabilities) if predictions else []
    columns = ["sequence", "label", "probability", *(f"p_{name}" for name in classes)]
    rows = []
    for found in predictions:
        shares = [found.probabilities[name] for name in (found.label, *classes)]
        rows.append([found.name, found.label, *(float(f"{share:.6g}") for share in shares)])
    return columns, rows


def _document(run: ClassifierRun, predictions: list[Prediction]) -> dict[str, Any]:
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
