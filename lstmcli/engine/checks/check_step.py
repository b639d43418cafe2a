"""Checks of one step of a cell: everything else rests on them, and training is preceded by them."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lstmcli.engine.checks.subject import (
    BATCH,
    Call,
    Failed,
    Passed,
    Subject,
    difference,
    gradients_of,
    weighted,
)
from lstmcli.engine.layers.equations import Results, Unfit
from lstmcli.engine.untraced import UntracedMode

CONTRACT = "lstmcli.cells.base has the contract"
LEARNED = "learned vectors (H,) are named in `vectors`; for anything else write a FreeCell"
NUDGE = 1e-6
ROUNDING = {"sign", "sgn", "round", "floor", "ceil", "trunc", "heaviside", "argmax", "argmin", "bucketize"}
STEPPED = frozenset({"gt", "ge", "lt", "le", "eq", "ne"} | ROUNDING)
"""Operations whose own derivative is zero, so that a cell may put another in its place."""
SAVED = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
}
"""The dtypes that a checkpoint holds."""
TO_PYTHON = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.item}
IGNORED = tuple(str(Path(file).parent) for file in (torch.__file__, __file__))


class Event(NamedTuple):
    """Something that a step did, and the FILE:LINE that did it."""

    what: str
    place: str

    def __str__(self) -> str:
        return f"{self.what} ({self.place})" if self.place else self.what


class Watched(NamedTuple):
    """What a step did that its results do not show."""

    written: list[Event]  # tensors that it was given, or that it found elsewhere, and wrote into
    taken: list[Event]  # tensors that it neither was given nor made
    numbers: list[Event]  # values of tensors that became Python's, or a tensor's shape
    drawn: list[Event]  # random numbers
    stepped: list[Event]  # functions without a derivative of their own
    lowered: list[Event]  # conversions to a dtype that is less exact


class _Watch(UntracedMode):
    """Sees each operation below autograd. Tensors are told apart by their memory, as views share it."""

    def __init__(self, call: Call):
        super().__init__()
        self.watched = Watched([], [], [], [], [], [])
        self._given = {_memory(t): name for name, t in call.arguments.items()}
        if call.equations.owns_parameters:
            owner = call.equations.owner
            owned = [*owner.named_parameters(), *owner.named_buffers()]
            self._given |= {_memory(t): f"its own {name!r}" for name, t in owned}
        self._made: dict[int, Tensor] = {}  # by memory, with a tensor that keeps it from being used again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self._look_at_arguments(func, name, args, kwargs or {})
        tags = func.tags
        if torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags:
            self.watched.numbers.append(Event(name, _place()))
        if torch.Tag.nondeterministic_seeded in tags:
            self.watched.drawn.append(Event("torch", _place()))
        if name in STEPPED:
            self.watched.stepped.append(Event(name, _place()))
        result = func(*args, **(kwargs or {}))
        self._look_at_results(name, args, result)
        return result

    def _look_at_arguments(self, func: Any, name: str, args: Any, kwargs: Any) -> None:
        declared = func._schema.arguments
        pairs = [
            *zip(declared, args, strict=False),
            *((a, kwargs[a.name]) for a in declared if a.name in kwargs),
        ]
        for argument, value in pairs:
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if not isinstance(tensor, Tensor) or _memory(tensor) in self._made:
                    continue
                what = self._given.get(_memory(tensor))
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self.watched.written.append(Event(what or "a tensor from elsewhere", _place()))
                elif what is None and name != "lift_fresh":  # which takes what torch.tensor has just made
                    self.watched.taken.append(Event("learned" if tensor.requires_grad else "kept", _place()))

    def _look_at_results(self, name: str, args: Any, result: Any) -> None:
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if not isinstance(tensor, Tensor):
                continue
            if _memory(tensor) not in self._given:
                self._made[_memory(tensor)] = tensor
            if (
                name == "_to_copy"
                and tensor.is_floating_point()
                and args[0].dtype == torch.float64 != tensor.dtype
            ):
                self.watched.lowered.append(Event(str(tensor.dtype), _place()))


class _WatchPython(TorchFunctionMode):
    """Sees tensors become Python's or NumPy's, which no operation of torch does."""

    def __init__(self, watched: Watched):
        super().__init__()
        self.watched = watched

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in TO_PYTHON:
            self.watched.numbers.append(Event(func.__name__, _place()))
        return func(*args, **(kwargs or {}))


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _place() -> str:
    """FILE:LINE of the cell's own code that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((*IGNORED, "<")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@lru_cache(maxsize=1)
