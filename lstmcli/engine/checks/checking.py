"""What the checks of a cell work with: a layer of it, and its steps as a person would write them down.

Everything here is the slow, readable reference: one step after the other, without a layer's own loop,
engine or scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lstmcli.cells.base import CellClass, FreeCell, State
from lstmcli.engine.layers import (
    FreeLayer,
    GatedLayer,
    Layer,
    Regularization,
    ScanLayer,
    Start,
    make_layers,
)
from lstmcli.run.state import seed_step

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


@dataclass(frozen=True)
class Subject:
    """The cell that is checked and the sizes of its layer."""

    cell_class: CellClass
    hidden_size: int
    input_size: int

    def layer(self, dtype: torch.dtype = torch.float64, path: str | None = None, seed: int = 1) -> Layer:
        """A layer with parameters a little off their start, so that no symmetry hides a mistake."""
        seed_step(seed, 0)
        sizes = [(self.input_size, self.hidden_size)]
        layer = make_layers(self.cell_class, sizes, Regularization())[0]
        layer.reset_parameters(Start())
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        layer.path = path or layer.path
        return layer.to(dtype).eval()

    def inputs(self, steps: int, dtype: torch.dtype = torch.float64, seed: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        size = (steps, BATCH, self.input_size)
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)


class Step(NamedTuple):
    output: Tensor  # (B, H)
    state: State
    gates: dict[str, Tensor]  # by name


def one_step(layer: Layer, x_t: Tensor, state: State) -> Step:
    """The cell's equations for x_t (B, I), with nothing around them."""
    cell = layer.cell
    if isinstance(cell, FreeCell):
        return Step(*cell.step(x_t, state))
    if isinstance(layer, GatedLayer):
        new, activations = cell.pointwise(*arguments_of(layer, x_t, state))
    else:
        a, b, activations = cell.coefficients(*arguments_of(layer, x_t, state))
        new, activations = (a[0] * state[0] + b[0],), [gate[0] for gate in activations]
    return Step(new[0], tuple(new), dict(zip(cell.gates, activations, strict=True)))


def arguments_of(layer: Layer, x_t: Tensor, state: State) -> tuple[Any, ...]:
    """What the cell's function gets for a step on x_t (B, I)."""
    if isinstance(layer, FreeLayer):
        return x_t, state
    if isinstance(layer, ScanLayer):
        z = functional.linear(x_t, layer.weight_ih, layer.bias).unsqueeze(0)
        return (z.chunk(len(layer.cell.gates), dim=-1),)
    assert isinstance(layer, GatedLayer)  # there are three kinds
    cell = layer.cell
    inputs = dict(zip(cell.gates, layer.preactivations(x_t).chunk(len(cell.gates), dim=-1), strict=True))
    product = functional.linear(state[0], layer.weight_hh).chunk(len(cell.gates), dim=-1)
    recurrent = dict(zip(cell.gates, product, strict=True))
    joined = [inputs[k] if k in cell.separate else inputs[k] + recurrent[k] for k in cell.gates]
    joined += [recurrent[k] for k in cell.separate]
    return tuple(joined), state, *(layer.vectors[name] for name in cell.vectors)


def step_by_step(layer: Layer, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Outputs (T, B, H) and the final state."""
    outputs = []
    for x_t in x.unbind():
        output, state, _ = one_step(layer, x_t, state)
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
    found = {"the outputs": outputs} | {f"the final state {n!r}": s for n, s in named(layer, final)}
    loss = weighted(found)
    sources = {"the input": x} | {f"the state {n!r}": s for n, s in named(layer, state)}
    sources |= {f"the parameter {n}": p for n, p in layer.named_parameters()}
    gradients: Sequence[Tensor | None] = [None] * len(sources)
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    for (name, source), gradient in zip(sources.items(), gradients, strict=True):
        value = torch.zeros_like(source) if gradient is None else gradient
        found[f"the gradient with respect to {name}"] = value
    return {name: value.detach() for name, value in found.items()}


def named(layer: Layer, state: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
    return zip(layer.cell.state, state, strict=True)


def weighted(found: dict[str, Tensor]) -> Tensor:
    """A loss: the sum of all numbers, each with a weight of its own."""
    total = []
    for k, value in enumerate(found.values()):
        generator = torch.Generator().manual_seed(100 + k)
        weights = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
        total.append((value * weights).sum())
    return torch.stack(total).sum()


def apart(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> str | None:
    """The first name where two results differ by more than `tolerance` of the largest number, or 1."""
    for name, want in wanted.items():
        got, scale = found[name], max(1.0, float(want.abs().max()) if want.numel() else 1.0)
        largest = float((got - want).abs().max()) if want.numel() else 0.0
        if not largest <= tolerance * scale:  # NaN, too
            return f"{name} by {largest:.2g}"
    return None
