"""Layers over depth, each reading the one below, with dropout on what each puts out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells.base import CellClass, State, zeros_like_state
from lstmcli.config.schema import Model
from lstmcli.engine.dropout import dropout
from lstmcli.engine.layers import Layer, Multiply, Start, Trace, layer_class

StackState = tuple[State, ...]


class RecurrentModel(nn.Module):
    """What training sees of a model: a stack of layers between the two ends that its kind of data needs."""

    layers: Stack
    """The stack; where a model has several, the one that stands for all where one is looked at."""
    product_dtype: torch.dtype
    """Of the matrix products; parameters stay as they are (fp32 while training)."""
    shared: Mapping[str, str] = MappingProxyType({})
    """Parameters that are another's, by name: what a checkpoint does not hold twice."""

    def former_names(self) -> dict[str, str]:
        """Of each parameter that a checkpoint of format 1 calls otherwise: its name there, and its name
        here."""
        return {
            f"{place}.{old}": f"{place}.{new}"
            for place, layer in self.named_modules()
            if isinstance(layer, Layer)
            for old, new in layer.former_names().items()
        }

    def parameter_count(self) -> int:
        """Numbers that are learned; a shared matrix counts once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


class Stack(nn.ModuleList):
    """The layers of a model, all of one cell.

    `window`: steps that training reads at once, for initialisations that depend on it.
    """

    def __init__(self, settings: Model, cell_class: CellClass, input_size: int, window: int = 100):
        super().__init__()
        self.settings = settings
        kind, sizes = layer_class(cell_class), settings.sizes
        drops = kind.regularization(settings, cell_class)
        self.extend(kind.make(cell_class, list(zip([input_size, *sizes], sizes, strict=False)), drops))
        self._start = Start(
            settings.recurrent_init, settings.forget_bias, settings.chrono_steps or max(3, window)
        )
        for layer in self.layers:
            layer.recompute = settings.recompute

    def reset_parameters(self) -> None:
        for layer in self.layers:
            layer.reset_parameters(self._start)

    @property
    def layers(self) -> list[Layer]:
        return list(self)  # type: ignore[arg-type]

    def initial_state(self, batch_size: int) -> StackState:
        return tuple(layer.initial_state(batch_size) for layer in self.layers)

    def forward(
        self, bottom: Callable[[Layer, State], tuple[Tensor, State]], state: StackState
    ) -> tuple[Tensor, StackState]:
        """`bottom` runs the first layer on the model's input, whatever that is; (T, B, H) comes out."""
        outputs, _, final = self.run(bottom, state)
        return outputs, final

    def run(
        self, bottom: Callable[[Layer, State], tuple[Tensor, State]], state: StackState
    ) -> tuple[Tensor, Tensor, StackState]:
        """Like `forward`; between outputs and state: the last layer's outputs before any dropout."""
        rates = [self.settings.dropout] * (len(self) - 1)
        last = self.settings.output_dropout
        rates.append(self.settings.dropout if last is None else last)
        below, summed, final = None, None, []
        for layer, layer_state, rate in zip(self.layers, state, rates, strict=True):
            raw, new = bottom(layer, layer_state) if below is None else layer(below, layer_state)
            outputs = dropout(raw, rate, self.training, self.settings.locked_dropout)
            below = outputs if below is None else self._add(outputs, below)
            if self.settings.sum_outputs:
                summed = below if summed is None else summed + below
            final.append(new)
        assert below is not None
        return below if summed is None else summed, raw, tuple(final)

    def step(
        self, x: Tensor, state: StackState, multiply: Multiply = functional.linear
    ) -> tuple[Tensor, StackState, tuple[Mapping[str, Tensor], ...]]:
        """One step of all layers for the first one's input x (B, E), as in evaluation: what the head reads,
        the new state, and the gates by layer."""
        new, gates, outputs = [], [], []
        for number, (layer, old) in enumerate(zip(self.layers, state, strict=True)):
            output, layer_state, activations = layer.step(x, old, multiply)
            x = self._add(output, x) if number else output
            new.append(layer_state)
            gates.append(activations)
            outputs.append(x)
        read = torch.stack(outputs).sum(0) if self.settings.sum_outputs else x
        return read, tuple(new), tuple(gates)

    def observe(self, x: Tensor, state: StackState) -> list[Trace]:
        """Gates and states of every layer for inputs x (T, B, I), as in evaluation."""
        traces = []
        for number, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            outputs, _, trace = layer.observe(x, layer_state)
            x = self._add(outputs, x) if number else outputs
            traces.append(trace)
        return traces

    def _add(self, outputs: Tensor, below: Tensor) -> Tensor:
        """The residual connection, from the second layer on (the first one's input is no hidden state)."""
        return outputs + below if self.settings.residual and outputs.shape == below.shape else outputs


def detach(state: StackState) -> StackState:
    """The state as plain values: truncated BPTT stops here."""
    return tuple(tuple(s.detach() for s in layer) for layer in state)


def reset_streams(state: StackState, reset: Tensor) -> StackState:
    """The state with the streams in `reset` (B, bool) begun again from zero."""
    return tuple(zeros_like_state(layer, reset) for layer in state)
