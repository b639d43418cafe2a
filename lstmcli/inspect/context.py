"""How much of what came before a model uses: the loss of the same symbols under contexts of every length.

Three ways to spoil the context of a symbol, each with the loss of that symbol alone counted:

    dropped     zero state, then the last k symbols in order: what came before is not there
    shuffled    zero state, then the last L symbols, of which those beyond the last k are in random order:
                what came before is there, its order is not
    carried     nothing is spoilt: the state is carried through the text, L symbols and more

After Khandelwal et al. 2018, who permute and drop for words what is here permuted and dropped for symbols.
The symbols whose loss counts lie in `BLOCKS` passages spread evenly over the text; what varies between
passages gives the intervals.

How many dimensions of its state a layer uses.

The eigenvalues λ of the covariance of a state over a text are the variances along its principal
components. Two numbers say how evenly they share: the participation ratio (Σλ)² / Σλ², which is n for n
equal ones and 1 where one has it all, and the number of leading components that hold 99 % of Σλ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lstmcli.core.errors import DataError
from lstmcli.engine.stack import StackState
from lstmcli.kinds.text.model import TextModel

LONGEST = 1000
"""Symbols of context from which on more is taken to make no difference."""
BLOCKS = 50
GAP = 64
"""Most symbols from one target to the next within a passage."""
THIN = 100
"""Contexts longer than this are read before one target in k / THIN only: what a context of k lacks matters
the less, and varies the less, the longer k is."""
ROWS = 256
"""Contexts that are read side by side."""
STEPS = 128
"""Steps that are read at once."""

Ids = npt.NDArray[Any]
Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)
Heard = Callable[[int], None]
"""Hears how many symbols have been read since it last heard."""


def _nobody(symbols: int) -> None:
    """Hears nothing."""


class Mean(NamedTuple):
    """A mean with half the width of its 95 % interval; None: too few blocks for one."""

    value: float
    margin: float | None


def contexts_up_to(longest: int) -> list[int]:
    """Lengths of context, four per decade, of which `longest` is the last."""
    lengths = (digit * 10**power for power in range(len(str(longest))) for digit in (1, 2, 3, 5))
    return [*(k for k in lengths if k < longest), longest]


def longest_context(symbols: int, wanted: int) -> int:
    """`wanted`, or less where the text is short: half of it is left for targets.

    Raises:
        DataError: there are fewer than 4 symbols.
    """
    if symbols < 4:
        raise DataError(f"the text to read has {symbols} symbols; at least 4 are needed")
    return min(wanted, symbols // 2)


def choose_targets(symbols: int, count: int, longest: int) -> Int:
    """Places in the text (blocks, per block) of about `count` symbols to predict, each with `longest`
    symbols before it: evenly spread, where that is not too far apart; else passages evenly spread."""
    room = symbols - longest
    count = max(1, min(count, room))
    blocks = min(BLOCKS, count)
    each = count // blocks
    stretch = room // blocks
    gap = min(GAP, stretch // each)
    return longest + stretch * np.arange(blocks)[:, None] + gap * np.arange(each)


def thinned(places: npt.NDArray[Number], k: int) -> npt.NDArray[Number]:
    """Fewer of the targets of each block where k is long, so that all lengths cost alike; one at least."""
    return places[:, :: max(1, -(-k // THIN))]


def dropped(model: TextModel, ids: Ids, places: Int, k: int, heard: Heard = _nobody) -> Float:
    """The loss in nats, in the shape of `places`, of each symbol given the k before it, from zero state."""
    columns = ids_before(ids, places.ravel(), k)
    return _losses(model, columns, np.asarray(ids[places.ravel()]), heard).reshape(places.shape)


def shuffled(
    model: TextModel, ids: Ids, places: Int, k: int, longest: int, seed: int = 0, heard: Heard = _nobody
) -> Float:
    """The same given the `longest` symbols before it, those beyond the last k in random order."""
    columns = permute_beyond(ids_before(ids, places.ravel(), longest), k, seed)
    return _losses(model, columns, np.asarray(ids[places.ravel()]), heard).reshape(places.shape)


def carried(model: TextModel, ids: Ids, places: Int, longest: int, heard: Heard = _nobody) -> Float:
    """The same with the state carried through each block (row) of places, from `longest` symbols before
    its first one."""
    first, last = places[:, 0], places[:, -1]
    length = longest + int((last - first).max())
    starts = first - longest
    found = np.zeros(places.shape)
    state = model.initial_state(len(places))
    for begin, end in _parts(length):
        columns = np.asarray(ids[starts + np.arange(begin, end)[:, None]], dtype=np.int64)
        outputs, state = _read(model, columns, state)
        # the loss of the symbol at place p is told by the output after place p - 1
        step = places - 1 - starts[:, None] - begin
        block, number = np.nonzero((step >= 0) & (step < end - begin))
        if len(block):
            at = outputs[torch.from_numpy(step[block, number]), torch.from_numpy(block)]
            found[block, number] = _cross_entropy(model, at, np.asarray(ids[places[block, number]]))
        heard(columns.size)
    return found


def ids_before(ids: Ids, places: Int, k: int) -> Int:
    """The k symbols before each place (P,): (k, P)."""
    return np.asarray(ids[places + np.arange(-k, 0)[:, None]], dtype=np.int64)


def permute_beyond(columns: Int, k: int, seed: int) -> Int:
    """Columns (L, P) with all but the last k rows in random order, each column in its own."""
    beyond = len(columns) - k
    order = np.random.default_rng([seed, k]).random((beyond, columns.shape[1])).argsort(axis=0)
    return np.concatenate([np.take_along_axis(columns[:beyond], order, axis=0), columns[beyond:]])


def mean_of_blocks(values: Float) -> Mean:
    """The mean of values (blocks, ...), and its 95 % interval by Student's t over the blocks' means."""
    means = values.reshape(len(values), -1).mean(1)
    if len(means) < 4:
        return Mean(float(means.mean()), None)
    error = float(means.std(ddof=1)) / math.sqrt(len(means))
    return Mean(float(means.mean()), student_t(len(means) - 1) * error)


def student_t(freedom: int) -> float:
    """The 97.5 % point of Student's t, by its expansion in 1/freedom: within 1 % from 3 degrees on."""
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def enough(contexts: Sequence[int], losses: Sequence[float], limit: float) -> int | None:
    """The shortest of the contexts from which on no loss is above `limit`; None: not even the longest."""
    found = None
    for k, loss in sorted(zip(contexts, losses, strict=True), reverse=True):
        if loss > limit:
            break
        found = k
    return found


