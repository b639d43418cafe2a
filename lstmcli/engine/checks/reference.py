"""What the checks of a cell work with: its step, written as a person would write it down, and a layer of it.

Everything here is the slow, readable reference. It takes from a layer nothing but its parameters, each by
its name, and pairs them with the equations in the order that the cell declares: no loop, engine, scan or
product of the layer's own, which are what the checks hold against it.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lstmcli.cells.base import CellClass, FreeCell, GatedCell, State
from lstmcli.engine.layers import Layer, Regularization, Start, make_layers

BATCH = 3


class Failed(Exception):
    """A check that the cell does not pass: what and where, and how to mend it."""

    def __init__(self, what: str, hint: str):
        super().__init__(what)
        self.what, self.hint = what, hint


class Passed(NamedTuple):
    """A check that the cell passes; a warning if something is to be known all the same."""

    detail: str = ""
    warning: bool = False


class Results(NamedTuple):
    """What one step gives."""

    values: dict[
        str, Tensor
    ]  # by name: the new states, or the coefficients of a scan cell; a free cell's output
    gates: dict[str, Tensor]  # activations by the gate's name


class Step(NamedTuple):
    """One step of a cell, with the arguments of its function, each by name, and each with rows of its own."""

    cell: Any
    arguments: dict[str, Tensor]

    def __call__(self, arguments: dict[str, Tensor] | None = None) -> Results:
        """The step on its own arguments, or on others of the same names."""
        return results_of(self.cell, list((arguments or self.arguments).values()))


@dataclass(frozen=True)
class Subject:
    """The cell that is checked and the sizes of its layer."""

    cell_class: CellClass
    hidden_size: int
    input_size: int

    @property
    def is_free(self) -> bool:
        return issubclass(self.cell_class, FreeCell)

    @property
    def file(self) -> str | None:
        return inspect.getsourcefile(self.cell_class)

    @property
    def place(self) -> str:
        """FILE:LINE of the cell's step, or of its class where it has none; empty where there is no file."""
        step = next(n for n in ("step", "pointwise", "coefficients") if hasattr(self.cell_class, n))
        code = getattr(vars(self.cell_class).get(step), "__code__", None)
        if code is not None:
            return f"{code.co_filename}:{code.co_firstlineno}"
        try:
            return f"{self.file}:{inspect.getsourcelines(self.cell_class)[1]}"
        except (OSError, TypeError):  # a class that was made in no file
            return ""

    @cached_property
    def cell(self) -> Any:
        """A cell for steps in float64 as they are in evaluation."""
        seed_all(1)
        if not issubclass(self.cell_class, FreeCell):
            return self.cell_class()
        free = self.cell_class(self.input_size, self.hidden_size)
        move_off_the_start(free)
        return free.double().eval()

    def step(self, seed: int = 2, batch: int = BATCH) -> Step:
        """A step from a state that the cell itself came to, on pre-activations drawn at random."""
        generator = torch.Generator().manual_seed(seed)

        def drawn(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, dtype=torch.float64)

        cell, rows = self.cell, (batch, self.hidden_size)
        if isinstance(cell, FreeCell):
            state: State = tuple(s.detach().clone() for s in cell.initial_state(batch))
            arguments = [[drawn(batch, self.input_size)] for _ in range(4)]
        elif isinstance(cell, GatedCell):
            state = tuple(torch.zeros(rows, dtype=torch.float64) for _ in cell.state)
            arguments = [[drawn(*rows) for _ in (*cell.gates, *cell.separate)] for _ in range(4)]
        else:
            return Step(
                cell, dict(zip(argument_names(cell), (drawn(4, *rows) for _ in cell.gates), strict=True))
            )
        # Each vector has numbers of its own, so that one in the place of another is seen.
        vectors = [
            float(start) + 0.3 * drawn(self.hidden_size) for start in getattr(cell, "vectors", {}).values()
        ]
        with torch.no_grad():
            for before in arguments[:-1]:
                values = results_of(cell, [*before, *state, *vectors]).values
                state = tuple(values[f"the new state {name!r}"].clone() for name in cell.state)
        names = argument_names(cell)
        return Step(cell, dict(zip(names, [*arguments[-1], *state, *vectors], strict=True)))

    def layer(self, dtype: torch.dtype = torch.float64, path: str | None = None, seed: int = 1) -> Layer:
        """A layer with parameters a little off their start, so that no symmetry hides a mistake."""
        seed_all(seed)
        sizes = [(self.input_size, self.hidden_size)]
        layer = make_layers(self.cell_class, sizes, Regularization())[0]
        layer.reset_parameters(Start())
        move_off_the_start(layer)
        layer.path = path or layer.path
        return layer.to(dtype).eval()

    def inputs(self, steps: int, dtype: torch.dtype = torch.float64, seed: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        size = (steps, BATCH, self.input_size)
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)


