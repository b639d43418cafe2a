"""What a forecast is learned as: a point, quantiles, or the parameters of a distribution.

A head turns the numbers that the network gives for each step into a loss against the truth, into
quantiles, and into samples. All of it in the units of the normalised window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MOST_STEEP = 1e-4
"""Least scale of a distribution, in units of the normalised window: a likelihood has no upper bound."""


@dataclass(frozen=True)
class Head:
    """One way to learn a forecast. `raw` is always (..., P), `size` numbers for each value."""

    name: str
    size: int
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(raw, truth (...), scale (...) of the window) -> loss (...)"""
    center: Callable[[Tensor, Tensor], Tensor]
    """(raw, scale) -> point forecast (...)"""
    quantiles: Callable[[Tensor, Tensor, Sequence[float]], Tensor] | None = None
    """(raw, scale, levels) -> (..., Q); None: a head without a spread of its own"""
    sample: Callable[[Tensor, Tensor], Tensor] | None = None
    """(raw, scale) -> one draw (...)"""


def find_head(name: str, levels: Sequence[float]) -> Head:
    """The head for a `forecast.loss`."""
    if name == "quantile":
        return _quantile_head(levels)
    return HEADS[name]


def _point(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda raw, truth, scale: loss(raw[..., 0], truth)


def _huber(x: Tensor, y: Tensor) -> Tensor:
    return functional.huber_loss(x, y, reduction="none", delta=1.0)


def _first(raw: Tensor, scale: Tensor) -> Tensor:
    return raw[..., 0]


def _quantile_head(levels: Sequence[float]) -> Head:
    """Pinball loss (Koenker and Bassett 1978); levels that cross are sorted in the forecast."""

    def loss(raw: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
        q = raw.new_tensor(levels)
        error = truth.unsqueeze(-1) - raw
        return 2.0 * torch.maximum(q * error, (q - 1.0) * error).mean(-1)

    def quantiles(raw: Tensor, scale: Tensor, wanted: Sequence[float]) -> Tensor:
        if list(wanted) != list(levels):
            raise ValueError(f"this head has the levels {levels}, not {wanted}")
        return raw.sort(-1).values

    def sample(raw: Tensor, scale: Tensor) -> Tensor:
        """By inversion, straight between the levels and level beyond the outermost."""
        values = raw.sort(-1).values
        q = raw.new_tensor(levels)
        u = torch.rand(raw.shape[:-1], device=raw.device, dtype=raw.dtype).clamp(levels[0], levels[-1])
        if len(levels) == 1:
            return values[..., 0]
        right = torch.searchsorted(q, u.contiguous()).clamp(1, len(levels) - 1)
        low, high = values.gather(-1, (right - 1).unsqueeze(-1)), values.gather(-1, right.unsqueeze(-1))
        share = (u - q[right - 1]) / (q[right] - q[right - 1])
        return torch.lerp(low.squeeze(-1), high.squeeze(-1), share)

    return Head(
        "quantile", len(levels), loss, lambda raw, _: _middle(raw.sort(-1).values, levels), quantiles, sample
    )


def _middle(values: Tensor, levels: Sequence[float]) -> Tensor:
    """The quantile at 0.5 of (..., Q), straight between its neighbours; the nearest where there is one
    side."""
    right = sum(level < 0.5 for level in levels)
    if right in (0, len(levels)) or levels[right] == 0.5:
        return values[..., min(right, len(levels) - 1)]
    share = (0.5 - levels[right - 1]) / (levels[right] - levels[right - 1])
    return torch.lerp(values[..., right - 1], values[..., right], share)


def _positive(x: Tensor) -> Tensor:
    return functional.softplus(x) + MOST_STEEP


def _gaussian(raw: Tensor) -> Any:  # torch.distributions has no types
    return torch.distributions.Normal(raw[..., 0], _positive(raw[..., 1]), validate_args=False)


def _student(raw: Tensor) -> Any:
    freedom = 2.0 + _positive(raw[..., 2])  # above 2, so that there is a variance
    return torch.distributions.StudentT(freedom, raw[..., 0], _positive(raw[..., 1]), validate_args=False)


def _negative_binomial(raw: Tensor, scale: Tensor) -> Any:
    """By mean and dispersion (Salinas et al. 2020): variance = mean + dispersion · mean². The mean is in
    counts, so the window's scale enters here."""
    mean = _positive(raw[..., 0]) * scale
    dispersion = _positive(raw[..., 1])
    size = 1.0 / dispersion
    return torch.distributions.NegativeBinomial(
        size, logits=(mean / size).clamp_min(1e-12).log(), validate_args=False
    )


def _count_loss(raw: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    counts = (truth * scale).round().clamp_min(0.0)
    loss: Tensor = -_negative_binomial(raw, scale).log_prob(counts)
    return loss


DRAWS = 400
"""Samples behind each quantile of a distribution on large whole numbers."""
AT_ONCE = 1 << 23
"""Most samples to hold."""
COUNTED = 50.0
"""The largest mean whose quantiles are found by counting up from 0."""
MOST_COUNTED = 2000


def _count_quantiles(raw: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles of the negative binomial: the least count at which the distribution reaches the level. Where
    the mean is large they are those of samples, always the same ones."""
    rows, scales = raw.reshape(-1, raw.shape[-1]), scale.expand(raw.shape[:-1]).reshape(-1)
    distribution = _negative_binomial(rows.double(), scales.double())
    found = rows.new_empty(len(rows), len(levels))
    small = distribution.mean <= COUNTED
    found[small] = _counted(rows[small].double(), scales[small].double(), levels).to(found)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found[~small] = _drawn(rows[~small], scales[~small], levels)
    return (found / scales.unsqueeze(-1)).view(*raw.shape[:-1], len(levels))


def _counted(rows: Tensor, scales: Tensor, levels: Sequence[float]) -> Tensor:
    """(N, Q): P(k + 1) = P(k) · (k + size) / (k + 1) · p, summed up until the highest level is reached."""
    distribution = _negative_binomial(rows, scales)
    size, share = distribution.total_count, distribution.probs
    chance = distribution.log_prob(torch.zeros_like(size)).exp()
    below, q = chance.clone(), rows.new_tensor(levels)
    found = rows.new_zeros(len(rows), len(levels))
    for k in range(MOST_COUNTED):
        beyond = below.unsqueeze(-1) < q
        if not bool(beyond.any()):
            break
        found += beyond
        chance = chance * (k + size) / (k + 1.0) * share
        below = below + chance
    return found


def _drawn(rows: Tensor, scales: Tensor, levels: Sequence[float]) -> Tensor:
    """(N, Q): by sampling."""
    q = rows.new_tensor(levels)
    parts = [rows.new_empty(0, len(levels))]
    for first in range(0, len(rows), AT_ONCE // DRAWS):
        chunk = slice(first, first + AT_ONCE // DRAWS)
        samples = _negative_binomial(rows[chunk], scales[chunk]).sample((DRAWS,))
        parts.append(torch.quantile(samples, q, dim=0).T)
    return torch.cat(parts)


@lru_cache(maxsize=8)
def _student_table(levels: tuple[float, ...]) -> Tensor:
    """Quantiles of Student's t with unit scale, by levels, for 1/df = 0, 0.005 .. 0.5; float64.

    The density is summed over a grid in asinh(x), fine in the middle and reaching far out.
    """
    u = torch.linspace(-18.0, 18.0, 20001, dtype=torch.float64)
    x = u.sinh()
    table = []
    for inverse in torch.linspace(0.0, 0.5, 101, dtype=torch.float64).tolist():
        density = -0.5 * x * x if inverse == 0.0 else -0.5 * (1.0 / inverse + 1.0) * (x * x * inverse).log1p()
        mass = (density.exp() * u.cosh()).cumsum(0)
        mass = (mass - 0.5 * mass.diff(prepend=mass.new_zeros(1))) / mass[-1]
        table.append([_where(mass, x, level) for level in levels])
    return torch.tensor(table, dtype=torch.float64)


def _where(mass: Tensor, x: Tensor, level: float) -> float:
    """The x at which the rising `mass` reaches the level."""
    k = int(torch.searchsorted(mass, level).clamp(1, len(x) - 1))
    share = (level - mass[k - 1]) / (mass[k] - mass[k - 1])
    return float(torch.lerp(x[k - 1], x[k], share))


def _student_quantiles(raw: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
    table = _student_table(tuple(levels)).to(raw)
    place = (len(table) - 1) * 2.0 / _student(raw).df
    low = place.floor().clamp(0, len(table) - 2).long()
    unit = torch.lerp(table[low], table[low + 1], (place - low).unsqueeze(-1))
    return raw[..., :1] + _positive(raw[..., 1:2]) * unit


def _gaussian_quantiles(raw: Tensor, scale: Tensor, levels: Sequence[float]) -> Tensor:
    normal = _gaussian(raw.unsqueeze(-2))
    found: Tensor = normal.icdf(raw.new_tensor(levels))
    return found


HEADS = {
    "mse": Head("mse", 1, _point(lambda x, y: (x - y) ** 2), _first),
    "mae": Head("mae", 1, _point(lambda x, y: (x - y).abs()), _first),
    "huber": Head("huber", 1, _point(_huber), _first),
    "gaussian": Head(
        "gaussian",
        2,
        lambda raw, truth, _: -_gaussian(raw).log_prob(truth),
        _first,
        _gaussian_quantiles,
        lambda raw, _: _gaussian(raw).sample(),
    ),
    "student-t": Head(
        "student-t",
        3,
        lambda raw, truth, _: -_student(raw).log_prob(truth),
        _first,
        _student_quantiles,
        lambda raw, _: _student(raw).sample(),
    ),
    "negative-binomial": Head(
        "negative-binomial",
        2,
        _count_loss,
        lambda raw, scale: _positive(raw[..., 0]),
        _count_quantiles,
        lambda raw, scale: _negative_binomial(raw, scale).sample() / scale,
    ),
}
