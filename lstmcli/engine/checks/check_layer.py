"""Checks of a layer of a cell: each way to compute it, and what training and checkpoints do with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lstmcli.cells.base import State
from lstmcli.engine.checks.subject import (
    BATCH,
    Failed,
    Passed,
    Subject,
    difference,
    everything,
    outputs_and_states,
    reached_state,
    seed_all,
    step_by_step,
)
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import Layer

STEPS = 12
LONG = 64
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
Check = Callable[[Subject], Passed]


def paths(subject: Subject) -> dict[str, Check]:
    """A check for each way to compute a layer of this cell."""
    layer = subject.layer()
    checks: dict[str, Check] = {}
    for way in reversed(layer.known_paths):
        checks[f"path {way}"] = partial(path, way=way)
        if layer.paths[way].compiled:
            checks[f"path {way}, compiled"] = partial(compiled, way=way)
    return checks


def path(subject: Subject, way: str, compiled: bool = False) -> Passed:
    """Outputs, final states and gradients are those of one step after the other."""
    for dtype, tolerance in TOLERANCES.items():
        layer = subject.layer(dtype, way)
        layer.compiled = compiled
        x, state = subject.inputs(STEPS, dtype), reached_state(layer, subject.inputs(3, dtype, seed=3))
        wanted = everything(layer, x, state, step_by_step)
        if compiled and not _compiles(layer, x, state):
            return Passed("not possible, runs uncompiled", warning=True)
        if differs := difference(everything(layer, x, state, Layer.__call__), wanted, tolerance):
            raise Failed(
                f"{way} in {str(dtype)[6:]} differs from one step after the other: {differs}",
                "a step must depend on its arguments alone: no counters, and nothing kept on self",
            )
    return Passed("as one step after the other, gradients too")


def compiled(subject: Subject, way: str) -> Passed:
    if not compiler_available():
        return Passed("no compiler here, runs uncompiled", warning=True)
    return path(subject, way, compiled=True)


def _compiles(layer: Layer, x: Tensor, state: State) -> bool:
    """Whether there is a kernel for the cell, forward and backward, on this machine."""
    try:
        everything(layer, x, state, Layer.__call__)
    except Exception:  # a compiler may fail in any way; that the equations are right is checked elsewhere
        return False
    return layer.has_kernels


def trained_twice(subject: Subject) -> Passed:
    """In training, too, two runs after one seeding are bit-equal."""
    layer = subject.layer().train()
    x, state = subject.inputs(STEPS), reached_state(subject.layer(), subject.inputs(3, seed=3))
    runs = []
    for _ in range(2):
        seed_all(1)
        runs.append(everything(layer, x, state, step_by_step))
    if differs := difference(runs[0], runs[1], 0.0):
        raise Failed(
            f"two runs after one seeding differ: {differs}",
            "draw random numbers from torch's, NumPy's or Python's own generator, and not from the clock",
        )
    return Passed("two runs are bit-equal")


def finite(subject: Subject) -> Passed:
    """Over 64 steps in fp32, and back."""
    layer = subject.layer(torch.float32)
    x = subject.inputs(LONG, torch.float32)
    state = layer.initial_state(BATCH)
    with torch.no_grad():
        for t, x_t in enumerate(x, 1):
            output, state, _ = layer.step(x_t, state)
            values = {"output": output} | {
                f"state {k!r}": s for k, s in zip(layer.cell.state, state, strict=True)
            }
            if wrong := [name for name, value in values.items() if not bool(value.isfinite().all())]:
                said = f"the {wrong[0]} is NaN or infinite at step {t} of {LONG}"
                raise Failed(said, "bound what grows in the state")
    results = everything(layer, x, layer.initial_state(BATCH), step_by_step)
    if wrong := [name for name, value in results.items() if not bool(value.isfinite().all())]:
        raise Failed(f"{wrong[0]} over {LONG} steps is NaN or infinite", "look for roots and logarithms of 0")
    _, _, trace = layer.observe(x, layer.initial_state(BATCH))
    if wrong := [name for name, value in trace.gates.items() if not bool(value.isfinite().all())]:
        raise Failed(
            f"the activation of gate {wrong[0]!r} is NaN or infinite", "bound what grows in the state"
        )
    return Passed(f"{LONG} steps")


def carried_state(subject: Subject) -> Passed:
    """Two windows, with the state handed on, are one."""
    layer, x = subject.layer(), subject.inputs(STEPS)
    with torch.no_grad():
        whole = outputs_and_states(layer, *layer(x, layer.initial_state(BATCH)))
        first, state = layer(x[:5], layer.initial_state(BATCH))
        second, last = layer(x[5:], state)
    if differs := difference(outputs_and_states(layer, torch.cat([first, second]), last), whole, 1e-10):
        raise Failed(
            f"two windows with the state carried over are not one: {differs}",
            "all that a step remembers must be in the state that it returns",
        )
    return Passed("two windows are one")


def bf16(subject: Subject) -> Passed:
    """Products in bf16, as on hardware that is fast at them."""
    layer, x = subject.layer(torch.float32), subject.inputs(STEPS, torch.bfloat16)
    results = everything(layer, x, layer.initial_state(BATCH), Layer.__call__)
    if wrong := [name for name, value in results.items() if not bool(value.isfinite().all())]:
        raise Failed(f"with products in bf16, {wrong[0]} is NaN or infinite", "use train.precision=fp32")
    states = {k: v.dtype for k, v in results.items() if k.startswith("the final state")}
    if low := [name for name, dtype in states.items() if dtype != torch.float32]:
        return Passed(f"{low[0]} is kept in bf16: add z.to(state[0].dtype)", warning=True)
    return Passed("states stay in fp32")


def saved_and_loaded(subject: Subject) -> Passed:
    """A layer that gets another's tensors computes the same."""
    layer, other = subject.layer(torch.float32), subject.layer(torch.float32, seed=5)
    state_dict = layer.state_dict()
    other.load_state_dict({name: tensor.clone() for name, tensor in state_dict.items()})
    x = subject.inputs(STEPS, torch.float32)
    with torch.no_grad():
        outputs = [made(x, made.initial_state(BATCH))[0] for made in (layer, other)]
    if differs := difference({"the outputs": outputs[1]}, {"the outputs": outputs[0]}, 0.0):
        raise Failed(
            f"saved and loaded, the cell is another: {differs}",
            "keep tensors as nn.Parameter or by register_buffer, so that a checkpoint holds them",
        )
    return Passed(f"{len(state_dict)} tensors")
