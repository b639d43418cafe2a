"""From logits to the next symbol: temperature, top-k and nucleus (top-p) sampling, with units held if asked.

Everything is computed in float64, side by side for all samples.

Units held at a value while a text is written, to see what they do.

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

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import RunError, UsageError
from lstmcli.engine.decode import Floats
from lstmcli.kinds.text.decoder import Decoder, Ids

Weights = npt.NDArray[np.float64]

# Random numbers drawn ahead per sample; the sequence is that of single draws.
BLOCK = 256
# Below this, sampling is argmax to the last bit of a float; dividing by less could overflow.
COLDEST = 1e-100


class Sampler:
    """Draws one symbol per sample and step.

    Sample j has a generator of its own, PCG64([seed, j]), and uses one number of it per symbol, so
    it is the same however many samples there are. The order of the filters: ``forbidden`` ids,
    temperature, ``top_k``, then ``top_p`` of what is left. Among equal logits the lower id is kept.
    ``notices`` holds what the user should be told. ``first``: the number j of the first of ``num`` samples.
    """

    def __init__(
        self,
        size: int,
        *,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        num: int = 1,
        first: int = 0,
        forbidden: Sequence[int] = (),
    ):
        check_options(temperature, top_k, top_p, seed, num)
        self.notices: list[str] = []
        if top_k is not None and top_k > size:
            self.notices.append(f"top-k {top_k} is above the vocabulary's {size}: {size} is used")
        self._greedy = temperature == 0.0
        self._temperature = max(float(temperature), COLDEST)
        self._top_k = top_k if top_k is not None and top_k < size else None
        self._top_p = top_p if top_p is not None and top_p < 1.0 else None
        self._forbidden = tuple(forbidden)
        self._generators = [
            np.random.Generator(np.random.PCG64([seed, j])) for j in range(first, first + num)
        ]
        self._uniforms = np.empty((num, BLOCK))
        self._used = BLOCK
        self._weights = np.empty((num, size))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch alone; the others are finished."""
        self._generators = [self._generators[row] for row in rows]
        self._uniforms = self._uniforms[list(rows)]
        self._weights = self._weights[: len(rows)]

    def sample(self, logits: npt.NDArray[Any]) -> Ids:
        """Ids (N,) for logits (N, V), which stay as they are; RunError if they are not numbers."""
        weights = self._weights
        weights[...] = logits
        for symbol in self._forbidden:
            weights[:, symbol] = -math.inf
        highest = weights.max(axis=1, keepdims=True)
        if not np.isfinite(highest).all():
            raise RunError("the model's outputs are NaN or infinite", "choose another checkpoint")
        if self._greedy:
            likeliest: Ids = weights.argmax(axis=1)
            return likeliest
        np.subtract(weights, highest, out=weights)
        np.divide(weights, self._temperature, out=weights)
        np.exp(weights, out=weights)
        if self._top_k is not None:
            keep_top_k(weights, self._top_k)
        if self._top_p is not None:
            keep_top_p(weights, self._top_p)
        return self._draw(weights)

    def _draw(self, weights: Weights) -> Ids:
        """Invert the cumulative distribution at one uniform number per row."""
        if self._used == BLOCK:
            self._uniforms = np.stack([each.random(BLOCK) for each in self._generators])
            self._used = 0
        uniforms = self._uniforms[:, self._used, None]  # (N, 1)
        self._used += 1
        cumulative = weights.cumsum(axis=1)
        # A uniform number is below 1, so the last sum, at least, is above; "greater than" never
        # chooses a symbol of weight 0.
        chosen: Ids = (cumulative > uniforms * cumulative[:, -1:]).argmax(axis=1)
        return chosen


def keep_top_k(weights: Weights, k: int) -> None:
    """Zero all but the k largest weights of each row of (N, V), in place."""
    position = weights.shape[1] - k
    edge = np.partition(weights, position, axis=1)[:, position, None]
    _keep(weights, edge, np.full_like(edge, k, dtype=np.int64))


def keep_top_p(weights: Weights, p: float) -> None:
    """Zero all but the fewest of the largest weights that hold the share p of each row's sum."""
    descending = np.sort(weights, axis=1)[:, ::-1]
    cumulative = descending.cumsum(axis=1)
    before = (cumulative < p * cumulative[:, -1:]).sum(axis=1, keepdims=True)  # (N, 1)
    # Rounding can leave every sum but the total below the share: the last index is then meant.
    before = np.minimum(before, weights.shape[1] - 1)
    _keep(weights, np.take_along_axis(descending, before, axis=1), before + 1)


def _keep(weights: Weights, edge: Weights, count: Ids) -> None:
    """Zero all but the ``count`` largest weights of each row, the last of which equals ``edge``."""
    kept = weights >= edge
    if np.count_nonzero(kept) > count.sum():
        tied = weights == edge
        room = count - (weights > edge).sum(axis=1, keepdims=True)
        kept &= ~tied | (tied.cumsum(axis=1) <= room)
    np.multiply(weights, kept, out=weights)


def check_options(temperature: float, top_k: int | None, top_p: float | None, seed: int, num: int) -> None:
    """UsageError for the first setting that makes no sense."""
    if not 0.0 <= temperature < math.inf:
        raise UsageError(
            f"the temperature is {temperature}; it must be a number from 0 up",
            "0 always takes the likeliest symbol, 1 samples as the model predicts",
        )
    if top_k is not None and top_k < 1:
        raise UsageError(f"top-k is {top_k}; it must be at least 1", "leave it out to keep all")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise UsageError(f"top-p is {top_p}; it must be above 0 and at most 1")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it must be 0 or more")
    if num < 1:
        raise UsageError(f"the number of samples is {num}; it must be at least 1")


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
