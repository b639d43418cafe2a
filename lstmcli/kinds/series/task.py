"""Learning to forecast the series of a table: one model for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.core.errors import ConfigError
from lstmcli.engine.footprint import check_training_memory, layer_values
from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.gradients import Gradients
from lstmcli.engine.stack import Stack, StackState
from lstmcli.kinds.series.calibration import PARTS, Calibration
from lstmcli.kinds.series.document import check_document
from lstmcli.kinds.series.evaluate import Evaluation, Scales, evaluate_series, forecast_panels, spread
from lstmcli.kinds.series.forecaster import Forecaster, series_shape
from lstmcli.kinds.series.inside import series_gradient_norms
from lstmcli.kinds.series.model import (
    SeriesModel,
    SeriesShape,
    check_series_memory,
    series_parameters,
)
from lstmcli.kinds.series.normalise import Rows
from lstmcli.kinds.series.portfolio import check_portfolio
from lstmcli.kinds.series.scaling import Scaler, check_counts
from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.kinds.series.table.panel import SeriesData, prepare_series
from lstmcli.kinds.series.windows import SeriesBatches, split_windows, training_windows
from lstmcli.kinds.text.task import describe_model
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.own_cell import cell_files
from lstmcli.run.records import read_listed_json
from lstmcli.run.task import Measured, Score
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger
from lstmcli.run.telemetry.looks import Pace, gates_figure, gradients_figure, half_lives

PICTURES = 4
"""Windows of the validation split that are drawn at each evaluation."""
ROWS = 16
"""Rows of the batch whose gates are looked at."""


class SeriesTask:
    """Windows of all series in a pseudo-random order, each forecast from its own context."""

    unit = "windows"

    def __init__(
        self, config: SeriesConfig, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE
    ):
        check_forecast(config)
        self.config, self.ranks = config, ranks
        data = config.data
        self.data = prepare_series(data, on_progress)
        self.fingerprint, self.summary = self.data.fingerprint, self.data.summary
        panel = self.data.panel
        part = ranks.part_of(config.train.batch_size)
        self.batches = self._batches(config, self.data.train_end)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.scaler = fitted_scaler(self.data, config, self._way)
        train = (
            panel.values[b : b + e] for b, e in zip(panel.offsets[:-1], self.data.train_end, strict=True)
        )
        # No later part may shape the model.
        missing = bool(self.scaler.outliers) or any(bool(np.isnan(values).any()) for values in train)
        self._check_memory(config, series_shape(config, panel, missing), part)
        self._make(missing)
        self._cell_files = cell_files(config.model.cell, self.model.stacks[0].layers[0].cell)
        self.val = split_windows(
            self.data, "val", data.context_length, data.horizon, config.evaluation.stride
        )
        self.apart = split_windows(
            self.data, "calibration", data.context_length, data.horizon, config.evaluation.stride
        )
        self.has_validation = len(self.val) > 0
        self._gradients: Gradients | None = None  # of the last evaluation
        self._pace = Pace(config)
        self._rows: Rows | None = None
        self._last: Evaluation | None = None

    @property
    def _way(self) -> tuple[str, str]:
        """How values are transformed and scaled before all else."""
        return self.config.forecast.transform, self.config.forecast.scaling

    def _batches(self, config: SeriesConfig, ends: npt.NDArray[np.int64]) -> SeriesBatches:
        """The windows that a model of this config learns from, which end at `ends` (S,)."""
        data = config.data
        data_until = replace(self.data, train_end=ends)
        windows = training_windows(data_until, data.context_length, data.horizon)
        part = self.ranks.part_of(config.train.batch_size)
        return SeriesBatches(windows, part, config.seed, self.ranks.rank, self.ranks.size)

    def _check_memory(self, config: SeriesConfig, shape: SeriesShape, rows: int) -> None:
        settings = config.forecast
        members = settings.members if isinstance(settings.members, int) else 1
        steps = config.data.context_length // settings.patch_length
        width = layer_values(config.model) * members
        check_training_memory(config, series_parameters(config, shape), rows, steps, width)
        check_series_memory(config)

    def _make(self, missing: bool) -> None:
        """The model, and the forecaster that it makes of the table."""
        panel = self.data.panel
        self.shape = series_shape(self.config, panel, missing)
        self.model = SeriesModel(self.config, self.shape)
        self.forecaster = Forecaster(self.config, self.model, panel, self.scaler, panel.names)

    @cached_property
    def scales(self) -> Scales:
        """What errors are divided by; made by the first evaluation, not by the start of a run."""
        return Scales(self.forecaster, self.data.val_begin)

    def stacks(self) -> list[Stack]:
        return self.model.stacks

    def place(self, device: torch.device) -> None:
        self.model.to(device)
        self.forecaster.device = device

    def start_state(self) -> StackState:
        """Each window begins anew."""
        return ()

    def loss(self, step: int, carried: StackState) -> Measured:
        self._rows = self.rows_of(step)
        loss, terms = self.model.objective(self._rows)
        return Measured(loss, carried, self.config.train.batch_size, terms=terms)

    def rows_of(self, step: int) -> Rows:
        """Batch number `step`, ready for the model."""
        places = self.batches.windows.locate(self.batches.indices(step))
        return self.forecaster.rows(self.forecaster.batch(*places))

    def warm_up(self) -> None:
        self.model.loss(self.rows_of(0)).backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)

    def traces(self) -> list[Trace]:
        if self._rows is None:
            return []
        return self.model.observe(Rows(*(values[:ROWS] for values in self._rows)))

    def loss_values(self, loss: float) -> dict[str, float]:
        return {"train/loss": loss}

    def judged(self) -> str:
        most = self.config.evaluation.max_windows
        return f"{most:,} of {len(self.val):,} windows" if most is not None and most < len(self.val) else ""

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        found = evaluate_series(
            self.forecaster, self.val, self.scales, self.config.evaluation.max_windows, stop,
            with_loss=True, calibrate="val",
        )  # fmt: skip
        calibrated = found if not len(self.apart) else self._calibrated(stop)
        if found is None or calibrated is None:
            return None
        self._last = found
        self.forecaster.calibration = calibrated.calibration
        names = ("scaled_mse", "scaled_mae", "smape", "mase", "coverage")
        values = {f"val/{k}": v for k in names if (v := found.board.summary().get(k)) is not None}
        return Score(found.loss, {"val/loss": found.loss} | values | self._look_back())

    def _calibrated(self, stop: Callable[[], bool]) -> Evaluation | None:
        """What calibrates the intervals, on steps that are kept for it alone."""
        most = self.config.evaluation.max_windows
        return evaluate_series(self.forecaster, self.apart, self.scales, most, stop, calibrate="calibration")

    def _look_back(self) -> dict[str, float]:
        """How far gradients reach, in a few fixed windows."""
        if not self.config.telemetry.pictures:
            return {}
        places = self.val.locate(spread(self.val, PICTURES))
        rows = self.forecaster.rows(self.forecaster.batch(*places))
        self._gradients = series_gradient_norms(self.model, rows, explain=False)
        return half_lives(self._gradients)

    def show(self, step: int, logger: Logger, console: Console) -> None:
        """Forecasts of a few fixed windows, and how far the quantiles can be trusted."""
        from lstmcli.kinds.series.plot import calibration_figure, forecast_figure

        if not self.config.telemetry.tensorboard:
            return
        places = self.val.locate(spread(self.val, PICTURES))
        logger.figure(step, "forecasts", forecast_figure(forecast_panels(self.forecaster, *places)))
        found = self._last.board.calibration() if self._last is not None else []
        if found:
            nominal, observed = ([row[k] for row in found] for k in ("level", "observed"))
            logger.figure(step, "calibration", calibration_figure(nominal, observed))
        if self._pace.due():
            rows = self.forecaster.rows(self.forecaster.batch(*(p[:1] for p in places)))
            gates = gates_figure(self.model.observe(rows))
            if gates is not None:
                logger.figure(step, "gates", gates)
            if self._gradients is not None:
                logger.figure(step, "gradients", gradients_figure(self._gradients))

    def files(self) -> dict[str, str]:
        if not self.has_validation and len(self.apart) and (found := self._calibrated(lambda: False)):
            self.forecaster.calibration = found.calibration
        offsets = self.forecaster.calibration
        document = self._document | {"calibration": None if offsets is None else offsets.offsets.tolist()}
        if offsets is not None and offsets.basis is not None:
            document["calibrated_on"] = offsets.basis._asdict()
        return {"series.json": json.dumps(document)} | self._cell_files

    def restore(self, folder: Path) -> None:
        path, levels = folder / "series.json", len(self.config.forecast.quantiles)
        found = check_document(read_listed_json(folder, path.name), path, self.config.data.horizon, levels)
        self.forecaster.calibration = Calibration.from_json(
            found.get("calibration"), found.get("calibrated_on")
        )

    @cached_property
    def _document(self) -> dict[str, Any]:
        return {
            "meta": self.data.meta(),
            "shape": vars(self.shape),
            "scaler": self.scaler.to_json(),
        }

    def manifest(self) -> dict[str, Any]:
        return {"series": len(self.data.panel.names), "targets": self.data.panel.targets}

    def plan(self) -> dict[str, Any]:
        return {"series": len(self.data.panel.names), "windows_per_epoch": len(self.batches.windows)}

    def describe(self) -> str:
        panel, data, train = self.data.panel, self.config.data, self.config.train
        many = "s" if len(panel.targets) > 1 else ""
        series = f"{len(panel.names):,} series of " if len(panel.names) > 1 else ""
        grid = f", every {panel.grid.frequency}" if panel.grid is not None else ""
        held = f", {len(self.val):,} for validation" if self.has_validation else ""
        return (
            f"data   {series}{len(panel.targets)} channel{many}, {len(panel.values):,} steps{grid}; "
            f"{len(self.batches.windows):,} windows{held}\n"
            f"{self._describe_intervals()}"
            f"model  {describe_model(self.config, self.model)}; {data.context_length} steps -> "
            f"{data.horizon}, {self.config.forecast.decoder}, {self.config.forecast.loss}\n"
            f"train  {train.batch_size} windows a step, {self.steps_per_epoch:,} steps an epoch"
        )

    def _describe_intervals(self) -> str:
        """The line of what the intervals will rest on."""
        if len(self.apart):
            return f"       intervals rest on {len(self.apart):,} windows of {PARTS['calibration']}\n"
        if not self.has_validation:
            return ""
        return (
            "       intervals rest on the validation part, which also chooses the weights: "
            "they may be too narrow (data.calibration_length)\n"
        )


def fitted_scaler(data: SeriesData, config: SeriesConfig, way: tuple[str, str] | None = None) -> Scaler:
    """The figures of the training part. DataError: values that the transform, the loss or a bound does not
    fit."""
    settings = config.forecast
    if settings.loss == "negative-binomial":
        check_counts(data.panel)
    transform, scaling = way or (settings.transform, settings.scaling)
    return Scaler.fit(data, transform, scaling, config.data.context_length, settings.lower, settings.upper)


def check_forecast(config: SeriesConfig) -> None:
    """Settings that do not go with each other. ConfigError names them."""
    settings, data = config.forecast, config.data
    check_portfolio(config)
    if data.context_length % settings.patch_length:
        raise ConfigError(
            f"data.context_length {data.context_length} is no multiple of forecast.patch_length "
            f"{settings.patch_length}",
            "change one of them, such as 96 and 24",
        )
    if settings.loss == "negative-binomial":
        wrong = [
            f"forecast.{name}={wanted}"
            for name, wanted in (("transform", "none"), ("scaling", "none"))
            if getattr(settings, name) != wanted
        ]
        if wrong or settings.normalization not in ("none", "mean-abs"):
            needed = [*wrong] or ["forecast.normalization=mean-abs"]
            raise ConfigError(
                "forecast.loss negative-binomial needs counts as they are", f"set {', '.join(needed)}"
            )
    if settings.lags and settings.decoder == "recursive" and settings.patch_length > 1:
        short = [lag for lag in settings.lags if lag < settings.patch_length]
        if short:
            raise ConfigError(
                f"forecast.lags {short} are shorter than forecast.patch_length {settings.patch_length}, "
                "so a recursive forecast would need values of the patch that it makes",
                "leave these lags out, or use decoder direct",
            )
