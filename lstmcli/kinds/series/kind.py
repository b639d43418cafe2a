"""Time series of a table, which are forecast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lstmcli.kinds.series import verbs
from lstmcli.run.kind import Charts, Evaluated, Kind, Needs, Products, Progress, Reading
from lstmcli.run.options import Chosen

if TYPE_CHECKING:
    from lstmcli.kinds.series.settings import SeriesConfig
    from lstmcli.kinds.series.task import SeriesTask
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.run.directory import RunDir
    from lstmcli.run.distributed import Ranks
    from lstmcli.run.inherit import Meanings


class SeriesKind(Kind["SeriesConfig"]):
    name = "series"
    purpose = "to forecast series"
    counts = ("Windows", "windows")
    charts: ClassVar[Charts] = {
        "Loss": ["Multiline", ["train/loss", "val/loss"]],
        "Errors of the point forecast, on the z-scored scale": [
            "Multiline",
            ["val/scaled_mse", "val/scaled_mae"],
        ],
        "Share of values inside the interval": ["Multiline", ["val/coverage"]],
    }
    needs: ClassVar[Needs] = {
        "forecast.season": (
            "forecast.normalization: seasonal", lambda c: c.forecast.normalization == "seasonal"
        ),
    }  # fmt: skip
    space: ClassVar[Mapping[str, Any]] = {
        "train.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
        "model.hidden_size": [64, 128, 256, 512],
        "train.weight_decay": [0.0, 0.01, 0.1],
        "forecast.normalization": ["last", "standard", "seasonal"],
        "train.average": [None, 0.99, 0.998],
    }

    options: ClassVar = {
        "eval": verbs.EVAL,
        "generate": verbs.GENERATE,
        "report": verbs.REPORT,
        "init": verbs.INIT,
    }

    makes = "Forecasts"
    topics: ClassVar = {
        topic: f"lstmcli.inspect.{topic}:{topic}_of_series"
        for topic in ("gates", "units", "gradients", "memory")
    }

    def task(self, config: SeriesConfig, on_progress: Reading, ranks: Ranks) -> SeriesTask:
        if config.forecast.members == "auto":
            from lstmcli.kinds.series.portfolio_task import PortfolioTask

            return PortfolioTask(config, on_progress, ranks)
        from lstmcli.kinds.series.task import SeriesTask

        return SeriesTask(config, on_progress, ranks)

    def found_again(self, config: SeriesConfig, folder: str | None) -> SeriesConfig:
        from lstmcli.kinds.files.sources import with_files_found

        return with_files_found(config, folder)

    def trained(self, directory: RunDir, config: SeriesConfig, checkpoint: Path) -> SeriesRun:
        from lstmcli.kinds.series.trained import SeriesRun

        return SeriesRun(directory, config, checkpoint)

    def meanings(self, config: SeriesConfig, files: Mapping[str, str]) -> Meanings:
        from lstmcli.core.files import decode_json
        from lstmcli.kinds.series.document import check_document
        from lstmcli.kinds.series.meanings import series_meanings

        path = Path("series.json")
        found = decode_json(files.get("series.json", "").encode(), path)
        levels = len(config.forecast.quantiles)
        return series_meanings(config, check_document(found, path, config.data.horizon, levels))

    def check(self, config: SeriesConfig) -> None:
        from lstmcli.kinds.series.task import check_forecast

        check_forecast(config)

    def evaluate(self, run: SeriesRun, chosen: Chosen, on_progress: Progress) -> Evaluated:
        return verbs.evaluate(run, chosen, on_progress)

    def write(self, run: SeriesRun, chosen: Chosen, as_json: bool) -> dict[str, Any]:
        return verbs.write(run, chosen, as_json)

    def takes(self, file: Path) -> int:
        return 2 if verbs.is_table(file) else 0

    def propose(self, file: Path, chosen: Chosen) -> str:
        from lstmcli.kinds.series.proposal import series_config

        return series_config(file, chosen["horizon"], chosen["minutes"])

    def products(self, run: SeriesRun) -> Products:
        return verbs.products(run)

    def check_data(self, config: SeriesConfig) -> dict[str, Any]:
        from lstmcli.kinds.series.table.panel import prepare_series
        from lstmcli.kinds.series.task import fitted_scaler
        from lstmcli.kinds.series.windows import training_windows

        data = prepare_series(config.data)
        training_windows(data, config.data.context_length, config.data.horizon)
        fitted_scaler(data, config)
        return data.summary
