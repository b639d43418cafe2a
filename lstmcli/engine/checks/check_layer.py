"""Checks of a layer of a cell: each way to compute it, and what training and checkpoints do with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lstmcli.cells.base import State, zeros_like_state
from lstmcli.engine.checks.checking import (
    BATCH,
    Failed,
    Passed,
    Subject,
    apart,
    everything,
    named,
    reached_state,
    step_by_step,
)
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import GatedLayer, Layer, can_fuse
from lstmcli.engine.pointwise import Drops, pointwise_pair
from lstmcli.run.checkpoint.codec import decode, encode, entry_of
from lstmcli.run.checkpoint.tensors import to_torch

STEPS = 12
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
Check = Callable[[Subject], Passed]


def paths(subject: Subject) -> dict[str, Check]:
    """A check for each way to compute a layer of this cell."""
    layer = subject.layer()
    if not isinstance(layer, GatedLayer):
        return {f"path {layer.path}": partial(path, way=layer.path)}
    found: dict[str, Check] = {"path loop": partial(path, way="loop")}
    if can_fuse(layer):
        found["path fused"] = partial(path, way="fused")
    found["path engine"] = partial(path, way="engine")
    return found | {"path engine, compiled": compiled}


def path(subject: Subject, way: str, compiled: bool = False) -> Passed:
    """Outputs, final states and gradients are those of one step after the other."""
    for dtype, tolerance in TOLERANCES.items():
        layer = subject.layer(dtype, way)
        layer.compiled = compiled
        x, state = subject.inputs(STEPS, dtype), reached_state(layer, subject.inputs(3, dtype, seed=3))
        wanted = everything(layer, x, state, step_by_step)
        if compiled and not _compiles(layer, x, state):
            return Passed("not possible, runs uncompiled", warning=True)
        if differs := apart(everything(layer, x, state, Layer.__call__), wanted, tolerance):
            raise Failed(
                f"{way} in {str(dtype)[6:]} differs from one step after the other: {differs}",
                "a step must depend on its arguments alone: no counters, and nothing kept on self",
            )
    return Passed("as one step after the other, gradients too")


def compiled(subject: Subject) -> Passed:
    if not compiler_available():
        return Passed("no compiler here, runs uncompiled", warning=True)
    return path(subject, "engine", compiled=True)


def _compiles(layer: Layer, x: Tensor, state: State) -> bool:
    """Whether there is a kernel for the cell, forward and backward, on this machine."""
    pair = pointwise_pair(layer.cell, True, Drops())
    try:
        everything(layer, x, state, Layer.__call__)
    except Exception:  # a compiler may fail in any way; that the equations are right is checked elsewhere
        return False
    return all(getattr(kernel, "__self__", None) is not pair for kernel in pair._kernels.values())


def carried_state(subject: Subject) -> Passed:
    """Two windows, with the state handed on, are one."""
    layer, x = subject.layer(), subject.inputs(STEPS)
    with torch.no_grad():
        whole, final = layer(x, layer.initial_state(BATCH))
        first, state = layer(x[:5], layer.initial_state(BATCH))
        second, last = layer(x[5:], state)
    wanted = {"the outputs": whole} | dict(named(layer, final))
    found = {"the outputs": torch.cat([first, second])} | dict(named(layer, last))
    if differs := apart(found, wanted, 1e-10):
        raise Failed(
            f"two windows with the state carried over are not one: {differs}",
            "all that a step remembers must be in the state that it returns",
        )
    return Passed("two windows are one")


def streams_apart(subject: Subject) -> Passed:
    """What is in other rows of the batch, and how many they are, changes nothing."""
    layer, x = subject.layer(), subject.inputs(STEPS)
    state, others = reached_state(layer, subject.inputs(3, seed=3)), subject.inputs(STEPS, seed=4)
    with torch.no_grad():
        wanted, _ = layer(x, state)
        for row in range(BATCH):
            mixed, elsewhere = others.clone(), tuple(s.roll(1, 0).clone() for s in state)
            mixed[:, row] = x[:, row]
            for changed, own in zip(elsewhere, state, strict=True):
                changed[row] = own[row]
            alone = layer(x[:, row : row + 1], tuple(s[row : row + 1] for s in state))[0]
            for what, found in (("change", layer(mixed, elsewhere)[0][:, row]), ("are gone", alone[:, 0])):
                if differs := apart({"its outputs": found}, {"its outputs": wanted[:, row]}, 1e-10):
                    raise Failed(
                        f"stream {row} of the batch changes when the others {what}: {differs}",
                        "reduce over the units (dim=-1), never over the batch (dim 0): each row is a stream",
                    )
    return Passed(f"{BATCH} streams")


def state_reset(subject: Subject) -> Passed:
    """A stream that begins again is one that begins; the others go on."""
    layer, x = subject.layer(), subject.inputs(STEPS)
    state = reached_state(layer, subject.inputs(3, seed=3))
    reset = torch.arange(BATCH) == 1
    with torch.no_grad():
        found, _ = layer(x, zeros_like_state(state, reset))
        fresh, going_on = layer(x, layer.initial_state(BATCH))[0], layer(x, state)[0]
    wanted = torch.where(reset.unsqueeze(-1), fresh, going_on)
    if differs := apart({"its outputs": found[:, 1]}, {"its outputs": wanted[:, 1]}, 1e-10):
        raise Failed(
            f"a stream that begins again differs from one that begins: {differs}",
            "streams begin again from zeros (train.state_reset), so initial_state must give zeros",
        )
    if differs := apart({"the outputs": found}, {"the outputs": wanted}, 1e-10):
        raise Failed(f"a stream that begins again changes others: {differs}", "compute each row by itself")
    return Passed()


def gate_names(subject: Subject) -> Passed:
    """Every gate has a name and an activation at every step, for the statistics."""
    layer = subject.layer(torch.float32)
    _, _, trace = layer.observe(subject.inputs(STEPS, torch.float32), layer.initial_state(BATCH))
    declared = getattr(subject.cell_class, "gates", None)
    if declared is not None and set(declared) != set(trace.gates):
        raise Failed(
            f"`gates` names {', '.join(declared)}, but a step reports {', '.join(trace.gates) or 'none'}",
            "give the dictionary of activations the names in `gates`",
        )
    if strange := [k for k in trace.gates if not (isinstance(k, str) and k)]:
        raise Failed(f"a gate is named {strange[0]!r}", "names are text")
    return Passed(", ".join(trace.gates) or "no gates", warning=not trace.gates)


def bf16(subject: Subject) -> Passed:
    """Products in bf16, as on hardware that is fast at them."""
    layer, x = subject.layer(torch.float32), subject.inputs(STEPS, torch.bfloat16)
    found = everything(layer, x, layer.initial_state(BATCH), Layer.__call__)
    if wrong := [name for name, value in found.items() if not bool(value.isfinite().all())]:
        raise Failed(f"with products in bf16, {wrong[0]} is NaN or infinite", "use train.precision=fp32")
    states = {k: v.dtype for k, v in found.items() if k.startswith("the final state")}
    if low := [name for name, dtype in states.items() if dtype != torch.float32]:
        return Passed(f"{low[0]} is kept in bf16: add z.to(state[0].dtype)", warning=True)
    return Passed("states stay in fp32")


def saved_and_loaded(subject: Subject) -> Passed:
    """A layer that gets another's tensors, by way of a checkpoint's format, computes the same."""
    layer, other = subject.layer(torch.float32), subject.layer(torch.float32, seed=5)
    state_dict = layer.state_dict()
    raw = b"".join(bytes(part) for part in encode({k: entry_of(v) for k, v in state_dict.items()}))
    other.load_state_dict({k: to_torch(v) for k, v in decode(raw, Path("memory")).items()})
    x = subject.inputs(STEPS, torch.float32)
    with torch.no_grad():
        wanted, found = (made(x, made.initial_state(BATCH))[0] for made in (layer, other))
    if differs := apart({"the outputs": found}, {"the outputs": wanted}, 0.0):
        raise Failed(
            f"saved and loaded, the cell is another: {differs}",
            "keep tensors as nn.Parameter or by register_buffer, so that a checkpoint holds them",
        )
    return Passed(f"{len(state_dict)} tensors")
