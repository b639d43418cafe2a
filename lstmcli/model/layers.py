"""One recurrent layer: a cell over time, on whichever path computes it.

`GatedLayer` owns the weights of a gated cell and runs it fused (oneDNN, cuDNN; the stock LSTM only),
on the engine, or as a plain loop: the same parameters, the same results within rounding.
`FreeLayer` runs a free cell step by step through autograd.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import FreeCell, GatedCell, State
from lstmcli.cells.lstm import LSTM
from lstmcli.model.engine import ACCUMULATE, look_up, run_engine
from lstmcli.model.pointwise import pointwise_pair


class Trace(NamedTuple):
    """What a layer did over a window, for the statistics."""

    gates: dict[str, Tensor]  # by name, each (T, B, H), fp32
    states: dict[str, Tensor]  # by name, each (T, B, H), fp32


class GatedLayer(nn.Module):
    """Parameters: weight_ih (G·H, I), weight_hh (G·H, H), bias (G·H); blocks in the cell's gate order."""

    def __init__(self, cell: GatedCell, input_size: int, hidden_size: int):
        super().__init__()
        self.cell = cell
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(cell.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        self.path = "loop"
        self.compiled = False

    def reset_parameters(self, recurrent_init: str, forget_bias: float | None) -> None:
        """Uniform in ±1/√H; then, as asked, orthogonal recurrent blocks and zero biases but for the
        forget gate's."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        if recurrent_init == "orthogonal":
            for block in self.weight_hh.data.chunk(len(self.cell.gates)):
                nn.init.orthogonal_(block)
        if forget_bias is not None:
            nn.init.zeros_(self.bias)
            if "forget" in self.cell.gates:
                k = self.cell.gates.index("forget")
                nn.init.constant_(self.bias.data.chunk(len(self.cell.gates))[k], forget_bias)

    def initial_state(self, batch_size: int) -> State:
        return tuple(self.bias.new_zeros(batch_size, self.hidden_size) for _ in self.cell.state)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x (T, B, I) in the products' dtype -> outputs (T, B, H) in that dtype, final state."""
        if self.path == "fused":
            return self._fused(x, state)
        return self._recur(self.preactivations(x), state)

    def forward_symbols(self, embedding: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Like `forward` on embedding[ids], for ids (T, B) and an embedding (V, I): the input's
        product is made once per symbol of the vocabulary instead of once per token."""
        if self.path == "fused":
            return self._fused(functional.embedding(ids, embedding), state)
        if embedding.shape[0] <= 2 * self.input_size:
            return self._recur(look_up(self.preactivations(embedding), ids), state)
        return self._recur(self.preactivations(functional.embedding(ids, embedding)), state)

    def preactivations(self, x: Tensor) -> Tensor:
        """The input's part: W x + b, (..., G·H) in the dtype of x."""
        return functional.linear(x, self.weight_ih.to(x.dtype), self.bias.to(x.dtype))

    def _recur(self, z: Tensor, state: State) -> tuple[Tensor, State]:
        if self.path == "engine":
            # One row needs no compiled kernel, and would cost one of its own.
            pair = pointwise_pair(self.cell, self.compiled and z.shape[1] > 1)
            return run_engine(pair, z, self.weight_hh, state)
        return self._loop(z, state)

    def _loop(self, z: Tensor, state: State) -> tuple[Tensor, State]:
        dtype = ACCUMULATE.get(z.dtype, z.dtype)
        state = tuple(s.to(dtype) for s in state)
        weight = self.weight_hh.to(z.dtype)
        outputs = []
        for z_t in z.unbind():
            total = z_t.to(dtype) + functional.linear(state[0].to(z.dtype), weight).to(dtype)
            state, _ = self.cell.pointwise(total.chunk(len(self.cell.gates), dim=-1), state)
            outputs.append(state[0].to(z.dtype))
        return torch.stack(outputs), state

    def _fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        dtype = x.dtype
        weights = [self.weight_ih.to(dtype), self.weight_hh.to(dtype), self.bias.to(dtype)]
        weights.append(torch.zeros_like(weights[2]))  # the library wants two biases
        start = [s.to(dtype).unsqueeze(0).contiguous() for s in state]
        outputs, h, c = torch._VF.lstm(x, start, weights, True, 1, 0.0, self.training, False, False)
        return outputs, tuple(s.squeeze(0).to(ACCUMULATE.get(dtype, dtype)) for s in (h, c))

    @torch.no_grad()
    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        """`forward`, and the gates it must have had.

        With the outputs known, all recurrent products are one: Z = X Wᵀ + H₋₁ Uᵀ + b. What is left
        is an elementwise scan for the other states. No loop over products, whatever the path.
        """
        outputs, final = self.forward(x, state)
        previous = torch.cat([state[0].to(outputs.dtype).unsqueeze(0), outputs[:-1]])
        z = self.preactivations(x) + functional.linear(previous, self.weight_hh.to(x.dtype))
        z, previous = z.float(), previous.float()
        carried = tuple(s.float() for s in state)
        gates, states = [], []
        for z_t, h in zip(z.unbind(), previous.unbind(), strict=True):
            parts = z_t.chunk(len(self.cell.gates), dim=-1)
            carried, activations = self.cell.pointwise(parts, (h, *carried[1:]))
            gates.append(activations)
            states.append(carried)
        return (
            outputs,
            final,
            Trace(
                {
                    name: torch.stack(v)
                    for name, v in zip(self.cell.gates, zip(*gates, strict=True), strict=True)
                },
                {
                    name: torch.stack(v)
                    for name, v in zip(self.cell.state, zip(*states, strict=True), strict=True)
                },
            ),
        )


class FreeLayer(nn.Module):
    """A free cell, step by step."""

    def __init__(self, cell: FreeCell):
        super().__init__()
        self.cell = cell
        self.input_size, self.hidden_size = cell.input_size, cell.hidden_size
        self.path = "loop"

    def reset_parameters(self, recurrent_init: str, forget_bias: float | None) -> None:
        """A free cell has started its own parameters."""

    def initial_state(self, batch_size: int) -> State:
        return self.cell.initial_state(batch_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        dtype = x.dtype
        outputs = []
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            for x_t in x.unbind():
                output, state, _ = self.cell.step(x_t, state)
                outputs.append(output.to(dtype))
        return torch.stack(outputs), state

    def forward_symbols(self, embedding: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        return self.forward(functional.embedding(ids, embedding), state)

    @torch.no_grad()
    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        outputs, gates, states = [], [], []
        for x_t in x.float().unbind():
            output, state, activations = self.cell.step(x_t, state)
            outputs.append(output)
            gates.append(activations)
            states.append(state)
        names = {k: torch.stack([g[k] for g in gates]).float() for k in gates[0]}
        by_state = zip(self.cell.state, zip(*states, strict=True), strict=True)
        kept = {name: torch.stack(values).float() for name, values in by_state}
        return torch.stack(outputs).to(x.dtype), state, Trace(names, kept)


Layer = GatedLayer | FreeLayer


def is_stock_lstm(layer: Layer) -> bool:
    return isinstance(layer, GatedLayer) and type(layer.cell) is LSTM
