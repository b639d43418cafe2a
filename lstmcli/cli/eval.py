"""lstm eval: how good a run's model is, beside what costs nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstmcli.cli.options import refuse_others
from lstmcli.cli.output import print_json, print_line
from lstmcli.cli.trust import Trust
from lstmcli.core.errors import UsageError
from lstmcli.core.tables import to_text

if TYPE_CHECKING:
    from lstmcli.kinds.text.report import Beside

USES = {
    "text": ("data", "split", "protocol", "dynamic", "dynamic_rate", "mix", "temperature"),
    "series": ("data", "split", "by"),
    "labelled": ("data", "split"),
    "synthetic": ("split", "length"),
}
"""Parameters by what a run learned."""


def command(
    context: typer.Context,
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
    length: Annotated[
        list[int] | None,
        typer.Option("--length", min=1, help="Synthetic tasks: evaluate at this length; may be repeated."),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Text: beside it, the model learning from what it has read.")
    ] = False,
    dynamic_rate: Annotated[
        float | None, typer.Option("--dynamic-rate", help="Step size of --dynamic.", show_default="3e-4")
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            "--mix", help="Text: beside it, mixed with counts: ngram (training text) or cache (read so far)."
        ),
    ] = None,
    temperature: Annotated[
        str | None,
        typer.Option(
            "--temperature", help="Text: beside it, with logits divided by this; best: by the best for it."
        ),
    ] = None,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a trained model on its validation or test data, or on a file of yours.

    \b
    Examples:
      lstm eval latest
      lstm eval shakespeare --protocol stateful --json
      lstm eval latest --data other.txt
      lstm eval latest --dynamic --mix ngram --temperature best
      lstm eval etth1 --by step
      lstm eval copy --length 100 --length 200
    """
    from lstmcli.api import Run, load
    from lstmcli.kinds.sequence.trained import ClassifierRun, SyntheticRun
    from lstmcli.run.telemetry.console import Console

    console = Console()

    def show(done: int, total: int) -> None:
        console.data_progress("evaluating", done, total)

    if by not in (None, "step", "series"):
        raise UsageError(f"--by {by}: there are step and series")
    loaded = load(run, trust)
    refuse_others(context, loaded, USES)
    is_text = isinstance(loaded, Run)
    chosen = split or ("val" if is_text else "test")
    about = {"run": loaded.directory.name, "step": loaded.step, "split": str(data or chosen)}
    try:
        if isinstance(loaded, Run):
            beside = _beside(dynamic, dynamic_rate, mix or [], temperature)
            text_report = loaded.evaluate(data, chosen, protocol, show, beside)
            found, printed = text_report.to_json(), partial(_print, about, text_report)
        elif isinstance(loaded, ClassifierRun):
            class_report = loaded.evaluate(data, split, show)
            about["split"] = class_report.split
            found, printed = class_report.to_json(), partial(_print, about, class_report)
        elif isinstance(loaded, SyntheticRun):
            task_report = loaded.evaluate(length, chosen, on_progress=show)
            found, printed = task_report.to_json(), partial(_print, about, task_report)
        else:
            series_report = loaded.evaluate(data, chosen, by, show)
            found, printed = series_report.to_json(), partial(_print, about, series_report)
    finally:
        console.end_data()
    if as_json:
        print_json(about | found)
    else:
        printed()


def _beside(dynamic: bool, rate: float | None, mix: list[str], temperature: str | None) -> Beside:
    from lstmcli.kinds.text.dynamic import Dynamics
    from lstmcli.kinds.text.report import Beside

    if rate is not None and not (dynamic and rate > 0.0):
        raise UsageError("--dynamic-rate goes with --dynamic, and must be above 0")
    settings = (Dynamics() if rate is None else Dynamics(rate=rate)) if dynamic else None
    beside = Beside(settings, tuple(mix), _temperature(temperature))
    beside.check()
    return beside


def _temperature(word: str | None) -> float | Literal["best"] | None:
    if word is None:
        return None
    try:
        return "best" if word == "best" else float(word)
    except ValueError:
        raise UsageError(f"--temperature {word}: a number above 0, or best") from None


def _print(about: dict[str, Any], report: Any) -> None:
    print_line(f"{about['run']} at step {about['step']} on {about['split']}")
    for table in report.tables():
        print_line(to_text(table))
