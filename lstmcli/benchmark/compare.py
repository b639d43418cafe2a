"""The measurements behind `lstm bench`: both sides in turn, so that a drifting machine hits both."""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstmcli.benchmark.plain import PlainModel, sample_plain, train_plain
from lstmcli.cells.base import CellClass
from lstmcli.config.schema import Evaluation, Telemetry
from lstmcli.engine.hardware import Hardware, choose_hardware, choose_path, set_path, wait
from lstmcli.engine.measures.gates import gate_statistics
from lstmcli.engine.stack import StackState, detach
from lstmcli.kinds.text.decoder import decoder_of_model
from lstmcli.kinds.text.inside import gradient_norms, text_traces
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.sampling import Sampler
from lstmcli.kinds.text.settings import LanguageModel, TextConfig, TextSource, TextTrain
from lstmcli.run.directory import RunDir
from lstmcli.run.optimizer import make_optimizer
from lstmcli.run.state import Progress, TrainState
from lstmcli.run.task import Measured
from lstmcli.run.telemetry.logger import Logger
from lstmcli.run.telemetry.looks import STEPS, STREAMS, gates_figure, gradients_figure, half_lives
from lstmcli.run.update import update

LOSS_TAGS = ("loss", "bpc", "learning_rate", "gradient_norm", "epoch", "tokens_per_second", "seconds")
"""As many scalars as the training loop logs at once."""


@dataclass(frozen=True)
class Shape:
    hidden: int = 512
    layers: int = 2
    batch: int = 64
    window: int = 128
    vocabulary: int = 65


def bench_train(shape: Shape, rounds: int, precision: str = "auto", path: str = "auto") -> dict[str, Any]:
    """Symbols per second of forward, backward and update: this tool beside the plain fp32 loop.

    One window each in turn for `rounds` rounds, after a warm-up; medians, and the median of the
    ratios of neighbours.
    """
    hardware = choose_hardware("auto", precision)
    config = our_config(shape, path)
    model, chosen = our_model(config, shape, hardware)
    ours = train_ours(config, shape, model, hardware)
    plain_model = PlainModel(shape.vocabulary, shape.hidden, shape.layers).to(hardware.device)
    plain = train_plain(plain_model, batches(shape, hardware.device))
    tokens = shape.batch * shape.window
    ours_s, plain_s = in_turn(lambda: next(ours), lambda: next(plain), rounds, hardware.device)
    return {
        **_about(shape, hardware, chosen),
        "rounds": rounds,
        "lstmcli_tokens_per_second": tokens / statistics.median(ours_s),
        "plain_tokens_per_second": tokens / statistics.median(plain_s),
        "ratio": statistics.median(p / o for o, p in zip(ours_s, plain_s, strict=True)),
    }


def bench_telemetry(shape: Shape, rounds: int) -> dict[str, Any]:
    """What all logging costs at the default intervals, as a share of training time.

    Gate statistics every `gates_every` steps, scalars into metrics.jsonl and TensorBoard for both; at each
    evaluation the pictures of gates and the gradients by lag.
    """
    hardware = choose_hardware("auto", "auto")
    config = our_config(shape, "auto")
    model, chosen = our_model(config, shape, hardware)
    steps = train_ours(config, shape, model, hardware)
    ids, _ = next(batches(shape, hardware.device))
    state = model.initial_state(shape.batch)
    losses = {tag: 1.0 for tag in LOSS_TAGS}
    with tempfile.TemporaryDirectory() as folder:
        logger = Logger(RunDir(Path(folder)), config, model.layers, None)
        step_s, gates_s = in_turn(
            lambda: next(steps),
            lambda: logger.scalars(1, gate_statistics(text_traces(model, ids, state))),
            rounds,
            hardware.device,
        )
        _, pictures_s = in_turn(lambda: None, lambda: _pictures(model, ids, logger), 3, hardware.device)
        _, losses_s = in_turn(lambda: None, lambda: logger.scalars(1, losses), rounds, hardware.device)
        logger.close()
    settings = Telemetry()
    step, gates, loss = (statistics.median(s) for s in (step_s, gates_s, losses_s))
    pictures, evaluated = statistics.median(pictures_s), Evaluation().every or 1
    per_step = loss / settings.every + gates / (settings.gates_every or 1) + pictures / evaluated
    return {
        **_about(shape, hardware, chosen),
        "rounds": rounds,
        "step_seconds": step,
        "gates_seconds": gates,
        "gates_every": settings.gates_every,
        "losses_seconds": loss,
        "losses_every": settings.every,
        "pictures_seconds": pictures,
        "pictures_every": evaluated,
        "share_of_training_time": per_step / step,
    }


