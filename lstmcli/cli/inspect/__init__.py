"""lstm inspect: what goes on inside a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstmcli.cli.options import Given
from lstmcli.cli.trust import Trust
from lstmcli.core.output import print_json

if TYPE_CHECKING:
    from lstmcli.inspect.finding import Finding
    from lstmcli.inspect.source import Reading
    from lstmcli.run.options import Chosen
    from lstmcli.run.trained import TrainedRun

Data = Annotated[Path | None, typer.Option("--data", help="Read another text, or table.")]
Split = Annotated[
    str | None, typer.Option("--split", help="val, test or train; default val for text, test for series.")
]
Tokens = Annotated[int, typer.Option("--tokens", help="Most symbols, or steps of windows, to read.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Write the picture: FILE.png, .svg or .pdf.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Look inside a trained model.",
    epilog="Examples:  lstm inspect latest gates  ·  lstm inspect shakespeare units --plot units.png",
)
TRUST = "lstmcli.trust"
ALL = 1 << 62
"""Symbols to read at most, where the topic itself says how many it needs."""


@app.callback()
def group(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    trust: Trust = False,
) -> None:
    context.obj, context.meta[TRUST] = run, trust


def load_run(context: typer.Context, given: Given) -> tuple[TrainedRun, Chosen]:
    """The run that stands before the topic on the command line, and what its kind is asked for."""
    from lstmcli.run.kind import kind_of
    from lstmcli.run.trained import load

    loaded = load(str(context.obj), bool(context.meta.get(TRUST)))
    return loaded, given.of(loaded, kind_of(loaded.config))


@contextmanager
def reading(
    data: Path | None, split: str | None, plot: Path | None, tokens: int = ALL, label: str = "reading"
) -> Iterator[Reading]:
    """What is to be read, its progress on the screen while entered; a picture's name is checked first."""
    if plot is not None:
        from lstmcli.core.pictures import check_suffix

        check_suffix(plot)
    from lstmcli.inspect.source import Reading
    from lstmcli.run.telemetry.console import Console

    console = Console()
    try:
        yield Reading(data, split, tokens, lambda *at: console.data_progress(label, *at))
    finally:
        console.end_data()


def show(finding: Finding, as_json: bool, plot: Path | None) -> None:
    """Print a finding, and draw it if asked; several pictures get their names behind the file's."""
    from lstmcli.core.tables import to_text

    if plot is not None:
        _draw(finding, plot)
    if as_json:
        print_json(finding.document())
    else:
        print("\n".join(to_text(table) for table in finding.tables()), end="")


def _draw(finding: Finding, plot: Path) -> None:
    import sys

    from lstmcli.core.pictures import save_figure
    from lstmcli.core.terminal import sanitize

    figures = finding.figures()
    for name, figure in figures.items():
        path = plot if len(figures) == 1 else plot.with_name(f"{plot.stem}-{name}{plot.suffix}")
        save_figure(figure, path)
        print(f"wrote {sanitize(str(path))}", file=sys.stderr)
