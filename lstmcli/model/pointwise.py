"""The pointwise part of a gated cell, forward and backward, as two functions the engine calls.

The backward is not written by anybody: it is the vector-Jacobian product of the cell's own function.
Both are compiled once for all steps where the machine has a compiler, and are eager otherwise.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from lstmcli.cells.base import GatedCell, State
from lstmcli.notices import notice

Kernel = Callable[..., None]


class PointwisePair:
    """`forward` and `backward` of one cell for the engine, writing into memory that it is given.

    Every argument has the batch in front; states are kept in the accumulation dtype (fp32 under
    bf16 products) and the products' dtype is that of `z`.
    """

    def __init__(self, cell: GatedCell, compiled: bool):
        self.cell = cell
        self.gates, self.states = len(cell.gates), len(cell.state)
        self.hidden_in_step = _reads_hidden(cell)
        self.compiled = compiled
        self._kernels: dict[tuple[object, ...], Kernel] = {}

    def forward_for(self, *arguments: Tensor) -> Kernel:
        """`_forward`, compiled for arguments of these shapes and dtypes if it is to be."""
        return self._kernel(self._forward, arguments) if self.compiled else self._forward

    def backward_for(self, *arguments: Tensor) -> Kernel:
        """`_backward`, likewise."""
        return self._kernel(self._backward, arguments) if self.compiled else self._backward

    def _kernel(self, function: Kernel, arguments: tuple[Tensor, ...]) -> Kernel:
        key = (function.__name__, *((a.shape, a.stride(), a.dtype, a.device) for a in arguments))
        if key not in self._kernels:
            self._kernels[key] = _compile(function, arguments)
        return self._kernels[key]

    def _equations(self, z: Tensor, *state: Tensor) -> State:
        return self.cell.pointwise(z.chunk(self.gates, dim=-1), state)[0]

    def _forward(self, z: Tensor, z_hidden: Tensor, hidden: Tensor, *states: Tensor) -> None:
        """z (B, GH) holds the input's part and is overwritten with the whole pre-activation; hidden
        is h as the next product reads it; states are the old ones, then room for the new ones."""
        state, out = states[: self.states], states[self.states :]
        total = z.to(state[0].dtype) + z_hidden
        z.copy_(total)
        # What backward will see is the rounded z, so forward uses it too.
        new = self._equations(z.to(state[0].dtype), *state)
        for target, value in zip(out, new, strict=True):
            target.copy_(value)
        hidden.copy_(new[0])

    def _backward(
        self,
        z: Tensor,
        d_z: Tensor,
        d_output: Tensor,
        d_hidden: Tensor,
        *states: Tensor,
    ) -> None:
        """states are the old ones, then ∂L/∂(new state) beside the two paths through the hidden state
        (this step's output, the next step's product); that half becomes ∂L/∂(old state)."""
        state, d_state = states[: self.states], states[self.states :]
        dtype = state[0].dtype
        vjp: Any = torch.func.vjp(self._equations, z.to(dtype), *state)[1]
        first = d_state[0] + d_output.to(dtype) + d_hidden.to(dtype)
        gradients = vjp((first, *d_state[1:]))
        d_z.copy_(gradients[0])
        for target, value in zip(d_state, gradients[1:], strict=True):
            target.copy_(value)


@lru_cache(maxsize=32)
def pointwise_pair(cell: GatedCell, compiled: bool) -> PointwisePair:
    """One pair per cell and mode, so that layers share what is compiled."""
    return PointwisePair(cell, compiled)


def _reads_hidden(cell: GatedCell) -> bool:
    """Whether the equations use h_{t-1} other than through the recurrent product."""
    z = tuple(torch.full((1, 1), 0.3, dtype=torch.float64) for _ in cell.gates)
    state = tuple(torch.full((1, 1), 0.2, dtype=torch.float64) for _ in cell.state)
    hidden = state[0].clone().requires_grad_()
    new, _ = cell.pointwise(z, (hidden, *state[1:]))
    return any(value.requires_grad for value in new)


def _compile(function: Kernel, arguments: tuple[Tensor, ...]) -> Kernel:
    """The function as one kernel for tensors like these.

    It is traced and handed to TorchInductor directly: TorchDynamo, in front of it, would guard each
    of the thousands of calls of a window, at the price of a small kernel.
    """
    import torch._inductor
    import torch._inductor.config as inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    inductor.compile_threads = 1  # two small kernels: a pool of workers would cost more to start
    # Tracing runs the function, which writes: so on others of the same layout.
    like = [
        torch.empty_strided(a.shape, a.stride(), dtype=a.dtype, device=a.device).zero_() for a in arguments
    ]
    graph = make_fx(function, decomposition_table=_QUICK)(*like)
    kernel: Kernel = torch._inductor.compile(graph, cast(list[Any], like))
    return kernel


def _quick_tanh(x: Tensor) -> Tensor:
    """tanh by one exponential: half the time of the library's on a CPU, exact to 1e-7 absolute.

    Only values go this way: derivatives have been taken before, so nothing overflows in them.
    """
    return 1.0 - 2.0 / (1.0 + (2.0 * x).exp())


_QUICK = {torch.ops.aten.tanh.default: _quick_tanh}


@cache
def compiler_available() -> bool:
    """Whether the pointwise part can be compiled for the CPU; says so once where it cannot."""
    found = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    if not found:
        notice("no C++ compiler here: the recurrence runs uncompiled, about 1.4 times slower")
    return found
