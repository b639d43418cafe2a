"""Whether a model fits into memory, from its settings alone: before anything of it is made.

All figures are the least that is needed; what fits by them may still be too much in the end.
"""

from __future__ import annotations

import torch

from lstmcli.cells.registry import find_cell, is_built_in
from lstmcli.config.schema import Config, Model
from lstmcli.core.memory import require
from lstmcli.engine.layers import Cost, layer_class

FLOAT = 4  # bytes of a number in fp32
SMALLER = "choose a smaller model.hidden_size, model.embedding_size or model.num_layers"
SHORTER = "choose a smaller train.batch_size, a shorter window or a smaller model"


def check_memory(numbers: int) -> None:
    """ResourceError if so many parameters do not fit."""
    require(FLOAT * numbers, f"a model of at least {numbers:,} parameters", SMALLER)


def check_training_memory(config: Config, numbers: int, rows: int, steps: int, width: int) -> None:
    """ResourceError if training on this machine's CPU cannot fit: the parameters with their gradients and the
    optimizer's state, and `width` values at each of `steps` steps for each of a batch's `rows`."""
    train = config.train
    if train.device in ("cuda", "mps") or (train.device == "auto" and torch.accelerator.is_available()):
        return check_memory(numbers)
    moments = 2 if "Adam" in train.optimizer else int(train.optimizer == "Muon")
    copies = 2 + moments + (train.average is not None)
    weights, states = copies * numbers, rows * steps * width
    what = f"training {numbers:,} parameters on batches of {rows:,} x {steps:,} steps"
    return require(FLOAT * (weights + states), what, SHORTER if states > weights else SMALLER)


def layer_parameters(settings: Model) -> int:
    """Of the recurrent layers; of a cell of the user's own only what any cell has."""
    return sum(cost.parameters for cost in _costs(settings))


def layer_values(settings: Model) -> int:
    """Numbers in fp32 that training keeps of one symbol in the recurrent layers, at the least."""
    return sum(settings.sizes if settings.recompute else (cost.kept for cost in _costs(settings)))


def _costs(settings: Model) -> list[Cost]:
    """Of each layer."""
    sizes = settings.sizes
    below = [settings.embedding_size or sizes[0], *sizes]
    return [_cost(settings.cell, inputs, units) for inputs, units in zip(below, sizes, strict=False)]


def _cost(cell: str, inputs: int, units: int) -> Cost:
    if not is_built_in(cell):
        return Cost(units, 0, 0, units)
    try:
        found = find_cell(cell)
        return layer_class(found).cost(found, inputs, units)
    except (RuntimeError, OverflowError):  # so large that its tensors cannot even be described
        return Cost(inputs * units, 0, 0, units)
