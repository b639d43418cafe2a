"""The function that the author of a cell writes, with its arguments and its results by name: what the checks
know of a kind of cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Unfit(Exception):
    """What a cell declares or returns is not what its kind's contract asks for; in words."""


class Results(NamedTuple):
    """What one step gives."""

    values: dict[str, Tensor]  # by name: the output where it is no state, and the new states or coefficients
    gates: dict[str, Tensor]  # activations by the gate's name


class Equations:
    """The function is `step(x, state) -> (output, new state, gates by name)` of a module, which has an
    `initial_state`, too: a free cell, or the layer itself. A kind whose author writes another function
    derives its own.

    Args:
        owner: what has the function; where it is a module, its parameters belong to the equations.
        state: names of what is carried.
    """

    axes: ClassVar[tuple[str, ...]] = ("stream {} of the batch",)
    """What a row is, on each axis of the arguments on which rows must not see each other."""

    def __init__(self, owner: Any, state: Sequence[str], input_size: int, hidden_size: int):
        self.owner, self.names = owner, state
        self.input_size, self.hidden_size = input_size, hidden_size

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Those of the owner, by name."""
        return dict(self.owner.named_parameters()) if self.owns_parameters else {}

    @property
    def owns_parameters(self) -> bool:
        return isinstance(self.owner, nn.Module)

    def inputs(self, batch: int) -> dict[str, tuple[int, ...]]:
        """The shapes of what differs from step to step, by name: the first arguments."""
        return {"the input": (batch, self.input_size)}

    def state(self, batch: int) -> dict[str, Tensor]:
        """The state as it begins, by name: the arguments behind the inputs."""
        state = self.owner.initial_state(batch)
        if not isinstance(state, (tuple, list)) or len(state) != len(self.names):
            count = len(self.names)
            raise Unfit(f"initial_state must give a tuple of {count} tensors, one per name in `state`")
        return {f"the state {name!r}": s.detach() for name, s in zip(self.names, state, strict=True)}

    def vectors(self) -> dict[str, float]:
        """Start values of learned vectors (H,), by name: the last arguments."""
        return {}

    def __call__(self, arguments: Mapping[str, Tensor]) -> Results:
        """One step. Unfit: it does not return what it should."""
        x, *state = arguments.values()
        output, new, gates = self.owner.step(x, tuple(state))
        values = {"the output": expected("the output", output, (len(x), self.hidden_size))}
        values |= new_states(self.names, new, state)
        if not isinstance(gates, dict):
            raise Unfit("the gate activations must be a dictionary by name")
        for name, gate in gates.items():
            expected(f"the activation of gate {name!r}", gate, (len(x), None))
        return Results(values, gates)


def new_states(names: Sequence[str], new: Any, old: Sequence[Tensor]) -> dict[str, Tensor]:
    """The new state by name; Unfit unless it is as the old one."""
    if not isinstance(new, (tuple, list)) or len(new) != len(old):
        raise Unfit(f"the new state must be a tuple of {len(old)} tensors, as the old one is")
    named = {f"the new state {name!r}": value for name, value in zip(names, new, strict=True)}
    return {name: expected(name, *pair) for (name, *pair) in zip(named, new, map(_shape, old), strict=True)}


def named_gates(function: str, names: Sequence[str], gates: Any, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The activations by the gates' names; Unfit unless there is one of this shape for each."""
    if len(gates) != len(names):
        raise Unfit(f"{function} returns {len(gates)} gate activations for {len(names)} gates")
    pairs = zip(names, gates, strict=True)
    return {name: expected(f"the activation of gate {name!r}", gate, shape) for name, gate in pairs}


def expected(name: str, value: Any, shape: Sequence[int | None]) -> Tensor:
    """The value; Unfit unless it is a tensor of this shape (None: of any size)."""
    if not isinstance(value, Tensor):
        raise Unfit(f"{name} must be a tensor, not {type(value).__name__}")
    fits = value.dim() == len(shape) and all(
        want in (None, size) for want, size in zip(shape, value.shape, strict=True)
    )
    if not fits:
        axes = "(batch, units)" if len(shape) == 2 else "(steps, batch, units)"
        wanted = ", ".join("units" if size is None else str(size) for size in shape)
        raise Unfit(f"{name} has shape {list(value.shape)}, not [{wanted}] {axes}")
    return value


def check_names(what: str, names: Any, least: int = 1) -> None:
    """Unfit unless a cell declares distinct names in a tuple."""
    listed = isinstance(names, (tuple, list)) and all(isinstance(name, str) and name for name in names)
    if not listed or len(names) < least:
        raise Unfit(f"it must name its `{what}` in a tuple, such as {what} = ('hidden', 'cell')")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise Unfit(f"`{what}` names {twice[0]!r} twice")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def zeros(names: Sequence[str], *shape: int) -> dict[str, Tensor]:
    """A state of zeros in float64, by name."""
    return {f"the state {name!r}": torch.zeros(shape, dtype=torch.float64) for name in names}
