"""Any gated cell over time at the speed of a built-in one, forward and backward.

The input's part of all pre-activations comes in ready (one product, or a table look-up). The loop
holds one recurrent product and the pointwise function per step. Backward keeps what truncated BPTT
needs and no more (pre-activations and states); the gradient of the recurrent weight is one product
after the loop. Under bf16 only the products are bf16: states are kept in fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lstmcli.cells.base import State
from lstmcli.model.pointwise import PointwisePair
from lstmcli.model.products import repeated_product

ACCUMULATE = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


def run_engine(pair: PointwisePair, z: Tensor, weight_hh: Tensor, state: State) -> tuple[Tensor, State]:
    """The layer's outputs and final state.

    Args:
        z: input's part of the pre-activations, (T, B, G·H) in the products' dtype. It is overwritten.
        weight_hh: (G·H, H), any dtype; its gradient comes in that dtype.
        state: one (B, H) per name in the cell's `state`.

    Returns:
        Outputs (T, B, H) in the products' dtype and the final state in the accumulation dtype.
    """
    results = _Recurrence.apply(pair, z, weight_hh, *state)  # type: ignore[no-untyped-call]
    return results[0], tuple(results[1:])


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pair: PointwisePair, z: Tensor, weight_hh: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        z, state = z.detach(), tuple(s.detach() for s in state)
        steps, batch, hidden_size = z.shape[0], z.shape[1], weight_hh.shape[1]
        dtype = ACCUMULATE.get(z.dtype, z.dtype)
        hidden = z.new_empty(steps + 1, batch, hidden_size)  # h_0 .. h_T as the product reads it
        hidden[0] = state[0]
        # h_0 .. h_T again in full precision, only for a cell whose equations read it
        kept = [_history(s, steps, dtype, keep=k > 0 or pair.hidden_in_step) for k, s in enumerate(state)]
        product = repeated_product(weight_hh.to(z.dtype), batch)
        h, z_t = hidden.unbind(), z.unbind()
        states = list(zip(*(_steps(s, steps + 1) for s in kept), strict=True))
        forward = pair.forward_for(z_t[0], product(h[0]), h[1], *states[0], *states[1])
        for t in range(steps):
            forward(z_t[t], product(h[t]), h[t + 1], *states[t], *states[t + 1])
        ctx.pair = pair
        ctx.save_for_backward(z, weight_hh, hidden, *kept)
        ctx.set_materialize_grads(False)
        final = [kept[0][-1].clone(), *(s[steps].clone() for s in kept[1:])]
        return hidden[1:], *final

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        d_outputs, *d_final = gradients
        z, weight_hh, hidden, *kept = ctx.saved_tensors
        steps, batch = z.shape[0], z.shape[1]
        d_z = torch.empty_like(z)
        if d_outputs is None:
            d_outputs = torch.zeros_like(hidden[1:])
        d_hidden = torch.zeros_like(hidden[0])
        d_state = [
            torch.zeros_like(s[0]) if d is None else d.clone() for d, s in zip(d_final, kept, strict=True)
        ]
        product = repeated_product(weight_hh.to(z.dtype).t(), batch)
        z_t, d_z_t, d_output_t = z.unbind(), d_z.unbind(), d_outputs.unbind()
        states = list(zip(*(_steps(s, steps) for s in kept), strict=True))
        example = (z_t[0], d_z_t[0], d_output_t[0], d_hidden, *states[0], *d_state)
        backward = ctx.pair.backward_for(*example)
        for t in reversed(range(steps)):
            backward(z_t[t], d_z_t[t], d_output_t[t], d_hidden, *states[t], *d_state)
            d_hidden = product(d_z_t[t])
        d_weight = d_z.flatten(0, 1).t() @ hidden[:-1].flatten(0, 1)
        d_state[0] = d_state[0] + d_hidden
        return None, d_z, d_weight.to(weight_hh.dtype), *d_state


def _history(start: Tensor, steps: int, dtype: torch.dtype, keep: bool) -> Tensor:
    """Memory for a state at every step (steps + 1, B, H), or for two steps where that is enough."""
    memory = torch.empty((steps + 1 if keep else 2, *start.shape), dtype=dtype, device=start.device)
    memory[0] = start
    return memory


def _steps(memory: Tensor, count: int) -> tuple[Tensor, ...]:
    """Where each step finds its state: a history's rows, or the same few again and again."""
    rows = memory.unbind()
    return rows[:count] if len(rows) >= count else (rows[0], *[rows[-1]] * (count - 1))


class _LookUp(torch.autograd.Function):
    """Rows of a table by symbol, with a gradient that sums in one product instead of by scatter."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = table.shape[0]
        return table[ids]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        gradient = gradients[0].flatten(0, 1)
        one_hot = gradient.new_zeros(ctx.rows, ids.numel())
        one_hot.scatter_(0, ids.reshape(1, -1), 1.0)
        return one_hot @ gradient, None


def look_up(table: Tensor, ids: Tensor) -> Tensor:
    """table (V, N) by ids (T, B) -> (T, B, N); worth it while V is small beside the row's cost."""
    result: Tensor = _LookUp.apply(table, ids)  # type: ignore[no-untyped-call]
    return result
