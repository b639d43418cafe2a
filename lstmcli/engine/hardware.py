"""Where a run computes and in which arithmetic, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from lstmcli.config.schema import Config, Model
from lstmcli.core.errors import ConfigError
from lstmcli.core.notices import notice
from lstmcli.engine.kernels.compiled import why_uncompiled
from lstmcli.engine.kernels.product import available, cpu_says
from lstmcli.engine.layers.base import Layer, kinds_with
from lstmcli.engine.stack import Stack

COMPILE_PAYS = 5e11
"""Multiply-adds of a whole run above which a second of compiling is earned back (measured: the compiled
engine saves a fifth of the time at least, at 0.1 to 0.2 TFLOP/s)."""


@dataclass(frozen=True)
class Hardware:
    device: torch.device
    precision: str  # "fp32" | "bf16"
    reason: str

    @property
    def product_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose_hardware(device: str, precision: str, elsewhere: bool = False) -> Hardware:
    """The device and precision for the settings; `auto` picks what is fast here and says why.

    `elsewhere`: the settings are those of a run that may come from another machine, so a device that
    is not here is replaced, with a notice, instead of refused.
    """
    try:
        chosen = _device(device)
    except ConfigError as error:
        if not elsewhere:
            raise
        chosen = _device("auto")
        notice(f"{error.message}; {chosen} is used instead")
    fast, reason = _bf16_is_fast(chosen)
    if precision == "auto":
        return Hardware(chosen, "bf16" if fast else "fp32", reason)
    return Hardware(chosen, precision, "as configured")


def _device(wanted: str) -> torch.device:
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if (wanted == "cuda" and not cuda) or (wanted == "mps" and not mps):
        raise ConfigError(
            f"train.device: there is no {wanted} device here",
            "use train.device=auto or train.device=cpu",
        )
    return torch.device(wanted)


def _bf16_is_fast(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name = torch.cuda.get_device_name(device)
        return major >= 8, f"{name} has {'' if major >= 8 else 'no '}fast bf16 ({major}.{minor})"
    if device.type == "mps":
        return False, "bf16 is not used on mps"
    for name, test in (
        ("AMX", "_is_amx_tile_supported"),
        ("AVX512-BF16", "_is_avx512_bf16_supported"),
    ):
        if cpu_says(test) and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return True, f"the CPU has {name}"
    return False, "the CPU has no fast bf16"


def use_threads(threads: int | None, processes: int = 1) -> int:
    """Set the number of CPU threads; null: one per core that this process may use, or its share of them
    where several `processes` of this machine train together."""
    if threads is None and processes > 1:
        threads = max(1, available_cores() // processes)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_path(settings: Model, first: Layer) -> None:
    """ConfigError: the path that is asked for does not serve layers as the first one."""
    wanted = settings.path
    if wanted == "auto" or first.serves(wanted):
        return
    path = first.paths.get(wanted)
    if path is None:
        serves = " and ".join(kinds_with(wanted)) + " cells only"
        why = f"not {settings.cell}, which is a {first.kind} cell: {' or '.join(first.known_paths)}"
    else:
        other = path.cell is not None and type(first.cell) is not path.cell
        serves = f"{type(first.cell).__name__ if path.cell is None else path.cell.__name__} only"
        unknown = " and ".join(sorted(first.drops.used - path.knows))
        why = f"not {settings.cell}" if other else f"without {unknown}"
    raise ConfigError(f"model.path: {wanted} serves {serves}, {why}")


def choose_path(config: Config, first: Layer, parameters: int, hardware: Hardware) -> str:
    """Which path computes a model's recurrence, by its first layer and its number of parameters:
    `fused`, `engine`, `scan` or `loop`; resolves `auto`.

    A rule and no measurement at the start, so that two runs of one config are one run. It was
    measured on two cores with AVX512-BF16 (`lstm bench train`, with its shapes and --path), from one layer
    of 64 units to two of 512: the engine with kernels and products of its own is ahead of oneDNN's fused LSTM
    by 1.2 to 2.5 times in bf16, and 1.05 to 1.8 in fp32. It costs a second of compiling, so short runs stay
    fused. On CUDA cuDNN is ahead.
    """
    check_path(config.model, first)
    if config.model.path != "auto":
        return config.model.path
    quickest, *others = first.known_paths
    if quickest != "fused":
        return quickest
    if config.model.recompute:  # the library keeps everything
        return others[0]
    if hardware.device.type != "cpu" or not _long_run(config, parameters):
        return "fused"
    if missing := why_uncompiled(hardware.device):
        notice(f"{missing}: the LSTM is the library's; the engine would be up to 2.5 times faster")
        return "fused"
    return "engine" if available(hardware.product_dtype) else "fused"


def path_for_one_use(layers: Stack) -> str:
    """The quickest path to evaluate a model with."""
    return layers.layers[0].known_paths[0]


def set_path(layers: Stack, path: str, compiled: bool | None = None) -> None:
    """Put every layer on `path`; it is compiled, if it can be, where there is a compiler for it."""
    for layer in layers.layers:
        layer.path = path
        if layer.paths[path].compiled:
            device = next(layer.parameters()).device
            layer.compiled = can_compile(device) if compiled is None else compiled
            if compiled is None and not layer.compiled:
                notice(f"{why_uncompiled(device)}: the recurrence runs uncompiled, two to five times slower")


def can_compile(device: torch.device) -> bool:
    """Whether the engine's kernels can be compiled for the device, and are to be."""
    return why_uncompiled(device) is None


def wait(device: torch.device) -> None:
    """Until all that was asked of the device is done: before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def needs_compiling(layers: Stack) -> bool:
    """Whether a first step must be made that no budget of minutes should pay for."""
    return layers.layers[0].needs_compiling


def _long_run(config: Config, parameters: int) -> bool:
    train = config.train
    if train.max_steps is None:
        return (train.max_minutes or 10.0) >= 0.2
    symbols = train.max_steps * train.batch_size * config.window
    return 3.0 * symbols * parameters > COMPILE_PAYS
