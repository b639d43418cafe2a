"""A search: Optuna proposes settings, each proposal is an ordinary run in a process of its own.

    runs/tune-<config>-<time>/
      tune.json          config, space and how the search goes: all that a resume needs
      study.journal      Optuna's record of all trials
      configs/           the config of each trial
      trial-0000/        its run, for TensorBoard and every other command
      best.yaml          the config of the best trial so far

A trial's validation losses are read from its metrics.jsonl while it trains; one that is worse than half
of the others were at the same evaluation is ended early (median rule).
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.config.load import dump_config, parse_config
from lstmcli.config.schema import Config
from lstmcli.core.errors import ConfigError, RunError, UsageError
from lstmcli.core.files import read_json, write_atomic, write_json_atomic
from lstmcli.run.signals import StopSignals
from lstmcli.run.telemetry.metrics import read_metrics
from lstmcli.sweep import SAFELY
from lstmcli.sweep.experiments.conduct import PATIENCE, last_words, log_of
from lstmcli.sweep.tuning.space import Range, Space, Value, from_json, own_settings, to_json, with_settings

if TYPE_CHECKING:
    import optuna

POLL = 0.5  # seconds between looks at what trials have logged
STARTUP = 4
"""Trials that are never ended early, and that are drawn at random."""
FAILURES = 5
"""Trials in a row that may fail before the search gives up."""
REFUSALS = 100
"""Proposals in a row that the config may refuse before the search gives up."""


@dataclass(frozen=True)
class Plan:
    """A search as it was asked for."""

    name: str
    config: Config
    space: Space
    minutes: float | None  # for all trials together
    trials: int | None
    jobs: int

    def save(self, folder: Path) -> None:
        document = {**vars(self), "config": self.config.model_dump(), "space": to_json(self.space)}
        write_json_atomic(folder / "tune.json", document)


def load_plan(folder: Path) -> Plan:
    """The search that a directory holds. RunError if there is none."""
    try:
        found = read_json(folder / "tune.json")
        config = parse_config(found["config"], str(folder / "tune.json"))
        return Plan(**{**found, "config": config, "space": from_json(found["space"])})
    except (RunError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise RunError(f"{folder} holds no search: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class Outcome:
    """One trial, as it ended."""

    number: int
    state: str  # complete, pruned, failed
    loss: float | None  # the best validation loss
    settings: dict[str, Value]
    seconds: float
    message: str = ""


@dataclass
class _Running:
    trial: optuna.trial.Trial
    process: subprocess.Popen[bytes]
    settings: dict[str, Value]
    began: float
    reported: int = 0


Report = Callable[[Outcome], None]


def open_study(folder: Path, seed: int) -> optuna.study.Study:
    """The study of a directory, begun anew or as it was left."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UsageError("lstm tune needs Optuna", "pip install 'lstmcli[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1),
        direction="minimize",
        load_if_exists=True,
    )


def search(folder: Path, plan: Plan, report: Report) -> list[Outcome]:
    """Make trials until the budget is used; all outcomes, those of an earlier start included.

    Raises:
        Interrupted, Terminated: asked to stop; what is done is kept.
    """
    study = open_study(folder, plan.config.seed + len(list(folder.glob("trial-*"))))
    _take_up(study)
    _begin_with_its_own(study, plan)
    deadline = time.monotonic() + 60.0 * plan.minutes if plan.minutes else math.inf
    running: list[_Running] = []
    failures: list[str] = []  # what the last trials said, if they failed
    with StopSignals() as stop:
        try:
            while True:
                while len(running) < plan.jobs and _more(study, plan, running, deadline):
                    running.append(_begin(folder, plan, study))
                if not running:
                    break
                time.sleep(POLL)
                for one in list(running):
                    if (outcome := _look(folder, study, one)) is not None:
                        running.remove(one)
                        _keep_best(folder, plan, study)
                        report(outcome)
                        failures = [*failures, outcome.message] if outcome.state == "failed" else []
                if len(failures) >= FAILURES:
                    raise RunError(f"the last {len(failures)} trials failed", failures[-1])
                if stop.asked:
                    raise stop.asked(
                        f"stopped; what is done is kept in {folder}\n"
                        f"  go on with: lstm tune --resume {folder}"
                    )
        finally:
            _end(running)
    return outcomes(study)


