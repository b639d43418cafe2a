"""Any gated cell over time at the speed of a built-in one, forward and backward.

The input's part of all pre-activations comes in ready (one product, or a table look-up). The loop
holds one recurrent product and the pointwise function per step. Backward keeps what truncated BPTT
needs and no more (pre-activations and states); the gradient of the recurrent weight is one product
after the loop. Under bf16 only the products are bf16: states are kept in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lstmcli.cells.base import State
from lstmcli.engine.pointwise import ACCUMULATE, PointwisePair
from lstmcli.engine.walk import walk


def run_engine(
    pair: PointwisePair,
    z: Tensor,
    weight_hh: Tensor,
    state: State,
    vectors: Sequence[Tensor] = (),
    mask: Tensor | None = None,
    zoned: Sequence[Tensor] = (),
) -> tuple[Tensor, State]:
    """The layer's outputs and final state.

    Args:
        z: input's part of the pre-activations, (T, B, G·H) in the products' dtype. It is overwritten.
        weight_hh: (G·H, H), any dtype; its gradient comes in that dtype.
        state: one (B, H) per name in the cell's `state`.
        vectors: one (H,) per name in the cell's `vectors`.
        mask: (B, H), through which the recurrent product reads the hidden state; None: as it is.
        zoned: one (T, B, H) of bool per state with zoneout, true where a unit keeps its state.

    Returns:
        Outputs (T, B, H) in the products' dtype and the final state in the accumulation dtype.
    """
    results = _Recurrence.apply(pair, z, weight_hh, mask, tuple(zoned), *vectors, *state)  # type: ignore[no-untyped-call]
    return results[0], tuple(results[1:])


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pair: PointwisePair,
        z: Tensor,
        weight_hh: Tensor,
        mask: Tensor | None,
        zoned: tuple[Tensor, ...],
        *vectors_and_state: Tensor,
    ) -> tuple[Tensor, ...]:
        z = z.detach()
        steps, batch, hidden_size = z.shape[0], z.shape[1], weight_hh.shape[1]
        dtype = ACCUMULATE.get(z.dtype, z.dtype)
        vectors = tuple(v.detach().to(dtype) for v in vectors_and_state[: pair.vectors])
        state = tuple(s.detach() for s in vectors_and_state[pair.vectors :])
        hidden = z.new_empty(steps + 1, batch, hidden_size)  # h_0 .. h_T, the outputs
        hidden[0] = state[0]
        read = hidden  # as the product reads it
        if mask is not None:
            read = torch.empty_like(hidden)
            read[0] = hidden[0] * mask
        apart = None
        if pair.separate and not pair.all_apart:
            apart = z.new_empty(steps, batch, len(pair.separate) * hidden_size)
        kept = [_history(s, steps, dtype) for s in state[pair.states - pair.kept_states(hidden_size) :]]
        # of each step where the equations see it apart, else of one
        products = z.new_empty(steps if pair.all_apart else 1, batch, z.shape[2])
        columns = [z, products.expand(steps, -1, -1), hidden[1:]]
        columns += [] if apart is None else [apart]
        columns += [] if mask is None else [read[1:], mask.expand(steps, -1, -1)]
        columns += [v.expand(steps, -1) for v in vectors] + [*zoned]
        columns += [k[:-1] for k in kept] + [k[1:] for k in kept]
        forward = pair.forward_for(*(c[0] for c in columns))
        walk(forward, columns, weight_hh.to(z.dtype), read[:-1], 1)
        ctx.pair, ctx.extra, ctx.mask = pair, len(zoned), mask is not None
        ctx.given = tuple(d.dtype for d in vectors_and_state)
        saved = [m for m in (mask, apart) if m is not None]
        saved += [products] if pair.all_apart else []
        ctx.save_for_backward(z, weight_hh, hidden, read, *saved, *vectors, *zoned, *kept)
        ctx.set_materialize_grads(False)
        final = [k[steps].clone() for k in kept]
        all_kept = len(kept) == pair.states
        return hidden[1:], *(final if all_kept else [hidden[steps].to(dtype, copy=True), *final])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        pair: PointwisePair = ctx.pair
        d_outputs, *d_final = gradients
        z, weight_hh, hidden, read, *others = ctx.saved_tensors
        take = iter(others)
        mask = next(take) if ctx.mask else None
        apart = [next(take)] if pair.separate else []
        vectors = [next(take) for _ in range(pair.vectors)]
        zoned = [next(take) for _ in range(ctx.extra)]
        kept = list(take)
        all_kept = len(kept) == pair.states
        steps, batch = z.shape[0], z.shape[1]
        d_z = torch.empty_like(z)
        d_recurrent = torch.empty_like(z) if apart else d_z
        d_outputs = torch.zeros_like(hidden[1:]) if d_outputs is None else d_outputs.contiguous()
        if d_final[0] is not None:  # the last output is the final hidden state, too
            d_outputs = d_outputs.clone()
            d_outputs[-1] += d_final[0].to(d_outputs.dtype)
        d_state = [
            torch.zeros_like(k[0]) if d is None or (number == 0 and all_kept) else d.clone()
            for number, (d, k) in enumerate(zip(d_final[pair.states - len(kept) :], kept, strict=True))
        ]
        d_vectors = [torch.zeros_like(v).expand(batch, -1).clone() for v in vectors]
        d_hidden = torch.zeros_like(hidden[0])
        columns = [z, d_z, d_outputs, d_hidden.expand(steps, -1, -1)]
        columns += [*apart, d_recurrent] if apart else []
        columns += [] if mask is None else [mask.expand(steps, -1, -1)]
        columns += [v.expand(steps, *v.shape) for v in (*vectors, *d_vectors)] + zoned
        columns += [k[:-1] for k in kept] + [d.expand(steps, -1, -1) for d in d_state]
        backward = pair.backward_for(*(c[0] for c in columns))
        walk(backward, columns, weight_hh.to(z.dtype).t(), d_recurrent, 3, back=True)
        d_weight = d_recurrent.flatten(0, 1).t() @ read[:-1].flatten(0, 1)
        d_first = d_hidden.to(ACCUMULATE.get(z.dtype, z.dtype))
        d_first = d_first if mask is None else d_first * mask
        d_start = [d_first + d_state[0], *d_state[1:]] if all_kept else [d_first, *d_state]
        found = [*(d.sum(0) for d in d_vectors), *d_start]
        found = [d.to(dtype) for d, dtype in zip(found, ctx.given, strict=True)]
        return None, d_z, d_weight.to(weight_hh.dtype), None, None, *found


def _history(start: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Memory for a state at every step (steps + 1, B, H), begun."""
    memory = torch.empty((steps + 1, *start.shape), dtype=dtype, device=start.device)
    memory[0] = start
    return memory


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
