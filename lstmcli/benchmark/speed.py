"""How fast a layer of a cell learns on this machine, beside the stock LSTM."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from lstmcli.cells.base import CellClass
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.engine.hardware import Hardware, can_compile, choose_hardware, wait
from lstmcli.engine.layers import Layer, Regularization, Start, make_layers

HIDDEN, BATCH, STEPS = 256, 32, 64
STOCK = "lstm"


class Speed(NamedTuple):
    """Forward and backward of one layer."""

    symbols_per_second: float  # median
    ratio: float  # to the stock LSTM's
    path: str


def measure(
    cells: Mapping[str, CellClass],
    on_progress: Callable[[str], None] = lambda name: None,
    rounds: int = 3,
) -> dict[str, Speed]:
    """The speed of each cell, and of the stock LSTM under its name: all in turn, after a first step of
    each that compiles. Sizes: 256 units, 32 streams, 64 steps."""
    hardware = choose_hardware("auto", "auto")
    steps: dict[str, Callable[[], None]] = {}
    made: dict[str, Layer] = {}
    for name, cell_class in ({STOCK: LSTM} | dict(cells)).items():
        on_progress(name)
        made[name] = _layer(cell_class, hardware)
        steps[name] = _learn(made[name], hardware)
        steps[name]()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        on_progress(f"round {number + 1} of {rounds}")
        for name, step in steps.items():
            seconds[name].append(_timed(step, hardware))
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        name: Speed(BATCH * STEPS / each, median[STOCK] / each, made[name].path)
        for name, each in median.items()
    }


def _layer(cell_class: CellClass, hardware: Hardware) -> Layer:
    """A layer on the path that a long run would take."""
    layer = make_layers(cell_class, [(HIDDEN, HIDDEN)], Regularization())[0]
    layer.reset_parameters(Start())
    layer.path = layer.known_paths[0]
    layer.compiled = can_compile(hardware.device)
    return layer.to(hardware.device)


def _learn(layer: Layer, hardware: Hardware) -> Callable[[], None]:
    size = (STEPS, BATCH, HIDDEN)
    x = torch.randn(size, device=hardware.device, dtype=hardware.product_dtype)
    weights = torch.randn_like(x)

    def step() -> None:
        inputs = x.detach().requires_grad_()
        outputs, _ = layer(inputs, layer.initial_state(BATCH))
        (outputs * weights).sum().backward()
        layer.zero_grad(set_to_none=True)

    return step


def _timed(step: Callable[[], None], hardware: Hardware) -> float:
    wait(hardware.device)
    started = time.perf_counter()
    step()
    wait(hardware.device)
    return time.perf_counter() - started
