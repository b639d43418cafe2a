"""A forecast as a chart of characters: the history, the median and the widest band, without colour codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lstmcli.kinds.series.plot import ForecastPanel

Array = npt.NDArray[np.float64]
Dots = npt.NDArray[np.bool_]

# Bits of a braille character's dots, by row and column.
BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


def terminal_plot(panel: ForecastPanel, width: int, height: int = 10, unicode: bool = True) -> str:
    """A chart of ``height`` rows and at most ``width`` columns, with a title above and times below.

    Solid dots are the history and, right of the bar, the median; dotted lines bound the widest band. The
    newest part of a long history is shown. ``unicode=False`` draws with ASCII characters alone: stars, then
    o for the median, and the band filled with points.
    """
    height = max(height, 2)
    low, high = _range(panel)
    labels = _labels(low, high, height)
    margin = max(len(label) for label in labels)
    columns = max(width - margin - 1, 6)
    before, after = _split(columns, len(panel.history), len(panel.median))
    draw = _braille if unicode else _ascii
    history = draw(panel.history[-_kept(panel, before, after) :], None, before, height, (low, high))
    band = (panel.bands[0][0], panel.bands[0][1]) if panel.bands else None
    forecast = draw(panel.median, band, after, height, (low, high))
    bar = "\u2502" if unicode else "|"
    tick = "\u2524" if unicode else "|"
    rows = [
        f"{label:>{margin}}{tick if label else bar}{left}{bar}{right}".rstrip()
        for label, left, right in zip(labels, history, forecast, strict=True)
    ]
    title = [_clipped(panel.title, width, unicode)] if panel.title else []
    return "\n".join([*title, *rows, _footer(panel, margin, before, after, width)])


def _range(panel: ForecastPanel) -> tuple[float, float]:
    """Lowest and highest of all that is drawn; widened where they are equal or nothing is finite."""
    parts = [panel.history, panel.median]
    parts += [edge for band in panel.bands[:1] for edge in band[:2]]
    values = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = max(abs(low) * 0.01, 1e-12) if low == high else 0.0
    return low - room, high + room


def _labels(low: float, high: float, height: int) -> list[str]:
    """Labels of the rows from the top: highest, middle and lowest value, else empty."""
    digits = next(n for n in range(3, 16) if f"{low:.{n}g}" != f"{high:.{n}g}" or n == 15)
    labels = [""] * height
    labels[0], labels[-1] = f"{high:.{digits}g}", f"{low:.{digits}g}"
    if height >= 7:
        middle = height // 2
        labels[middle] = f"{high - (high - low) * (middle + 0.5) / height:.{digits}g}"
    return labels


def _split(columns: int, history: int, horizon: int) -> tuple[int, int]:
    """Columns of history and of forecast, one more being the bar: a fifth to a half for the forecast."""
    share = horizon / max(history + horizon, 1)
    after = round((columns - 1) * min(max(share, 0.2), 0.5))
    return columns - 1 - after, after


def _kept(panel: ForecastPanel, before: int, after: int) -> int:
    """How much of the history is shown: all, unless the forecast would be drawn much wider in time."""
    steps_per_column = len(panel.median) / max(after, 1)
    return max(min(len(panel.history), round(before * max(steps_per_column, 0.5) * 4)), 1)


def _braille(
    line: Array, band: tuple[Array, Array] | None, columns: int, height: int, limits: tuple[float, float]
) -> list[str]:
    dots = _line_dots(line, columns * 2, height * 4, limits)
    if band is not None:
        filled = _band_dots(band, columns * 2, height * 4, limits)
        inside = np.pad(filled, ((1, 1), (0, 0)))
        edges = filled & ~(inside[:-2] & inside[2:])
        edges[:, 1::2] = False  # dotted, to be told from the lines
        dots |= edges
    cells = dots.reshape(height, 4, columns, 2)
    codes = (cells * BRAILLE[None, :, None, :]).sum(axis=(1, 3))
    return ["".join(chr(0x2800 + code) if code else " " for code in row) for row in codes.tolist()]


def _ascii(
    line: Array, band: tuple[Array, Array] | None, columns: int, height: int, limits: tuple[float, float]
) -> list[str]:
    solid = _line_dots(line, columns, height, limits)
    light = np.zeros_like(solid) if band is None else _band_dots(band, columns, height, limits)
    mark = "*" if band is None else "o"
    cells = np.where(solid, mark, np.where(light, ".", " "))
    return ["".join(row) for row in cells.tolist()]


def _line_dots(values: Array, columns: int, rows: int, limits: tuple[float, float]) -> Dots:
    """(rows, columns) with a line through ``values`` (n,), row 0 on top; missing values leave a gap."""
    low, high = _per_column(values, columns, np.minimum), _per_column(values, columns, np.maximum)
    return _between(_join(low, high, np.minimum), _join(low, high, np.maximum), rows, limits)


def _band_dots(band: tuple[Array, Array], columns: int, rows: int, limits: tuple[float, float]) -> Dots:
    low, high = _per_column(band[0], columns, np.minimum), _per_column(band[1], columns, np.maximum)
    return _between(low, high, rows, limits)


def _per_column(values: Array, columns: int, choose: Callable[[Array, Array], Array]) -> Array:
    """The lowest or highest (``choose``) of the values that fall into each column; between values a line."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) <= columns:
        places = np.linspace(0, max(len(values) - 1, 0), columns)
        return np.interp(places, np.arange(len(values)), values) if len(values) else np.full(columns, np.nan)
    chosen = np.full(columns, np.nan)
    for column, part in enumerate(np.array_split(values, columns)):
        seen = part[np.isfinite(part)]
        if len(seen):
            chosen[column] = seen.min() if choose is np.minimum else seen.max()
    return chosen


