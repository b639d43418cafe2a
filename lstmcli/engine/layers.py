"""One recurrent layer: a cell over time, on whichever path computes it.

`GatedLayer` owns the weights of a gated cell and runs it fused (oneDNN, cuDNN; the stock LSTM only),
on the engine, or as a plain loop: the same parameters, the same results within rounding.
`ScanLayer` runs a scan cell over all steps at once, `FreeLayer` a free cell step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lstmcli.cells.base import CellClass, FreeCell, GatedCell, ScanCell, State
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.engine.dropout import chosen, dropout
from lstmcli.engine.pointwise import ACCUMULATE, Drops, PointwisePair, pointwise_pair
from lstmcli.engine.recurrence import look_up, run_engine
from lstmcli.engine.scan import linear_recurrence


class Trace(NamedTuple):
    """What a layer did over a window, for the statistics."""

    gates: dict[str, Tensor]  # by name, each (T, B, H), in fp32 at least
    states: dict[str, Tensor]  # by name, each (T, B, H), likewise


class Regularization(NamedTuple):
    """What a layer drops while it trains."""

    weight_drop: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[float, ...] = ()  # one rate per state, or none


NO_DROPS = Regularization()


class Start(NamedTuple):
    """How a layer's parameters begin; see the settings of the same names."""

    recurrent_init: str = "orthogonal"
    forget_bias: float | str | None = 1.0
    chrono_steps: int = 100


