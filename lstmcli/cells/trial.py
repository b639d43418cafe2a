"""One step of a user's cell before anything is trained with it, so that what is wrong with it is told
in one sentence which names the cell and the place in its file."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from lstmcli.cells.base import CellClass, FreeCell, GatedCell
from lstmcli.cells.registry import find_cell, is_built_in, place_of
from lstmcli.config.schema import Model
from lstmcli.errors import ConfigError

BATCH = 2


def try_cell(settings: Model) -> None:
    """Run one step of `model.cell`, unless it is built in, in the sizes of the model.

    Raises:
        ConfigError: it raises, or what it returns is not what `lstmcli.cells.base` asks for.
    """
    if is_built_in(settings.cell):
        return
    cell_class = find_cell(settings.cell)
    width = settings.embedding_size or settings.hidden_size
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            problem = _step(cell_class, width, settings.hidden_size)
    except Exception as error:  # the user's own code may raise anything at all
        problem = f"its first step fails: {place_of(error, inspect.getsourcefile(cell_class))}"
    if problem:
        raise ConfigError(f"model.cell: {settings.cell}: {problem}", "lstmcli.cells.base has the contract")


def _step(cell_class: CellClass, input_size: int, hidden_size: int) -> str | None:
    """What is wrong with the results of one step, or None."""
    if issubclass(cell_class, FreeCell):
        free = cell_class(input_size, hidden_size)
        state = free.initial_state(BATCH)
        output, new, gates = free.step(torch.full((BATCH, input_size), 0.1), state)
        problem = _unlike("output", {"": output}, hidden_size)
        return problem or _state(new, state) or _gates(gates, hidden_size)
    return _gated_step(cell_class(), hidden_size)


def _gated_step(cell: GatedCell, hidden_size: int) -> str | None:
    names = getattr(cell, "gates", ())
    if not names or not all(isinstance(name, str) for name in names):
        return "it must name its `gates`, such as gates = ('forget', 'cell')"
    z = tuple(torch.full((BATCH, hidden_size), 0.1) for _ in names)
    state = tuple(torch.zeros(BATCH, hidden_size) for _ in cell.state)
    new, gates = cell.pointwise(z, state)
    if len(gates) != len(names):
        return f"pointwise returns {len(gates)} gate activations for {len(names)} gates"
    return _state(new, state) or _gates(dict(zip(names, gates, strict=True)), hidden_size)


def _state(new: Any, old: tuple[Tensor, ...]) -> str | None:
    if not isinstance(new, (tuple, list)) or len(new) != len(old):
        return f"the new state must be a tuple of {len(old)} tensors, as the old one is"
    return _unlike("new state", dict(enumerate(new)), old[0].shape[-1])


def _gates(gates: Any, hidden_size: int) -> str | None:
    if not isinstance(gates, dict):
        return "the gate activations must be a dictionary by name"
    return _unlike("activation of gate", gates, hidden_size)


def _unlike(what: str, values: dict[Any, Any], hidden_size: int) -> str | None:
    """The first value that is no tensor (BATCH, hidden_size) of numbers."""
    for key, value in values.items():
        name = f"{what} {key}".strip()
        if not isinstance(value, Tensor):
            return f"the {name} must be a tensor, not {type(value).__name__}"
        if tuple(value.shape) != (BATCH, hidden_size):
            return f"the {name} has shape {list(value.shape)}, not [{BATCH}, {hidden_size}] (batch, units)"
        if not bool(torch.isfinite(value).all()):
            return f"the {name} is NaN or infinite in the first step"
    return None