def seed_all(seed: int) -> None:
    """Set each generator that a cell may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


@torch.no_grad()
def move_off_the_start(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)


def argument_names(cell: Any) -> list[str]:
    """What the arguments of a step of this cell are, in their order."""
    if isinstance(cell, FreeCell):
        return ["the input", *(f"the state {name!r}" for name in cell.state)]
    names = [f"z of gate {name!r}" for name in cell.gates]
    if isinstance(cell, GatedCell):
        names += [f"the recurrent part of gate {name!r}" for name in cell.separate]
        names += [f"the state {name!r}" for name in cell.state]
        names += [f"the vector {name!r}" for name in cell.vectors]
    return names


def results_of(cell: Any, arguments: Sequence[Tensor]) -> Results:
    """One step of the cell's equations on arguments in the order of `argument_names`."""
    given = list(arguments)
    if isinstance(cell, FreeCell):
        output, new, activations = cell.step(given[0], tuple(given[1:]))
        return Results({"the output": output} | new_states(cell, new), activations)
    if not isinstance(cell, GatedCell):
        a, b, gates = cell.coefficients(tuple(given))
        return Results(
            {"the coefficient a": a, "the coefficient b": b}, dict(zip(cell.gates, gates, strict=True))
        )
    first = len(cell.gates) + len(cell.separate)
    last = first + len(cell.state)
    new, gates = cell.pointwise(tuple(given[:first]), tuple(given[first:last]), *given[last:])
    return Results(new_states(cell, new), dict(zip(cell.gates, gates, strict=True)))


def new_states(cell: Any, new: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"the new state {name!r}": s for name, s in zip(cell.state, new, strict=True)}


def one_step(layer: Layer, x_t: Tensor, state: State) -> tuple[Tensor, State]:
    """The output (B, H) for x_t (B, I) and the new state, by the equations alone."""
    cell = layer.cell
    if isinstance(cell, FreeCell):
        output, new, _ = cell.step(x_t, state)
        return output, tuple(new)
    parameter = dict(layer.named_parameters())
    gates = cell.gates
    from_input = functional.linear(x_t, parameter["weight_ih"], parameter["bias"])
    z = dict(zip(gates, from_input.chunk(len(gates), dim=-1), strict=True))
    if not isinstance(cell, GatedCell):
        values = results_of(cell, [z[name].unsqueeze(0) for name in gates]).values
        h = values["the coefficient a"][0] * state[0] + values["the coefficient b"][0]
        return h, (h,)
    recurrent = functional.linear(state[0], parameter["weight_hh"])
    product = dict(zip(gates, recurrent.chunk(len(gates), dim=-1), strict=True))
    joined = [z[name] if name in cell.separate else z[name] + product[name] for name in gates]
    joined += [product[name] for name in cell.separate]
    vectors = [parameter[f"vectors.{name}"] for name in cell.vectors]
    new = tuple(results_of(cell, [*joined, *state, *vectors]).values.values())
    return new[0], new


def step_by_step(layer: Layer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Outputs (T, B, H) and the final state."""
    outputs = []
    for x_t in x.unbind():
        output, state = one_step(layer, x_t, state)
        outputs.append(output)
    return torch.stack(outputs), state


def reached_state(layer: Layer, x: Tensor) -> State:
    """A state that the cell itself came to, from its initial one over x (T, B, I)."""
    with torch.no_grad():
        return tuple(s.clone() for s in step_by_step(layer, x, layer.initial_state(x.shape[1]))[1])


Run = Callable[[Layer, Tensor, State], tuple[Tensor, State]]


def everything(layer: Layer, x: Tensor, state: State, run: Run) -> dict[str, Tensor]:
    """By name: outputs, final states, and the gradients of a loss in which all of them have a part."""
    x = x.detach().clone().requires_grad_()
    state = tuple(s.detach().clone().requires_grad_() for s in state)
    outputs, final = run(layer, x, state)
    results = outputs_and_states(layer, outputs, final)
    sources = {"the input": x} | {f"the state {n!r}": s for n, s in zip(layer.cell.state, state, strict=True)}
    sources |= {f"the parameter {n}": p for n, p in layer.named_parameters()}
    results |= gradients_of(weighted(results), sources)
    return {name: value.detach() for name, value in results.items()}


def outputs_and_states(layer: Layer, outputs: Tensor, final: State) -> dict[str, Tensor]:
    states = zip(layer.cell.state, final, strict=True)
    return {"the outputs": outputs} | {f"the final state {name!r}": s for name, s in states}


def gradients_of(loss: Tensor, sources: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradient with respect to each source, by name; zeros where the loss does not depend on it."""
    gradients: Sequence[Tensor | None] = [None] * len(sources)
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    return {
        f"the gradient with respect to {name}": torch.zeros_like(source) if gradient is None else gradient
        for (name, source), gradient in zip(sources.items(), gradients, strict=True)
    }


def weighted(results: dict[str, Tensor]) -> Tensor:
    """A loss: the sum of all numbers, each with a weight of its own."""
    total = []
    for k, value in enumerate(results.values()):
        generator = torch.Generator().manual_seed(100 + k)
        weights = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
        total.append((value * weights).sum())
    return torch.stack(total).sum()


def difference(results: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> str | None:
    """The first name where two results differ by more than `tolerance` of the largest number, or 1."""
    for name, want in wanted.items():
        got, scale = results[name], max(1.0, float(want.abs().max()) if want.numel() else 1.0)
        largest = float((got - want).abs().max()) if want.numel() else 0.0
        if not largest <= tolerance * scale:  # NaN, too
            return f"{name} by {largest:.2g}"
    return None
