"""Pictures of forecasts: for a report (matplotlib) and for the terminal (see `terminal_plot`).

The look of all pictures is in `lstmcli.core.pictures`; matplotlib is imported where a figure is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.pictures import INK, PALETTE, check_suffix, new_figure, picture_style, plain, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Times = npt.NDArray[Any]
"""datetime64 of any unit, or whole numbers."""

MAX_PANELS = 12
FORECAST, ACTUAL = PALETTE[:2]
BAND_OPACITY = (0.16, 0.30)  # of the widest and of the narrowest band


@dataclass
class ForecastPanel:
    """One forecast and what led to it; NaN is a missing value anywhere."""

    title: str
    history_times: Times
    """(n,) rising."""
    history: Array
    """(n,)"""
    times: Times
    """(h,) after the history's."""
    median: Array
    """(h,)"""
    bands: list[tuple[Array, Array, str]] = field(default_factory=list)
    """(low (h,), high (h,), label) of each interval, widest first."""
    actual: Array | None = None
    """(h,) what came, if it is known."""
    samples: Array | None = None
    """(k, h) drawn paths, if there are."""


def plot_forecasts(path: Path, panels: Sequence[ForecastPanel], title: str | None = None) -> None:
    """Write a picture of up to twelve forecasts; the suffix of ``path`` says which kind.

    UsageError for a suffix that is not .png, .pdf or .svg, or without matplotlib; ResourceError if the file
    cannot be written.
    """
    check_suffix(path)
    save_figure(forecast_figure(panels, title), path)


def forecast_figure(panels: Sequence[ForecastPanel], title: str | None = None) -> Figure:
    """One panel per forecast in a grid with a shared legend; the first twelve where there are more."""
    if not panels:
        raise ValueError("a figure needs at least one panel")
    shown = panels[:MAX_PANELS]
    if len(panels) > len(shown):
        note = f"the first {len(shown)} of {len(panels)}"
        title = note if title is None else f"{title} ({note})"
    columns = _columns(len(shown))
    rows = -(-len(shown) // columns)
    size = (7.6, 3.9) if len(shown) == 1 else (max(4.1 * columns, 7.6), 2.45 * rows + 0.75)
    with picture_style():
        figure = new_figure(size)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, shown, strict=False):
            _draw(axes, panel)
        for axes in grid[len(shown) :]:
            axes.remove()
        if title is not None:
            figure.suptitle(plain(title), fontsize=11.5)
        _legend(figure, list(grid[: len(shown)]))
    return figure


def calibration_figure(nominal: Sequence[float], observed: Sequence[float]) -> Figure:
    """The share of values at or below each quantile, against its level; on the diagonal all is well."""
    with picture_style():
        figure = new_figure((4.0, 4.0))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1.0, linestyle=(0, (4, 3)), label="ideal")
        axes.plot(
            nominal, observed, color=FORECAST, linewidth=1.4, marker="o", markersize=4, label="forecast"
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel="quantile level", ylabel="share of values at or below it")
        axes.legend(loc="upper left", frameon=False)
    return figure


def _columns(count: int) -> int:
    return 1 if count <= 3 else 2 if count <= 8 else 3


def _draw(axes: Axes, panel: ForecastPanel) -> None:
    """History, bands from the widest inward, paths, median and what came, each with its label."""
    times, median = _joined(panel)
    opacities = np.linspace(*BAND_OPACITY, max(len(panel.bands), 2))
    for (low, high, label), opacity in zip(panel.bands, opacities, strict=False):
        shade = float(opacity)
        axes.fill_between(panel.times, low, high, color=FORECAST, alpha=shade, linewidth=0.0, label=label)
    for path in panel.samples if panel.samples is not None else ():
        axes.plot(panel.times, path, color=FORECAST, linewidth=0.4, alpha=0.25)
    axes.plot(panel.history_times, panel.history, color=INK, linewidth=1.1, label="history")
    axes.plot(times, median, color=FORECAST, linewidth=1.6, label="forecast (median)")
    if panel.actual is not None:
        dots = (0, (1.2, 1.1))
        axes.plot(panel.times, panel.actual, color=ACTUAL, linewidth=1.5, linestyle=dots, label="actual")
    if len(panel.history_times):
        axes.axvline(panel.history_times[-1], color="#999999", linewidth=0.7, linestyle=(0, (4, 3)))
    if panel.title:
        axes.set_title(plain(panel.title), loc="left")
    axes.margins(x=0.01)
    _time_axis(axes, panel.times)


def _joined(panel: ForecastPanel) -> tuple[Times, Array]:
    """The median's line, begun at the last observed value so that no gap tears history and forecast."""
    if not len(panel.history) or np.isnan(panel.history[-1]):
        return panel.times, panel.median
    times = np.concatenate((panel.history_times[-1:], panel.times))
    return times, np.concatenate((panel.history[-1:], panel.median))


def _time_axis(axes: Axes, times: Times) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    if np.issubdtype(times.dtype, np.datetime64):
        dates = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(dates)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))  # type: ignore[no-untyped-call]
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.ticklabel_format(axis="y", useOffset=False)


def _legend(figure: Figure, grid: Sequence[Axes]) -> None:
    """One legend under all panels, each label once: lines first, then bands."""
    entries: dict[str, Any] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            entries.setdefault(label, handle)
    lines = ("history", "forecast (median)", "actual")
    order = [name for name in lines if name in entries] + [name for name in entries if name not in lines]
    figure.legend(
        [entries[name] for name in order], order, loc="outside lower center", ncols=min(len(order), 6),
        frameon=False, fontsize=9.0,
    )  # fmt: skip