def _losses(model: TextModel, columns: Int, targets: Ids, heard: Heard) -> Float:
    """The loss (P,) of each target after its column of (k, P), from zero state."""
    found = []
    for first in range(0, columns.shape[1], ROWS):
        part = columns[:, first : first + ROWS]
        state = model.initial_state(part.shape[1])
        for begin, end in _parts(len(part)):
            outputs, state = _read(model, part[begin:end], state)
            heard(part[begin:end].size)
        found.append(_cross_entropy(model, outputs[-1], targets[first : first + ROWS]))
    return np.concatenate(found)


def _parts(steps: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, steps, STEPS):
        yield begin, min(begin + STEPS, steps)


@torch.no_grad()
def _read(model: TextModel, columns: Int, state: StackState) -> tuple[Tensor, StackState]:
    """Outputs (T, B, H) of the last layer for columns (T, B), and the state behind them, in evaluation."""
    training = model.training
    model.eval()
    try:
        ids = torch.from_numpy(np.ascontiguousarray(columns)).to(model.head.weight.device)
        outputs, _, state = model.outputs(ids, state)
        return outputs, state
    finally:
        model.train(training)


@torch.no_grad()
def _cross_entropy(model: TextModel, outputs: Tensor, targets: Ids) -> Float:
    """Nats (N,) of targets (N,) after outputs (N, H)."""
    logits = model.logits(outputs.to(model.head.weight.dtype).unsqueeze(0))[0]
    wanted = torch.from_numpy(np.asarray(targets, dtype=np.int64)).to(logits.device)
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    return np.asarray(losses.double().cpu().numpy())


class Covariance:
    """Of `size` variables over a stream of values, float64; each part is centred on its own mean and joined
    to what came before (Chan, Golub and LeVeque 1983)."""

    def __init__(self, size: int):
        self.count = 0
        self.mean = torch.zeros(size, dtype=torch.float64)
        self._products = torch.zeros(size, size, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take (N, size) in."""
        values = values.detach().double().cpu()
        mean, new = values.mean(0), len(values)
        centred = values - mean
        step, total = mean - self.mean, self.count + len(values)
        self._products += centred.T @ centred + torch.outer(step, step) * (self.count * new / total)
        self.mean += step * (new / total)
        self.count = total

    @property
    def values(self) -> Tensor:
        """(size, size), of the population."""
        return self._products / self.count


class Dimension(NamedTuple):
    """The eigenvalues of a covariance, and how many of them matter."""

    variances: Tensor  # (size,), descending, none below 0
    participation: float  # 0 where nothing varies
    components: int  # that hold 99 % of the variance

    @property
    def shares(self) -> Tensor:
        """(size,): how much of the variance the first 1, 2, ... components hold."""
        total = self.variances.sum()
        return self.variances.cumsum(0) / total if total > 0 else torch.ones_like(self.variances)


def effective_dimension(covariance: Tensor, share: float = 0.99) -> Dimension:
    """Of a covariance matrix (size, size)."""
    variances = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0.0)
    total = float(variances.sum())
    if total <= 0.0:
        return Dimension(variances, 0.0, 0)
    held = variances.cumsum(0) >= share * total * (1.0 - 1e-12)
    return Dimension(variances, total**2 / float(variances.square().sum()), 1 + int(held.int().argmax()))
