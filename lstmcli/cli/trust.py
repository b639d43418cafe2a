"""The flag `--trust`: run code that came with a run."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.core.errors import UsageError

Trust = Annotated[
    bool, typer.Option("--trust", help="Run the source of a cell that came with the run, whoever wrote it.")
]


def trust_run(reference: str | None) -> None:
    """Trust the run that is resumed."""
    from lstmcli.cells.trust import allow
    from lstmcli.run.directory import find_run, split_reference

    if reference is None:
        raise UsageError("--trust goes with --resume: the cell of a new run is your own choice")
    allow(find_run(split_reference(reference)[0]).path)
