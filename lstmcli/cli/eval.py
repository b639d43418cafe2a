"""lstm eval: how good a run's model is, beside what costs nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.eval_series import print_series
from lstmcli.cli.output import print_json, print_rows
from lstmcli.errors import UsageError

if TYPE_CHECKING:
    from lstmcli.inference.text.report import TextReport


def command(
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    data: Annotated[Path | None, typer.Option("--data", help="Another text file, or table.")] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="val, test or train; default val for text, test for series."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", help="Text: windows (256 symbols, from zero state) or stateful (state carried)."
        ),
    ] = "windows",
    by: Annotated[
        str | None, typer.Option("--by", help="Series: a line per step of the horizon, or per series.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a trained model on its validation or test data, or on a file of yours.

    \b
    Examples:
      lstm eval latest
      lstm eval shakespeare --protocol stateful --json
      lstm eval latest --data other.txt
      lstm eval etth1 --by step
    """
    from lstmcli.api import Run, load
    from lstmcli.telemetry.console import Console

    console = Console()

    def show(done: int, total: int) -> None:
        console.data_progress("evaluating", done, total)

    if by not in (None, "step", "series"):
        raise UsageError(f"--by {by}: there are step and series")
    loaded = load(run)
    is_text = isinstance(loaded, Run)
    chosen = split or ("val" if is_text else "test")
    about = {"run": loaded.directory.name, "step": loaded.step, "split": str(data or chosen)}
    try:
        if isinstance(loaded, Run):
            if by is not None:
                raise UsageError("--by is for runs of series; this one learned a text")
            text_report = loaded.evaluate(data, chosen, protocol, show)
            found, printed = text_report.to_json(), partial(_print, about, text_report)
        else:
            series_report = loaded.evaluate(data, chosen, by, show)
            found, printed = series_report.to_json(), partial(print_series, about, series_report)
    finally:
        console.end_data()
    if as_json:
        print_json(about | found)
    else:
        printed()


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
