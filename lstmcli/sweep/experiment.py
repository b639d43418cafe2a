"""An experiment: a file says what is claimed, the config it begins with, and what varies; it becomes trials,
every variant at every value with every seed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lstmcli.config.json_schema import dotted, explain
from lstmcli.config.load import parse_config
from lstmcli.config.recipes import EXPERIMENTS, SUFFIXES, point_to_shipped, shipped
from lstmcli.config.schema import Config, PositiveFloat, PositiveInt, Section
from lstmcli.config.yaml_reader import Path as Key
from lstmcli.config.yaml_reader import Place, Reading, read_file
from lstmcli.core.errors import ConfigError, RunError, UsageError
from lstmcli.core.files import read_json, write_json_atomic
from lstmcli.run.foreign import signed_plan
from lstmcli.run.kind import Asked, kind_of
from lstmcli.run.records import checked
from lstmcli.sweep.pool import Pool, Record, Report, Trial, make_trials, record_of

RECORD = "experiment.json"
Measure = Literal["loss", "eval", "gradients", "generate"]


class Experiment(Section):
    """A grid of runs: variants x values of one further setting x seeds."""

    title: str
    """What it is about, in a few words."""
    claim: str
    """What is said."""
    source: str = ""
    """Who says so."""
    base: dict[str, Any]
    """The sections of a config, as in any config; `config: FILE` (beside this one) is read first."""
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """What is compared: a name, and the settings by dotted name in which it differs from `base`."""
    over: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(max_length=1)] = Field(
        default={}
    )
    """One further setting by dotted name, and its values: every variant is trained with each."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(default=[1, 2, 3])
    """Every variant is trained with each of them."""
    measure: Annotated[list[Measure], Field(min_length=1)] = Field(default=["eval"])
    """What is computed of a trained model, beside its validation loss: `eval` as `lstm eval` does,
    `gradients` by lag (at the start, too), `generate` as a continuation that is compared with the truth."""
    split: Literal["val", "test"] | None = None
    """eval: of which part; null: val, and test for synthetic tasks, which make as much of it as they want."""
    lengths: list[PositiveInt] = Field(default=[])
    """Synthetic tasks: lengths to evaluate at, beside those of training."""
    lag: PositiveInt = 100
    """gradients: the longest lag in steps."""
    show: list[str] = Field(default=[])
    """The numbers that the table has, in this order; none: all."""
    against: str | None = None
    """A variant that the others are compared with, seed by seed, in a table of its own."""
    note: str = ""
    """What a reader of the table must know."""
    stop: Literal["solved"] | None = None
    """End a trial at the first evaluation that solves its task."""
    minutes: PositiveFloat | None = None
    """End a trial after so many minutes, whatever its budget says."""
    quick: dict[str, Any] = Field(default={})
    """Settings by dotted name that `--quick` puts in: a look at the whole thing, not a result."""
    takes: PositiveFloat | None = None
    """Minutes that all of it took on two cores."""

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if self.against is not None and self.against not in self.variants:
            raise ValueError(f"against must name a variant: {', '.join(self.variants)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must differ")
        return self


def find_experiment(text: str) -> Path:
    """The file of an experiment: a path, or a name among `experiment_files`. ConfigError if there is none."""
    path = Path(text)
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        return path
    files = {file.stem: file for file in experiment_files()}
    if text in files:
        return files[text]
    near = difflib.get_close_matches(text, files, n=1)
    known = f"there are: {', '.join(files)}"
    raise ConfigError(
        f"there is no experiment {text!r}", f"did you mean {near[0]}?" if near else f"{known}; or give a FILE"
    )


def experiment_files() -> list[Path]:
    """The experiments in configs/experiments here, and those that come with the tool, by name."""
    folders = (shipped() / EXPERIMENTS, EXPERIMENTS)  # one of one's own hides the shipped one of its name
    found = {path.stem: path for folder in folders for path in folder.glob("*") if path.suffix in SUFFIXES}
    return [found[name] for name in sorted(found)]


def load_experiment(path: str | Path) -> tuple[Experiment, dict[Key, int]]:
    """An experiment, and the lines at which its keys stand. ConfigError with the place of all errors."""
    reading = read_file(path)
    if not isinstance(reading.value, dict):
        raise ConfigError(f"{path}: an experiment is a mapping with title, claim, base and variants")
    try:
        experiment = Experiment.model_validate(reading.value)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(path, reading, error))) from None
    base = _inherit(experiment.base, Path(path))
    for settings in (base, *experiment.variants.values()):
        point_to_shipped(settings, path)
    lines = {key: place[0] for key, place in reading.keys.items()}
    return experiment.model_copy(update={"base": base}), lines


