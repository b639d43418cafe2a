"""A trained run: where it lies, how it was configured, and one of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from lstmcli.config.schema import Config
from lstmcli.core.notices import notice
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint, resolve
from lstmcli.run.directory import RunDir, find_run, split_reference
from lstmcli.run.foreign import check_reach
from lstmcli.run.kind import kind_of
from lstmcli.run.records import config_of, read_listed_json, read_run


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

    def file(self, name: str) -> dict[str, Any]:
        """A JSON file of the checkpoint. RunError: its manifest lists none, or it is damaged."""
        return read_listed_json(self.checkpoint, name)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The run's manifest, checked."""
        return read_run(self.directory)

    @cached_property
    def began_in(self) -> str | None:
        """The folder where the run began, if its data may be looked for there. RunError: the run is not this
        user's, and its data lie where it may not reach (lstmcli.run.foreign)."""
        return check_reach(self.directory, self.record, self.config)

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
    config = config_of(run, checkpoint)
    return kind_of(config).trained(run, config, checkpoint)