def _pictures(model: TextModel, ids: Tensor, logger: Logger) -> None:
    """What is drawn at an evaluation."""
    first = ids[:STEPS, :1]
    gates = gates_figure(model.observe(first, model.initial_state(1)), ["a"] * len(first))
    assert gates is not None
    found = gradient_norms(model, ids[: STEPS + 1, :STREAMS], explain=False)
    logger.scalars(1, half_lives(found))
    logger.figure(1, "gates", gates)
    logger.figure(1, "gradients", gradients_figure(found))


def bench_generate(shape: Shape, length: int, rounds: int) -> dict[str, Any]:
    """Symbols per second at batch 1: this tool's decoder beside the plain `nn.LSTM` loop."""
    model = TextModel(our_config(shape, "auto").model, shape.vocabulary)
    decoder = decoder_of_model(model)
    plain = PlainModel(shape.vocabulary, shape.hidden, shape.layers).eval()
    short = max(20, length // 10)  # the plain loop is that much slower

    def ours() -> None:
        sampler = Sampler(shape.vocabulary, temperature=1.0, seed=1)
        state = decoder.initial_state(1)
        ids = np.ones(1, dtype=np.int64)
        for _ in range(length):
            ids = sampler.sample(decoder.step(ids, state))

    def theirs() -> None:
        for _ in sample_plain(plain, short):
            pass

    ours_s, plain_s = in_turn(ours, theirs, rounds, torch.device("cpu"))
    ours_speed = [length / s for s in ours_s]
    plain_speed = [short / s for s in plain_s]
    return {
        "what": "generate",
        **machine(),
        **vars(shape),
        "batch": 1,
        "rounds": rounds,
        "lstmcli_tokens_per_second": statistics.median(ours_speed),
        "plain_tokens_per_second": statistics.median(plain_speed),
        "ratio": statistics.median(o / p for o, p in zip(ours_speed, plain_speed, strict=True)),
    }


def our_config(shape: Shape, path: str) -> TextConfig:
    return TextConfig(
        data=TextSource(source="python-stdlib"),
        model=LanguageModel(hidden_size=shape.hidden, num_layers=shape.layers, path=path),  # type: ignore[arg-type]
        train=TextTrain(batch_size=shape.batch, sequence_length=shape.window, max_minutes=60.0),
    )


def our_model(
    config: TextConfig, shape: Shape, hardware: Hardware, cell: CellClass | None = None
) -> tuple[TextModel, str]:
    model = TextModel(config.model, shape.vocabulary, cell)
    path = choose_path(config, model.layers.layers[0], model.parameter_count(), hardware)
    model.to(hardware.device)
    model.product_dtype = hardware.product_dtype
    set_path(model.layers, path)
    return model, path


def train_ours(config: TextConfig, shape: Shape, model: TextModel, hardware: Hardware) -> Iterator[float]:
    """The updates of a run on made-up symbols, without logging; yields each one's loss."""
    windows = batches(shape, hardware.device)

    def objective(step: int, carried: StackState) -> Measured:
        inputs, targets = next(windows)
        loss, carried = model.loss(inputs, targets, carried)
        return Measured(loss, detach(carried), inputs.numel())

    optimizer = make_optimizer(config.train, model)
    state = TrainState(model, optimizer, model.initial_state(shape.batch), Progress())
    while True:
        yield update(state, objective, config, config.train.learning_rate)


def batches(shape: Shape, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    size = (shape.window + 1, shape.batch)
    while True:
        ids = torch.randint(shape.vocabulary, size, generator=generator).to(device)
        yield ids[:-1], ids[1:]


def in_turn(
    first: Callable[[], object], second: Callable[[], object], rounds: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """`all_in_turn` for two sides."""
    times = all_in_turn({"first": first, "second": second}, rounds, device)
    return times["first"], times["second"]


def all_in_turn(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each of `rounds` calls, one of each side after the other, after two warm-ups."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name, call in sides.items():
            wait(device)
            started = time.perf_counter()
            call()
            wait(device)
            if number >= 2:
                times[name].append(time.perf_counter() - started)
    return times


def _about(shape: Shape, hardware: Hardware, path: str) -> dict[str, Any]:
    about = {"what": "train", **machine(), **vars(shape), "path": path}
    return about | {"device": str(hardware.device), "precision": hardware.precision}


def machine() -> dict[str, Any]:
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
