"""Units held at a value while a text is written, to see what they do.

Before each step, also while the prompt is read, the state that a unit carries is set to the value: its
cell state, or its hidden state where the cell has no cell state. So whatever a step makes of it, the next
one finds the value again, and the gates do with it what they do with any state: an LSTM's unit shows
o tanh(f·value + i g).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from lstmcli.core.errors import UsageError
from lstmcli.kinds.text.decoder import Decoder, Floats, Ids

FORM = re.compile(r"([0-9]{1,9}):([0-9]{1,9})=(.+)")


class Clamp(NamedTuple):
    """A unit and the value that it is held at. Layers and units count from 0."""

    layer: int
    unit: int
    value: float


class Holding(Decoder, Protocol):
    """A decoder whose states can be set."""

    def units(self) -> list[int]:
        """How many units each layer carries a state of."""

    def hold(self, state: Any, units: Iterable[tuple[int, int, float]], /) -> None:
        """Set the states of (layer, unit, value) in every text of ``state``."""


def parse_clamp(text: str) -> Clamp:
    """LAYER:UNIT=VALUE, such as 1:233=+2. UsageError for anything else."""
    found = FORM.fullmatch(text.strip())
    try:
        value = float(found[3]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value):
        raise UsageError(
            f"--clamp {text}: not LAYER:UNIT=VALUE", "such as 1:233=+2; layers and units count from 0"
        )
    return Clamp(int(found[1]), int(found[2]), value)


class ClampedDecoder:
    """A decoder with units held. UsageError for a unit that there is not, or that is held twice."""

    def __init__(self, decoder: Holding, clamps: Sequence[Clamp]):
        self._decoder, self._clamps = decoder, tuple(clamps)
        sizes, held = decoder.units(), set()
        for layer, unit, _ in self._clamps:
            named = f"--clamp {layer}:{unit}"
            if not 0 <= layer < len(sizes):
                raise UsageError(f"{named}: the layers are 0 to {len(sizes) - 1}")
            if not 0 <= unit < sizes[layer]:
                raise UsageError(f"{named}: the units of layer {layer} are 0 to {sizes[layer] - 1}")
            if (layer, unit) in held:
                raise UsageError(f"{named} is given twice")
            held.add((layer, unit))

    def initial_state(self, num: int) -> Any:
        return self._decoder.initial_state(num)

    def copy_state(self, state: Any, rows: Sequence[int]) -> Any:
        return self._decoder.copy_state(state, rows)

    def step(self, ids: Ids, state: Any) -> Floats:
        self._decoder.hold(state, self._clamps)
        return self._decoder.step(ids, state)