def _watch(subject: Subject) -> Watched:
    """What a step of evaluation does; watched once for all checks of a cell."""
    call = subject.call()
    before = _generators()
    with torch.no_grad(), _Watch(call) as watch, _WatchPython(watch.watched):
        call()
    watched: Watched = watch.watched
    moved = [name for name, state in _generators().items() if before[name] != state]
    watched.drawn.extend(Event(name, "") for name in moved)
    return watched


def _generators() -> dict[str, bytes | str]:
    """Where the generators stand that no operation of torch draws from."""
    return {
        "Python's random": repr(random.getstate()),
        "NumPy's random": pickle.dumps(np.random.get_state()),
    }


# --- the checks -----------------------------------------------------------------------------------


def contract(subject: Subject) -> Passed:
    """What it declares, and the shapes and dtypes that a step returns."""
    try:
        subject.kind.check_declared(subject.cell_class)
        equations = subject.equations
        if held := [] if equations.owns_parameters else _learned_attributes(equations.owner):
            raise Failed(f"self.{held[0]} holds parameters that nothing trains or saves", LEARNED)
        with torch.no_grad():
            results = [subject.call(before=0)(), subject.call()()]
    except Unfit as unfit:
        raise Failed(str(unfit), CONTRACT) from None
    state = subject.cell_class.state
    if state[0] != "hidden":
        raise Failed(f"the first name in `state` is {state[0]!r}", "call it 'hidden'")
    for values in (result.values for result in results):
        if wrong := [name for name, v in values.items() if not bool(v.isfinite().all())]:
            raise Failed(f"{wrong[0]} is NaN or infinite in the first steps", "look for roots and logarithms")
    if other := [f"{name} is {str(v.dtype)[6:]}" for name, v in values.items() if v.dtype != torch.float64]:
        raise Failed(
            f"given float64, {other[0]}", "make tensors like those that are given: state[0].new_zeros(...)"
        )
    return Passed(f"state {', '.join(state)}")


def _learned_attributes(cell: Any) -> list[str]:
    kept = vars(type(cell)) | vars(cell)
    return [name for name, value in kept.items() if isinstance(value, (nn.Parameter, nn.Module))]


def inputs_kept(subject: Subject) -> Passed:
    """A step does not write into what it is given, nor into what it keeps."""
    if written := _watch(subject).written:
        raise Failed(
            f"a step writes in place into what it is given ({written[0].what}) at {written[0].place}",
            "make new tensors: x = x * f, not x *= f or x.mul_(f)",
        )
    return Passed()


def learned_by_the_engine(subject: Subject) -> Passed:
    """All numbers that the equations take are arguments, so that they are trained, saved and moved."""
    equations = subject.equations
    for name, tensor in equations.owner.state_dict().items() if equations.owns_parameters else ():
        if tensor.dtype not in SAVED:
            raise Failed(
                f"its {name!r} is {str(tensor.dtype)[6:]}, which no checkpoint holds", "keep real numbers"
            )
    taken = _watch(subject).taken
    if taken and taken[0].what == "learned":
        own = "make it in __init__ as an attribute of the cell: self.scale = nn.Parameter(...)"
        hint = own if equations.owns_parameters else LEARNED
        raise Failed(f"a parameter that nothing trains or saves is used at {taken[0].place}", hint)
    if taken:
        hint = "make constants in the step, as torch.full_like(z[0], 0.5), or name learned ones in `vectors`"
        if equations.owns_parameters:
            hint = "keep it by register_buffer, and what is carried in the state"
        raise Failed(
            f"a tensor that is neither an argument nor made in the step is used at {taken[0].place}", hint
        )
    return Passed()


