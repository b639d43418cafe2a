"""A trained run as an object: generate, forecast, classify, evaluate, look inside; no command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lstmcli.api.text import Run
from lstmcli.checkpoint.store import resolve
from lstmcli.config.load import load_config
from lstmcli.notices import notice
from lstmcli.rundir import find_run, split_reference

if TYPE_CHECKING:
    from lstmcli.api.sequences import ClassifierRun, SyntheticRun
    from lstmcli.api.series import SeriesRun

    AnyRun: TypeAlias = "Run | SeriesRun | SyntheticRun | ClassifierRun"

__all__ = ["Run", "load"]


def load(reference: str | Path, trust: bool = False) -> AnyRun:
    """The run at a directory, by a name under runs/, or `latest`; with `@STEP`, `@best` or `@last`
    for another checkpoint than the best.

    Args:
        trust: run the source of a cell that came with the run, whoever wrote it (docs/cells.md).

    Raises:
        RunError: it is missing or damaged.
    """
    text, which = split_reference(str(reference))
    run = find_run(text)
    if trust:
        from lstmcli.cells.trust import allow

        allow(run.path)
    checkpoint = resolve(run.checkpoints, which, notice)
    stored = checkpoint / "config.yaml"
    config = load_config(stored if stored.exists() else run.config_path)
    learned = config.data.learned
    if learned == "labelled":
        from lstmcli.api.sequences import ClassifierRun

        return ClassifierRun(run, config, checkpoint)
    if learned == "series":
        from lstmcli.api.series import SeriesRun

        return SeriesRun(run, config, checkpoint)
    if learned == "synthetic":
        from lstmcli.api.sequences import SyntheticRun

        return SyntheticRun(run, config, checkpoint)
    return Run(run, config, checkpoint)
