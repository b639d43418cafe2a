"""Checks of one step of a cell: what everything else rests on."""

from __future__ import annotations

import inspect
import pickle
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from lstmcli.cells.base import FreeCell, GatedCell, State
from lstmcli.cells.registry import place_of
from lstmcli.engine.checks.checking import (
    Failed,
    Passed,
    Subject,
    apart,
    arguments_of,
    everything,
    named,
    one_step,
    reached_state,
    step_by_step,
    weighted,
)
from lstmcli.engine.checks.trial import problem_of
from lstmcli.engine.layers import Layer
from lstmcli.run.state import seed_step

STEPS = 8
LONG = 64
NUDGE = 1e-6
CONTRACT = "lstmcli.cells.base has the contract"


def contract(subject: Subject) -> Passed:
    """What it declares, and the shapes that a step returns."""
    if problem := problem_of(subject.cell_class, subject.input_size, subject.hidden_size):
        raise Failed(problem, CONTRACT)
    if subject.cell_class.state[0] != "hidden":
        raise Failed(f"the first name in `state` is {subject.cell_class.state[0]!r}", "call it 'hidden'")
    return Passed(f"state {', '.join(subject.cell_class.state)}")


def _situation(subject: Subject) -> tuple[Layer, Tensor, State]:
    """A layer, an input (B, I) and a state that the cell itself came to."""
    layer = subject.layer()
    return layer, subject.inputs(1)[0], reached_state(layer, subject.inputs(3, seed=3))


@torch.no_grad()
def inputs_kept(subject: Subject) -> Passed:
    """A step does not write into what it is given."""
    layer, x, state = _situation(subject)
    given = tree_map(lambda t: t.clone(), arguments_of(layer, x, state))
    before = tree_map(lambda t: t.clone(), given)
    _function(layer)(*given)
    pairs = zip(tree_flatten(given)[0], tree_flatten(before)[0], strict=True)
    if changed := [k for k, (after, old) in enumerate(pairs) if not torch.equal(after, old)]:
        raise Failed(
            f"a step writes in place into what it is given ({_argument_names(layer)[changed[0]]})",
            "make new tensors: x = x * f, not x *= f or x.mul_(f)",
        )
    return Passed()


def _function(layer: Layer) -> Any:
    cell = layer.cell
    if isinstance(cell, FreeCell):
        return cell.step
    return cell.pointwise if isinstance(cell, GatedCell) else cell.coefficients


def _argument_names(layer: Layer) -> list[str]:
    cell = layer.cell
    if isinstance(cell, FreeCell):
        return ["the input", *(f"the state {name!r}" for name in cell.state)]
    names = [f"z of gate {name!r}" for name in cell.gates]
    if isinstance(cell, GatedCell):
        names += [f"the recurrent part of gate {name!r}" for name in cell.separate]
        names += [f"the state {name!r}" for name in cell.state]
        names += [f"the vector {name!r}" for name in cell.vectors]
    return names


def no_data_in_control_flow(subject: Subject) -> Passed:
    """The equations can be traced without numbers, as compiling does."""
    from torch.fx.experimental.proxy_tensor import make_fx

    layer, x, state = _situation(subject)
    if isinstance(layer.cell, FreeCell):
        return Passed("a free cell may do what it likes")
    flat, form = tree_flatten(tree_map(lambda t: t.detach(), arguments_of(layer, x, state)))
    try:
        make_fx(lambda *t: _function(layer)(*tree_unflatten(list(t), form)), tracing_mode="fake")(*flat)
    except Exception as error:
        place = place_of(error, inspect.getsourcefile(subject.cell_class))
        if "DataDependent" not in type(error).__name__:
            raise Failed(f"it cannot be traced: {place}", "use operations of torch alone") from error
        raise Failed(
            f"Python's control flow, or a number, depends on the data: {place}",
            "write torch.where(condition, a, b) instead of if, and keep to tensors",
        ) from error
    return Passed()


