"""`lstm bench cells`: every cell of the zoo beside `nn.LSTM` and `nn.GRU`, all in turn in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.benchmark.compare import Shape, all_in_turn, batches, machine, our_config, our_model, train_ours
from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.base import CellClass, GatedCell
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.engine.hardware import choose_hardware
from lstmcli.engine.layers import layer_class

OWN = "own"
LONG = 4096
"""Steps of the long windows in which a scan shows that it does not loop."""
FIRST_STEP = """
import time
from lstmcli.benchmark.compare import Shape, our_config, our_model, train_ours
from lstmcli.benchmark.cells import OwnLSTM
from lstmcli.engine.hardware import choose_hardware
shape, hardware = Shape(), choose_hardware("auto", "auto")
model, _ = our_model(our_config(shape, "engine"), shape, hardware, OwnLSTM)
started = time.perf_counter()
next(train_ours(our_config(shape, "engine"), shape, model, hardware))
print(time.perf_counter() - started)
"""


class OwnLSTM(GatedCell):
    """An LSTM as a user writes it: nothing recognises it as one."""

    gates = ("input", "forget", "cell", "output")
    state = ("hidden", "cell")

    def pointwise(
        self, z: tuple[Tensor, ...], state: tuple[Tensor, ...], *vectors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return LSTM.pointwise(self, z, state)  # type: ignore[arg-type]


class _Library(nn.Module):
    """Embedding, the library's recurrent module, head."""

    def __init__(self, shape: Shape, module: type[nn.LSTM] | type[nn.GRU]):
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.recurrent = module(shape.hidden, shape.hidden, shape.layers)
        self.head = nn.Linear(shape.hidden, shape.vocabulary)


def _train_library(shape: Shape, module: Any, bf16: bool, device: torch.device) -> Iterator[float]:
    model = _Library(shape, module).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    state = None
    for inputs, targets in batches(shape, device):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            outputs, state = model.recurrent(model.embedding(inputs), state)
            logits = model.head(outputs)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        yield float(loss.detach())


def products_per_symbol(cell: CellClass, shape: Shape) -> float:
    """Floating-point operations of the matrix products per symbol, forward: where the first layer's input is
    a table look-up, its input product is not counted; the head's is."""
    cost = layer_class(cell).cost(cell, shape.hidden, shape.hidden)
    layers = shape.layers * cost.multiply_adds - cost.by_symbol
    return 2.0 * (layers + shape.hidden * shape.vocabulary)


def bench_cells(shape: Shape, rounds: int, names: list[str] | None = None) -> dict[str, Any]:
    """Seconds of a training step (forward, backward, update) of every cell, medians of `rounds` rounds
    in which each side has its turn; ratios are medians of the rounds' ratios."""
    hardware = choose_hardware("auto", "auto")
    device, bf16 = hardware.device, hardware.precision == "bf16"
    chosen = names or list(BUILT_IN)
    sides: dict[str, Callable[[], object]] = {}
    paths: dict[str, str] = {}
    library = {"nn.LSTM fp32": (nn.LSTM, False), "nn.GRU fp32": (nn.GRU, False)}
    if bf16:
        library |= {"nn.LSTM bf16": (nn.LSTM, True), "nn.GRU bf16": (nn.GRU, True)}
    for name, (module, half) in library.items():
        sides[name] = _train_library(shape, module, half, device).__next__
    classes: dict[str, CellClass] = {OWN: OwnLSTM} | {name: find_cell(name) for name in chosen}
    for name, cell in classes.items():
        config = our_config(shape, "auto")
        model, paths[name] = our_model(config, shape, hardware, cell)
        sides[name] = train_ours(config, shape, model, hardware).__next__
    seconds = all_in_turn(sides, rounds, device)
    tokens = shape.batch * shape.window

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(s / f for s, f in zip(seconds[slow], seconds[fast], strict=True))

    cells = {}
    for name, cell in classes.items():
        flops = products_per_symbol(cell, shape) / products_per_symbol(LSTM, shape)
        cells[name] = {
            "path": paths[name],
            "tokens_per_second": tokens / statistics.median(seconds[name]),
            "vs_nn_lstm_fp32": ratio("nn.LSTM fp32", name),
            "time_per_flop_vs_own_lstm": ratio(name, OWN) / flops if flops > 0 else None,
        }
        if bf16:
            cells[name]["vs_nn_lstm_bf16"] = ratio("nn.LSTM bf16", name)
    return {
        "what": "cells",
        **machine(),
        **vars(shape),
        "device": str(device),
        "precision": hardware.precision,
        "rounds": rounds,
        "library_tokens_per_second": {k: tokens / statistics.median(seconds[k]) for k in library},
        "gru_vs_nn_gru": {k: ratio(k, "gru") for k in library if "GRU" in k} if "gru" in classes else {},
        "cells": cells,
        "scan": _scan_lengths(shape, device),
        "first_step_seconds": _first_step(),
    }


def _scan_lengths(shape: Shape, device: torch.device) -> dict[str, float]:
    """Symbols per second of minLSTM at short and long windows of equally many symbols."""
    hardware = choose_hardware("auto", "auto")
    found = {}
    for window in (LONG // 8, LONG):
        each = replace(shape, window=window, batch=max(1, shape.batch * shape.window // window), layers=1)
        model, _ = our_model(our_config(each, "auto"), each, hardware, find_cell("minlstm"))
        side = {"minlstm": train_ours(our_config(each, "auto"), each, model, hardware).__next__}
        seconds = statistics.median(all_in_turn(side, 3, device)["minlstm"])
        found[f"T={window}"] = each.batch * window / seconds
    return found


def _first_step() -> dict[str, float]:
    """Seconds until a user's cell has made its first training step, compiling included, with nothing
    cached and then cached: from the start of the process, and from the model that is ready on."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
        found = {}
        for name in ("cold", "cached"):
            started = time.perf_counter()
            command = [sys.executable, "-c", FIRST_STEP]
            ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found[f"{name}_process"] = time.perf_counter() - started
            found[f"{name}_step"] = float(ended.stdout.split()[-1])
    return found
