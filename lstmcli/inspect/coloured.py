"""A text coloured by the state of one unit: in a terminal, as a web page, as a picture.

Blue is low, orange is high; white is 0, or the middle of the range where the state keeps to one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcli.core.pictures import PALETTE, new_figure, picture_style, plain
from lstmcli.core.terminal import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.text import Text

WIDTH = 80
LOW, HIGH = PALETTE[:2]
DEEPEST = 0.8  # share of the colour that white is mixed with at the ends
BARS, DIGITS = "▁▂▃▄▅▆▇", "123456789"  # odd in number: one is the middle
ENDS = {"\n": "↵", "\t": "→"}


@dataclass(frozen=True)
class Coloured:
    """Symbols and the state of a unit after each."""

    title: str
    symbols: list[str]
    values: npt.NDArray[np.float64]  # (n,)

    @property
    def range(self) -> tuple[float, float]:
        """The values at the ends of the colours: the least and the largest, made symmetric where they
        have different signs."""
        if not len(self.values):
            return -1.0, 1.0
        low, high = float(self.values.min()), float(self.values.max())
        if low < 0.0 < high:
            high = max(-low, high)
            low = -high
        return (low, high) if high > low else (low - 1.0, high + 1.0)

    @property
    def shades(self) -> npt.NDArray[np.float64]:
        """The values from -1 (lowest) to 1 (highest)."""
        low, high = self.range
        return np.clip(2.0 * (self.values - low) / (high - low) - 1.0, -1.0, 1.0)

    def lines(self, width: int = WIDTH) -> list[list[tuple[str, float]]]:
        """Visible symbols with their shades, broken at line ends and at `width`."""
        lines: list[list[tuple[str, float]]] = [[]]
        for symbol, shade in zip(self.symbols, self.shades.tolist(), strict=True):
            shown = one_line(ENDS.get(symbol, symbol))
            if sum(map(_columns, lines[-1])) + len(shown) > width:
                lines.append([])
            lines[-1].append((shown, shade))
            if symbol == "\n":
                lines.append([])
        return [line for line in lines if line]

    @property
    def legend(self) -> str:
        low, high = self.range
        return f"from {low:.3g} (blue) to {high:.3g} (orange)"


def _columns(cell: tuple[str, float]) -> int:
    """Columns of a terminal that a symbol takes."""
    from rich.cells import cell_len

    return cell_len(cell[0])


def background(shade: float) -> str:
    """The colour #rrggbb of a shade from -1 to 1."""
    end = HIGH if shade > 0 else LOW
    weight = DEEPEST * abs(shade)
    mixed = (round(255 + (int(end[k : k + 2], 16) - 255) * weight) for k in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def to_rich(coloured: Coloured) -> Text:
    """For a terminal that shows colours."""
    from rich.text import Text

    text = Text()
    for line in coloured.lines():
        for symbol, shade in line:
            text.append(symbol, style=f"#111111 on {background(shade)}")
        text.append("\n")
    return text


def to_marks(coloured: Coloured, marks: str = BARS) -> str:
    """Without colours: under each line the height of the state at each symbol."""
    parts = []
    for line in coloured.lines():
        places = (min(len(marks) - 1, int((shade + 1.0) / 2.0 * len(marks))) for _, shade in line)
        below = "".join(marks[k] * _columns(cell) for k, cell in zip(places, line, strict=True))
        parts += ["".join(symbol for symbol, _ in line), below]
    return "\n".join(parts) + "\n"


def print_coloured(coloured: Coloured) -> None:
    """To standard output, in colours where it shows any."""
    import sys

    from rich.console import Console

    console = Console(highlight=False)
    low, high = coloured.range
    if console.is_terminal and console.color_system is not None and not console.no_color:
        print(f"{coloured.title}, {coloured.legend}")
        console.print(to_rich(coloured), soft_wrap=True, end="")
        return
    marks = BARS if "utf" in (sys.stdout.encoding or "utf-8").lower() else DIGITS
    print(f"{coloured.title}, from {low:.3g} ({marks[0]}) to {high:.3g} ({marks[-1]})")
    print(to_marks(coloured, marks), end="")


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.2 system-ui, sans-serif; color: #333; margin: 2em; }}
pre {{ font: 15px/1.6 ui-monospace, monospace; color: #111; }}
</style>
<h1 style="font-size: 1.1em">{title}</h1>
<p>{legend}; the value of a symbol shows under the pointer</p>
<pre>{text}</pre></html>
"""


def to_html(coloured: Coloured) -> str:
    """A page of its own; what a person points at shows its value."""
    spans = []
    pairs = zip(coloured.symbols, coloured.values.tolist(), coloured.shades.tolist(), strict=True)
    for symbol, value, shade in pairs:
        shown = escape(one_line(ENDS.get(symbol, symbol))) + ("\n" if symbol == "\n" else "")
        spans.append(f'<span style="background:{background(shade)}" title="{value:.4g}">{shown}</span>')
    return PAGE.format(title=escape(coloured.title), legend=escape(coloured.legend), text="".join(spans))


def coloured_figure(coloured: Coloured) -> Figure:
    """The text as a picture; · stands for what its font has not."""
    from matplotlib.font_manager import findfont, get_font

    lines = coloured.lines(72)
    columns = max(56, *(len(line) for line in lines), 0)
    shown = np.ones((max(3, len(lines)), columns, 3))
    with picture_style():
        figure = new_figure((0.074 * columns + 0.4, 0.19 * len(shown) + 0.5))
        font = get_font(findfont("monospace"))
        axes = figure.subplots()
        for row, line in enumerate(lines):
            for column, (symbol, shade) in enumerate(line):
                code = background(shade)
                shown[row, column] = [int(code[k : k + 2], 16) / 255.0 for k in (1, 3, 5)]
                known = all(font.get_char_index(ord(character)) for character in symbol)
                axes.text(
                    column, row, plain(symbol) if known else "·", color="#111111", ha="center", va="center",
                    family="monospace", size=8.5,
                )  # fmt: skip
        axes.imshow(shown, aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        title = f"{coloured.title}, {coloured.legend}"
        axes.set_title(plain(title), loc="left", fontsize=9, wrap=True)
    return figure
