"""One call for all that is logged: metrics.jsonl and TensorBoard get the same tags."""

from __future__ import annotations

import math
from typing import Any

from lstmcli.config.schema import Config
from lstmcli.core.errors import ResourceError
from lstmcli.core.files import sync_folder
from lstmcli.core.notices import notice
from lstmcli.engine.stack import Stack
from lstmcli.run.directory import RunDir
from lstmcli.run.telemetry.metrics import MetricsFile, read_metrics


class Logger:
    """Writes scalars and samples. A full disk costs the log, not the run: it warns once and goes on."""

    def __init__(
        self,
        run: RunDir,
        config: Config,
        layers: Stack,
        resumed_at: int | None = None,
        evaluated: bool = True,
    ):
        """`evaluated`: whether the evaluation at the step resumed at, if one is due, is done."""
        self.broken: str | None = None
        self._folder = run.path
        self._board: Any = None
        try:
            self._metrics = MetricsFile(run.metrics_path, resumed_at, evaluated)
            if config.telemetry.tensorboard:
                from lstmcli.run.telemetry.tensorboard import TensorBoard

                # An evaluation at the step resumed at, which the checkpoint does not know, is purged; what
                # else was logged there is put back.
                purge = resumed_at if resumed_at is None or not evaluated else resumed_at + 1
                self._board = TensorBoard(run.path, config, [layer.cell for layer in layers.layers], purge)
                again = read_metrics(run.metrics_path) if resumed_at is not None and not evaluated else []
                for record in again:
                    if record["step"] == resumed_at:
                        self._show(record.pop("step"), record)
        except OSError as error:
            raise ResourceError(f"{run.path} cannot be written: {error}") from error

    def scalars(self, step: int, values: dict[str, float]) -> None:
        try:
            self._metrics.write(step, values)
            self._show(step, values)
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def _show(self, step: int, values: dict[str, float]) -> None:
        if self._board is not None:
            self._board.scalars(step, {k: v for k, v in values.items() if math.isfinite(v)})

    def sample(self, step: int, text: str) -> None:
        try:
            if self._board is not None:
                self._board.text(step, "sample", text)
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def figure(self, step: int, tag: str, figure: Any) -> None:
        """A picture of matplotlib."""
        try:
            if self._board is not None:
                self._board.figure(step, tag, figure)
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def flush(self) -> None:
        try:
            if self._board is not None:
                self._board.flush()
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def sync(self) -> None:
        """Before a checkpoint is committed, which must never outlive its log."""
        try:
            self._metrics.sync()
            if self._board is not None:
                self._board.sync()
            sync_folder(self._folder)
        except (OSError, RuntimeError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        try:
            self._metrics.close()
            if self._board is not None:
                self._board.close()
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.broken = str(error)
        notice(f"the log cannot be written ({error}); training goes on without it")
