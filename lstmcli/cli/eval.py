"""lstm eval: how good a run's model is, beside what costs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.options import Given, of_kinds
from lstmcli.cli.trust import Trust
from lstmcli.core.output import print_json, print_line
from lstmcli.core.tables import to_text


@of_kinds("eval")
def command(
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    given: Given,
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
    from lstmcli.run.kind import kind_of
    from lstmcli.run.telemetry.console import Console
    from lstmcli.run.trained import load

    loaded = load(run, trust)
    kind, console = kind_of(loaded.config), Console()
    try:
        found = kind.evaluate(
            loaded, given.of(loaded, kind), lambda *at: console.data_progress("evaluating", *at)
        )
    finally:
        console.end_data()
    about = {"run": loaded.directory.name, "step": loaded.step, "split": found.on}
    if as_json:
        print_json(about | found.report.to_json())
        return
    print_line(f"{about['run']} at step {about['step']} on {about['split']}")
    for table in found.report.tables():
        print_line(to_text(table))
