"""From an experiment to its trials: every variant, at every value, with every seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lstmcli.config.load import parse_config
from lstmcli.config.schema import Config
from lstmcli.config.yaml_reader import Path as Key
from lstmcli.core.errors import ConfigError, RunError, UsageError
from lstmcli.core.files import read_json, write_json_atomic
from lstmcli.sweep.experiments.schema import Experiment, find_experiment, load_experiment

RECORD = "experiment.json"


@dataclass(frozen=True)
class Trial:
    """One run of an experiment."""

    name: str  # of its directory
    variant: str
    at: Any  # the value of `over`; None where there is none
    seed: int
    config: Config


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
        write_json_atomic(folder / RECORD, document)


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


def load_plan(folder: Path) -> Plan:
    """The plan that an experiment's directory holds. RunError if there is none or it is damaged."""
    try:
        document = read_json(folder / RECORD)
        experiment = Experiment.model_validate(document["experiment"])
        words = tuple(str(word) for word in document["words"])
        return Plan(document["name"], document["where"], experiment, words, bool(document["quick"]))
    except (RunError, KeyError, TypeError, ValidationError) as error:
        raise RunError(f"{folder} holds no experiment: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


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
    experiment, axis = plan.experiment, plan.axis
    values: list[Any] = experiment.over[axis] if axis else [None]
    for (variant, settings), at, seed in product(experiment.variants.items(), values, experiment.seeds):
        named = {**settings, **({axis: at} if axis else {}), **(experiment.quick if plan.quick else {})}
        config = _config(plan, named | {"seed": seed}, variant, lines or {})
        made.append(Trial(_name(variant, at, seed), variant, at, seed, config))
    return _uniquely_named(made, plan)


def one_trial(plan: Plan, name: str) -> Trial:
    """The trial of that name."""
    found = next((trial for trial in trials(plan) if trial.name == name), None)
    if found is None:
        raise RunError(f"the experiment {plan.name} has no trial {name!r}")
    return found


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
