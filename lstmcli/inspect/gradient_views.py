"""What is measured of one model for `lstm inspect RUN gradients`, in a text and in windows of series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lstmcli.core.errors import DataError
from lstmcli.core.notices import notice
from lstmcli.engine.measures.gradients import Gradients, LayerGradients
from lstmcli.engine.measures.jacobian import (
    MOST_NUMBERS,
    Exponents,
    lyapunov_exponents,
    singular_values,
    state_size,
    step_jacobian,
)
from lstmcli.engine.stack import Stack, StackState
from lstmcli.inspect.reading import after
from lstmcli.kinds.series.inside import series_gradient_norms
from lstmcli.kinds.series.normalise import Rows
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.model import TextModel

if TYPE_CHECKING:
    from lstmcli.config.schema import Config
    from lstmcli.kinds.series.model import SeriesModel

WARM_UP = 256
"""Symbols that set the state before the first one that a gradient is taken at."""
TOGETHER = 32
"""Streams that go backwards side by side: some 40 KB each per step of a 2 x 512 LSTM."""
EXPONENTS, BURN_IN, STRETCH = 8, 300, 300
"""Directions with random starts take some hundred steps to turn where those lie that fade the slowest."""
ORBITS = 4
"""Streams along which exponents and Jacobians are computed."""
Heard = Callable[[int], None]
"""Hears how many streams have been followed since it last heard."""


@dataclass(frozen=True)
class Spectrum:
    """One model's recurrence along a few streams."""

    size: int  # numbers in a stream's state
    exponents: Exponents | None  # None: the cell has no forward-mode derivative
    singular: Tensor | None  # (positions, size), float64, descending; None: the state is too large


@dataclass(frozen=True)
class View:
    """What was measured of one model."""

    gradients: Gradients
    spectrum: Spectrum


@dataclass(frozen=True)
class Passages:
    """Where gradients are taken: the symbols ids[start : start + warm_up + lags + 2] of each start."""

    ids: np.ndarray
    starts: np.ndarray
    warm_up: int
    lags: int

    @classmethod
    def of(cls, ids: np.ndarray, lags: int, streams: int) -> Passages:
        """Evenly spread; of a short text fewer lags, and before that a shorter warm-up."""
        if len(ids) < 4:
            raise DataError(f"the text to read has {len(ids)} symbols; at least 4 are needed")
        if (most := len(ids) - 2) < lags:
            notice(f"the text has {len(ids):,} symbols: lags up to {most:,} instead of {lags:,}")
        lags = min(lags, most)
        warm_up = min(WARM_UP, len(ids) - 2 - lags)
        room = len(ids) - (warm_up + lags + 2)
        starts = np.unique(np.linspace(0, room, min(streams, room + 1)).astype(np.int64))
        return cls(ids, starts, warm_up, lags)

    def symbols(self, starts: np.ndarray, length: int) -> Tensor:
        """(length, B)"""
        places = starts + np.arange(length)[:, None]
        return torch.from_numpy(np.asarray(self.ids[places], dtype=np.int64))


@contextmanager
def placed(model: nn.Module, config: Config) -> Iterator[torch.device]:
    """The model on the device of the run's settings, or the best there is here; then back where it was."""
    from lstmcli.engine.hardware import choose_hardware

    device = choose_hardware(config.train.device, "fp32", elsewhere=True).device
    try:
        model.to(device)
        yield device
    finally:
        model.to("cpu")


def text_view(model: TextModel, config: Config, passages: Passages, heard: Heard) -> View:
    warm_up, found = passages.warm_up, []
    with placed(model, config) as device:
        for first in range(0, len(passages.starts), TOGETHER):
            starts = passages.starts[first : first + TOGETHER]
            ids = passages.symbols(starts, warm_up + passages.lags + 2).to(device)
            found.append(gradient_norms(model, ids[warm_up:], _warmed_up(model, ids[:warm_up])))
            heard(len(starts))
        steps = min(BURN_IN + STRETCH, len(passages.ids) - warm_up)
        few = np.unique(np.linspace(0, len(passages.ids) - warm_up - steps, ORBITS).astype(np.int64))
        ids = passages.symbols(few, warm_up + steps).to(device)
        with torch.no_grad():
            inputs = model.embedding(ids[warm_up:])
        spectrum = _spectrum(model.layers, inputs, _warmed_up(model, ids[:warm_up]))
    return View(_joined(found), spectrum)


@torch.no_grad()
def _warmed_up(model: TextModel, ids: Tensor) -> StackState:
    state = model.initial_state(ids.shape[1])
    return model.outputs(ids, state)[2] if len(ids) else state


def _spectrum(stack: Stack, inputs: Tensor, state: StackState) -> Spectrum:
    size, exponents, singular = state_size(state), None, None
    try:
        burn_in = min(BURN_IN, len(inputs) // 2)
        exponents = lyapunov_exponents(stack, inputs, state, EXPONENTS, burn_in)
        if size <= MOST_NUMBERS:
            singular = singular_values(step_jacobian(stack, inputs[0], state))
    except RuntimeError as error:  # the cell's own, which may be any code; NotImplementedError is one
        if "memory" in str(error):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0][:200]
        notice(f"no Jacobians: the cell has an operation without a forward derivative ({why})")
    return Spectrum(size, exponents, singular)


def _joined(parts: list[Gradients]) -> Gradients:
    """The streams of all parts."""

    def together(norms: list[Tensor | None]) -> Tensor | None:
        there = [n for n in norms if n is not None]
        return torch.cat(there, dim=1) if there else None

    layers = []
    for same in zip(*(part.layers for part in parts), strict=True):
        states = {name: torch.cat([layer.states[name] for layer in same], dim=1) for name in same[0].states}
        chain = together([layer.chain for layer in same])
        forget_gates = together([layer.forget_gates for layer in same])
        layers.append(LayerGradients(same[0].memory, states, chain, forget_gates))
    return Gradients(torch.cat([part.loss for part in parts]), layers)


def series_view(model: SeriesModel, rows: Rows, lags: int, heard: Heard) -> View:
    found = []
    for first in range(0, len(rows.context), TOGETHER):
        part = Rows(*(tensor[first : first + TOGETHER] for tensor in rows))
        found.append(_cut(series_gradient_norms(model, part), lags))
        heard(len(part.context))
    network = model.networks[0]
    few = Rows(*(tensor[:: -(-len(rows.context) // ORBITS)] for tensor in rows))
    with torch.no_grad():
        inputs, _, _ = network.inputs(few)
    start = network.layers.initial_state(inputs.shape[1])
    half = len(inputs) // 2
    state = after(model.observe(few)) if half == 0 else after(network.layers.observe(inputs[:half], start))
    whole = _spectrum(network.layers, inputs, start)
    # Jacobians in the middle of the context: at its start the state is zero
    middle = whole if whole.singular is None else _spectrum(network.layers, inputs[half:], state)
    return View(_joined(found), replace(whole, singular=middle.singular))


def _cut(gradients: Gradients, lags: int) -> Gradients:
    """Lags 0 to `lags` only."""
    end = lags + 1
    layers = [
        LayerGradients(
            layer.memory,
            {name: norms[:end] for name, norms in layer.states.items()},
            None if layer.chain is None else layer.chain[:end],
            None if layer.forget_gates is None else layer.forget_gates[:end],
        )
        for layer in gradients.layers
    ]
    return Gradients(gradients.loss, layers)