def _explained(path: str | Path, reading: Reading, error: ValidationError) -> list[str]:
    """Every error with its place, in the order of the file."""
    found: list[tuple[Place, str]] = []
    for one in error.errors(include_url=False):
        key: Key = tuple(part for part in one["loc"] if part != "[key]")
        text = explain([one], key)
        if one["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(key[-1]), list(Experiment.model_fields), n=1)
            known = f"did you mean {near[0]}?" if near else f"there are {', '.join(Experiment.model_fields)}"
            text = f"an experiment has no such setting; {known}"
        place = reading.place(key, one["type"] in ("extra_forbidden", "missing", "value_error")) or (0, 0)
        position = f":{place[0]}:{place[1]}" if place > (0, 0) else ""
        found.append((place, f"{path}{position}:{f' {dotted(key)}:' if key else ''} {text}"))
    return [text for _, text in sorted(found)]


def _inherit(base: dict[str, Any], path: Path) -> dict[str, Any]:
    """`base` on top of the config that it names, section by section."""
    if "config" not in base:
        return base
    if not isinstance(base["config"], str):
        raise ConfigError(f"{path}: base.config: must be the path of a config")
    try:
        below = read_file(path.parent / base["config"]).value
    except ConfigError as error:
        raise ConfigError(f"{path}: base.config: {error.message}", error.hint) from None
    if not isinstance(below, dict):
        raise ConfigError(f"{path}: base.config: {base['config']}: it is not a mapping")
    merged: dict[str, Any] = dict(below)
    for key, value in base.items():
        inside = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if inside else value
    del merged["config"]
    return merged


@dataclass(frozen=True)
class Plan:
    """An experiment as it was asked for: all that its directory must remember."""

    name: str
    where: str
    experiment: Experiment
    words: tuple[str, ...] = ()  # overrides of the command line, for every trial
    quick: bool = False

    @property
    def axis(self) -> str | None:
        """The setting that `over` varies."""
        return next(iter(self.experiment.over), None)

    def save(self, folder: Path) -> None:
        document = vars(self) | {"experiment": self.experiment.model_dump(), "words": list(self.words)}
        write_json_atomic(folder / RECORD, signed_plan(document))


def make_plan(
    text: str, words: tuple[str, ...] = (), seeds: int | None = None, quick: bool = False
) -> tuple[Plan, dict[Key, int]]:
    """The plan for a name or a file, and the lines of the file.

    Args:
        words: overrides such as `train.max_steps=100`, for every trial.
        seeds: how many, instead of those of the file: the first of them, and whole numbers after the last.
        quick: with the file's settings for a quick look, and one seed.
    """
    path = find_experiment(text)
    experiment, lines = load_experiment(path)
    given = experiment.seeds
    count = seeds or (1 if quick else len(given))
    more = range(max(given) + 1, max(given) + 1 + count - len(given))
    experiment = experiment.model_copy(update={"seeds": [*given[:count], *more]})
    plan = Plan(path.stem, str(path), experiment, words, quick)
    _refuse_varied(plan)
    return plan, lines


class _Record(BaseModel):
    """The file of a plan; `Experiment` checks its own part."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    where: str
    experiment: dict[str, Any]
    words: list[str]
    quick: bool
    made_here: list[str] = []


def load_plan(folder: Path) -> Plan:
    """The plan that an experiment's directory holds. RunError if there is none or it is damaged."""
    try:
        document = read_json(folder / RECORD)
        checked(_Record, document, folder / RECORD)
        experiment = Experiment.model_validate(document["experiment"])
        words = tuple(str(word) for word in document["words"])
        return Plan(document["name"], document["where"], experiment, words, bool(document["quick"]))
    except (RunError, KeyError, TypeError, ValidationError) as error:
        raise RunError(f"{folder} holds no experiment: {str(error).splitlines()[0]}") from None


def _refuse_varied(plan: Plan) -> None:
    """What an experiment varies cannot be set from outside: its rows would lie."""
    varied = {name for variant in plan.experiment.variants.values() for name in variant}
    varied |= {*plan.experiment.over, "seed"}
    for word in plan.words:
        name = word.partition("=")[0].strip()
        if name in varied:
            raise UsageError(
                f"{word!r}: the experiment {plan.name} varies {name} itself", f"copy {plan.where} and edit it"
            )


def trials(plan: Plan, lines: Mapping[Key, int] | None = None) -> list[Trial]:
    """Every trial: seeds within values within variants. ConfigError if one of them has no valid config."""
    made = []
    experiment, axis, lines = plan.experiment, plan.axis, lines or {}
    values: list[Any] = experiment.over[axis] if axis else [None]
    measures = tuple(what for what in experiment.measure if what != "loss")  # which is always there
    asked = Asked(measures, experiment.split, tuple(experiment.lengths), experiment.lag)
    for (variant, settings), at, seed in product(experiment.variants.items(), values, experiment.seeds):
        named = {**settings, **({axis: at} if axis else {}), **(experiment.quick if plan.quick else {})}
        config = _config(plan, named | {"seed": seed}, variant, lines)
        kind = kind_of(config)
        for what in set(measures) - set(kind.measures):
            raise ConfigError(
                f"{_at(plan, ('measure',), lines)} measure: {what} is not for runs of the kind {kind.name}",
                f"there it is loss or {' or '.join(kind.measures)}",
            )
        labels = {"variant": variant, "at": at, "seed": seed}
        name, until_solved = _name(variant, at, seed), experiment.stop == "solved"
        made.append(Trial(name, config, labels, asked, until_solved, experiment.minutes))
    return _uniquely_named(made, plan)


def _config(plan: Plan, named: dict[str, Any], variant: str, lines: Mapping[Key, int]) -> Config:
    base = plan.experiment.base
    train = base.get("train", {})
    if isinstance(train, dict):  # one thread: trials run side by side, and a result is one on any machine
        base = {**base, "train": {"threads": 1} | train}
    words = [f"{name}={json.dumps(value)}" for name, value in named.items()]
    try:
        return parse_config(base, f"{_at(plan, ('base',), lines)} base", [*words, *plan.words])
    except ConfigError as error:
        if " base:" in error.message:
            raise
        raise ConfigError(f"{_at(plan, ('variants', variant), lines)} {variant}: {error.message}") from None


def _at(plan: Plan, key: Key, lines: Mapping[Key, int]) -> str:
    return f"{plan.where}:{lines[key]}:" if key in lines else f"{plan.where}:"


def _name(variant: str, at: Any, seed: int) -> str:
    parts = [variant, *([] if at is None else [str(at)]), f"seed{seed}"]
    return "-".join(re.sub(r"[^A-Za-z0-9_.+-]+", "-", part).strip("-.") for part in parts)


def _uniquely_named(made: list[Trial], plan: Plan) -> list[Trial]:
    """Names that differ only in signs get a number."""
    seen: dict[str, int] = {}
    result = []
    for trial in made:
        seen[trial.name] = seen.get(trial.name, 0) + 1
        count = seen[trial.name]
        result.append(trial if count == 1 else replace(trial, name=f"{trial.name}.{count}"))
    if len({trial.name for trial in result}) < len(result):
        raise ConfigError(f"{plan.where}: two trials have one name; give the variants other names")
    return result


def conduct(folder: Path, plan: Plan, todo: list[Trial], jobs: int, report: Report) -> list[Record]:
    """Make every trial that has no record yet; all records, in the order of `todo`.

    Args:
        jobs: processes at a time; 0: none, all in this one.
        report: told of each record as it comes.

    Raises:
        Interrupted, Terminated: asked to stop; every trial has saved what it had.
        RunError: a cell that the folder names is not trusted.
    """
    records: dict[str, Record] = {}

    def keep(trial: Trial, record: Record) -> None:
        records[trial.name] = record
        report(trial, record)

    for trial in todo:
        if (known := record_of(folder, trial)) is not None:
            keep(trial, known)
    waiting = [trial for trial in todo if trial.name not in records]
    # All variants with one seed before any with the next: what is cut off can be compared already.
    waiting.sort(key=lambda trial: plan.experiment.seeds.index(trial.labels["seed"]))
    threads = max((trial.config.train.threads or 1 for trial in waiting), default=1)
    queue = iter(waiting)
    if jobs == 0:
        from lstmcli.sweep.worker import Here

    pool = Pool(folder, threads) if jobs else Here(folder)
    make_trials(folder, "experiment", pool, jobs or 1, lambda: next(queue, None), keep)
    return [records[trial.name] for trial in todo]
