"""The layer of a free cell: a module with parameters of its own, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from lstmcli.cells.base import FreeCell, State
from lstmcli.engine.layers.base import Layer, Multiply, Regularization, Start, layer_of
from lstmcli.engine.layers.equations import Equations


@layer_of(FreeCell)
class FreeLayer(Layer):
    kind = "free"

    def __init__(self, cell: FreeCell):
        super().__init__(cell, cell.input_size, cell.hidden_size)

    @classmethod
    def make(
        cls, cell_class: Any, sizes: Sequence[tuple[int, int]], drops: Regularization
    ) -> Sequence[Layer]:
        return [cls(cell_class(*size)) for size in sizes]

    def equations(self) -> Equations:
        return Equations(self.cell, self.cell.state, self.input_size, self.hidden_size)

    def reset_parameters(self, start: Start) -> None:
        """A free cell has started its own parameters."""

    def initial_state(self, batch_size: int) -> State:
        state: State = self.cell.initial_state(batch_size)
        return state

    def step(
        self, x: Tensor, state: State, multiply: Multiply = functional.linear
    ) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        output, new, activations = self.cell.step(x, state)
        return output, tuple(new), activations
