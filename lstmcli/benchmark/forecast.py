"""`lstm bench forecast FOLDER`: what `lstm init` writes for tables that nobody has tuned for, trained and
scored by GIFT-Eval's protocol, beside the figures that the folder's README publishes."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcli.benchmark.compare import machine
from lstmcli.config.load import parse_config
from lstmcli.config.yaml_reader import read_yaml
from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.tables import Table
from lstmcli.kinds.series.gift import GiftReport, window_count
from lstmcli.kinds.series.proposal import series_config
from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.kinds.series.table.panel import prepare_series
from lstmcli.kinds.series.trained import SeriesRun
from lstmcli.run.execute import Job, execute
from lstmcli.run.telemetry.console import Console
from lstmcli.run.trained import load


class Task(NamedTuple):
    """One config of the benchmark: where its table lies and how far it is forecast."""

    files: tuple[str, ...]  # under the folder; training, and test where that is apart
    horizon: int


TASKS = {
    "m4_hourly": Task(("../m4/hourly_train.csv", "../m4/hourly_test.csv"), 48),
    "saugeen_day": Task(("saugeen_day.csv",), 30),
    "saugeen_month": Task(("saugeen_month.csv",), 12),
    "car_parts": Task(("car_parts.csv",), 12),
}
Figures = dict[str, tuple[float, float]]
"""MASE and CRPS by the name of the config."""


def bench_forecast(
    folder: Path,
    seed: int = 1,
    minutes: float | None = None,
    only: Sequence[str] = (),
    settings: Sequence[str] = (),
    runs: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train and score each config whose table is there.

    Args:
        minutes: of training for each; None: as `lstm init` proposes.
        only: names of configs; none: all.
        settings: what differs from what `lstm init` writes, such as train.max_steps=100.
        runs: where the runs are kept; None: nowhere.
        tell: hears of each config that is done.

    Raises:
        UsageError: no such config.
        DataError: the folder has none of the tables.
    """
    if unknown := [name for name in only if name not in TASKS]:
        raise UsageError(f"there is no config {unknown[0]!r}", f"there are {', '.join(TASKS)}")
    found = [name for name in TASKS if name in (only or TASKS) and _is_there(folder, TASKS[name])]
    if not found:
        raise DataError(
            f"{folder} has none of the tables of the benchmark",
            f"put {' or '.join(task.files[0] for task in TASKS.values())} there",
        )
    reports: dict[str, GiftReport] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in found:
            config = gift_config(folder, TASKS[name], minutes, [f"seed={seed}", *settings])
            outcome = execute(Job(config, name, root=runs or Path(scratch)), console=Console(quiet=True))
            run = load(outcome.run.path)
            assert isinstance(run, SeriesRun)
            report = run.evaluate(protocol="gift")
            assert isinstance(report, GiftReport)
            reports[name] = report
            tell(
                f"{name}: MASE {report.mase:.4f} ({report.relative[0]:.3f}), CRPS {report.crps:.4f} "
                f"({report.relative[1]:.3f}); {outcome.numbers['steps']:,} steps, "
                f"{outcome.numbers['seconds']:,.0f} s"
            )
    readme = folder / "README.md"
    published = read_published(readme.read_text(encoding="utf-8")) if readme.is_file() else {}
    return _result(reports, published, seed)


def _is_there(folder: Path, task: Task) -> bool:
    return all((folder / file).is_file() for file in task.files)


def gift_config(folder: Path, task: Task, minutes: float | None, settings: Sequence[str]) -> SeriesConfig:
    """What `lstm init` writes for a table whose test is that of the protocol."""
    main, *tests = (folder / file for file in task.files)
    test = 0
    if not tests:
        # The number of windows follows from the shortest series, which a first reading finds.
        text = series_config(main, task.horizon, minutes)
        data = prepare_series(_parsed(text, main, []).data)
        test = task.horizon * window_count(int(data.panel.lengths.min()), task.horizon)
    text = series_config(main, task.horizon, minutes, test)
    words = [
        "evaluation.protocol=gift",
        "train.refit=validation",
        *(f"data.test_path={path}" for path in tests),
    ]
    given = {word.partition("=")[0] for word in settings}
    usual = [word for word in words if word.partition("=")[0] not in given]
    return _parsed(text, main, [*usual, *settings])


def _parsed(text: str, main: Path, words: Sequence[str]) -> SeriesConfig:
    config = parse_config(read_yaml(text).value, str(main), words)
    assert isinstance(config, SeriesConfig)  # as the text says
    return config


def read_published(text: str) -> dict[str, Figures]:
    """The figures of a Markdown table by model: its columns are named as the configs, its cells are
    `MASE / CRPS`."""
    names: list[str] = []
    found: dict[str, Figures] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not names and cells[0] == "model":
            names = cells
            continue
        figures: Figures = {}
        for name, cell in zip(names, cells, strict=False):
            pair = re.fullmatch(r"([\d.]+) / ([\d.]+)", cell)
            if name in TASKS and pair:
                figures[name] = float(pair[1]), float(pair[2])
        if figures:
            found[cells[0]] = figures
    return found


def _result(reports: dict[str, GiftReport], published: dict[str, Figures], seed: int) -> dict[str, Any]:
    own = {name: (report.mase, report.crps) for name, report in reports.items()}
    naive = {name: report.naive for name, report in reports.items()}
    # The published naive forecast is the measure of all: its CRPS is of intervals, not of a point.
    measure = naive | {k: v for k, v in published.get("seasonal naive", {}).items() if k in own}
    models = {"lstmcli": own} | {k: v for k, v in published.items() if set(own) <= set(v)}
    return {
        "what": "forecast",
        **machine(),
        "seed": seed,
        "configs": {
            name: report.to_json() | {"relative": _relative(own[name], measure[name])}
            for name, report in reports.items()
        },
        "models": {
            name: {
                "figures": {k: list(figures[k]) for k in own},
                "relative": _mean([_relative(figures[k], measure[k]) for k in own]),
            }
            for name, figures in models.items()
        },
    }


def _relative(figures: tuple[float, float], measure: tuple[float, float]) -> dict[str, float]:
    return {"mase": figures[0] / measure[0], "crps": figures[1] / measure[1]}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Geometric means."""
    return {key: math.exp(float(np.mean([math.log(row[key]) for row in rows]))) for key in rows[0]}


def table_of(result: dict[str, Any]) -> Table:
    """One row a model, this tool's first, the others by their mean CRPS."""
    names = list(result["configs"])
    models = dict(sorted(result["models"].items(), key=lambda item: item[1]["relative"]["crps"]))
    order = ["lstmcli", *(name for name in models if name != "lstmcli")]
    rows = []
    for name in order:
        figures, mean = models[name]["figures"], models[name]["relative"]
        cells = [f"{figures[k][0]:.3f} / {figures[k][1]:.4f}" for k in names]
        rows.append([name, *cells, f"{mean['mase']:.3f}", f"{mean['crps']:.3f}"])
    title = "MASE / CRPS by GIFT-Eval's protocol; geometric means, relative to the seasonal naive forecast"
    return Table(title, ["", *names, "MASE", "CRPS"], rows)
