"""A trained run: where it lies, how it was configured, and one of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from lstmcli.config.load import load_config
from lstmcli.config.schema import Config
from lstmcli.core.notices import notice
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint, resolve
from lstmcli.run.directory import RunDir, find_run, split_reference
from lstmcli.run.kind import kind_of


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """A run at a checkpoint. What is not used is not read."""

    tensors_of: ClassVar[Literal["numpy", "torch"]] = "torch"

    directory: RunDir
    config: Config
    checkpoint: Path

    def __repr__(self) -> str:
        """One line: the run, its checkpoint, what it learned and with which layers."""
        model = self.config.model
        units = "-".join(map(str, dict.fromkeys(model.sizes)))
        layers = f"{len(model.sizes)} x {units} {model.cell}"
        name = type(self).__name__
        return f"<{name} {self.directory.name} at {self.checkpoint.name}: {self.config.learned}, {layers}>"

    @cached_property
    def _snapshot(self) -> Snapshot:
        return read_checkpoint(self.checkpoint, tensors="model", framework=self.tensors_of)

    @property
    def step(self) -> int:
        return self._snapshot.step


def load(reference: str | Path, trust: bool = False) -> Any:
    """The run at a directory, by a name under runs/, or `latest`; with `@STEP`, `@best` or `@last`
    for another checkpoint than the best.

    Args:
        trust: run the source of a cell that came with the run, whoever wrote it (docs/cells.md).

    Raises:
        RunError: it is missing or damaged.
    """
    text, which = split_reference(str(reference))
    run = find_run(text)
    if trust:
        from lstmcli.cells.trust import allow

        allow(run.path)
    checkpoint = resolve(run.checkpoints, which, notice)
    stored = checkpoint / "config.yaml"
    config = load_config(stored if stored.exists() else run.config_path, of_run=True)
    return kind_of(config).trained(run, config, checkpoint)
