"""The layer of a gated cell: it owns the weights, and runs the cell fused (oneDNN, cuDNN; the stock LSTM
only), on the engine, or as a plain loop: the same parameters, the same results within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lstmcli.cells.base import GatedCell, State
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.config.schema import Model
from lstmcli.core.errors import ConfigError
from lstmcli.engine import decode
from lstmcli.engine.dropout import chosen, dropout
from lstmcli.engine.layers.base import (
    UNDROPPED,
    Cost,
    Layer,
    Multiply,
    Path,
    Regularization,
    Start,
    Trace,
    by_name,
    layer_of,
    start_biases,
    start_forgetting,
)
from lstmcli.engine.layers.equations import (
    Equations,
    Results,
    Unfit,
    check_names,
    named_gates,
    new_states,
    zeros,
)
from lstmcli.engine.pointwise import ACCUMULATE, Drops, PointwisePair, pointwise_pair
from lstmcli.engine.recurrence import look_up, run_engine

EVERYTHING = frozenset(Regularization._fields)


class GatedEquations(Equations):
    """`pointwise`, from the pre-activations of one step."""

    def inputs(self, batch: int) -> dict[str, tuple[int, ...]]:
        names = [f"z of gate {name!r}" for name in self.owner.gates]
        names += [f"the recurrent part of gate {name!r}" for name in self.owner.separate]
        return dict.fromkeys(names, (batch, self.hidden_size))

    def state(self, batch: int) -> dict[str, Tensor]:
        return zeros(self.names, batch, self.hidden_size)

    def vectors(self) -> dict[str, float]:
        return {f"the vector {name!r}": start for name, start in self.owner.vectors.items()}

    def __call__(self, arguments: Mapping[str, Tensor]) -> Results:
        cell, given = self.owner, tuple(arguments.values())
        first = len(cell.gates) + len(cell.separate)
        last = first + len(cell.state)
        state = given[first:last]
        new, gates = cell.pointwise(given[:first], state, *given[last:])
        named = named_gates("pointwise", cell.gates, gates, tuple(state[0].shape))
        return Results(new_states(cell.state, new, state), named)


@layer_of(GatedCell)
class GatedLayer(Layer):
    """Parameters: weight_ih (G·H, I), weight_hh (G·H, H), bias (G·H), blocks in the cell's gate order;
    one `vectors.<name>` (H) per vector of the cell."""

    kind = "gated"
    function = "pointwise"
    paths: ClassVar = {
        "fused": Path(frozenset({"weight_drop"}), cell=LSTM),
        "decode": Path(decode.KNOWS, cell=LSTM, windows=False),
        "engine": Path(EVERYTHING, compiled=True),
        "loop": Path(EVERYTHING),
    }

    def __init__(self, cell: GatedCell, input_size: int, hidden_size: int, drops: Regularization = UNDROPPED):
        super().__init__(cell, input_size, hidden_size, drops)
        rows = len(cell.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        # Pairs, since of a dictionary ParameterDict would take the names in alphabetical order.
        self.vectors = nn.ParameterDict([(name, torch.empty(hidden_size)) for name in cell.vectors])

    @classmethod
    def regularization(cls, settings: Model, cell_class: type[GatedCell]) -> Regularization:
        given, states = settings.zoneout, cell_class.state
        if isinstance(given, list) and len(given) != len(states):
            raise ConfigError(
                f"model.zoneout: {len(given)} rates for the {len(states)} states of {settings.cell}"
            )
        may = cell_class.zoneout_states or states
        rates = tuple(given) if isinstance(given, list) else tuple(given * (s in may) for s in states)
        if any(rate and s not in may for rate, s in zip(rates, states, strict=True)):
            raise ConfigError(f"model.zoneout: {settings.cell} allows it for {', '.join(may)} only")
        return Regularization(settings.weight_drop, settings.recurrent_dropout, rates if any(rates) else ())

    @classmethod
    def cost(cls, cell_class: type[GatedCell], input_size: int, hidden_size: int) -> Cost:
        """Kept are the pre-activations and the states, which may be in bf16."""
        rows = len(cell_class.gates) * hidden_size
        kept = (rows + len(cell_class.state) * hidden_size) // 2
        plain = super().cost(cell_class, input_size, hidden_size)
        return plain._replace(by_symbol=rows * input_size, kept=kept)

    @classmethod
    def check_declared(cls, cell_class: type[GatedCell]) -> None:
        super().check_declared(cell_class)
        check_names("gates", getattr(cell_class, "gates", ()))
        check_names("separate", cell_class.separate, least=0)
        if not isinstance(cell_class.vectors, Mapping):
            raise Unfit("`vectors` must be a dictionary of start values by name")
        for name, value in cell_class.vectors.items():
            if not (isinstance(name, str) and name.isidentifier() and isinstance(value, (int, float))):
                raise Unfit(f"`vectors` must give a plain name its start value, not {name!r}: {value!r}")
        if unknown := [name for name in cell_class.separate if name not in cell_class.gates]:
            raise Unfit(f"`separate` names {unknown[0]!r}, which is not among `gates`")

    def equations(self) -> Equations:
        return GatedEquations(self.cell, self.cell.state, self.input_size, self.hidden_size)

    @property
    def has_kernels(self) -> bool:
        return self.compiled and pointwise_pair(self.cell, True, Drops(self.drops.zoneout)).all_compiled

    def former_names(self) -> Mapping[str, str]:
        """Until format 2 the equations got a cell's vectors in alphabetical order: what was trained as the
        first in the alphabet is what the equations take for the first that the cell declares."""
        declared = list(self.cell.vectors)
        pairs = zip(sorted(declared), declared, strict=True)
        return {f"vectors.{old}": f"vectors.{new}" for old, new in pairs if old != new}

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
            start_biases(self.bias.data, self.cell.gates, start)
            if "forget_bias" in self.vectors:  # of a cell that normalises the engine's bias away
                named = {"forget": self.vectors["forget_bias"]}
                if "input_bias" in self.vectors:
                    named["input"] = self.vectors["input_bias"]
                start_forgetting({k: v.data for k, v in named.items()}, start)

    def vector_values(self, dtype: torch.dtype | None = None) -> list[Tensor]:
        """The cell's vectors (H,) as its equations take them: by name, in the order that it declares."""
        return [self.vectors[name].to(dtype or self.bias.dtype) for name in self.cell.vectors]

    def step(
        self, x: Tensor, state: State, multiply: Multiply = functional.linear
    ) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        pair = pointwise_pair(self.cell, False, Drops(self.drops.zoneout))
        joined = pair.join(multiply(x, self.weight_ih) + self.bias, multiply(state[0], self.weight_hh))
        new, gates = pair.equations(*joined, state, self.vector_values(), [])
        return new[0], new, dict(zip(self.cell.gates, gates, strict=True))

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
        return outputs, final, Trace(by_name(self.cell.gates, gates), by_name(self.cell.state, states))
