"""The rules between settings that need no data: one check for `lstm validate`, `lstm train` and Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from lstmcli.cells.registry import find_cell
from lstmcli.config.schema import Config
from lstmcli.config.section import Section
from lstmcli.core.errors import ConfigError, LstmError
from lstmcli.engine.checks.check import check_before_training
from lstmcli.engine.hardware import check_path, choose_hardware
from lstmcli.engine.stack import Stack
from lstmcli.run.kind import Needs, kind_of
from lstmcli.run.optimizer import make_optimizer


def check(config: Config, elsewhere: bool = False) -> None:
    """See that a config can be trained, its data left aside. Nothing is read or written but a cell's file.

    Args:
        elsewhere: the settings are those of a run that may come from another machine, whose device need not
            be here.

    Raises:
        LstmError: of the first fault's kind, with a line for each fault that was found.
    """
    faults = faults_of(config, elsewhere)
    if faults:
        raise type(faults[0])("\n".join(str(fault) for fault in faults))


def faults_of(config: Config, elsewhere: bool = False) -> list[LstmError]:
    """Every rule that the config breaks."""
    rules: list[Callable[[Config], object]] = [_cell, _optimizer, kind_of(config).check]
    if not elsewhere:  # a run that began before a setting was refused goes on
        rules += [_effect, lambda config: choose_hardware(config.train.device, config.train.precision)]
    faults = []
    for rule in rules:
        try:
            rule(config)
        except LstmError as fault:
            faults.append(fault)
    return faults


def _cell(config: Config) -> None:
    """The cell keeps to its contract, and its layers take the settings that they are given."""
    settings = config.model
    check_before_training(settings)
    with torch.device("meta"):  # for the rules alone: the weights take no memory
        layers = Stack(settings, find_cell(settings.cell), settings.embedding_size or settings.sizes[0])
    check_path(settings, layers.layers[0])


def _optimizer(config: Config) -> None:
    # One matrix inside the layers and one outside, since Muon parts them.
    make_optimizer(config.train, nn.ModuleDict({"layers": nn.Linear(2, 2), "head": nn.Linear(2, 2)}))


NEEDS: Needs = {
    "train.plateau_factor": ("train.schedule: plateau", lambda c: c.train.schedule == "plateau"),
    "train.plateau_patience": ("train.schedule: plateau", lambda c: c.train.schedule == "plateau"),
    "train.average_from": ("train.average: swa", lambda c: c.train.average == "swa"),
    "train.average_patience": ("train.average: nt-asgd", lambda c: c.train.average == "nt-asgd"),
    "train.final_learning_rate": ("another train.schedule", lambda c: c.train.schedule != "constant"),
    "model.chrono_steps": ("model.forget_bias: chrono", lambda c: c.model.forget_bias == "chrono"),
}  # fmt: skip
"""Settings that only another one gives an effect: what they need, and whether it is there."""


def _effect(config: Config) -> None:
    """ConfigError: settings that differ from their defaults and have no effect, each by name. (What another
    kind alone would read is refused before a config is made.)"""
    needs = {**NEEDS, **kind_of(config).needs}
    faults = [
        f"{name}: it has no effect without {needs[name][0]}"
        for name in _given(config)
        if name in needs and not needs[name][1](config)
    ]
    if faults:
        raise ConfigError("\n".join(faults), "leave out what has no effect")


def _given(config: Config) -> Iterator[str]:
    """Dotted names of the settings that differ from their defaults."""
    for section in type(config).model_fields:
        values = getattr(config, section)
        if not isinstance(values, Section):
            continue
        for name, field in type(values).model_fields.items():
            if getattr(values, name) != field.get_default(call_default_factory=True):
                yield f"{section}.{name}"
