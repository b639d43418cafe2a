"""The equations of a gated cell, forward and backward, as two functions the engine calls.

The backward is not written by anybody: it is the vector-Jacobian product of the cell's own function.
Both are compiled once for all steps where the machine has a compiler, and are eager otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lstmcli.cells.base import GatedCell, State
from lstmcli.engine.kernels.compiled import Kernel, compiled
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Unsupported, reachable
from lstmcli.engine.untraced import pulled_back

ACCUMULATE = {torch.bfloat16: torch.float32, torch.float16: torch.float32}
"""The dtype of states and sums, where it is not that of the products."""


class Drops(NamedTuple):
    """What a window leaves out at random. The rates hold for both kernels; the masks are per window."""

    zoneout: tuple[float, ...] = ()  # one rate per state, or none at all
    sampled: bool = False  # zoneout by masks (training), or in the mean (evaluation)
    masked: bool = False  # the recurrent product reads the hidden state through a mask

    @property
    def masks(self) -> int:
        """Zoneout masks (T, B, H) of a window: one per state that is zoned out."""
        return sum(rate > 0.0 for rate in self.zoneout) if self.sampled else 0

    def mix(self, new: State, old: State, masks: Sequence[Tensor]) -> State:
        """New states, with what is zoned out as it was (Krueger et al. 2017)."""
        if not any(self.zoneout):
            return new
        mask = iter(masks)
        mixed = []
        for rate, n, o in zip(self.zoneout, new, old, strict=True):
            if rate == 0.0:
                mixed.append(n)
            else:
                mixed.append(torch.where(next(mask), o, n) if self.sampled else rate * o + (1.0 - rate) * n)
        return tuple(mixed)


NO_DROPS = Drops()


class PointwisePair:
    """`forward` and `backward` of one cell for the engine, writing into memory that it is given.

    Every argument has the batch in front; states are kept in the accumulation dtype (fp32 under
    bf16 products) and the products' dtype is that of `z`. The hidden state is among the states only
    where the equations read it (`reads_hidden`); else the product is its one reader.
    """

    def __init__(self, cell: GatedCell, compiled: bool, drops: Drops = NO_DROPS):
        self.cell, self.compiled, self.drops = cell, compiled, drops
        self.gates, self.states = len(cell.gates), len(cell.state)
        self.separate = [cell.gates.index(name) for name in cell.separate]
        self.all_apart = len(self.separate) == self.gates  # then nothing is summed, and nothing copied
        self.vectors = len(cell.vectors)
        self._kernels: dict[tuple[object, ...], Kernel] = {}

    @property
    def all_compiled(self) -> bool:
        """Whether none of the kernels asked for so far is one of the functions below."""
        return all(getattr(kernel, "__self__", None) is not self for kernel in self._kernels.values())

    def reads_hidden(self, hidden_size: int) -> bool:
        """Whether a step of this size needs h_{t-1} other than through the recurrent product."""
        return bool(self.drops.zoneout and self.drops.zoneout[0] > 0.0) or _reads_hidden(
            self.cell, hidden_size
        )

    def kept_states(self, hidden_size: int) -> int:
        """States whose every step is kept for the kernels, the last ones of all."""
        return self.states if self.reads_hidden(hidden_size) else self.states - 1

    def forward_for(self, *arguments: Tensor) -> Kernel:
        """`_forward`, compiled for arguments of these shapes and dtypes if it is to be."""
        return self._kernel(self._forward, arguments) if self.compiled else self._forward

    def backward_for(self, *arguments: Tensor) -> Kernel:
        """`_backward`, likewise."""
        if not self.compiled:
            return self._backward
        sums = 4 + 2 * bool(self.separate) + self.drops.masked + self.vectors  # where they begin
        by_rows = self._backward_by_rows if self.vectors else None
        return self._kernel(self._backward, arguments, frozenset(range(sums, sums + self.vectors)), by_rows)

    def _kernel(
        self,
        function: Kernel,
        arguments: tuple[Tensor, ...],
        summed: frozenset[int] = frozenset(),
        by_rows: Kernel | None = None,
    ) -> Kernel:
        layouts = ((a.shape[-1], a.dim(), a.stride(), a.dtype, a.device) for a in arguments)
        key = (function.__name__, arguments[0].shape[0] == 1, *layouts)
        if key not in self._kernels:
            self._kernels[key] = compiled(function, arguments, summed, by_rows, _name(self.cell))
        return self._kernels[key]

    def equations(
        self,
        z: Tensor,
        apart: Tensor | None,
        state: State,
        vectors: Sequence[Tensor],
        masks: Sequence[Tensor],
    ) -> tuple[State, tuple[Tensor, ...]]:
        """The new state and the gates: z (B, G·H), `apart` (B, S·H) the recurrent parts of the separate
        gates, all states, one vector (H,) or (B, H) each, one mask (B, H) per zoned state."""
        parts = z.chunk(self.gates, dim=-1)
        if apart is not None:
            parts += apart.chunk(len(self.separate), dim=-1)
        new, gates = self.cell.pointwise(parts, state, *vectors)
        return self.drops.mix(new, state, masks), gates

    def join(self, z: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor | None]:
        """z and `apart` of the equations from the input's and the recurrent product's part."""
        if not self.separate:
            return z + recurrent, None
        if self.all_apart:
            return z, recurrent
        inputs, others = z.chunk(self.gates, dim=-1), recurrent.chunk(self.gates, dim=-1)
        apart = torch.cat([others[k] for k in self.separate], dim=-1)
        joined = [i if k in self.separate else i + others[k] for k, i in enumerate(inputs)]
        return torch.cat(joined, dim=-1), apart

    def _forward(self, z: Tensor, recurrent: Tensor, hidden: Tensor, *rest: Tensor) -> None:
        """z (B, G·H) holds the input's part and is overwritten with what the equations get; hidden is
        the output. Then, where the cell has them: room for `apart` (B, S·H), unless the product itself is
        it; room for the hidden state behind its mask, and the mask; the vectors; the zoneout masks; the
        old states, room for new ones."""
        take = iter(rest)
        apart_kept = next(take) if self.separate and not self.all_apart else None
        read, mask = (next(take), next(take)) if self.drops.masked else (None, None)
        vectors, masks = _some(take, self.vectors), _some(take, self.drops.masks)
        old, out = _halves(take)
        dtype = ACCUMULATE.get(z.dtype, z.dtype)
        total, apart = self.join(z.to(dtype), recurrent.to(dtype))
        if not self.all_apart:  # what backward will see is the rounded value, so forward uses it too
            z.copy_(total)
            total = total.to(z.dtype).to(dtype)
        if apart_kept is not None and apart is not None:
            apart_kept.copy_(apart)
            apart = apart.to(z.dtype).to(dtype)
        new, _ = self.equations(total, apart, self._all_states(total, old), vectors, masks)
        for target, value in zip(out, new[self.states - len(old) :], strict=True):
            target.copy_(value)
        hidden.copy_(new[0])
        if read is not None and mask is not None:
            read.copy_(new[0] * mask)

    def _backward(self, z: Tensor, d_z: Tensor, d_output: Tensor, d_hidden: Tensor, *rest: Tensor) -> None:
        """Room for ∂L/∂z, ∂L/∂(output), ∂L/∂(what the next product read). Then, where the cell has
        them: `apart` and room for the gradient of the whole recurrent part; the hidden state's mask;
        the vectors, and sums (B, H) whose total over the batch is their gradient; the zoneout masks; the
        old states, and ∂L/∂(new states), which become ∂L/∂(old states)."""
        self._pull_back((z, d_z, d_output, d_hidden), rest, by_rows=False)

    def _backward_by_rows(self, *arguments: Tensor) -> None:
        """`_backward` where no row may look at another: the equations get each vector as (B, H), so that
        each row has a gradient of its own. Only the recorder takes it so, since it knows which is which
        dimension; elsewhere `vector[:n]` would be rows."""
        self._pull_back(arguments[:4], arguments[4:], by_rows=True)

    def _pull_back(self, first: tuple[Tensor, ...], rest: tuple[Tensor, ...], by_rows: bool) -> None:
        z, d_z, d_output, d_hidden = first
        take = iter(rest)
        apart_kept, d_recurrent = (next(take), next(take)) if self.separate else (None, None)
        mask = next(take) if self.drops.masked else None
        vectors, d_vectors = _some(take, self.vectors), _some(take, self.vectors)
        masks = _some(take, self.drops.masks)
        old, d_state = _halves(take)
        dtype = ACCUMULATE.get(z.dtype, z.dtype)
        total = z.to(dtype)
        free = [total] if apart_kept is None else [total, apart_kept.to(dtype)]
        learned = [v.expand(z.shape[0], -1) for v in vectors] if by_rows else vectors

        def equations(*tensors: Tensor) -> State:
            given = iter(tensors)
            joined = next(given)
            apart = next(given) if self.separate else None
            states = _some(given, len(old))
            everything = self._all_states(joined, states)
            return self.equations(joined, apart, everything, _some(given, self.vectors), masks)[0]

        through = d_hidden.to(dtype) if mask is None else d_hidden.to(dtype) * mask
        d_first = d_output.to(dtype) + through
        later = d_state
        if len(old) == self.states:
            d_first, later = d_first + d_state[0], d_state[1:]
        gradients = iter(pulled_back(equations, (*free, *old, *learned), (d_first, *later)))
        gradient = next(gradients)
        if d_recurrent is not None:
            apart = next(gradients)
            if not self.all_apart:
                pieces = list(gradient.chunk(self.gates, dim=-1))
                for k, piece in zip(self.separate, apart.chunk(len(self.separate), dim=-1), strict=True):
                    pieces[k] = piece
                apart = torch.cat(pieces, dim=-1)
            d_recurrent.copy_(apart)
        d_z.copy_(gradient)
        for target in d_state:
            target.copy_(next(gradients))
        for target in d_vectors:
            mine = target if by_rows else target[:1]  # only the total over the rows counts
            mine.copy_(mine + next(gradients))

    def _all_states(self, like: Tensor, kept: State) -> State:
        """The states as the equations take them; a hidden state that they do not read is any tensor."""
        return kept if len(kept) == self.states else (like.chunk(self.gates, dim=-1)[0], *kept)


def _name(cell: GatedCell) -> str:
    return f"the cell {type(cell).__name__}"


def _some(take: Iterator[Tensor], count: int) -> tuple[Tensor, ...]:
    return tuple(islice(take, count))


def _halves(take: Iterator[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What is left, in two halves."""
    rest = tuple(take)
    return rest[: len(rest) // 2], rest[len(rest) // 2 :]


@lru_cache(maxsize=64)
def pointwise_pair(cell: GatedCell, compiled: bool, drops: Drops = NO_DROPS) -> PointwisePair:
    """One pair per cell and mode, so that layers share what is compiled."""
    return PointwisePair(cell, compiled, drops)


@lru_cache(maxsize=64)
def _reads_hidden(cell: GatedCell, hidden_size: int) -> bool:
    """Whether the new states, or a gradient, depend on h_{t-1} in the equations themselves.

    The equations and their vector-Jacobian product are recorded at the size that is used. What cannot be
    recorded counts as reading everything: then nothing is left out, and a step is slower by one state.
    """
    states = len(cell.state)
    sizes = [len(cell.gates) + len(cell.separate), states, len(cell.vectors)]

    def step(*tensors: Tensor) -> None:
        take = iter(tensors)
        inputs = _some(take, sum(sizes))
        gradients, new, d_hidden = _some(take, states), _some(take, states), next(take)

        def equations(*inputs: Tensor) -> State:
            given = iter(inputs)
            z, state, vectors = (_some(given, size) for size in sizes)
            return cell.pointwise(z, state, *vectors)[0]

        for target, value in zip(new, equations(*inputs), strict=True):
            target.copy_(value)
        d_hidden.copy_(pulled_back(equations, inputs, gradients)[sizes[0]])

    rows = [torch.empty(2, hidden_size) for _ in range(sum(sizes) + 2 * states + 1)]
    try:
        with _unseen():
            written = trace(step, rows).written
    except Unsupported:
        return True
    *new, d_hidden = (written[number] for number in sorted(written))
    while d_hidden.op == "convert":  # a number is widened where it is written
        (d_hidden,) = d_hidden.of
    hidden, no_gradient = ("argument", (sizes[0],)), ("constant", (0.0,))
    reached = {(value.op, value.of) for value in reachable(new)}
    return hidden in reached or (d_hidden.op, d_hidden.of) != no_gradient


def _unseen() -> Any:
    """Where activations are recomputed, torch counts what each pass saves for its gradients. The recording is
    made in the first pass alone, so its own must not count."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
