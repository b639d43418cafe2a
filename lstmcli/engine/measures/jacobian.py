"""The recurrence as a dynamical system: what one step, and many steps, do to a small change of the state.

The state s_t is all that is carried from one step to the next: the states of all layers, one behind the
other, N numbers per stream. J_t = ds_t/ds_{t-1} is the Jacobian of a step, for the symbol that was read.

The Lyapunov exponents are the mean rates, in nats per step, at which J_T ... J_2 J_1 stretches its
directions: the largest, λ_1, is the rate at which two runs of the network on the same text, from states
that differ a little, come apart (λ_1 > 0) or forget that they differed (λ_1 < 0, in some -1/λ_1 steps).
They are computed as Benettin et al. 1980 do: n directions are carried along and made orthonormal again
after every step by a QR decomposition, whose diagonal says how much each was stretched.

The directions begin at random and turn to those that fade the slowest. Where many exponents lie close to
the largest, as in a trained network whose forget gates are open, they turn slowly: after t steps the
exponents may still be too low by about 1/t. `Exponents.drift` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lstmcli.engine.measures.unrolled import differentiable, flatten
from lstmcli.engine.stack import Stack, StackState

MOST_NUMBERS = 2500
"""Size N of a state up to which the whole Jacobian is made."""
ROWS = 512
"""Directions that are carried through a step side by side."""


@dataclass(frozen=True)
class Exponents:
    mean: Tensor  # (n,), nats per step, descending
    by_stream: Tensor  # (B, n), float64, each stream's own
    steps: int  # that were averaged over
    drift: Tensor  # (n,), the second half's mean less the first half's: far from 0, they have not settled


def state_size(state: StackState) -> int:
    """N: numbers that one stream carries from step to step."""
    return sum(tensor.shape[1] for tensor in flatten(state))


def push_forward(stack: Stack, x: Tensor, state: StackState, directions: Tensor) -> tuple[StackState, Tensor]:
    """One step for x (B, E): the new state, and J · directions for directions (B, N, n).

    Every direction is a row of the batch of its own, so that this works for whatever cell a row can be
    computed for; the derivative is forward-mode.

    Raises:
        RuntimeError (NotImplementedError is one): an operation of the cell has no forward-mode derivative.
    """
    count = directions.shape[2]
    tensors = flatten(state)
    widths = [tensor.shape[1] for tensor in tensors]
    layers = [len(layer) for layer in state]

    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        parts = iter(flat)
        given = tuple(tuple(next(parts) for _ in range(number)) for number in layers)
        return tuple(flatten(stack.step(x.repeat_interleave(count, 0), given)[1]))

    primals = tuple(tensor.repeat_interleave(count, 0) for tensor in tensors)
    tangents = torch.split(directions.transpose(1, 2).reshape(-1, sum(widths)), widths, dim=1)
    result: Any = torch.func.jvp(step, primals, tuple(t.contiguous() for t in tangents))
    new, moved = result
    firsts = iter(tensor[::count] for tensor in new)
    state = tuple(tuple(next(firsts) for _ in range(number)) for number in layers)
    return state, torch.cat(moved, dim=1).view(-1, count, sum(widths)).transpose(1, 2)


@torch.no_grad()
def lyapunov_exponents(
    stack: Stack, inputs: Tensor, state: StackState, count: int = 8, burn_in: int = 0
) -> Exponents:
    """The `count` leading exponents (fewer for a smaller state) along inputs (T, B, E) read from `state`.

    Args:
        burn_in: first steps, in which the directions turn to where they belong; they are not counted.
    """
    size, batch = state_size(state), inputs.shape[1]
    count = min(count, size)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(batch, size, count, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(start)[0].to(inputs)
    logs = torch.zeros(2, batch, count, dtype=torch.float64)  # by half
    steps = len(inputs) - burn_in
    smallest = torch.finfo(inputs.dtype).tiny  # a direction that is lost altogether: finite, and very low
    with differentiable(stack, [stack]):
        for t, x in enumerate(inputs.unbind()):
            state, directions = push_forward(stack, x, state, directions)
            directions, r = torch.linalg.qr(directions)
            if t >= burn_in:
                stretched = r.diagonal(dim1=1, dim2=2).abs().clamp_min(smallest)
                logs[int(t - burn_in >= steps // 2)] += stretched.double().log().cpu()
    each = logs.sum(0) / steps
    first, second = logs[0] / max(1, steps // 2), logs[1] / (steps - steps // 2)
    drift = (second - first).mean(0) if steps > 1 else torch.zeros(count, dtype=torch.float64)
    order = each.mean(0).argsort(descending=True)  # as they come but for chance, where some are close
    return Exponents(each.mean(0)[order], each[:, order], steps, drift[order])


@torch.no_grad()
def step_jacobian(stack: Stack, x: Tensor, state: StackState) -> Tensor:
    """J (B, N, N) of one step for x (B, E): row i, column j is ∂(new state)_i / ∂(old state)_j."""
    size, batch = state_size(state), x.shape[0]
    identity = torch.eye(size, dtype=x.dtype, device=x.device)
    with differentiable(stack, [stack]):
        columns = [
            push_forward(stack, x, state, part.t().expand(batch, -1, -1))[1]
            for part in torch.split(identity, max(1, ROWS // batch))
        ]
    return torch.cat(columns, dim=2)


def singular_values(jacobian: Tensor) -> Tensor:
    """Of each of J (B, N, N), descending, (B, N) float64: how much a step stretches a change of the
    state, at most and in each direction orthogonal to those before."""
    values: Tensor = torch.linalg.svdvals(jacobian.detach().cpu()).double()
    return values
