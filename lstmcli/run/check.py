"""The rules between settings that need no data: one check for `lstm validate`, `lstm train` and Python."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lstmcli.cells.registry import find_cell
from lstmcli.config.schema import Config
from lstmcli.core.errors import LstmError
from lstmcli.engine.checks.check import check_before_training
from lstmcli.engine.hardware import check_path, choose_hardware
from lstmcli.engine.stack import Stack
from lstmcli.run.kind import kind_of
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
    if not elsewhere:
        rules.append(lambda config: choose_hardware(config.train.device, config.train.precision))
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
