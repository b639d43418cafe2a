"""A stack of layers unrolled in time by the cells' own equations, with every state between two steps at
hand: what derivatives with respect to a state need, and no fast path keeps.

Each step is a graph of its own that begins at leaves (the states before it), so that the derivative at
any state is a chain of small backward passes. Everything is computed as in evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lstmcli.engine.packed import Packed
from lstmcli.engine.stack import Stack, StackState


class StackStep(NamedTuple):
    """One step of a stack: what it began with, and what it made of it."""

    old: StackState  # leaves
    new: StackState
    output: Tensor  # (B, H), what the head reads
    gates: tuple[Mapping[str, Tensor], ...]  # by layer and name, each (B, H), no graph


def unroll(stack: Stack, inputs: Tensor, state: StackState) -> list[StackStep]:
    """The steps for inputs (T, B, E) from `state`, each with its own graph."""
    steps, multiply = [], Packed()
    with torch.enable_grad():
        for x in inputs.detach().unbind():
            old = tuple(tuple(s.detach().clone().requires_grad_() for s in layer) for layer in state)
            output, state, gates = stack.step(x, old, multiply)
            kept = tuple({name: g.detach() for name, g in layer.items()} for layer in gates)
            steps.append(StackStep(old, state, output, kept))
    return steps


def pull_back(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> list[Tensor]:
    """The vector-Jacobian product: sum of cotangents · ∂outputs/∂inputs for each input, zero where there
    is no path. The graph is kept, and no parameter's gradient is touched."""
    tracked = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if o.requires_grad]
    wanted = [k for k, tensor in enumerate(inputs) if tensor.requires_grad]
    found = [torch.zeros_like(tensor) for tensor in inputs]
    if not (tracked and wanted):
        return found
    heads, seeds = zip(*tracked, strict=True)
    gradients = torch.autograd.grad(
        heads, [inputs[k] for k in wanted], seeds, retain_graph=True, allow_unused=True
    )
    for k, gradient in zip(wanted, gradients, strict=True):
        found[k] = found[k] if gradient is None else gradient
    return found


@contextmanager
def differentiable(model: nn.Module, stacks: Sequence[Stack]) -> Iterator[None]:
    """While this is open the model evaluates, and its layers run on a path that has gradients in
    evaluation; then everything is as it was."""
    layers = [layer for stack in stacks for layer in stack.layers]
    before = [(layer.path, layer.recompute) for layer in layers]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for layer in layers:
        layer.recompute = False
        layer.path = layer.plain_path
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for layer, (path, recompute) in zip(layers, before, strict=True):
            layer.path, layer.recompute = path, recompute


def flatten(state: StackState) -> list[Tensor]:
    """All state tensors, layer by layer."""
    return [tensor for layer in state for tensor in layer]
