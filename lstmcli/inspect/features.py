"""What there is to track in a text or a series, known at each step from what has been read so far.

Of a text, after each symbol (a feature looks at no later symbol, as the model does not):

    position in line       symbols since the line began; the newline itself is 0
    lines in paragraph     line ends since the last empty line
    position in sentence   symbols since the last . ! or ?, or the last empty line
    position in word       letters and digits of the word so far, 0 between words
    word boundary          1 between words
    indentation            blanks that the line began with, a tab as 4
    capital letter         1 at one
    run of capitals        1 from the second capital in a row on
    capitalised word       1 in a word that began with a capital
    speaker's name         1 at the start of a paragraph while its words are capitalised, up to a colon
                           or line end, as SPEAKER: in a play
    quotes                 1 within "...", the opening mark included
    brackets               depth within ( [ {
    comment                1 within # or // up to the line end, within /* ... */

Quotes and brackets that are still open at an empty line are taken as closed. Counts stop at `MOST`.

Which unit tracks what: correlations of every unit's states with features, over a stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.moments import Correlations

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST = 500
TAB = 4
LEFT_QUOTE, RIGHT_QUOTE = 0x201C, 0x201D
TEXT_FEATURES = (
    "position in line", "lines in paragraph", "position in sentence", "position in word", "word boundary",
    "indentation", "capital letter", "run of capitals", "capitalised word", "speaker's name", "quotes",
    "brackets", "comment",
)  # fmt: skip
REMEMBERED = (
    "position in line", "lines in paragraph", "position in sentence", "indentation", "speaker's name",
    "quotes", "brackets", "comment", "level", "trend",
)  # fmt: skip
"""Those that the last symbol or two do not tell: whoever tracks them remembers something."""
SERIES_FEATURES = ("value", "level", "trend", "deviation from level", "steps read")
SEASONAL_FEATURES = ("season (sine)", "season (cosine)")


class Alphabet(NamedTuple):
    """What each id of a vocabulary is, (V,) each."""

    blank: Ints  # columns that it indents by: 1 for a space, 4 for a tab
    word: Bools  # letters, digits, apostrophes and whatever is beyond ASCII in a vocabulary of bytes
    upper: Bools
    ends_sentence: Bools
    brackets: Ints  # 1 opens, -1 closes
    code: Ints  # code point

    @classmethod
    def of(cls, symbols: list[str]) -> Alphabet:
        """From the character of each id; "" for an id that is none by itself."""

        def each(test: Any, kind: Any) -> Any:
            return np.array([test(s) for s in symbols], dtype=kind)

        return cls(
            each(lambda s: {" ": 1, "\t": TAB}.get(s, 0), int),
            each(lambda s: s == "" or s.isalnum() or s in "'\u2019_", bool),
            each(str.isupper, bool),
            each(lambda s: s != "" and s in ".!?", bool),
            each(lambda s: 1 if s and s in "([{" else -1 if s and s in ")]}" else 0, int),
            each(lambda s: ord(s) if s else -1, int),
        )


class TextFeatures:
    """Reads B rows side by side, one symbol after the other; an id below 0 is no symbol at all. What is
    read first counts as the start of a line and of a paragraph."""

    names = TEXT_FEATURES

    def __init__(self, alphabet: Alphabet, rows: int):
        self._is = alphabet
        self._line, self._lines, self._sentence, self._word = np.zeros((4, rows), dtype=np.int64)
        self._indent, self._capitals, self._depth = np.zeros((3, rows), dtype=np.int64)
        self._capitalised, self._name, self._quoted = np.zeros((3, rows), dtype=bool)
        self._line_comment, self._block_comment = np.zeros((2, rows), dtype=bool)
        self._indenting, self._no_word_yet = np.ones((2, rows), dtype=bool)  # of the line, the paragraph
        self._before = np.full(rows, -1)  # code point of the symbol before

    def read(self, ids: Ints) -> Floats:
        """ids (T, B) -> features (T, B, F)."""
        found = np.empty((*ids.shape, len(self.names)))
        for t, symbols in enumerate(ids):
            found[t] = self._step(symbols)
        return found

    def _step(self, ids: Ints) -> Floats:
        """One symbol of each row, ids (B,) -> (B, F)."""
        real = ids >= 0
        known = np.maximum(ids, 0)
        code = np.where(real, self._is.code[known], -1)
        word, upper = self._is.word[known] & real, self._is.upper[known] & real
        newline = code == ord("\n")
        empty_line = newline & (self._line == 0)
        self._count_lines(newline, empty_line, self._is.ends_sentence[known] & real, real)
        self._indent_line(np.where(real, self._is.blank[known], 0), newline, real)
        self._count_words(word, upper)
        self._follow_name(word, upper, newline | (code == ord(":")), empty_line)
        self._follow_quotes(code, np.where(real, self._is.brackets[known], 0), empty_line)
        self._follow_comments(code, newline)
        columns = (
            self._line, self._lines, self._sentence, self._word, ~word & real, self._indent, upper,
            self._capitals > 1, self._capitalised, self._name, self._quoted, self._depth,
            self._line_comment | self._block_comment,
        )  # fmt: skip
        counted: Floats = np.minimum(np.stack(columns, axis=1), MOST).astype(np.float64)
        return counted

    def _count_lines(self, newline: Bools, empty_line: Bools, ends_sentence: Bools, real: Bools) -> None:
        self._line = np.where(newline, 0, self._line + real)
        self._lines = np.where(empty_line, 0, self._lines + newline)
        self._sentence = np.where(ends_sentence | empty_line, 0, self._sentence + real)

    def _indent_line(self, blank: Ints, newline: Bools, real: Bools) -> None:
        self._indenting = newline | (self._indenting & ((blank > 0) | ~real))
        self._indent = np.where(newline, 0, self._indent + np.where(self._indenting, blank, 0))

    def _count_words(self, word: Bools, upper: Bools) -> None:
        self._word = np.where(word, self._word + 1, 0)
        self._capitals = np.where(upper, self._capitals + 1, 0)
        self._capitalised = np.where(self._word == 1, upper, self._capitalised & word)

    def _follow_name(self, word: Bools, upper: Bools, ends: Bools, empty_line: Bools) -> None:
        begins = self._word == 1
        self._name = np.where(begins, upper & (self._no_word_yet | self._name), self._name & ~ends)
        self._no_word_yet = empty_line | (self._no_word_yet & ~word & ~ends)

    def _follow_quotes(self, code: Ints, bracket: Ints, empty_line: Bools) -> None:
        quoted = np.where(code == ord('"'), ~self._quoted, self._quoted)
        self._quoted = (quoted | (code == LEFT_QUOTE)) & (code != RIGHT_QUOTE) & ~empty_line
        self._depth = np.where(empty_line, 0, np.maximum(self._depth + bracket, 0))

    def _follow_comments(self, code: Ints, newline: Bools) -> None:
        outside = ~(self._line_comment | self._block_comment)
        after_slash = self._before == ord("/")
        opens_line = outside & ((code == ord("#")) | ((code == ord("/")) & after_slash))
        opens_block = outside & (code == ord("*")) & after_slash
        closes = self._block_comment & (code == ord("/")) & (self._before == ord("*"))
        self._line_comment = (self._line_comment | opens_line) & ~newline
        self._block_comment = (self._block_comment | opens_block) & ~closes
        # A mark does its work once: /*/ is still open, and the slash of */ begins nothing.
        self._before = np.where(opens_block | closes, -1, code)


def series_features(values: Floats, patch: int, season: int, ends: Ints) -> tuple[tuple[str, ...], Floats]:
    """Names and features (L / patch, R, F) of rows of a series, after each patch is read.

        value                  mean of the patch
        level                  mean of the last season (of the last 8 steps where there is no season)
        trend                  the level less what it was a season (8 steps) before
        deviation from level   value less level
        steps read             steps since the state was zero
        season                 sine and cosine of the place in the season

    Args:
        values: (R, L, C) as the model reads them; NaN where missing, which takes the last value before.
        ends: (R,) the tick at which each row's context ends.
    """
    rows, steps, _ = values.shape
    filled = fill_forward(np.where(np.isnan(values).all(2), np.nan, np.nan_to_num(values).sum(2))
                          / np.maximum((~np.isnan(values)).sum(2), 1))  # fmt: skip
    span = season if season > 1 else 8
    level = moving_mean(filled, span)
    past = level[:, np.maximum(np.arange(steps) - span, 0)]
    last = np.arange(patch - 1, steps, patch)  # the last step of each patch
    value = filled.reshape(rows, steps // patch, patch).mean(2)
    read = np.broadcast_to(last + 1.0, value.shape)
    columns = [value, level[:, last], (level - past)[:, last], value - level[:, last], read]
    names: tuple[str, ...] = SERIES_FEATURES
    if season > 1:
        angle = 2.0 * np.pi * ((ends[:, None] - steps + last) % season) / season
        columns += [np.sin(angle), np.cos(angle)]
        names += SEASONAL_FEATURES
    return names, np.stack(columns, axis=-1).transpose(1, 0, 2)


def fill_forward(values: Floats) -> Floats:
    """(R, L) with each missing value replaced by the last one before it, else by the first after it; 0
    where a row has none."""
    places = np.where(np.isnan(values), -1, np.arange(values.shape[1]))
    latest = np.maximum.accumulate(places, axis=1)
    first = np.argmax(places >= 0, axis=1)[:, None]
    taken = np.take_along_axis(values, np.where(latest < 0, first, latest), axis=1)
    return np.nan_to_num(taken)


def moving_mean(values: Floats, span: int) -> Floats:
    """(R, L) means of the last `span` steps, of fewer at the start."""
    sums = np.cumsum(values, axis=1)
    before = np.zeros_like(sums)
    before[:, span:] = sums[:, :-span]
    return (sums - before) / np.minimum(np.arange(1, values.shape[1] + 1), span)


class Tracking(NamedTuple):
    """A unit's state and its correlation with a feature."""

    layer: int
    unit: int
    state: str
    correlation: float


