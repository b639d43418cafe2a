"""What the checks of a cell work with: its equations on arguments drawn at random, a layer of it that goes
from step to step, and how results are held against each other."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lstmcli.cells.base import CellClass, State
from lstmcli.engine.layers import Layer, Regularization, Start, layer_class, make_layers
from lstmcli.engine.layers.equations import Equations, Results

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


class Call(NamedTuple):
    """One step of a cell, with the arguments of its function, each by name, and each with rows of its own."""

    equations: Equations
    arguments: dict[str, Tensor]

    def __call__(self, arguments: dict[str, Tensor] | None = None) -> Results:
        """The step on its own arguments, or on others of the same names."""
        return self.equations(self.arguments if arguments is None else arguments)


@dataclass(frozen=True)
class Subject:
    """The cell that is checked and the sizes of its layer."""

    cell_class: CellClass
    hidden_size: int
    input_size: int

    @property
    def kind(self) -> type[Layer]:
        return layer_class(self.cell_class)

    @property
    def file(self) -> str | None:
        return inspect.getsourcefile(self.cell_class)

    @property
    def place(self) -> str:
        """FILE:LINE of the function that the cell's author writes, or of the class where that is not in it;
        empty where there is no file."""
        code = getattr(vars(self.cell_class).get(self.kind.function), "__code__", None)
        if code is not None:
            return f"{code.co_filename}:{code.co_firstlineno}"
        try:
            return f"{self.file}:{inspect.getsourcelines(self.cell_class)[1]}"
        except (OSError, TypeError):  # a class that was made in no file
            return ""

    @cached_property
    def equations(self) -> Equations:
        """In float64, as they are in evaluation."""
        return self.layer().equations()

    def call(self, seed: int = 2, before: int = 3) -> Call:
        """A step on inputs drawn at random, from the state that the cell itself came to in those `before`."""
        generator = torch.Generator().manual_seed(seed)

        def drawn(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, dtype=torch.float64)

        equations = self.equations
        inputs = [
            {name: drawn(*size) for name, size in equations.inputs(BATCH).items()} for _ in range(before + 1)
        ]
        state = {name: s.clone() for name, s in equations.state(BATCH).items()}
        # Each vector has numbers of its own, so that one in the place of another is seen.
        starts = equations.vectors().items()
        vectors = {name: float(start) + 0.3 * drawn(self.hidden_size) for name, start in starts}
        with torch.no_grad():
            for given in inputs[:-1]:
                values = equations(given | state | vectors).values
                state = {name: values[name.replace("the", "the new", 1)].clone() for name in state}
        return Call(equations, inputs[-1] | state | vectors)

    def layer(self, dtype: torch.dtype = torch.float64, path: str | None = None, seed: int = 1) -> Layer:
        """A layer with parameters a little off their start, so that no symmetry hides a mistake."""
        seed_all(seed)
        sizes = [(self.input_size, self.hidden_size)]
        layer = make_layers(self.cell_class, sizes, Regularization())[0]
        layer.reset_parameters(Start())
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        layer.path = path or layer.path
        # Not `to`, which would take the imaginary part from a complex number.
        return (layer.double() if dtype == torch.float64 else layer.float()).eval()

    def inputs(self, steps: int, dtype: torch.dtype = torch.float64, seed: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        size = (steps, BATCH, self.input_size)
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)


def seed_all(seed: int) -> None:
    """Set each generator that a cell may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def step_by_step(layer: Layer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Outputs (T, B, H) and the final state, by nothing but the layer's `step`."""
    outputs = []
    for x_t in x.unbind():
        output, state, _ = layer.step(x_t, state)
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
