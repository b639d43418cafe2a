"""lstm eval: how good a run's model is, beside what costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from lstmcli.inference.report import TextReport


def command(
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    data: Annotated[Path | None, typer.Option("--data", help="Another text file.")] = None,
    split: Annotated[str, typer.Option("--split", help="val, test or train.")] = "val",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", help="windows (256 symbols, from zero state) or stateful (state carried)."
        ),
    ] = "windows",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a trained model on its validation or test text, or on a file of yours.

    \b
    Examples:
      lstm eval latest
      lstm eval shakespeare --protocol stateful --json
      lstm eval latest --data other.txt
    """
    from lstmcli.api import load
    from lstmcli.telemetry.console import Console

    console = Console()

    def show(done: int, total: int) -> None:
        console.data_progress("evaluating", done, total)

    loaded = load(run)
    about = {"run": loaded.directory.name, "step": loaded.step, "split": str(data or split)}
    try:
        report = loaded.evaluate(data, split, protocol, show)
    finally:
        console.end_data()
    if as_json:
        print_json(about | report.to_json())
    else:
        _print(about, report)


def _print(about: dict[str, Any], report: TextReport) -> None:
    unknown = f", {report.unknown} of them unknown to the model" if report.unknown else ""
    print(f"{about['run']} at step {about['step']} on {about['split']}, {report.tokens:,} symbols{unknown}")
    print(f"protocol {report.protocol}, {report.precision}\n")
    rows = [["", "nats/symbol", "bits/symbol", "perplexity", "accuracy"]]
    rows.append(_row("this model", report.loss, f"{100 * report.accuracy:.1f}%"))
    if "ngram" in report.baselines:
        ngram = report.baselines["ngram"]
        rows.append(_row(f"{ngram['order']}-gram of the training text", ngram["loss"]))
        rows.append(_row("unigram of the training text", report.baselines["unigram"]["loss"]))
    print_rows(rows)


def _row(name: str, loss: float, accuracy: str = "") -> list[str]:
    import math

    return [
        name, f"{loss:.4f}", f"{loss / math.log(2):.4f}", f"{math.exp(min(loss, 700)):.2f}", accuracy
    ]  # fmt: skip