def no_data_in_control_flow(subject: Subject) -> Passed:
    """The equations are the same for all data, so that they can be compiled."""
    if subject.equations.owns_parameters:
        return Passed(f"a {subject.kind.kind} cell may do what it likes")
    if numbers := _watch(subject).numbers:
        raise Failed(
            f"Python's control flow, or a number, depends on the data: {numbers[0]}",
            "write torch.where(condition, a, b) instead of if, and keep to tensors",
        )
    return Passed()


def deterministic(subject: Subject) -> Passed:
    """Evaluation draws no random numbers, and a step depends on nothing but its arguments."""
    if drawn := _watch(subject).drawn:
        raise Failed(
            f"a step of evaluation draws random numbers from {drawn[0]}",
            "draw only if self.training"
            if subject.equations.owns_parameters
            else "drop by model.dropout, recurrent_dropout or zoneout",
        )
    call, other = subject.call(), subject.call(seed=3)
    with torch.no_grad():
        first = call().values
        before = _kept(call.equations.owner)
        again = [call(other.arguments).values, call().values][1]
    if differs := difference(again, first, 0.0):
        raise Failed(
            f"two runs after one seeding differ: {differs}",
            "a step must depend on its arguments alone: no counters or clocks, and nothing kept on self",
        )
    after = _kept(call.equations.owner)
    if changed := [name for name, value in after.items() if before.get(name) != value]:
        raise Failed(
            f"a step changes self.{changed[0]}",
            "carry in `state` whatever goes from step to step: checkpoints keep it, and kernels know it",
        )
    return Passed("two runs are equal")


def _kept(cell: Any) -> dict[str, bytes]:
    """What a cell keeps beside its parameters, by name, written out."""
    kept = {}
    buffers = dict(cell.named_buffers()) if isinstance(cell, nn.Module) else {}
    for name, value in (vars(type(cell)) | vars(cell) | buffers).items():
        if name not in vars(nn.Module()) and not name.startswith("__"):
            with suppress(Exception):  # what cannot be written out is left to the comparison of results
                kept[name] = pickle.dumps(value)
    return kept


def begins_from_zeros(subject: Subject) -> Passed:
    """Streams begin again from zeros, so the first state must be that."""
    for name, value in subject.equations.state(BATCH).items():
        if bool((value != 0).any()):
            raise Failed(
                f"a stream that begins again differs from one that begins: {name}",
                "streams begin again from zeros (train.state_reset), so initial_state must give zeros",
            )
    return Passed()


def gate_names(subject: Subject) -> Passed:
    """Every gate has a name and an activation, for the statistics."""
    with torch.no_grad():
        gates = subject.call()().gates
    declared = getattr(subject.cell_class, "gates", None)
    if complex_ := [k for k, v in gates.items() if v.is_complex()]:
        raise Failed(f"the activation of gate {complex_[0]!r} is complex", "statistics want real numbers")
    if strange := [k for k in gates if not (isinstance(k, str) and k)]:
        raise Failed(f"a gate is named {strange[0]!r}", "names are text")
    if declared is not None and set(declared) != set(gates):
        raise Failed(
            f"`gates` names {', '.join(declared)}, but a step reports {', '.join(gates) or 'none'}",
            "give the dictionary of activations the names in `gates`",
        )
    return Passed(", ".join(gates) or "no gates", warning=not gates)


@torch.no_grad()
def streams_apart(subject: Subject) -> Passed:
    """What is in other rows of the batch, and how many they are, changes nothing."""
    call, other = subject.call(), subject.call(seed=4)
    wanted = call().values
    rows = {name: t for name, t in call.arguments.items() if t.dim() > 1}  # vectors have none
    for axis, what in enumerate(call.equations.axes):
        for k in range(next(iter(rows.values())).shape[axis]):
            alone = {name: t.narrow(axis, k, 1) for name, t in rows.items()}
            mixed = {name: other.arguments[name].clone() for name in rows}
            for name, t in alone.items():
                mixed[name].narrow(axis, k, 1).copy_(t)
            said = f"{what.format(k)} changes when the others"
            _same_row(f"{said} change", call(call.arguments | mixed), k, wanted, k, axis)
            _same_row(f"{said} are gone", call(call.arguments | alone), 0, wanted, k, axis)
    return Passed(f"{BATCH} streams")


