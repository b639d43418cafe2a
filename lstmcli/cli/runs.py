"""lstm runs: what has been trained."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.output import print_json, print_rows


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the runs under runs/: state, step, best validation loss, age.

    \b
    Examples:
      lstm runs
      lstm runs --json
    """
    from lstmcli.rundir import list_runs
    from lstmcli.telemetry.console import duration

    found = list_runs()
    if as_json:
        print_json({"runs": [vars(run) for run in found]})
        return
    if not found:
        print("no runs here yet; begin with: lstm train configs/quickstart.yaml")
        return
    rows = [["run", "state", "cell", "step", "best loss", "age"]]
    for run in found:
        rows.append(
            [
                run.name,
                run.state,
                run.cell or "",
                "" if run.step is None else str(run.step),
                "" if run.best_loss is None else f"{run.best_loss:.4f}",
                duration(run.age_seconds),
            ]
        )
    print_rows(rows, right=3)
