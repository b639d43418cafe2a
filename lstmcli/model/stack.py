"""Layers over depth, each reading the one below, with dropout on every layer's outputs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from lstmcli.cells.base import CellClass, FreeCell, State, zeros_like_state
from lstmcli.model.dropout import dropout
from lstmcli.model.layers import FreeLayer, GatedLayer, Layer, Trace

StackState = tuple[State, ...]


class Stack(nn.ModuleList):
    """`num_layers` layers of one cell."""

    def __init__(
        self,
        cell_class: CellClass,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
    ):
        super().__init__()
        self.dropout = dropout
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        if issubclass(cell_class, FreeCell):
            self.extend(FreeLayer(cell_class(size, hidden_size)) for size in sizes)
        else:
            cell = cell_class()  # equations only: all layers share it, and what is compiled of it
            self.extend(GatedLayer(cell, size, hidden_size) for size in sizes)

    @property
    def layers(self) -> list[Layer]:
        return list(self)  # type: ignore[arg-type]

    def initial_state(self, batch_size: int) -> StackState:
        return tuple(layer.initial_state(batch_size) for layer in self.layers)

    def forward(
        self, bottom: Callable[[Layer, State], tuple[Tensor, State]], state: StackState
    ) -> tuple[Tensor, StackState]:
        """`bottom` runs the first layer on the model's input, whatever that is; (T, B, H) comes out."""
        outputs, first = bottom(self.layers[0], state[0])
        outputs = self._drop(outputs)
        final = [first]
        for layer, layer_state in zip(self.layers[1:], state[1:], strict=True):
            outputs, new = layer(outputs, layer_state)
            outputs = self._drop(outputs)
            final.append(new)
        return outputs, tuple(final)

    def observe(self, x: Tensor, state: StackState) -> list[Trace]:
        """Gates and states of every layer for inputs x (T, B, I), as in evaluation."""
        traces = []
        for layer, layer_state in zip(self.layers, state, strict=True):
            x, _, trace = layer.observe(x, layer_state)
            traces.append(trace)
        return traces

    def _drop(self, outputs: Tensor) -> Tensor:
        return dropout(outputs, self.dropout, self.training)


def detach(state: StackState) -> StackState:
    """The state as plain values: truncated BPTT stops here."""
    return tuple(tuple(s.detach() for s in layer) for layer in state)


def reset_streams(state: StackState, reset: Tensor) -> StackState:
    """The state with the streams in `reset` (B, bool) begun again from zero."""
    return tuple(zeros_like_state(layer, reset) for layer in state)


def repeat_state(state: StackState, times: int) -> StackState:
    """The state of one stream, (1, H) each, for `times` streams."""
    return tuple(tuple(s.expand(times, *s.shape[1:]).clone() for s in layer) for layer in state)