def _same_row(what: str, results: Results, at: int, wanted: dict[str, Tensor], k: int, axis: int) -> None:
    rows = {name: value.narrow(axis, at, 1) for name, value in results.values.items()}
    if differs := difference(rows, {name: value.narrow(axis, k, 1) for name, value in wanted.items()}, 1e-10):
        raise Failed(
            f"{what}: {differs}",
            "reduce over the units (dim=-1), never over the batch (dim 0): each row is a stream",
        )


def gradients(subject: Subject) -> Passed:
    """Derivatives of a step by autograd are those by differences, for all that it depends on.

    Where the step holds a function without a derivative, another in its place (a straight-through estimator)
    is the author's choice, and told.
    """
    call = subject.call()
    sources = call.arguments | {f"the parameter {n}": p.data for n, p in call.equations.parameters.items()}
    claimed = _claimed(call)
    watched = _watch(subject)
    if watched.lowered:
        return Passed(f"not compared: the step computes in {watched.lowered[0]}", warning=True)
    if _agree(call, sources, claimed) is None:
        return Passed(f"of {len(sources)} tensors")
    differs = next((d for name in sources if (d := _agree(call, {name: sources[name]}, claimed))), "")
    if watched.stepped:
        return Passed(
            f"{differs}: taken for a straight-through estimator of {watched.stepped[0]}", warning=True
        )
    raise Failed(
        differs, "look for detach(), .data, torch.no_grad(), .item() or a wrong backward of your own"
    )


def _claimed(call: Call) -> dict[str, Tensor]:
    leaves = {name: t.detach().clone().requires_grad_() for name, t in call.arguments.items()}
    own = {f"the parameter {n}": p for n, p in call.equations.parameters.items()}
    loss = weighted(call(leaves).values)
    return gradients_of(loss, leaves | own)


@torch.no_grad()
def _agree(call: Call, sources: dict[str, Tensor], claimed: dict[str, Tensor]) -> str | None:
    """What differs along a direction of all these sources at once, or None. They are put back."""
    directions = {}
    for number, (name, source) in enumerate(sources.items()):
        generator = torch.Generator().manual_seed(10 * number)
        directions[name] = torch.randn(source.shape, generator=generator, dtype=source.dtype)
    losses = []
    kept = {name: source.clone() for name, source in sources.items()}
    for sign in (1.0, -1.0):
        for name, source in sources.items():
            source.copy_(kept[name] + sign * NUDGE * directions[name])
        losses.append(float(weighted(call().values)))
    for name, source in sources.items():
        source.copy_(kept[name])
    measured = (losses[0] - losses[1]) / (2.0 * NUDGE)
    promised = sum(
        float((claimed[f"the gradient with respect to {name}"] * direction).sum())
        for name, direction in directions.items()
    )
    if abs(promised - measured) <= 1e-5 * max(1.0, abs(measured)):
        return None
    return (
        f"the gradient with respect to {next(iter(sources))} is wrong: {promised:.5g} along a direction "
        f"in which differences give {measured:.5g}"
    )


Check = Callable[[Subject], Passed]
FIRST: dict[str, Check] = {
    "contract and shapes": contract,
    "inputs unchanged": inputs_kept,
    "parameters": learned_by_the_engine,
    "control flow": no_data_in_control_flow,
    "determinism": deterministic,
}
"""What all others rest on: where one of these fails, the others would only say so again."""
OTHERS: dict[str, Check] = {
    "state reset": begins_from_zeros,
    "gates": gate_names,
    "streams apart": streams_apart,
    "gradients": gradients,
}
