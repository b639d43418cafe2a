"""`lstm bench intervals`: how often values fall inside the intervals of forecasts, on series made by chance.

Each series is a table of its own, for which `lstm init` writes the config; so what is measured is what a
person gets who does the same. The last horizon of each, which nothing has seen, is what coverage is counted
on.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.config.load import parse_config
from lstmcli.config.yaml_reader import read_yaml
from lstmcli.kinds.series.report import SeriesReport
from lstmcli.kinds.series.trained import SeriesRun
from lstmcli.run.execute import Job, execute
from lstmcli.run.telemetry.console import Console
from lstmcli.run.trained import load

Floats = npt.NDArray[np.float64]
EVALUATIONS = 4
"""Of a run, so that its weights are chosen as in a longer one."""


def autoregressive(draw: np.random.Generator, count: int, share: float) -> Floats:
    """AR(1) of unit innovations: each value is `share` of the one before it and something new."""
    values = draw.normal(size=count + 50)
    for k in range(1, len(values)):
        values[k] += share * values[k - 1]
    return values[50:]


def monthly(draw: np.random.Generator) -> Floats:
    """150 months of a trend, a season and AR(1) noise."""
    month = np.arange(150)
    season = draw.normal(0.0, 10.0, 12)[month % 12]
    return np.asarray(100.0 + draw.uniform(-0.2, 0.5) * month + season + 4.0 * autoregressive(draw, 150, 0.5))


def daily(draw: np.random.Generator) -> Floats:
    """400 days of a week and a level that wanders."""
    day = np.arange(400)
    level = np.cumsum(draw.normal(0.0, 1.0, 400))
    return np.asarray(200.0 + draw.normal(0.0, 12.0, 7)[day % 7] + level + draw.normal(0.0, 4.0, 400))


def hourly(draw: np.random.Generator) -> Floats:
    """40 days of hours: a daily wave, noisier at noon."""
    hour = np.arange(960)
    wave = np.sin(2.0 * np.pi * hour / 24.0)
    return np.asarray(50.0 + 10.0 * wave + (2.0 + wave) * autoregressive(draw, 960, 0.7))


def heavy(draw: np.random.Generator) -> Floats:
    """260 weeks around a mean, with shocks of Student's t of 4 degrees of freedom."""
    shocks = draw.standard_t(4, 310)
    for k in range(1, len(shocks)):
        shocks[k] += 0.6 * shocks[k - 1]
    return np.asarray(1000.0 + 30.0 * shocks[50:])


def counts(draw: np.random.Generator) -> Floats:
    """365 days of counts with a week."""
    rate = draw.uniform(3.0, 15.0) * np.exp(draw.normal(0.0, 0.3, 7))[np.arange(365) % 7]
    return draw.poisson(rate).astype(np.float64)


KINDS: dict[str, tuple[Callable[[np.random.Generator], Floats], str]] = {
    "monthly": (monthly, "M"),
    "daily": (daily, "D"),
    "hourly": (hourly, "h"),
    "heavy": (heavy, "W"),
    "counts": (counts, "D"),
}
"""How each kind is made, and the unit of its step."""


def write_series(path: Path, values: Floats, unit: str) -> None:
    """A table of a column `time` and a column `y`."""
    start = np.datetime64("2010-01-04")
    if unit == "M":
        times: Any = np.datetime64("2010-01") + np.arange(len(values))
        times = times.astype("datetime64[D]")
    else:
        size = {"D": np.timedelta64(1, "D"), "W": np.timedelta64(7, "D"), "h": np.timedelta64(1, "h")}[unit]
        times = start.astype("datetime64[h]" if unit == "h" else "datetime64[D]") + size * np.arange(
            len(values)
        )
    lines = [f"{str(t).replace('T', ' ')}{':00' if unit == 'h' else ''},{v:.6g}"
             for t, v in zip(times, values.tolist(), strict=True)]  # fmt: skip
    path.write_text("time,y\n" + "\n".join(lines) + "\n")


def bench_intervals(
    propose: Callable[[Path], str],
    series: int,
    steps: int,
    told: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Coverage of the interval on the last horizon of `series` series of each kind, after `steps` steps each.

    `propose` writes the config of a table.
    """
    found = {}
    for place, (kind, (make, unit)) in enumerate(KINDS.items()):
        rows = []
        for number in range(series):
            values = make(np.random.default_rng([place, number]))
            rows.append(_measured(propose, values, unit, steps, number))
            told(kind, number + 1, series)
        of = {
            name: [row[name] for row in rows if name in row] for name in ("coverage", "width", "mase", "wql")
        }
        found[kind] = {name: statistics.fmean(values) for name, values in of.items() if values}
        found[kind]["nominal"] = rows[0]["nominal"]
    shares = [kind["coverage"] for kind in found.values()]
    return {
        "what": "intervals",
        "series": series * len(KINDS),
        "steps": steps,
        "kinds": found,
        "coverage": statistics.fmean(shares),
        "least": min(shares),
    }


def _measured(
    propose: Callable[[Path], str], values: Floats, unit: str, steps: int, seed: int
) -> dict[str, float]:
    """One series from its table to the figures of its last horizon."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.csv"
        write_series(path, values, unit)
        words = [
            f"seed={seed}", "train.max_minutes=null", f"train.max_steps={steps}", "train.threads=1",
            "train.precision=fp32", f"evaluation.every={max(1, steps // EVALUATIONS)}",
            "checkpoint.every=null", "telemetry.tensorboard=false", "telemetry.gates_every=null",
        ]  # fmt: skip
        config = parse_config(read_yaml(propose(path)).value, "the proposal", words)
        job = Job(config, root=Path(folder) / "runs")
        run = load(execute(job, [], Console(quiet=True)).run.path)
        assert isinstance(run, SeriesRun)  # as the config says
        report = run.evaluate(protocol="windows")
        assert isinstance(report, SeriesReport)
        return report.metrics