class UnitSums:
    """Correlations with F features over a stream, in memory that does not grow with it.

    `chance` keeps also the correlations with the features of another row, which read something else:
    what the best of so many units reaches by chance.
    """

    def __init__(self, features: int, chance: bool = False):
        self.features, self._chance = features, chance
        self._sums: dict[tuple[int, str], Correlations] = {}  # by layer and state

    def add(self, features: Tensor, traces: Iterable[Trace]) -> None:
        """Take one window in: features (T, B, F) after each step."""
        if self._chance:
            features = torch.cat([features, features.roll(1, dims=1)], dim=-1)
        flat = features.flatten(0, 1).double()
        for layer, trace in enumerate(traces):
            for state, values in trace.states.items():
                units = values.flatten(0, 1).cpu()
                if (layer, state) not in self._sums:
                    self._sums[layer, state] = Correlations(flat.shape[1], units.shape[1])
                self._sums[layer, state].add(flat, units)

    def values(self) -> dict[tuple[int, str], Tensor]:
        """Correlations (F, H) by layer and state."""
        return {key: sums.values[: self.features] for key, sums in self._sums.items()}

    def feature_means(self) -> Tensor:
        """(F,)"""
        return next(iter(self._sums.values())).features.mean[: self.features]

    def varying(self) -> list[int]:
        """The features that change at all."""
        variance = next(iter(self._sums.values())).features.variance[: self.features]
        return [k for k, v in enumerate(variance.tolist()) if v > 0.0]

    def best(self, feature: int, count: int) -> list[Tracking]:
        """The units that track a feature best, by absolute correlation; a unit with several states by
        the state that does it best."""
        found: dict[tuple[int, int], Tracking] = {}
        for (layer, state), values in self.values().items():
            row = values[feature]
            for index in row.abs().argsort(descending=True)[:count].tolist():
                new = Tracking(layer, index, state, float(row[index]))
                old = found.get((layer, index))
                if old is None or abs(new.correlation) > abs(old.correlation):
                    found[layer, index] = new
        return sorted(found.values(), key=lambda t: -abs(t.correlation))[:count]

    def chance(self, feature: int) -> float | None:
        """The best absolute correlation of any unit with the feature of another row."""
        if not self._chance:
            return None
        place = self.features + feature
        return max(float(sums.values[place].abs().max()) for sums in self._sums.values())

    def of_unit(self, layer: int, index: int) -> dict[str, Tensor]:
        """Correlations of one unit with every feature, (F,), by state."""
        return {state: v[:, index] for (number, state), v in self.values().items() if number == layer}
