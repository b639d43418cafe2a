"""What may vary: settings by dotted name, each with a range or a list of values.

train.learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}
model.dropout: {low: 0.0, high: 0.5, step: 0.1}
model.hidden_size: [256, 384, 512]
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from lstmcli.config.load import parse_config
from lstmcli.config.schema import Config, Section
from lstmcli.config.yaml_reader import read_file
from lstmcli.core.errors import ConfigError
from lstmcli.run.kind import kind_of

Value = int | float | str | bool | None


class Range(Section):
    """Numbers between two ends, both included; whole numbers where both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether small numbers are looked at as closely as large ones."""
    step: int | float | None = None

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError("step must be above 0")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = dict[str, Range | list[Value]]


def default_space(config: Config) -> Space:
    """What the kind of the config varies where no space is given."""
    return from_json(kind_of(config).space)


def load_space(path: Path) -> Space:
    """The space of a file. ConfigError names what is wrong in it."""
    reading = read_file(path)
    if not isinstance(reading.value, dict) or not reading.value:
        raise ConfigError(f"{path}: a space names settings, each with a range or a list of values")
    return {str(name): _dimension(f"{path}: {name}", found) for name, found in reading.value.items()}


def _dimension(where: str, found: Any) -> Range | list[Value]:
    if isinstance(found, list):
        if not found or any(isinstance(value, (dict, list)) for value in found):
            raise ConfigError(f"{where}: a list holds one or more plain values")
        return found
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: give {{low: ..., high: ...}} or a list of values")
    for name in found:
        if name not in Range.model_fields:
            near = difflib.get_close_matches(str(name), list(Range.model_fields), n=1)
            raise ConfigError(
                f"{where}: a range has no {name!r}", f"did you mean {near[0]}?" if near else None
            )
    try:
        return Range.model_validate(found)
    except ValidationError as error:
        raise ConfigError(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def with_settings(config: Config, settings: Mapping[str, Value]) -> Config:
    """The config with these settings. ConfigError if one does not exist or does not fit."""
    words = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    return parse_config(config.model_dump(), "config", words)


def check_space(config: Config, space: Space) -> None:
    """Every end and every value of every setting by itself. ConfigError names what the config refuses."""
    if not space:
        raise ConfigError("the space is empty: nothing varies")
    for name, dimension in space.items():
        values = dimension if isinstance(dimension, list) else [dimension.low, dimension.high]
        for value in values:
            try:
                with_settings(config, {name: value})
            except ConfigError as error:
                raise ConfigError(f"space: {name}: {value}: {error.message}", error.hint) from None


def settings_of(config: Config, space: Space) -> dict[str, Value]:
    """What the config has for the settings of a space."""
    found: dict[str, Value] = {}
    for name in space:
        value: Any = config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
        found[name] = value
    return found


def own_settings(config: Config, space: Space) -> dict[str, Value] | None:
    """The same; None where one lies outside of the space."""
    found = settings_of(config, space)
    return found if all(_holds(space[name], value) for name, value in found.items()) else None


def _holds(dimension: Range | list[Value], value: Any) -> bool:
    if isinstance(dimension, list):
        # True == 1 in Python; in a config they are two things.
        return any(type(v) is type(value) and v == value for v in dimension)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    step = dimension.step or (1 if dimension.whole and not dimension.log else None)
    steps = (value - dimension.low) / step if step else 0
    return dimension.low <= value <= dimension.high and abs(steps - round(steps)) < 1e-6


def to_json(space: Space) -> dict[str, Any]:
    return {k: v if isinstance(v, list) else v.model_dump() for k, v in space.items()}


def from_json(found: Mapping[str, Any]) -> Space:
    return {k: v if isinstance(v, list) else Range.model_validate(v) for k, v in found.items()}