class Layer(nn.Module):
    """What the stack sees of a layer."""

    cell: Any
    hidden_size: int
    path: str = "loop"
    compiled: bool = False
    recompute: bool = False

    def reset_parameters(self, start: Start) -> None:
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        raise NotImplementedError

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x (T, B, I) in the products' dtype -> outputs (T, B, H) in that dtype, final state."""
        raise NotImplementedError

    def forward_symbols(self, embedding: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Like `forward` on embedding[ids], for ids (T, B) and an embedding (V, I)."""
        return self.forward(functional.embedding(ids, embedding), state)

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        """`forward` without gradients, and what the gates and states were."""
        raise NotImplementedError


class GatedLayer(Layer):
    """Parameters: weight_ih (G·H, I), weight_hh (G·H, H), bias (G·H), blocks in the cell's gate order;
    one `vectors.<name>` (H) per vector of the cell."""

    def __init__(self, cell: GatedCell, input_size: int, hidden_size: int, drops: Regularization = NO_DROPS):
        super().__init__()
        self.cell, self.drops = cell, drops
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(cell.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        # Pairs, since of a dictionary ParameterDict would take the names in alphabetical order.
        self.vectors = nn.ParameterDict([(name, torch.empty(hidden_size)) for name in cell.vectors])

    def reset_parameters(self, start: Start) -> None:
        """Uniform in ±1/√H; then, as asked, orthogonal or identity recurrent blocks and zero biases but
        for the forget gate's. The cell's vectors begin as it says."""
        bound, blocks = 1.0 / math.sqrt(self.hidden_size), len(self.cell.gates)
        for parameter in (self.weight_ih, self.weight_hh, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        for name, value in self.cell.vectors.items():
            nn.init.constant_(self.vectors[name], value)
        if start.recurrent_init != "uniform":
            fill: Callable[[Tensor], Any] = (
                nn.init.orthogonal_ if start.recurrent_init == "orthogonal" else nn.init.eye_
            )
            for block in self.weight_hh.data.chunk(blocks):
                fill(block)
        if start.forget_bias is not None:
            _start_biases(self.bias.data, self.cell.gates, start)
            if "forget_bias" in self.vectors:  # of a cell that normalises the engine's bias away
                named = {"forget": self.vectors["forget_bias"]}
                if "input_bias" in self.vectors:
                    named["input"] = self.vectors["input_bias"]
                _start_forgetting({k: v.data for k, v in named.items()}, start)

    def initial_state(self, batch_size: int) -> State:
        return tuple(self.bias.new_zeros(batch_size, self.hidden_size) for _ in self.cell.state)

    def vector_values(self, dtype: torch.dtype | None = None) -> list[Tensor]:
        """The cell's vectors (H,) as its equations take them: by name, in the order that it declares."""
        return [self.vectors[name].to(dtype or self.bias.dtype) for name in self.cell.vectors]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if self.path == "fused":
            return self._fused(x, state)
        return self._recur(lambda part: self.preactivations(x[part]), x.shape[:2], x, state)

    def forward_symbols(self, embedding: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """The input's product is made once per symbol of the vocabulary instead of once per token."""
        if self.path == "fused" or embedding.shape[0] > 2 * self.input_size:
            return self.forward(functional.embedding(ids, embedding), state)
        table = self.preactivations(embedding)
        return self._recur(lambda part: look_up(table, ids[part]), ids.shape, table, state)

    def preactivations(self, x: Tensor) -> Tensor:
        """The input's part: W x + b, (..., G·H) in the dtype of x."""
        return functional.linear(x, self.weight_ih.to(x.dtype), self.bias.to(x.dtype))

    def _recur(
        self, inputs: Callable[[slice], Tensor], shape: Sequence[int], like: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """The recurrence; `inputs` gives the input's part of the pre-activations (T, B, G·H) of a slice
        of time, in fresh memory."""
        steps, batch = shape
        weight = dropout(self.weight_hh, self.drops.weight_drop, self.training)
        mask, zoned = None, []
        if self.training and self.drops.recurrent_dropout:
            ones = like.new_ones(batch, self.hidden_size)
            mask = dropout(ones, self.drops.recurrent_dropout, True)
        if self.training:
            size = (steps, batch, self.hidden_size)
            zoned = [chosen(size, rate, like.device) for rate in self.drops.zoneout if rate]
        compiled = self.path == "engine" and self.compiled
        pair = pointwise_pair(self.cell, compiled, Drops(self.drops.zoneout, bool(zoned), mask is not None))

        def run(part: slice, *state: Tensor) -> tuple[Tensor, State]:
            kept = [m[part] for m in zoned]
            if self.path == "engine":
                return run_engine(pair, inputs(part), weight, state, self.vector_values(), mask, kept)
            return self._loop(pair, inputs(part), weight, state, mask, kept)

        if not (self.recompute and torch.is_grad_enabled()):
            return run(slice(None), *state)
        outputs, length = [], max(1, math.isqrt(steps))
        for first in range(0, steps, length):
            part = slice(first, first + length)
            output, state = checkpoint(run, part, *state, use_reentrant=False, preserve_rng_state=False)
            outputs.append(output)
        return torch.cat(outputs), state

    def _loop(
        self,
        pair: PointwisePair,
        z: Tensor,
        weight: Tensor,
        state: State,
        mask: Tensor | None,
        zoned: Sequence[Tensor],
    ) -> tuple[Tensor, State]:
        dtype = ACCUMULATE.get(z.dtype, z.dtype)
        state = tuple(s.to(dtype) for s in state)
        weight = weight.to(z.dtype)
        vectors = self.vector_values(dtype)
        outputs = []
        for t, z_t in enumerate(z.unbind()):
            read = state[0].to(z.dtype) if mask is None else state[0].to(z.dtype) * mask
            joined = pair.join(z_t.to(dtype), functional.linear(read, weight).to(dtype))
            state, _ = pair.equations(*joined, state, vectors, [m[t] for m in zoned])
            outputs.append(state[0].to(z.dtype))
        return torch.stack(outputs), state

    def _fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        dtype = x.dtype
        recurrent = dropout(self.weight_hh, self.drops.weight_drop, self.training)
        weights = [self.weight_ih.to(dtype), recurrent.to(dtype), self.bias.to(dtype)]
        weights.append(torch.zeros_like(weights[2]))  # the library wants two biases
        start = [s.to(dtype).unsqueeze(0).contiguous() for s in state]
        outputs, h, c = torch._VF.lstm(x, start, weights, True, 1, 0.0, self.training, False, False)
        return outputs, tuple(s.squeeze(0).to(ACCUMULATE.get(dtype, dtype)) for s in (h, c))

    @torch.no_grad()
    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        """With the outputs known, all recurrent products are one: Z = X Wᵀ + H₋₁ Uᵀ + b. What is left
        is an elementwise scan for the other states. No loop over products, whatever the path."""
        outputs, final = self.forward(x, state)
        dtype = ACCUMULATE.get(x.dtype, x.dtype)
        previous = torch.cat([state[0].to(outputs.dtype).unsqueeze(0), outputs[:-1]])
        recurrent = functional.linear(previous, self.weight_hh.to(x.dtype)).to(dtype)
        z, previous = self.preactivations(x).to(dtype), previous.to(dtype)
        pair = pointwise_pair(self.cell, False, Drops(self.drops.zoneout))
        carried = tuple(s.to(dtype) for s in state)
        gates, states, vectors = [], [], self.vector_values(dtype)
        for z_t, recurrent_t, h in zip(z.unbind(), recurrent.unbind(), previous.unbind(), strict=True):
            joined = pair.join(z_t, recurrent_t)
            carried, activations = pair.equations(*joined, (h, *carried[1:]), vectors, [])
            gates.append(activations)
            states.append(carried)
        return outputs, final, Trace(_by_name(self.cell.gates, gates), _by_name(self.cell.state, states))


class ScanLayer(Layer):
    """A scan cell: parameters weight_ih (G·H, I) and bias (G·H), and no loop over time."""

    def __init__(self, cell: ScanCell, input_size: int, hidden_size: int):
        super().__init__()
        self.cell = cell
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(cell.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.bias = nn.Parameter(torch.empty(rows))
        self.path = "scan"

    def reset_parameters(self, start: Start) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in (self.weight_ih, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        if start.forget_bias is not None:
            _start_biases(self.bias.data, self.cell.gates, start)

    def initial_state(self, batch_size: int) -> State:
        return (self.bias.new_zeros(batch_size, self.hidden_size),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, final, _ = self._scan(x, state)
        return outputs, final

    def _scan(self, x: Tensor, state: State) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        z = functional.linear(x, self.weight_ih.to(x.dtype), self.bias.to(x.dtype))
        z = z.to(ACCUMULATE.get(z.dtype, z.dtype))
        a, b, gates = self.cell.coefficients(z.chunk(len(self.cell.gates), dim=-1))
        h = linear_recurrence(a, b, state[0].to(b.dtype))
        return h.to(x.dtype), (h[-1],), gates

    @torch.no_grad()
    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        outputs, final, gates = self._scan(x, state)
        states = outputs.to(ACCUMULATE.get(x.dtype, x.dtype))
        return outputs, final, Trace(_named(self.cell.gates, gates), _named(self.cell.state, [states]))


class FreeLayer(Layer):
    """A free cell, step by step."""

    def __init__(self, cell: FreeCell):
        super().__init__()
        self.cell = cell
        self.input_size, self.hidden_size = cell.input_size, cell.hidden_size

    def reset_parameters(self, start: Start) -> None:
        """A free cell has started its own parameters."""

    def initial_state(self, batch_size: int) -> State:
        state: State = self.cell.initial_state(batch_size)
        return state

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._steps(x, *state)
        outputs = []
        for part in torch.split(x, max(1, math.isqrt(x.shape[0]))):
            output, state = checkpoint(self._steps, part, *state, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    def _steps(self, x: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        outputs = []
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            for x_t in x.unbind():
                output, state, _ = self.cell.step(x_t, state)
                outputs.append(output.to(x.dtype))
        return torch.stack(outputs), state

    @torch.no_grad()
    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        outputs, gates, states = [], [], []
        for x_t in x.to(ACCUMULATE.get(x.dtype, x.dtype)).unbind():
            output, state, activations = self.cell.step(x_t, state)
            outputs.append(output)
            gates.append(tuple(activations.values()))
            states.append(state)
        trace = Trace(_by_name(tuple(activations), gates), _by_name(self.cell.state, states))
        return torch.stack(outputs).to(x.dtype), state, trace


def make_layers(
    cell_class: CellClass, sizes: Sequence[tuple[int, int]], drops: Regularization
) -> list[Layer]:
    """One layer per (input size, hidden size)."""
    if issubclass(cell_class, FreeCell):
        return [FreeLayer(cell_class(*size)) for size in sizes]
    if issubclass(cell_class, ScanCell):
        scan = cell_class()
        return [ScanLayer(scan, *size) for size in sizes]
    cell = cell_class()  # equations only: all layers share it, and what is compiled of it
    return [GatedLayer(cell, *size, drops) for size in sizes]


def former_names(model: nn.Module) -> dict[str, str]:
    """Of each parameter that a checkpoint of format 1 calls otherwise: its name there, and its name here.

    Until format 2 the equations got a cell's vectors in alphabetical order: what was trained as the first
    in the alphabet is what the equations take for the first that the cell declares.
    """
    found: dict[str, str] = {}
    for place, layer in model.named_modules():
        declared = list(layer.cell.vectors) if isinstance(layer, GatedLayer) else []
        pairs = zip(sorted(declared), declared, strict=True)
        found |= {f"{place}.vectors.{old}": f"{place}.vectors.{new}" for old, new in pairs if old != new}
    return found


def is_stock_lstm(layer: Layer) -> bool:
    return isinstance(layer, GatedLayer) and type(layer.cell) is LSTM


def can_fuse(layer: Layer) -> bool:
    """Whether the library's fused LSTM computes this layer, what it drops included."""
    if not (isinstance(layer, GatedLayer) and is_stock_lstm(layer)):
        return False
    return not (layer.drops.recurrent_dropout or any(layer.drops.zoneout))


def _start_biases(bias: Tensor, gates: Sequence[str], start: Start) -> None:
    """Zero, but for the forget gate's: constant, or spread over timescales (chrono)."""
    nn.init.zeros_(bias)
    _start_forgetting(dict(zip(gates, bias.chunk(len(gates)), strict=True)), start)


def _start_forgetting(blocks: dict[str, Tensor], start: Start) -> None:
    """The forget gate's bias, and for chrono the input gate's, of biases by gate."""
    if "forget" not in blocks:
        return
    if start.forget_bias != "chrono":
        nn.init.constant_(blocks["forget"], float(start.forget_bias or 0.0))
        return
    blocks["forget"].uniform_(1.0, start.chrono_steps - 1.0).log_()
    if "input" in blocks:
        blocks["input"].copy_(-blocks["forget"])


def _by_name(names: Sequence[str], steps: list[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """From a tuple (B, H) for each step to a tensor (T, B, H) for each name."""
    return _named(names, [torch.stack(values) for values in zip(*steps, strict=True)])


def _named(names: Sequence[str], values: Sequence[Tensor]) -> dict[str, Tensor]:
    return dict(zip(names, values, strict=True))
