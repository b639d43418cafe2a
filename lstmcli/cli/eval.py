"""lstm eval: how good a run's model is, beside what costs nothing."""

from __future__ import annotations

import glob
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstmcli.cli.options import refuse_others
from lstmcli.cli.output import print_json, print_line
from lstmcli.cli.trust import Trust
from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.tables import to_text

if TYPE_CHECKING:
    from lstmcli.kinds.text.report import Beside

USES = {
    "text": ("data", "split", "protocol", "by", "dynamic", "dynamic_rate", "mix", "temperature"),
    "series": ("data", "split", "protocol", "by"),
    "labelled": ("data", "split"),
    "synthetic": ("split", "length"),
}
"""Parameters by what a run learned."""
MOST_INPUT = 4 << 30
"""Bytes."""


def command(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="Another text or table; text: also a pattern, - for standard input, repeated."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="val, test or train; default val for text, test for series."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Text: windows (256 symbols, from zero state; default) or stateful (state carried). "
            "Series: windows or gift (GIFT-Eval's); default: the config's.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Series: a row per step or per series; text: per line or per symbol."),
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
      lstm eval latest --data lines.txt --by line
      lstm eval etth1 --by step
      lstm eval copy --length 100 --length 200
    """
    from lstmcli.api import Run, load
    from lstmcli.kinds.sequence.trained import ClassifierRun, SyntheticRun
    from lstmcli.run.telemetry.console import Console

    console = Console()

    def show(done: int, total: int) -> None:
        console.data_progress("evaluating", done, total)

    loaded = load(run, trust)
    refuse_others(context, loaded, USES)
    is_text = isinstance(loaded, Run)
    words = ("line", "symbol") if is_text else ("step", "series")
    if by not in (None, *words):
        raise UsageError(f"--by {by}: there are {words[0]} and {words[1]}")
    protocols = ("windows", "stateful" if is_text else "gift")
    if protocol not in (None, *protocols):
        raise UsageError(f"no protocol {protocol!r}", f"there are {' and '.join(protocols)}")
    if protocol == "gift" and (data or by or split not in (None, "test")):
        raise UsageError("--protocol gift scores the run's own test split: no --data, --by or other --split")
    table = None if is_text or not data else _only_table(data)
    chosen = split or ("val" if is_text else "test")
    about = {"run": loaded.directory.name, "step": loaded.step, "split": ", ".join(data or [chosen])}
    try:
        if isinstance(loaded, Run) and by is not None:
            if given := [dynamic and "--dynamic", mix and "--mix", temperature and "--temperature"]:
                _refuse_beside([option for option in given if option])
            with _text_files(data) as files:
                lines_report = loaded.evaluate_lines(files, chosen, by)
            found, printed = lines_report.to_json(), partial(_print, about, lines_report)
        elif isinstance(loaded, Run):
            beside = _beside(dynamic, dynamic_rate, mix or [], temperature)
            with _text_files(data) as files:
                text_report = loaded.evaluate(files, chosen, protocol or "windows", show, beside)
            found, printed = text_report.to_json(), partial(_print, about, text_report)
        elif isinstance(loaded, ClassifierRun):
            class_report = loaded.evaluate(table, split, show)
            about["split"] = class_report.split
            found, printed = class_report.to_json(), partial(_print, about, class_report)
        elif isinstance(loaded, SyntheticRun):
            task_report = loaded.evaluate(length, chosen, on_progress=show)
            found, printed = task_report.to_json(), partial(_print, about, task_report)
        else:
            series_report = loaded.evaluate(table, chosen, by, show, protocol)
            found, printed = series_report.to_json(), partial(_print, about, series_report)
    finally:
        console.end_data()
    if as_json:
        print_json(about | found)
    else:
        printed()


def _only_table(data: list[str]) -> Path:
    if len(data) > 1:
        raise UsageError(f"--data is given {len(data)} times, but it names one table")
    return Path(data[0])


def _refuse_beside(options: list[str]) -> None:
    if options:
        raise UsageError(f"{', '.join(options)}: of no use beside --by")


@contextmanager
def _text_files(data: list[str] | None) -> Iterator[list[str] | None]:
    """What --data names, with standard input in a file for as long as it is read."""
    with tempfile.TemporaryDirectory() as folder:
        yield data and [_from_input(folder) if name in ("-", "/dev/stdin") else name for name in data]


def _from_input(folder: str) -> str:
    path = Path(folder, "standard-input")
    with path.open("wb") as file:
        while chunk := sys.stdin.buffer.read(1 << 20):
            if file.tell() + len(chunk) > MOST_INPUT:
                raise DataError("standard input holds more than 4 GB", "write it to a file, and name that")
            file.write(chunk)
    return glob.escape(str(path))


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
