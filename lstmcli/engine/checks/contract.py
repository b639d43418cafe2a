"""What a cell declares, and the shapes of what its step returns, held against `lstmcli.cells.base`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lstmcli.cells.base import CellClass, FreeCell, GatedCell, ScanCell
from lstmcli.cells.registry import place_of

BATCH = 2
STEPS = 3


def problem_of(cell_class: CellClass, input_size: int, hidden_size: int) -> str | None:
    """What is wrong with one step of a layer of these sizes, in words, or None."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            return _step(cell_class, input_size, hidden_size)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything at all
        return f"its first step fails: {place_of(error, inspect.getsourcefile(cell_class))}"


def _step(cell_class: CellClass, input_size: int, hidden_size: int) -> str | None:
    if problem := _names("state", cell_class.state, least=1):
        return problem
    if issubclass(cell_class, FreeCell):
        return _free_step(cell_class(input_size, hidden_size), input_size, hidden_size)
    if problem := _names("gates", getattr(cell_class, "gates", ()), least=1):
        return problem
    cell = cell_class()
    if isinstance(cell, GatedCell):
        return _gated_step(cell, hidden_size)
    return _scan_steps(cell, hidden_size)  # type: ignore[arg-type]


def _free_step(cell: FreeCell, input_size: int, hidden_size: int) -> str | None:
    state = cell.initial_state(BATCH)
    if not isinstance(state, (tuple, list)) or len(state) != len(cell.state):
        return f"initial_state must give a tuple of {len(cell.state)} tensors, one per name in `state`"
    output, new, gates = cell.step(torch.full((BATCH, input_size), 0.1), state)
    problem = _unlike("output", {"": output}, (BATCH, hidden_size)) or _state(new, state)
    if problem or isinstance(gates, dict):
        return problem or _gates(gates, None)
    return "the gate activations must be a dictionary by name"


def _gated_step(cell: GatedCell, hidden_size: int) -> str | None:
    if problem := _names("separate", cell.separate, least=0) or _vectors(cell.vectors):
        return problem
    if unknown := [name for name in cell.separate if name not in cell.gates]:
        return f"`separate` names {unknown[0]!r}, which is not among `gates`"
    size = (BATCH, hidden_size)
    z = tuple(torch.full(size, 0.1) for _ in (*cell.gates, *cell.separate))
    state = tuple(torch.zeros(size) for _ in cell.state)
    vectors = (torch.full((hidden_size,), float(value)) for value in cell.vectors.values())
    new, gates = cell.pointwise(z, state, *vectors)
    if len(gates) != len(cell.gates):
        return f"pointwise returns {len(gates)} gate activations for {len(cell.gates)} gates"
    return _state(new, state) or _gates(dict(zip(cell.gates, gates, strict=True)), size)


def _scan_steps(cell: ScanCell, hidden_size: int) -> str | None:
    if len(cell.state) != 1:
        return "a scan cell has one state, the hidden state"
    size = (STEPS, BATCH, hidden_size)
    a, b, gates = cell.coefficients(tuple(torch.full(size, 0.1) for _ in cell.gates))
    if len(gates) != len(cell.gates):
        return f"coefficients returns {len(gates)} gate activations for {len(cell.gates)} gates"
    named = dict(zip(cell.gates, gates, strict=True))
    return _unlike("coefficient", {"a": a, "b": b}, size) or _gates(named, size)


def _names(what: str, names: Any, least: int) -> str | None:
    """What is wrong with names that the cell declares, or None."""
    listed = isinstance(names, (tuple, list)) and all(isinstance(name, str) and name for name in names)
    if not listed or len(names) < least:
        return f"it must name its `{what}` in a tuple, such as {what} = ('hidden', 'cell')"
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        return f"`{what}` names {twice[0]!r} twice"
    return None


def _vectors(vectors: Any) -> str | None:
    if not isinstance(vectors, Mapping):
        return "`vectors` must be a dictionary of start values by name"
    for name, value in vectors.items():
        if not (isinstance(name, str) and name.isidentifier() and isinstance(value, (int, float))):
            return f"`vectors` must give a plain name its start value, not {name!r}: {value!r}"
    return None


def _state(new: Any, old: tuple[Tensor, ...]) -> str | None:
    if not isinstance(new, (tuple, list)) or len(new) != len(old):
        return f"the new state must be a tuple of {len(old)} tensors, as the old one is"
    for k, (after, before) in enumerate(zip(new, old, strict=True)):
        if problem := _unlike(f"new state {k}", {"": after}, tuple(before.shape)):
            return problem
    return None


def _gates(gates: dict[Any, Any], size: tuple[int, ...] | None) -> str | None:
    return _unlike("activation of gate", gates, size)


def _unlike(what: str, values: dict[Any, Any], size: tuple[int, ...] | None) -> str | None:
    """The first value that is no tensor of that size (None: one row per stream) of numbers."""
    for key, value in values.items():
        name = f"{what} {key}".strip()
        if not isinstance(value, Tensor):
            return f"the {name} must be a tensor, not {type(value).__name__}"
        shape = tuple(value.shape)
        if shape != size if size is not None else (len(shape) != 2 or shape[0] != BATCH):
            axes = "(batch, units)" if size is None or len(size) == 2 else "(steps, batch, units)"
            wanted = f"[{BATCH}, units]" if size is None else str(list(size))
            return f"the {name} has shape {list(shape)}, not {wanted} {axes}"
        if not bool(torch.isfinite(value).all()):
            return f"the {name} is NaN or infinite in the first step"
    return None