def _take_up(study: optuna.study.Study) -> None:
    """Trials that a killed search left unfinished are tried again first."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)


def _begin_with_its_own(study: optuna.study.Study, plan: Plan) -> None:
    """The first trial is the config as it stands, where the space holds it: what is found is then never
    worse than what was there."""
    own = own_settings(plan.config, plan.space)
    if own is not None and not study.get_trials(deepcopy=False):
        study.enqueue_trial(
            {k: json.dumps(v) if isinstance(plan.space[k], list) else v for k, v in own.items()}
        )


def _more(study: optuna.study.Study, plan: Plan, running: list[_Running], deadline: float) -> bool:
    if time.monotonic() >= deadline:
        return False
    return plan.trials is None or len(outcomes(study)) + len(running) < plan.trials


def _begin(folder: Path, plan: Plan, study: optuna.study.Study) -> _Running:
    """Ask for settings and start their run. Settings that do not go together cost nothing."""
    trial, settings, config = _propose(plan, study)
    name = name_of(trial.number)
    write_atomic(folder / "configs" / f"{name}.yaml", dump_config(config).encode())
    log_of(folder, name).parent.mkdir(exist_ok=True)
    with log_of(folder, name).open("ab") as log:
        # A session of its own: Ctrl-C reaches the search alone, which then ends its trials in order.
        process = subprocess.Popen(
            [sys.executable, *SAFELY, "-m", "lstmcli.sweep.tuning.trial", str(folder), name],
            stdin=subprocess.PIPE,  # never written to: the trial ends when it is closed
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _Running(trial, process, settings, time.monotonic())


def _propose(plan: Plan, study: optuna.study.Study) -> tuple[optuna.trial.Trial, dict[str, Value], Config]:
    """Settings that go together, and their config. ConfigError if the space seems to have none."""
    from optuna.trial import TrialState

    refused: ConfigError | None = None
    for _ in range(REFUSALS):
        trial = study.ask()
        settings = {name: _suggest(trial, name, dimension) for name, dimension in plan.space.items()}
        try:
            return trial, settings, with_settings(plan.config, settings)
        except ConfigError as error:
            study.tell(trial, state=TrialState.FAIL)
            refused = error
    raise ConfigError(f"the config refuses all {REFUSALS} proposals of the space, the last: {refused}")


def name_of(number: int) -> str:
    return f"trial-{number:04d}"


def _suggest(trial: optuna.trial.Trial, name: str, dimension: Range | list[Value]) -> Value:
    if isinstance(dimension, list):
        return json.loads(trial.suggest_categorical(name, [json.dumps(v) for v in dimension]))  # type: ignore[no-any-return]
    low, high, step = dimension.low, dimension.high, dimension.step
    if dimension.whole:
        return trial.suggest_int(name, int(low), int(high), log=dimension.log, step=int(step or 1))
    found = trial.suggest_float(name, float(low), float(high), log=dimension.log, step=step)
    return float(f"{found:.3g}") if step is None else round(found, 10)


def losses_of(run: Path) -> list[float]:
    """Validation losses that a run has logged so far."""
    return [float(r["val/loss"]) for r in read_metrics(run / "metrics.jsonl") if "val/loss" in r]


def _look(folder: Path, study: optuna.study.Study, one: _Running) -> Outcome | None:
    """Tell the study what a trial has logged; its outcome, if it has ended or is to end."""
    from optuna.trial import TrialState

    name = name_of(one.trial.number)
    ended = one.process.poll() is not None
    losses = [loss for loss in losses_of(folder / name) if math.isfinite(loss)]
    best = min(losses, default=None)
    for number in range(one.reported, len(losses)):
        one.trial.report(min(losses[: number + 1]), number)
    one.reported = len(losses)
    seconds = time.monotonic() - one.began
    if not ended:
        if not (losses and one.trial.should_prune()):
            return None
        _stop(one.process)
        study.tell(one.trial, state=TrialState.PRUNED)
        return Outcome(one.trial.number, "pruned", best, one.settings, seconds)
    _close(one.process)
    if one.process.returncode == 0 and best is not None:
        study.tell(one.trial, best)
        return Outcome(one.trial.number, "complete", best, one.settings, seconds)
    study.tell(one.trial, state=TrialState.FAIL)
    return Outcome(one.trial.number, "failed", best, one.settings, seconds, last_words(folder, name))


def outcomes(study: optuna.study.Study) -> list[Outcome]:
    """All trials that have ended with a loss, the best first, and those that were ended early behind."""
    from optuna.trial import TrialState

    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    found = []
    for trial in study.get_trials(deepcopy=False, states=list(names)):
        loss = trial.value if trial.state == TrialState.COMPLETE else None
        if loss is None and trial.intermediate_values:
            loss = trial.intermediate_values[max(trial.intermediate_values)]
        seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
        settings = {k: _plain(trial.distributions[k], v) for k, v in trial.params.items()}
        found.append(Outcome(trial.number, names[trial.state], loss, settings, seconds))
    return sorted(found, key=lambda o: (o.state != "complete", math.inf if o.loss is None else o.loss))


def _plain(distribution: Any, value: Any) -> Value:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return json.loads(value)  # type: ignore[no-any-return]
    if isinstance(value, float) and getattr(distribution, "step", None) is None:
        return float(f"{value:.3g}")
    return round(value, 10) if isinstance(value, float) else value


def _keep_best(folder: Path, plan: Plan, study: optuna.study.Study) -> None:
    """The config of the best trial, ready for `lstm train`."""
    found = outcomes(study)
    if found and found[0].state == "complete":
        config = folder / "configs" / f"{name_of(found[0].number)}.yaml"
        write_atomic(folder / "best.yaml", config.read_bytes())


def _end(running: list[_Running]) -> None:
    """End what still runs; the study tries these settings again when the search goes on."""
    for one in running:
        one.process.terminate()
    for one in running:
        _stop(one.process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
