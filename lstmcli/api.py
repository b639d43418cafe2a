"""Train a run, and have a trained run as an object: generate, forecast, classify, evaluate, look inside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lstmcli.config.load import load_config, parse_config
from lstmcli.config.schema import Config
from lstmcli.core.errors import UsageError
from lstmcli.kinds.text.trained import Run
from lstmcli.run.directory import RunDir, find_run, runs_folder, split_reference
from lstmcli.run.trained import load as _load

if TYPE_CHECKING:
    from lstmcli.kinds.sequence.trained import ClassifierRun, SyntheticRun
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.run.hooks import Evaluation

    AnyRun: TypeAlias = "Run | SeriesRun | SyntheticRun | ClassifierRun"

__all__ = ["Run", "load", "train"]


def train(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | None = None,
    *,
    run: str | None = None,
    resume: str | Path | None = None,
    from_run: str | Path | None = None,
    runs: str | Path | None = None,
    callback: Callable[[Evaluation], object] | None = None,
    quiet: bool = False,
    trust: bool = False,
    **settings: Any,
) -> AnyRun:
    """Train as `lstm train` does, and give the run at its best checkpoint, as `load` does.

    Args:
        config: the path of a YAML file, its content as nested dictionaries, or a `Config`. With `resume`
            it may be left out: the run's own.
        run: the name of the new run; None: by the config and the time.
        resume: go on with this run (a directory, a name under runs/, `latest`; with `@STEP` from there).
        from_run: begin with the weights of this run, as `lstm train --from` does; named as for `resume`.
        runs: the folder in which a new run is made; None: `$LSTM_RUNS`, else runs/.
        callback: is told of every evaluation (`step`, `loss`, `values` by tag, `best`: whether it is the best
            so far). If it returns something true, the run is saved and ends; a string is the reason.
        quiet: no progress on standard error, only notices.
        trust: with `resume`: run the source of a cell that came with the run, whoever wrote it.
        **settings: what differs from the config, with two underscores for the dot of the command line:
            `train__max_steps=200` or `**{"train.max_steps": 200}`; a value is what YAML would give.

    Raises:
        UsageError: neither a config nor a run to go on with; the run's name is taken.
        ConfigError, DataError: the config or the data are missing or wrong.
        RunError: the run to go on with is missing, damaged, or another one by these settings.
        DivergedError: a loss or gradient is not finite; nothing was updated with it.
        Interrupted, Terminated: Ctrl-C or SIGTERM; the state is saved, and `resume` goes on with it.
        ResourceError: no disk, memory or permission.
    """
    resumed, which, ancestor = None, None, None
    if resume is not None and from_run is not None:
        raise UsageError("from_run begins a new run and resume goes on with an old one: give one of them")
    if from_run is not None:
        text, step = split_reference(str(from_run))
        ancestor = find_run(text), step
    if resume is not None:
        text, which = split_reference(str(resume))
        resumed = find_run(text)
        if run is not None:
            raise UsageError("run names a new run and resume an old one: give one of them")
    elif config is None:
        raise UsageError("no config is given", 'lstmcli.train("config.yaml"), or resume="latest"')
    if trust and resumed is not None:
        from lstmcli.cells.trust import allow

        allow(resumed.path)
    given, name = _read(config, resumed, settings)
    from lstmcli.run.execute import Job, execute
    from lstmcli.run.hooks import Callback
    from lstmcli.run.launch import read_launch
    from lstmcli.run.telemetry.console import Console

    job = Job(given, name, run, runs_folder() if runs is None else Path(runs), resumed, which, ancestor)
    hooks = [] if callback is None else [Callback(callback)]
    launch = read_launch()
    outcome = execute(job, hooks, Console(quiet or launch.rank > 0), launch)
    return load(outcome.run.path)


def _read(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | None,
    resumed: RunDir | None,
    settings: Mapping[str, Any],
) -> tuple[Config, str]:
    """The config with its settings, and what a run of it is called."""
    words = [f"{k.replace('__', '.')}={json.dumps(v, default=os.fspath)}" for k, v in settings.items()]
    if config is None and resumed is not None:
        config = resumed.config_path
    if isinstance(config, (Config, Mapping)):
        document = config.model_dump() if isinstance(config, Config) else config
        return parse_config(document, "config", words), "run"
    path = os.fspath(str(config))
    return load_config(path, words), Path(path).stem


def load(reference: str | Path, trust: bool = False) -> AnyRun:
    """The run at a directory, by a name under runs/, or `latest`; with `@STEP`, `@best` or `@last`
    for another checkpoint than the best.

    Args:
        trust: run the source of a cell that came with the run, whoever wrote it (docs/cells.md).

    Raises:
        RunError: it is missing or damaged.
    """
    found: AnyRun = _load(reference, trust)
    return found
