"""An experiment file: what is claimed, the config it begins with, and what varies."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lstmcli.config.json_schema import dotted, explain
from lstmcli.config.recipes import EXPERIMENTS, SUFFIXES, point_to_shipped, shipped
from lstmcli.config.schema import PositiveFloat, PositiveInt, Section
from lstmcli.config.yaml_reader import Path as Key
from lstmcli.config.yaml_reader import Place, Reading, read_text, read_yaml
from lstmcli.core.errors import ConfigError

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
    reading = read_yaml(read_text(path))
    if not isinstance(reading.value, dict) and not reading.problems:
        raise ConfigError(f"{path}: an experiment is a mapping with title, claim, base and variants")
    if reading.problems:
        raise ConfigError("\n".join(_message(path, p.path, p.text, p.place) for p in reading.problems))
    try:
        experiment = Experiment.model_validate(reading.value)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(path, reading, error))) from None
    base = _inherit(experiment.base, Path(path))
    for settings in (base, *experiment.variants.values()):
        point_to_shipped(settings, path)
    lines = {key: place[0] for key, place in reading.keys.items()}
    return experiment.model_copy(update={"base": base}), lines


def _message(path: str | Path, key: Key, text: str, place: Place | None) -> str:
    position = f":{place[0]}:{place[1]}" if place else ""
    return f"{path}{position}:{f' {dotted(key)}:' if key else ''} {text}"


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
        place = _place(reading, key, one["type"] in ("extra_forbidden", "missing", "value_error"))
        found.append((place or (0, 0), _message(path, key, text, place)))
    return [text for _, text in sorted(found)]


def _place(reading: Reading, key: Key, at_key: bool) -> Place | None:
    """Where a value stands (or its key); of something that is not there, what it would be in."""
    first, second = (reading.keys, reading.values) if at_key else (reading.values, reading.keys)
    parts = (key[:end] for end in range(len(key), -1, -1))
    return next((place for part in parts if (place := first.get(part) or second.get(part))), None)


def _inherit(base: dict[str, Any], path: Path) -> dict[str, Any]:
    """`base` on top of the config that it names, section by section."""
    if "config" not in base:
        return base
    name = base["config"]
    if not isinstance(name, str):
        raise ConfigError(f"{path}: base.config: must be the path of a config")
    below = path.parent / name
    reading = read_yaml(read_text(below))
    if reading.problems or not isinstance(reading.value, dict):
        place = reading.problems[0].text if reading.problems else "it is not a mapping"
        raise ConfigError(f"{path}: base.config: {below}: {place}")
    merged: dict[str, Any] = dict(reading.value)
    for key, value in base.items():
        inside = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if inside else value
    del merged["config"]
    return merged
