"""Characters and what happens at them: means of gates, and a text coloured by a unit.

What a gate does at each character: its mean over the units there, beside its mean elsewhere.

Neighbouring symbols are alike, so they are not so many independent observations. The interval of a
difference is made of batch means: the stream falls into blocks of `BLOCK` consecutive symbols of one
row, and blocks, not symbols, are what varies. With n_k and S_k the count and the sum at a character in
block k, and m_k and R_k elsewhere,

    d = S / n - R / m        e_k = (S_k - n_k S / n) / n  -  (R_k - m_k R / m) / m
    variance of d = K / (K - 1) · sum of e_k² over the K blocks

which is the usual (linearised) variance of a difference of ratios of sums.

A text coloured by the state of one unit: in a terminal, as a web page, as a picture.

Blue is low, orange is high; white is 0, or the middle of the range where the state keeps to one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.core.pictures import PALETTE, new_figure, picture_style, plain
from lstmcli.core.terminal import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.text import Text


BLOCK = 512
"""Symbols of a block, at least."""
FEWEST = 10
"""Blocks that a character must occur in for an interval."""
NORMAL_95 = 1.959964


class Effects(NamedTuple):
    """Per gate and symbol, (G, V); NaN where a symbol did not occur, or too seldom for an interval."""

    counts: Tensor  # (V,)
    mean: Tensor
    difference: Tensor  # to the mean at all other symbols
    half: Tensor  # half the width of the difference's 95 % interval


class CharacterMeans:
    """Sums by symbol over a stream, for G gates at once; memory does not grow with the stream."""

    def __init__(self, gates: int, symbols: int):
        self._shape = (gates, symbols)
        self._open: tuple[Tensor, Tensor] | None = None  # the blocks being filled: (B, V), (G, B, V)
        self._steps = 0
        self.blocks = 0
        self.occupied = torch.zeros(symbols, dtype=torch.float64)  # blocks that each symbol occurs in
        zeros = torch.zeros(symbols, dtype=torch.float64)
        self.counts, self.sums = zeros.clone(), torch.zeros(self._shape, dtype=torch.float64)
        # Sums over blocks of products: n counts and s sums at a symbol, N and S of the whole block.
        self._nn, self._nN = zeros.clone(), zeros.clone()
        self._NN = torch.zeros((), dtype=torch.float64)
        self._SS, self._SN = torch.zeros(2, gates, dtype=torch.float64)
        self._ss, self._sn, self._sS, self._sN, self._nS = torch.zeros(5, gates, symbols, dtype=torch.float64)

    def add(self, ids: Tensor, values: Tensor) -> None:
        """Take one window in: ids (T, B), values (G, T, B). Row b goes on where it was."""
        gates, symbols = self._shape
        steps, rows = ids.shape
        if self._open is None:
            self._open = (
                torch.zeros(rows, symbols, dtype=torch.float64),
                torch.zeros(gates, rows, symbols, dtype=torch.float64),
            )
        counts, sums = self._open
        counts.scatter_add_(1, ids.T, torch.ones(rows, steps, dtype=torch.float64))
        sums.scatter_add_(2, ids.T.expand(gates, -1, -1), values.transpose(1, 2).double())
        self._steps += steps
        if self._steps >= BLOCK:
            self._close()

    def _close(self) -> None:
        """The blocks are full: their products count."""
        if self._open is None:
            return
        n, s = self._open
        N, S = n.sum(1), s.sum(2)  # (B,), (G, B)
        self.blocks += len(n)
        self.occupied += (n > 0).sum(0)
        self.counts += n.sum(0)
        self.sums += s.sum(1)
        self._nn += n.square().sum(0)
        self._nN += N @ n
        self._NN += N @ N
        self._SS += S.square().sum(1)
        self._SN += S @ N
        self._ss += s.square().sum(1)
        self._sn += (s * n).sum(1)
        self._sS += (s * S.unsqueeze(2)).sum(1)
        self._sN += (s * N.unsqueeze(1)).sum(1)
        self._nS += S @ n
        self._open, self._steps = None, 0

    def effects(self) -> Effects:
        """What each symbol does to each gate, over all that was read."""
        self._close()
        n, total = self.counts, self.counts.sum()
        here = self.sums / n
        whole = self.sums.sum(1, keepdim=True)
        elsewhere = (whole - self.sums) / (total - n)
        variance = self._variance(here, elsewhere) * self.blocks / max(1, self.blocks - 1)
        half = NORMAL_95 * variance.clamp_min(0.0).sqrt()
        known = (self.occupied >= FEWEST) & (total > n)
        return Effects(n, here, here - elsewhere, torch.where(known, half, torch.nan))

    def _variance(self, here: Tensor, elsewhere: Tensor) -> Tensor:
        """The sum of e_k² (G, V), with e_k = a s_k + b n_k - c S_k + d N_k written out."""
        n, m = self.counts, self.counts.sum() - self.counts
        a, c = 1.0 / n + 1.0 / m, 1.0 / m  # (V,)
        b, d = -here / n - elsewhere / m, elsewhere / m  # (G, V)
        squares = a**2 * self._ss + b**2 * self._nn + c**2 * self._SS.unsqueeze(1) + d**2 * self._NN
        with_s = a * (b * self._sn - c * self._sS + d * self._sN)
        others = -b * c * self._nS + b * d * self._nN - c * d * self._SN.unsqueeze(1)
        found: Tensor = squares + 2.0 * (with_s + others)
        return found


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
