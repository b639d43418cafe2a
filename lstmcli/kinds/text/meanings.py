"""What the rows of an embedding and of a head stand for: symbols, told apart by the character."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from lstmcli.kinds.text.vocabulary import Vocabulary
from lstmcli.run.inherit import UNKNOWN, Axis


def symbol_axis(vocabulary: Vocabulary, new: Literal["mean", "fresh"]) -> Axis:
    """One label per id. A byte below 128 is the character that it is in ASCII and in UTF-8; one above stands
    for no character alone."""
    if vocabulary.level == "bytes":
        labels: list[Hashable] = [("symbol", chr(k)) if k < 128 else ("byte", k) for k in range(256)]
    else:
        labels = [("symbol", UNKNOWN), *(("symbol", symbol) for symbol in vocabulary.symbols)]
    return Axis(labels, "symbols", new)
