"""A trained forecaster as an object: forecast, evaluate; without the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import DataError, RunError, UsageError
from lstmcli.core.notices import notice
from lstmcli.run.trained import TrainedRun

if TYPE_CHECKING:
    from lstmcli.kinds.series.forecast import Forecast
    from lstmcli.kinds.series.forecaster import Forecaster
    from lstmcli.kinds.series.gift import GiftReport
    from lstmcli.kinds.series.model import SeriesModel
    from lstmcli.kinds.series.report import SeriesReport
    from lstmcli.kinds.series.scaling import Scaler
    from lstmcli.kinds.series.settings import SeriesConfig
    from lstmcli.kinds.series.table.panel import Panel, SeriesData
    from lstmcli.kinds.series.windows import Windows


@dataclass(frozen=True, repr=False)
class SeriesRun(TrainedRun):
    """A trained forecaster with the figures that it scales by."""

    config: SeriesConfig

    @cached_property
    def _document(self) -> dict[str, Any]:
        from lstmcli.kinds.series.document import check_document

        path = self.checkpoint / "series.json"
        levels = len(self.config.forecast.quantiles)
        return check_document(self.file(path.name), path, self.config.data.horizon, levels)

    @property
    def is_portfolio(self) -> bool:
        return self.config.forecast.members == "auto"

    @cached_property
    def model(self) -> SeriesModel:
        """The torch module, on the CPU, ready to forecast."""
        from lstmcli.engine.footprint import check_memory
        from lstmcli.engine.hardware import path_for_one_use, set_path
        from lstmcli.kinds.series.ensemble import Portfolio, member_shapes
        from lstmcli.kinds.series.model import SeriesModel, SeriesShape, series_parameters
        from lstmcli.run.own_cell import cell_of_checkpoint
        from lstmcli.run.state import load_model, tensors_of

        try:
            shape = SeriesShape(**self._document["shape"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.checkpoint / 'series.json'} is damaged: {error}") from error
        check_memory(series_parameters(self.config, shape))
        with cell_of_checkpoint(self.config.model.cell, self.checkpoint, notice):
            if self.is_portfolio:
                shapes = member_shapes(self._document.get("portfolio"))
                model: Any = Portfolio(self.config, shapes)
            else:
                model = SeriesModel(self.config, shape)
        load_model(model, tensors_of(self._snapshot, model))
        for stack in model.stacks:
            set_path(stack, path_for_one_use(stack))
        return model.eval()  # type: ignore[no-any-return]

    def forecaster(self, panel: Panel, honest: bool = False) -> Forecaster:
        """The model over the series of a panel; those that training knew keep their scaling. `honest`: as it
        was before it learned from all data (`train.refit`)."""
        from lstmcli.kinds.series.calibration import Calibration
        from lstmcli.kinds.series.forecaster import Forecaster
        from lstmcli.kinds.series.scaling import Scaler

        names = [str(name) for name in self._document["meta"]["names"]]

        def fit(scaler: Scaler, config: SeriesConfig) -> Scaler:
            return scaler.for_panel(panel, names, config.forecast.scaling, config.data.context_length)

        scaler = Scaler.from_json(self._document["scaler"])
        if self.is_portfolio:
            made = self._ensemble(panel, scaler, names, fit, honest)
        else:
            fitted = fit(scaler, self.config)
            made = Forecaster(self.config, self.model, panel, fitted, names)
        made.calibration = Calibration.from_json(
            self._document.get("calibration"), self._document.get("calibrated_on")
        )
        return made

    def _ensemble(
        self,
        panel: Panel,
        scaler: Scaler,
        names: list[str],
        fit: Callable[[Scaler, SeriesConfig], Scaler],
        honest: bool,
    ) -> Forecaster:
        import numpy as np

        from lstmcli.kinds.series.ensemble import BLENDED, Ensemble, Portfolio, member_scalers
        from lstmcli.kinds.series.portfolio import Course

        model: Any = self.model
        assert isinstance(model, Portfolio)
        found = self._document["portfolio"]
        course = Course.from_json(found.get("course"), len(model.configs))
        return Ensemble(
            self.config,
            model,
            panel,
            scaler.for_panel(panel, names, BLENDED[1], self.config.data.context_length),
            names,
            scalers=member_scalers(found, model.configs, fit),
            spread=np.asarray(found["spread"], dtype=np.float64),
            weights=np.asarray(course.weights) if course.weights else None,
            part="refit" if course.stage == "refitted" and not honest else "kept",
        )

    def data(self) -> SeriesData:
        """The run's own table, read again, and checked to be the same."""
        from lstmcli.kinds.series.table.panel import prepare_series

        _ = self.began_in
        try:
            data = prepare_series(self.config.data)
        except DataError as error:
            raise DataError(error.message, "give the table with --data FILE or --input FILE") from error
        if self.record["data_fingerprint"] != data.fingerprint:
            notice("the data have changed since this run was trained")
        return data

    def panel(self, table: str | Path | Any | None = None) -> Panel:
        """The series of a file or of a frame of polars or pandas, read as the run's table was; None: the
        run's own."""
        if table is None:
            return self.data().panel
        from lstmcli.kinds.series.table.panel import read_series

        if isinstance(table, (str, Path)):
            return read_series(self.config.data, Path(table), self._document["meta"])
        with TemporaryDirectory() as folder:
            path = Path(folder, "frame.parquet")
            _as_polars(table).write_parquet(path)
            return read_series(self.config.data, path, self._document["meta"])

    def evaluate(
        self,
        data: str | Path | Any | None = None,
        split: str = "test",
        by: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        protocol: str | None = None,
        origins: int | None = None,
        output: Path | None = None,
    ) -> SeriesReport | GiftReport:
        """Errors and intervals on a split, beside baselines; `data`: all windows of another table.

        Args:
            protocol: windows or gift; None: the config's.
            origins: only the last so many of each series, a horizon apart or nearer; None: all.
            output: every forecast at every origin goes there, as .csv or .parquet.
        """
        import numpy as np
        import torch

        from lstmcli.kinds.series.report import report_on_series
        from lstmcli.kinds.series.windows import Windows, split_windows, training_windows

        context, horizon = self.config.data.context_length, self.config.data.horizon
        stride = self.config.evaluation.stride
        torch.manual_seed(0)  # some forecasts are drawn
        if (protocol or self.config.evaluation.protocol) == "gift" and data is None and split == "test":
            from lstmcli.kinds.series.gift import gift_report, gift_windows

            own = self.data()
            at = gift_windows(own, context, horizon)
            return gift_report(self.forecaster(own.panel, self._honest(split)), at, on_progress)
        if data is not None:
            panel = self.panel(data)
            lengths = panel.lengths
            first = np.minimum(lengths, context)
            windows = Windows(panel, first, lengths, context, horizon, stride)
            forecaster = self.forecaster(panel)
            windows = _backtest(forecaster, windows, origins, output)
            return report_on_series(forecaster, windows, None, _name(data), by, on_progress)
        if split not in ("train", "val", "test"):
            raise UsageError(f"no split {split!r}", "there are train, val and test")
        own = self.data()
        windows = (
            training_windows(own, context, horizon)
            if split == "train"
            else split_windows(own, split, context, horizon, stride)
        )
        # MASE divides by the errors of all that lies before a split, as the M4 competition does.
        before = own.val_end if split == "test" else own.val_begin
        forecaster = self.forecaster(own.panel, self._honest(split))
        windows = _backtest(forecaster, windows, origins, output)
        return report_on_series(forecaster, windows, before, split, by, on_progress)

    def _honest(self, split: str) -> bool:
        """Whether a figure on this split must be that of the models before they learned from it."""
        return split == "val" or self.config.train.refit is True

    def forecast(
        self,
        horizon: int | None = None,
        data: str | Path | Any | None = None,
        samples: int = 0,
        seed: int = 0,
    ) -> Forecast:
        """What comes after the last step of each series of the run's table, or of another one: a file, or a
        frame of polars or pandas with the same columns."""
        from lstmcli.kinds.series.forecast import make_forecast

        return make_forecast(self.forecaster(self.panel(data)), horizon, samples, seed)


def _backtest(forecaster: Forecaster, windows: Windows, origins: int | None, output: Path | None) -> Windows:
    """The windows of the last origins, each forecast written where that is asked for."""
    from lstmcli.kinds.series.backtest import last_origins, write_origins

    chosen = windows if origins is None else last_origins(windows, origins)
    if output is not None and len(chosen):
        write_origins(output, forecaster, chosen)
    return chosen


def _as_polars(frame: Any) -> Any:
    """A frame of pandas, column by column, or of polars, as it is. UsageError: it is neither."""
    import polars as pl

    if isinstance(frame, pl.DataFrame):
        return frame
    if not (hasattr(frame, "columns") and hasattr(frame, "__getitem__")):
        raise UsageError(
            f"data: a {type(frame).__name__} is no table", "give a path, or a frame of polars or pandas"
        )
    return pl.DataFrame({str(name): frame[name].tolist() for name in frame.columns})


def _name(table: Any) -> str:
    return str(table) if isinstance(table, (str, Path)) else "a frame"