def _join(low: Array, high: Array, choose: Callable[[Array, Array], Array]) -> Array:
    """Reach half-way to the column before, so that steep parts stay one line."""
    middle = (low + high) / 2
    half = (middle[1:] + middle[:-1]) / 2
    half = np.where(np.isnan(half), middle[1:], half)
    joined = (low if choose is np.minimum else high).copy()
    joined[1:] = choose(joined[1:], half)
    joined[:-1] = choose(joined[:-1], np.where(np.isnan(half), middle[:-1], half))
    return joined


def _between(low: Array, high: Array, rows: int, limits: tuple[float, float]) -> Dots:
    """(rows, columns): is the dot's row within low to high of its column?"""
    span = limits[1] - limits[0]

    def row(values: Array) -> Array:
        return np.round((limits[1] - values) / span * (rows - 1))

    places = np.arange(rows)[:, None]
    return np.asarray((places >= row(high)) & (places <= row(low)))


def _footer(panel: ForecastPanel, margin: int, before: int, after: int, width: int) -> str:
    """First and last time; the first of the forecast between them where there is room."""
    shown = panel.history_times[-_kept(panel, before, after) :]
    times = np.concatenate((shown[:1], panel.times[:1], panel.times[-1:]))
    first, middle, last = _time_texts(times) if len(times) == 3 else ("", "", "")
    line = " " * (margin + 1) + first
    end = margin + before + after + 2
    start = margin + before + 2
    if len(line) + 1 < start and start + len(middle) + 1 < end - len(last):
        line = line.ljust(start) + middle
    if len(line) + 1 + len(last) <= end:
        return line.ljust(end - len(last)) + last
    both = f"{first} .. {last}"
    return both if len(both) <= width else f".. {last}"


def _time_texts(times: npt.NDArray[Any]) -> list[str]:
    """Dates as dates, with as much of the time of day as any of them needs; numbers as they are."""
    if times.dtype.kind != "M" or np.datetime_data(times.dtype)[0] in ("Y", "M"):
        return [str(time) for time in times]
    fits = (unit for unit in ("D", "m", "s") if (times.astype(f"M8[{unit}]") == times).all())
    return [str(time).replace("T", " ") for time in times.astype(f"M8[{next(fits, 'ms')}]")]


def _clipped(text: str, width: int, unicode: bool) -> str:
    if len(text) <= width:
        return text
    dots = "\u2026" if unicode else "..."
    return text[: max(width - len(dots), 0)] + dots
