"""What every trained run has: where it lies, how it was configured, and one of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from lstmcli.config.schema import Config
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint
from lstmcli.run.directory import RunDir


@dataclass(frozen=True)
class TrainedRun:
    """A run at a checkpoint. What is not used is not read."""

    tensors_of: ClassVar[Literal["numpy", "torch"]] = "torch"

    directory: RunDir
    config: Config
    checkpoint: Path

    @cached_property
    def _snapshot(self) -> Snapshot:
        return read_checkpoint(self.checkpoint, tensors="model", framework=self.tensors_of)

    @property
    def step(self) -> int:
        return self._snapshot.step
