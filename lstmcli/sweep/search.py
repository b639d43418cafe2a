"""A search: Optuna proposes settings, each proposal is a trial.

    runs/tune-<config>-<time>/
      tune.json          config, space and how the search goes: all that a resume needs
      configs/           the config of each trial
      trial-0000/        its run and its record (see pool.py)
      best.yaml          the config of the best trial so far
      results.json       all trials, at the end

The memory of a search are its trials: what Optuna has to know it is told again from their records when a
search goes on, so there is no journal that a kill could damage or leave locked. A trial that was cut off goes
on where it was. A trial's losses are read from its metrics.jsonl while it trains; one that is worse than half
of the others were at the same evaluation is ended early (median rule).
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lstmcli.config.load import dump_config, load_config, parse_config
from lstmcli.config.schema import Config
from lstmcli.core.errors import ConfigError, RunError, UsageError
from lstmcli.core.files import read_json, write_atomic, write_json_atomic
from lstmcli.core.pictures import PALETTE, new_figure, picture_style
from lstmcli.core.tables import Table
from lstmcli.run.foreign import SIGNED, signed_plan
from lstmcli.run.kind import kind_of
from lstmcli.run.records import checked
from lstmcli.run.telemetry.metrics import read_metrics
from lstmcli.sweep.pool import RECORD_FILE, Pool, Record, Trial, make_trials, record_of
from lstmcli.sweep.space import (
    Range,
    Space,
    Value,
    check_space,
    from_json,
    own_settings,
    settings_of,
    to_json,
    with_settings,
)

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STARTUP = 4
"""Trials that are never ended early, and that are drawn at random."""
FAILURES = 5
"""Trials in a row that may fail before the search gives up."""
REFUSALS = 100
"""Proposals in a row that the config may refuse before the search gives up."""


def load_optuna() -> Any:
    """The module. UsageError: it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError("lstm tune needs Optuna", "pip install 'lstmcli[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@dataclass(frozen=True)
class Plan:
    """A search as it was asked for."""

    name: str
    config: Config
    space: Space
    minutes: float | None  # for all trials together
    trials: int | None
    jobs: int

    @property
    def cells(self) -> set[str]:
        """The cells that its trials may have."""
        varied = self.space.get("model.cell", [])
        return {self.config.model.cell, *map(str, varied if isinstance(varied, list) else [])}

    def save(self, folder: Path) -> None:
        document = {**vars(self), "config": self.config.model_dump(), "space": to_json(self.space)}
        write_json_atomic(folder / "tune.json", signed_plan(document))


class _Record(BaseModel):
    """`tune.json`; its config and space are checked by who reads them."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    name: str
    config: dict[str, Any]
    space: dict[str, Any]
    minutes: Annotated[float, Field(gt=0.0)] | None
    trials: Annotated[int, Field(ge=1)] | None
    jobs: Annotated[int, Field(ge=0, le=1024)]
    made_here: list[str] = []


def load_plan(folder: Path) -> Plan:
    """The search that a directory holds. RunError if there is none."""
    try:
        found = read_json(folder / "tune.json")
        checked(_Record, found, folder / "tune.json")
        config = parse_config(found["config"], str(folder / "tune.json"))
        found.pop(SIGNED, None)
        plan = Plan(**{**found, "config": config, "space": from_json(found["space"])})
        check_space(config, plan.space)
    except (RunError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise RunError(f"{folder} holds no search: {str(error).splitlines()[0]}") from None
    if plan.minutes is None and plan.trials is None:
        raise RunError(f"{folder} holds a search without an end", "give one: --minutes or --trials")
    return plan


@dataclass(frozen=True)
class Outcome:
    """One trial, as it ended."""

    number: int
    state: str  # complete, pruned, diverged, failed
    loss: float | None  # the best validation loss
    settings: dict[str, Value]
    seconds: float
    message: str = ""


def search(
    folder: Path, plan: Plan, report: Callable[[Outcome], None], pool: Pool | None = None
) -> list[Outcome]:
    """Make trials until the budget is used; all outcomes, those of an earlier start included, the best first.

    Args:
        report: told of each outcome as it comes.
        pool: where trials are made; None: in processes.

    Raises:
        Interrupted, Terminated: asked to stop; what is done is kept.
        ConfigError: the config refuses whatever the space holds.
        RunError: trial after trial fails, or a cell that the folder names is not trusted.
    """
    going = _Search(folder, plan, report)
    if pool is None and plan.jobs == 0:
        from lstmcli.sweep.worker import Here

        pool = Here(folder)
    pool = pool or Pool(folder, plan.config.train.threads)
    make_trials(folder, "tune", pool, plan.jobs or 1, going.propose, going.over, going.hopeless)
    return going.outcomes()


@dataclass
class _Running:
    """What Optuna knows of a trial that runs."""

    asked: optuna.trial.Trial
    told: int = 0
    """Evaluations that it has been told of."""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


@dataclass
class _Search:
    """What a search knows while it goes on."""

    folder: Path
    plan: Plan
    report: Callable[[Outcome], None]
    study: optuna.study.Study = field(init=False)
    done: list[Outcome] = field(default_factory=list)
    running: dict[str, _Running] = field(default_factory=dict)
    """By the name of the trial."""
    cut_off: list[tuple[int, dict[str, Value]]] = field(default_factory=list)
    """Numbers and settings of what an earlier start began and did not end."""
    failures: int = 0
    """Trials in a row that failed."""

    def __post_init__(self) -> None:
        self.optuna = optuna = load_optuna()
        self.states = optuna.trial.TrialState
        self.deadline = time.monotonic() + 60.0 * self.plan.minutes if self.plan.minutes else math.inf
        self.minimised = kind_of(self.plan.config).minimised
        names = (path.stem.removeprefix("trial-") for path in (self.folder / "configs").glob("trial-*.yaml"))
        numbers = sorted(int(name) for name in names if re.fullmatch("[0-9]{4,9}", name))
        self.next = numbers[-1] + 1 if numbers else 0
        self.study = optuna.create_study(
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1)
        )
        for number in numbers:
            self._recall(number)
        own = own_settings(self.plan.config, self.plan.space)
        if own is not None and not numbers:
            # What is found is then never worse than what was there.
            self.study.enqueue_trial(encoded(self.plan.space, own))

    def _recall(self, number: int) -> None:
        """Tell Optuna of a trial of an earlier start, or have it gone on with."""
        trial = self._trial(number, load_config(self._config_file(number)))
        settings = own_settings(trial.config, self.plan.space)
        if settings is None:
            raise RunError(f"{self._config_file(number)} lies outside of the space that is searched")
        record = record_of(self.folder, trial)
        if record is None:
            self.cut_off.append((number, settings))
            return
        outcome = outcome_of(number, record, settings)
        self.done.append(outcome)
        complete = outcome.state == "complete" and outcome.loss is not None
        self.study.add_trial(
            self.optuna.trial.create_trial(
                state=self.states.COMPLETE if complete else self.states.PRUNED,
                value=outcome.loss if complete else None,
                params=encoded(self.plan.space, settings),
                distributions={name: distribution(of) for name, of in self.plan.space.items()},
                intermediate_values=dict(enumerate(self._course(trial))),
            )
        )

    def _config_file(self, number: int) -> Path:
        return self.folder / "configs" / f"trial-{number:04d}.yaml"

    def _trial(self, number: int, config: Config) -> Trial:
        return Trial(f"trial-{number:04d}", config, {"settings": settings_of(config, self.plan.space)})

    def propose(self) -> Trial | None:
        """The next trial, if the budget has room for one."""
        used = len(self.done) + len(self.running)
        if time.monotonic() >= self.deadline or (self.plan.trials is not None and used >= self.plan.trials):
            return None
        number = self.next
        if self.cut_off:
            number, settings = self.cut_off.pop(0)
            self.study.enqueue_trial(encoded(self.plan.space, settings))
        else:
            self.next += 1
        asked, config = self._ask(number)
        trial = self._trial(number, config)
        write_atomic(self._config_file(number), dump_config(config).encode())
        self.running[trial.name] = _Running(asked)
        return trial

    def _ask(self, number: int) -> tuple[optuna.trial.Trial, Config]:
        """Settings that go together; those that do not cost nothing. What is drawn follows from the seed, the
        number and the trials before it, whether the search was stopped or not. ConfigError if the space seems
        to have nothing that goes together."""
        refused: ConfigError | None = None
        seed = random.Random(f"{self.plan.config.seed} {number}").getrandbits(32)
        sampler = self.optuna.samplers.TPESampler
        self.study.sampler = sampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)
        for _ in range(REFUSALS):
            asked = self.study.ask({name: distribution(of) for name, of in self.plan.space.items()})
            settings = {name: plain(of, asked.params[name]) for name, of in self.plan.space.items()}
            try:
                return asked, with_settings(self.plan.config, settings)
            except ConfigError as error:
                self.study.tell(asked, state=self.states.FAIL)
                refused = error
        raise ConfigError(f"the config refuses all {REFUSALS} proposals of the space, the last: {refused}")

    def _course(self, trial: Trial) -> list[float]:
        """The best loss so far at each evaluation that a trial has logged."""
        best, found = math.inf, []
        for entry in read_metrics(self.folder / trial.name / "metrics.jsonl"):
            loss = entry.get(self.minimised)
            if isinstance(loss, (int, float)) and math.isfinite(loss):
                best = min(best, float(loss))
                found.append(best)
        return found

    def hopeless(self, trial: Trial) -> bool:
        """Whether it is worse than half of the others were at the same evaluation."""
        running, course = self.running[trial.name], self._course(trial)
        for number in range(running.told, len(course)):
            running.asked.report(course[number], number)
        running.told = len(course)
        return bool(course) and running.asked.should_prune()

    def over(self, trial: Trial, record: Record) -> None:
        """A trial has ended: Optuna and the user are told."""
        running = self.running.pop(trial.name)
        if record["state"] == "pruned":
            record |= {"numbers": {"best_loss": self._course(trial)[-1]}, "seconds": running.seconds}
            write_json_atomic(self.folder / trial.name / RECORD_FILE, record)
        outcome = outcome_of(int(trial.name[6:]), record, trial.labels["settings"])
        if outcome.state == "complete":
            self.study.tell(running.asked, outcome.loss)
        else:
            failed = outcome.state == "failed"
            self.study.tell(running.asked, state=self.states.FAIL if failed else self.states.PRUNED)
        self._keep(outcome)
        self.report(outcome)
        if self.failures >= FAILURES:
            raise RunError(f"the last {self.failures} trials failed", outcome.message)

    def _keep(self, outcome: Outcome) -> None:
        """A trial that failed does not count; of the others the best one's config is kept."""
        if outcome.state == "failed":
            self.failures += 1
            return
        self.failures = 0
        self.done.append(outcome)
        best = self.outcomes()[0]
        if best.state == "complete":
            write_atomic(self.folder / "best.yaml", self._config_file(best.number).read_bytes())

    def outcomes(self) -> list[Outcome]:
        """All trials that have ended with a loss, the best first, and those that were ended early behind."""
        return sorted(
            self.done, key=lambda o: (o.state != "complete", math.inf if o.loss is None else o.loss, o.number)
        )


def outcome_of(number: int, record: Record, settings: dict[str, Value]) -> Outcome:
    loss = record["numbers"].get("best_loss")
    loss = loss if loss is not None and math.isfinite(loss) else None
    state = "failed" if record["state"] == "complete" and loss is None else record["state"]
    return Outcome(number, state, loss, settings, record.get("seconds", 0.0), record["message"] or "")


def distribution(of: Range | list[Value]) -> Any:
    """What Optuna draws a setting from. Values of a list are drawn as JSON, which tells 1 from true."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(of, list):
        return CategoricalDistribution([json.dumps(value) for value in of])
    if of.whole:
        return IntDistribution(int(of.low), int(of.high), log=of.log, step=int(of.step or 1))
    return FloatDistribution(float(of.low), float(of.high), log=of.log, step=of.step)


def encoded(space: Space, settings: dict[str, Value]) -> dict[str, Any]:
    """Settings as Optuna has them."""
    return {name: json.dumps(v) if isinstance(space[name], list) else v for name, v in settings.items()}


def plain(of: Range | list[Value], drawn: Any) -> Value:
    """A value that was drawn, short where it is a number, as the config has it."""
    if isinstance(of, list):
        return json.loads(drawn)  # type: ignore[no-any-return]
    if of.whole:
        return int(drawn)
    short = float(f"{drawn:.3g}") if of.step is None else round(drawn, 10)
    return min(max(short, float(of.low)), float(of.high))


ROWS = 12
COLUMNS = 3


@dataclass(frozen=True)
class Results:
    """What a search found: a table of its trials, and a picture of the loss against each setting."""

    space: Space
    found: list[Outcome]  # the best first

    def document(self) -> dict[str, Any]:
        best = self.found[0] if self.found and self.found[0].state == "complete" else None
        return {
            "best": None if best is None else {"trial": best.number, "loss": best.loss, **best.settings},
            "trials": [vars(outcome) for outcome in self.found],
        }

    def tables(self) -> list[Table]:
        names = list(self.space)
        rows = []
        for o in self.found[:ROWS]:
            loss = "" if o.loss is None else f"{o.loss:.4f}"
            rows.append([str(o.number), o.state, loss, *(shown(o.settings.get(name)) for name in names)])
        left = len(self.found) - len(rows)
        pruned = sum(o.state == "pruned" for o in self.found)
        note = f"{len(self.found)} trials, {pruned} ended early" + (f"; {left} more" if left else "")
        columns = ["trial", "state", "best val loss", *(name.split(".", 1)[-1] for name in names)]
        return [Table("", columns, rows, note, left=2)]

    def figure(self) -> Figure:
        """The best validation loss of each trial against each setting; hollow: ended early."""
        names = list(self.space)
        rows = -(-len(names) // COLUMNS)
        with picture_style():
            figure = new_figure((3.1 * min(COLUMNS, len(names)), 2.6 * rows))
            grid = figure.subplots(rows, min(COLUMNS, len(names)), squeeze=False).ravel()
            for axes, name in zip(grid, names, strict=False):
                self._panel(axes, name)
            for axes in grid[len(names) :]:
                axes.remove()
        return figure

    def _panel(self, axes: Axes, name: str) -> None:
        dimension = self.space[name]
        told = [o for o in self.found if o.loss is not None and name in o.settings]
        for state, face in (("pruned", "none"), ("complete", PALETTE[0])):
            chosen = [o for o in told if o.state == state]
            places: list[Any] = [o.settings[name] for o in chosen]
            if isinstance(dimension, list):
                places = [dimension.index(value) for value in places]
            losses = [o.loss for o in chosen]
            axes.scatter(places, losses, s=18, facecolors=face, edgecolors=PALETTE[0], linewidths=0.8)  # type: ignore[arg-type]
        if isinstance(dimension, list):
            axes.set_xticks(range(len(dimension)), [shown(value) for value in dimension])
        elif isinstance(dimension, Range) and dimension.log:
            axes.set_xscale("log")
        axes.set_title(name, loc="left")
        order = sorted(o.loss for o in told if o.loss is not None)
        if len(order) > 3:  # trials that came to nothing would press all others together
            axes.set_ylim(top=order[int(0.9 * (len(order) - 1))] * 1.02)


def shown(value: Any) -> str:
    """A setting's value, short."""
    return "null" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
