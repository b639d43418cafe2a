"""The look of every picture, and how one is written.

matplotlib is imported where a figure is made, and figures are drawn by its Agg, PDF or SVG canvas: no
window, no state shared with a caller's own pyplot.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
DPI = 160
INK, GRID = "#333333", "#E3E3E3"
# Okabe and Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A7F00", "#333333")
STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "lstmcli",
    "pdf.fonttype": 42,
}


def check_suffix(path: Path) -> None:
    """UsageError for a name whose kind of picture cannot be written: to be known before the work is done."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path}: a plot cannot be written as {path.suffix or 'a file without a suffix'}",
            f"end the name in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
        )


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure (inches) of no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def picture_style() -> Any:
    """A context with this look, on matplotlib's own defaults whatever a user's matplotlibrc says; figures
    are made and saved inside it."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise UsageError("a plot needs matplotlib, which is not installed", "install matplotlib") from error
    return style.context(["default", STYLE])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture, the same bytes for the same figure; ResourceError if the file cannot be written."""
    check_suffix(path)
    try:
        with picture_style():
            figure.savefig(path, dpi=DPI, metadata=_undated(path.suffix.lower()))
    except OSError as error:
        raise ResourceError(
            f"{path}: the plot cannot be written: {error.strerror or error}",
            "check that the folder exists, is writable and has room",
        ) from error


def figure_bytes(figure: Figure, kind: str = "svg", dpi: int = DPI) -> bytes:
    """The picture in memory, as `svg` or `png`."""
    with picture_style(), io.BytesIO() as memory:
        figure.savefig(memory, format=kind, dpi=dpi, metadata=_undated(f".{kind}"))
        return memory.getvalue()


def plain(text: str) -> str:
    """``text`` with its dollar signs kept from meaning mathematics."""
    return text.replace("$", r"\$")


def _undated(suffix: str) -> dict[str, Any] | None:
    """Metadata without the time."""
    return {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix)
