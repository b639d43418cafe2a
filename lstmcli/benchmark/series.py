"""`lstm bench series`: training on windows of a table beside a plain PyTorch loop over the same windows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.benchmark.compare import in_turn, machine
from lstmcli.config.schema import Model
from lstmcli.engine.hardware import choose_hardware, choose_path, set_path
from lstmcli.kinds.series.settings import Forecast, SeriesConfig, SeriesTable, SeriesTrain
from lstmcli.kinds.series.task import SeriesTask
from lstmcli.run.optimizer import make_optimizer
from lstmcli.run.state import Progress, TrainState
from lstmcli.run.update import update

SERIES, STEPS = 200, 1000
CONTEXT, HORIZON, PATCH = 96, 24, 24
BATCH, HIDDEN = 256, 256


def bench_series(rounds: int) -> dict[str, Any]:
    """Windows per second of forward, backward and update, batches included, on generated series.

    The plain side is what a person writes: a Dataset of windows, a DataLoader without workers, last-value
    normalisation, and nn.LSTM over the same patches with a linear head.
    """
    with tempfile.TemporaryDirectory() as folder:
        values = _values()
        path = Path(folder) / "series.csv"
        _write(path, values)
        started = time.perf_counter()
        config = _config(path)
        task = SeriesTask(config, lambda *_: None)
        ready = time.perf_counter() - started
        hardware = choose_hardware("auto", "auto")
        chosen = choose_path(config, task.model.layers.layers[0], task.model.parameter_count(), hardware)
        task.place(hardware.device)
        task.model.product_dtype = hardware.product_dtype
        for stack in task.stacks():
            set_path(stack, chosen)
        ours, plain = _train_ours(config, task), _train_plain(values, hardware.device)
        ours_s, plain_s = in_turn(lambda: next(ours), lambda: next(plain), rounds, hardware.device)
        batch_seconds = _batches_alone(task)
    step = statistics.median(ours_s)
    return {
        "what": "series",
        **machine(),
        "device": str(hardware.device),
        "precision": hardware.precision,
        "path": chosen,
        "series": SERIES,
        "steps": STEPS,
        "context": CONTEXT,
        "horizon": HORIZON,
        "batch": BATCH,
        "hidden": HIDDEN,
        "rounds": rounds,
        "load_seconds": ready,
        "lstmcli_windows_per_second": BATCH / step,
        "plain_windows_per_second": BATCH / statistics.median(plain_s),
        "ratio": statistics.median(p / o for o, p in zip(ours_s, plain_s, strict=True)),
        "share_of_step_making_batches": batch_seconds / step,
    }


def _values() -> np.ndarray:
    """Random walks with a daily season (SERIES, STEPS)."""
    generator = np.random.default_rng(1)
    walk = generator.normal(size=(SERIES, STEPS)).cumsum(1)
    values: np.ndarray = walk + 5.0 * np.sin(np.arange(STEPS) * 2.0 * np.pi / 24.0)
    return values


def _write(path: Path, values: np.ndarray) -> None:
    times = np.datetime64("2024-01-01T00") + np.arange(STEPS).astype("timedelta64[h]")
    lines = ["group,time,value"]
    for s, row in enumerate(values):
        lines += [f"s{s},{t},{v:.6f}" for t, v in zip(times, row, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def _config(path: Path) -> SeriesConfig:
    return SeriesConfig(
        data=SeriesTable(
            path=str(path), time="time", group="group", target="value", frequency="1h",
            context_length=CONTEXT, horizon=HORIZON, splits=[1.0],
        ),
        model=Model(hidden_size=HIDDEN, num_layers=1),
        forecast=Forecast(scaling="none", patch_length=PATCH),
        train=SeriesTrain(batch_size=BATCH, max_minutes=60.0),
    )  # fmt: skip


def _train_ours(config: SeriesConfig, task: SeriesTask) -> Iterator[float]:
    """The updates of a run, without logging; yields each one's loss."""
    optimizer = make_optimizer(config.train, task.model)
    state = TrainState(task.model, optimizer, task.start_state(), Progress())
    while True:
        yield update(state, task.loss, config, config.train.learning_rate)


def _batches_alone(task: SeriesTask) -> float:
    """Median seconds of making one batch for the model."""
    times = []
    for step in range(20):
        started = time.perf_counter()
        task.rows_of(step)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


class _Windows(torch.utils.data.Dataset[Tensor]):
    def __init__(self, values: np.ndarray):
        self.values = torch.from_numpy(values).float()
        self.each = STEPS - CONTEXT - HORIZON + 1

    def __len__(self) -> int:
        return SERIES * self.each

    def __getitem__(self, number: int) -> Tensor:
        series, first = divmod(number, self.each)
        return self.values[series, first : first + CONTEXT + HORIZON]


class _PlainForecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, HORIZON)

    def forward(self, context: Tensor) -> Tensor:
        last = context[:, -1:]
        patches = (context - last).view(len(context), -1, PATCH)
        _, (hidden, _) = self.lstm(functional.relu(self.embed(patches)))
        forecast: Tensor = self.head(hidden[-1]) + last
        return forecast


def _train_plain(values: np.ndarray, device: torch.device) -> Iterator[float]:
    loader = torch.utils.data.DataLoader(_Windows(values), batch_size=BATCH, shuffle=True, drop_last=True)
    model = _PlainForecaster().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    while True:
        for windows in loader:
            windows = windows.to(device)
            loss = (model(windows[:, :CONTEXT]) - windows[:, CONTEXT:]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            yield float(loss.detach())