def deterministic(subject: Subject) -> Passed:
    """Two runs after one seeding are bit-equal, and evaluation draws no random numbers."""
    layer, x, state = _situation(subject)
    before = _generators()
    with torch.no_grad():
        one_step(layer, x, state)
    after = _generators()
    drawn = [name for name, was in before.items() if after[name] != was]
    free = isinstance(layer.cell, FreeCell)
    if drawn:
        raise Failed(
            f"a step of evaluation draws random numbers from {' and '.join(drawn)}",
            "draw only if self.training" if free else "equations are computed again for their gradient",
        )
    layer.train()
    runs = []
    for _ in range(2):
        seed_step(1, 1)
        runs.append(everything(layer, subject.inputs(STEPS), state, step_by_step))
    if differs := apart(runs[0], runs[1], 0.0):
        raise Failed(
            f"two runs after one seeding differ: {differs}",
            "draw random numbers from torch's, NumPy's or Python's own generator, and not from the clock",
        )
    return Passed("two runs are bit-equal")


def _generators() -> dict[str, bytes | str]:
    """Where each generator stands."""
    return {
        "Python's random": repr(random.getstate()),
        "NumPy's random": pickle.dumps(np.random.get_state()),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


def finite(subject: Subject) -> Passed:
    """Over 64 steps in fp32, and back."""
    layer = subject.layer(torch.float32)
    x, state = subject.inputs(LONG, torch.float32), layer.initial_state(3)
    with torch.no_grad():
        for t, x_t in enumerate(x, 1):
            output, state, gates = one_step(layer, x_t, state)
            values = {"output": output} | {f"state {k!r}": s for k, s in named(layer, state)}
            values |= {f"activation of gate {k!r}": gate for k, gate in gates.items()}
            if wrong := [name for name, value in values.items() if not bool(value.isfinite().all())]:
                said = f"the {wrong[0]} is NaN or infinite at step {t} of {LONG}"
                raise Failed(said, "bound what grows in the state")
    found = everything(layer, x, layer.initial_state(3), step_by_step)
    if wrong := [name for name, value in found.items() if not bool(value.isfinite().all())]:
        raise Failed(f"{wrong[0]} over {LONG} steps is NaN or infinite", "look for roots and logarithms of 0")
    return Passed(f"{LONG} steps")


def gradients(subject: Subject) -> Passed:
    """Derivatives of a step by autograd are those by differences, for all that it depends on."""
    layer, x, state = _situation(subject)
    found = everything(layer, x.unsqueeze(0), state, step_by_step)
    sources = {"the input": x} | {f"the state {n!r}": s for n, s in named(layer, state)}
    sources |= {f"the parameter {n}": p.data for n, p in layer.named_parameters()}
    for number, (name, source) in enumerate(sources.items()):
        gradient = found[f"the gradient with respect to {name}"]
        for turn in range(2):
            generator = torch.Generator().manual_seed(10 * number + turn)
            direction = torch.randn(source.shape, generator=generator, dtype=source.dtype)
            claimed = float((gradient * direction).sum())
            measured = _slope(layer, x, state, source, direction)
            if not abs(claimed - measured) <= 1e-5 * max(1.0, abs(measured)):
                raise Failed(
                    f"the gradient with respect to {name} is wrong: {claimed:.5g} along a direction in which "
                    f"differences give {measured:.5g}",
                    "look for detach(), .data, torch.no_grad(), .item() or a wrong backward of your own",
                )
    return Passed(f"of {len(sources)} tensors")


@torch.no_grad()
def _slope(layer: Layer, x: Tensor, state: State, source: Tensor, direction: Tensor) -> float:
    """The loss's derivative along a direction, by central differences; `source` is x, a state or a
    parameter, and is put back."""
    kept, losses = source.clone(), []
    for sign in (1.0, -1.0):
        source.copy_(kept + sign * NUDGE * direction)
        outputs, final = step_by_step(layer, x.unsqueeze(0), state)
        losses.append(float(weighted({"": outputs} | dict(named(layer, final)))))
    source.copy_(kept)
    return (losses[0] - losses[1]) / (2.0 * NUDGE)
