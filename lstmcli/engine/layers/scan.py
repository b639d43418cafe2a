"""The layer of a scan cell: a linear recurrence in time, all steps at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import ScanCell, State
from lstmcli.engine.layers.base import (
    UNDROPPED,
    Layer,
    Multiply,
    Path,
    Regularization,
    Start,
    Trace,
    layer_of,
    start_biases,
)
from lstmcli.engine.layers.equations import Equations, Results, Unfit, check_names, expected, named_gates
from lstmcli.engine.pointwise import ACCUMULATE
from lstmcli.engine.scan import linear_recurrence

STEPS = 4
"""Of the windows that a cell's coefficients are checked on."""


class ScanEquations(Equations):
    """`coefficients`, for a window of pre-activations."""

    axes = ("step {} of the window", "stream {} of the batch")

    def inputs(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {f"z of gate {name!r}": (STEPS, batch, self.hidden_size) for name in self.owner.gates}

    def state(self, batch: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, arguments: Mapping[str, Tensor]) -> Results:
        z = tuple(arguments.values())
        a, b, gates = self.owner.coefficients(z)
        shape = tuple(z[0].shape)
        named = named_gates("coefficients", self.owner.gates, gates, shape)
        values = {"the coefficient a": a, "the coefficient b": b}
        return Results({name: expected(name, value, shape) for name, value in values.items()}, named)


@layer_of(ScanCell)
class ScanLayer(Layer):
    """Parameters weight_ih (G·H, I) and bias (G·H), and no loop over time."""

    kind = "scan"
    function = "coefficients"
    paths: ClassVar = {"scan": Path()}

    def __init__(self, cell: ScanCell, input_size: int, hidden_size: int, drops: Regularization = UNDROPPED):
        super().__init__(cell, input_size, hidden_size, drops)
        rows = len(cell.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.bias = nn.Parameter(torch.empty(rows))

    @classmethod
    def check_declared(cls, cell_class: type[ScanCell]) -> None:
        super().check_declared(cell_class)
        if len(cell_class.state) != 1:
            raise Unfit("a scan cell has one state, the hidden state")
        check_names("gates", getattr(cell_class, "gates", ()))

    def equations(self) -> Equations:
        return ScanEquations(self.cell, self.cell.state, self.input_size, self.hidden_size)

    def reset_parameters(self, start: Start) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in (self.weight_ih, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        if start.forget_bias is not None:
            start_biases(self.bias.data, self.cell.gates, start)

    def step(
        self, x: Tensor, state: State, multiply: Multiply = functional.linear
    ) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        z = multiply(x, self.weight_ih) + self.bias
        a, b, gates = self.cell.coefficients(z.chunk(len(self.cell.gates), dim=-1))
        h = a * state[0] + b
        return h, (h,), self._named(gates)

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
        return outputs, final, Trace(self._named(gates), dict(zip(self.cell.state, [states], strict=True)))

    def _named(self, gates: Any) -> dict[str, Tensor]:
        return dict(zip(self.cell.gates, gates, strict=True))
