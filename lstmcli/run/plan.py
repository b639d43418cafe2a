"""What a run will take of the disk: two updates are made and logged in a folder that is thrown away, and
what they left is counted. So nothing is forgotten that a run writes: not an optimizer's state, not a picture.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from lstmcli.config.load import dump_config
from lstmcli.config.schema import Config
from lstmcli.core.files import encode_json
from lstmcli.core.memory import size
from lstmcli.engine.measures.gates import gate_statistics
from lstmcli.run.directory import RunDir
from lstmcli.run.session import Parts
from lstmcli.run.state import TrainState
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger
from lstmcli.run.update import update

TENSOR_HEADER = 110  # bytes of a tensor's name, shape and place in a file's header
FILE_RECORD = 140  # bytes of a file's line in a checkpoint's manifest
MANIFEST = 2000  # bytes of a run's manifest
FEW = 256  # symbols or windows of the evaluation that is rehearsed
LOSS = 2.345678901234567  # as long as any


class LogSizes(NamedTuple):
    """Bytes, in metrics.jsonl and TensorBoard together."""

    start: int
    line: int
    gates: int
    evaluation: int


class DiskPlan(NamedTuple):
    checkpoint_bytes: int  # of one
    checkpoints_kept: int
    log_bytes: int
    disk_bytes: int  # in all, with the checkpoint that is being written
    planned_steps: int
    steps_per_second: float  # measured by one update here, evaluations left out
    log_bytes_per_hour: int

    def describe(self, by_clock: bool) -> str:
        """The line `disk` of the screen; `by_clock`: the steps follow from minutes."""
        each = size(self.checkpoint_bytes)
        held = f"{self.checkpoints_kept} of {each} kept, one more while it is written"
        assumed = "assuming " if by_clock else "at "
        return (
            f"disk   {size(self.disk_bytes)}: checkpoints ({held}) and a log of {size(self.log_bytes)}\n"
            f"       for {self.planned_steps:,} steps; {assumed}{self.steps_per_second:,.1f} steps/s, as one "
            f"took here: {size(self.log_bytes_per_hour)} of log an hour"
        )


def plan_disk(parts: Parts, console: Console) -> DiskPlan:
    """Rehearse a run that has not begun. The model has changed afterwards: it is good for nothing else."""
    config, task = parts.config, parts.task
    state = parts.first_state()
    seconds = _rehearse(state, parts)
    checkpoint = _checkpoint_bytes(state, task.files() | {"config.yaml": dump_config(config)})
    steps = _steps(config, task.steps_per_epoch, seconds)
    with tempfile.TemporaryDirectory() as folder:
        log = _log_bytes(config, steps, _log_sizes(parts, Path(folder), steps, console))
    kept = min(config.checkpoint.keep + task.has_validation, _most_checkpoints(config, steps, seconds))
    total = checkpoint * (kept + 1) + log + MANIFEST + len(dump_config(config))
    hour = round(log / max(steps * seconds, 1e-9) * 3600)
    return DiskPlan(checkpoint, kept, log, total, steps, 1.0 / seconds, hour)


def _rehearse(state: TrainState, parts: Parts) -> float:
    """Two updates, of which the first compiles and makes room; the seconds of the second one."""
    for _ in range(2):
        began = time.perf_counter()
        update(state, parts.task.loss, parts.config, parts.config.train.learning_rate)
    return time.perf_counter() - began


def _checkpoint_bytes(state: TrainState, files: dict[str, str]) -> int:
    tensors = state.tensors().values()
    numbers = sum(tensor.numel() * tensor.element_size() + TENSOR_HEADER for tensor in tensors)
    texts = sum(len(text.encode()) + FILE_RECORD for text in files.values())
    return int(numbers) + texts + len(encode_json(state.document())) + 4 * FILE_RECORD


def _steps(config: Config, steps_per_epoch: int, seconds: float) -> int:
    """Updates until the first budget is used up."""
    train = config.train
    budgets = [
        math.inf if train.max_steps is None else train.max_steps,
        math.inf if train.max_epochs is None else math.ceil(train.max_epochs * steps_per_epoch),
        math.inf if train.max_minutes is None else math.ceil(60.0 * train.max_minutes / seconds),
    ]
    return int(min(budgets))


def _most_checkpoints(config: Config, steps: int, seconds: float) -> int:
    """That a run can write: regular ones, one per evaluation if each is the best, and the last. `seconds`: of
    a step."""
    wanted = config.checkpoint
    regular = 0 if wanted.every is None else steps // wanted.every
    regular += 0 if wanted.minutes is None else int(steps * seconds / (60.0 * wanted.minutes))
    return regular + _evaluations(config, steps) + 1


def _evaluations(config: Config, steps: int) -> int:
    every = config.evaluation.every
    return 1 if every is None else -(-steps // every)


def _log_bytes(config: Config, steps: int, sizes: LogSizes) -> int:
    telemetry = config.telemetry
    gates = 0 if telemetry.gates_every is None else steps // telemetry.gates_every + 1
    return (
        sizes.start
        + sizes.line * (steps // telemetry.every)
        + sizes.gates * gates
        + sizes.evaluation * _evaluations(config, steps)
    )


def _log_sizes(parts: Parts, folder: Path, steps: int, console: Console) -> LogSizes:
    """What is logged once, at each line, with gates, and by an evaluation."""
    task, step = parts.task, max(1, steps // 2)
    logger = Logger(RunDir(folder), parts.config, task.model.layers)
    marks = [_measured(logger, folder)]
    logger.scalars(step, task.loss_values(LOSS) | _numbers(parts))
    marks.append(_measured(logger, folder))
    logger.scalars(step, gate_statistics(task.traces()))
    marks.append(_measured(logger, folder))
    _evaluate(parts, step, logger, console)
    marks.append(_measured(logger, folder))
    logger.close()
    start, line, gates, evaluation = (b - a for a, b in zip([0, *marks], marks, strict=False))
    return LogSizes(start, line, gates, evaluation)


def _numbers(parts: Parts) -> dict[str, float]:
    """As the loop logs them beside the loss."""
    unit = "tokens" if parts.task.unit == "symbols" else parts.task.unit
    names = ("train/learning_rate", "train/gradient_norm", "train/epoch", f"speed/{unit}_per_second")
    return dict.fromkeys((*names, "speed/seconds"), LOSS)


def _measured(logger: Logger, folder: Path) -> int:
    logger.flush()
    return sum(file.stat().st_size for file in folder.iterdir())


def _evaluate(parts: Parts, step: int, logger: Logger, console: Console) -> None:
    """An evaluation on a few symbols or windows, with all that it shows."""
    task: Any = parts.task  # of which every one keeps its config
    config = parts.config
    if not task.has_validation:
        return
    names = [name for name in ("max_tokens", "max_windows") if name in type(config.evaluation).model_fields]
    few = config.evaluation.model_copy(update=dict.fromkeys(names, FEW))
    task.config = config.model_copy(update={"evaluation": few})
    try:
        score = task.evaluate(lambda: False)
        if score is not None:
            logger.scalars(step, score.values)
            task.show(step, logger, console)
    finally:
        task.config = config
