"""lstm inspect: what goes on inside a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstmcli.cli.output import print_json

if TYPE_CHECKING:
    from lstmcli.api import Run
    from lstmcli.api_series import SeriesRun
    from lstmcli.insight.finding import Finding

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Write the picture: FILE.png, .svg or .pdf.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Look inside a trained model.",
    epilog="Examples:  lstm inspect latest gates  ·  lstm inspect shakespeare units --plot units.png",
)


@app.callback()
def group(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
) -> None:
    context.obj = run


def load_run(context: typer.Context) -> Run | SeriesRun:
    """The run that stands before the topic on the command line."""
    from lstmcli.api import load

    return load(str(context.obj))


def show(finding: Finding, as_json: bool, plot: Path | None) -> None:
    """Print a finding, and draw it if asked; several pictures get their names behind the file's."""
    from lstmcli.tables import to_text

    if plot is not None:
        _draw(finding, plot)
    if as_json:
        print_json(finding.document())
    else:
        print("\n".join(to_text(table) for table in finding.tables()), end="")


def _draw(finding: Finding, plot: Path) -> None:
    import sys

    from lstmcli.pictures import save_figure

    figures = finding.figures()
    for name, figure in figures.items():
        path = plot if len(figures) == 1 else plot.with_name(f"{plot.stem}-{name}{plot.suffix}")
        save_figure(figure, path)
        print(f"wrote {path}", file=sys.stderr)
