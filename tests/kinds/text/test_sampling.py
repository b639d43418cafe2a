"""The sampler against exact probabilities, its filters, and its independence of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstmcli.core.errors import RunError, UsageError
from lstmcli.kinds.text.sampling import BLOCK, Sampler

LOGITS = np.array([2.0, -1.0, 0.5, 3.0, 3.0, -4.0, 1.0, 0.0])
V = len(LOGITS)


def exact(logits, temperature=1.0, top_k=None, top_p=None, forbidden=()):
    """The distribution, written out symbol by symbol."""
    weights = {
        symbol: math.exp(logit / temperature)
        for symbol, logit in enumerate(logits)
        if symbol not in forbidden
    }
    ranked = sorted(weights, key=lambda symbol: (-weights[symbol], symbol))[:top_k]
    if top_p is not None:
        total, mass, kept = sum(weights[symbol] for symbol in ranked), 0.0, []
        for symbol in ranked:
            if mass >= top_p * total:
                break
            kept.append(symbol)
            mass += weights[symbol]
        ranked = kept
    total = sum(weights[symbol] for symbol in ranked)
    return np.array([weights[s] / total if s in ranked else 0.0 for s in range(len(logits))])


def draw(steps, num=1, logits=LOGITS, **options):
    """Ids (steps, num) for the same logits again and again."""
    options = {"temperature": 1.0} | options
    sampler = Sampler(len(logits), num=num, **options)
    return np.stack([sampler.sample(np.tile(logits, (num, 1))) for _ in range(steps)])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_k": 4},
        {"top_p": 0.7},
        {"top_p": 0.95, "temperature": 2.0},
        {"top_k": 5, "top_p": 0.9},
        {"forbidden": (3,)},
        {"forbidden": (0, 4), "top_k": 3, "top_p": 0.99},
    ],
)
def test_frequencies_are_those_of_the_distribution(options):
    """Chi-square at a fixed seed; a symbol of probability 0 never appears."""
    counts = np.bincount(draw(100, num=400, seed=5, **options).ravel(), minlength=V)
    probabilities = exact(LOGITS, **options)
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = counts.sum() * probabilities[possible]
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = possible.sum() - 1
    # The 99.9 % point, by the approximation of Wilson and Hilferty.
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


@pytest.mark.parametrize("size", [9, 5388])
@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_p": 0.4}, {"top_k": 7, "top_p": 0.8}])
def test_filters_keep_exactly_the_right_symbols(size, options):
    """Rows of unequal shape side by side, with many ties."""
    logits = np.random.default_rng(3).integers(0, 4, (6, size)).astype(np.float32)
    sampler = Sampler(size, temperature=1.0, num=6, seed=1, **options)
    possible = np.stack([exact(row, **options) > 0 for row in logits])
    seen = np.zeros_like(possible)
    for _ in range(200):
        seen[np.arange(6), sampler.sample(logits)] = True
    assert not (seen & ~possible).any()
    if size == 9:
        assert (seen == possible).all()


def test_sample_j_is_the_same_in_any_batch():
    """Also past the numbers that are drawn ahead."""
    steps = BLOCK + 20
    many = draw(steps, num=7, seed=3)
    for num in (1, 2, 6):
        assert (draw(steps, num=num, seed=3) == many[:, :num]).all()
    assert (many[:, 0] != many[:, 1]).any()
    assert (many != draw(steps, num=7, seed=4)).any()


def test_the_rest_goes_on_unchanged_when_samples_leave():
    many = draw(BLOCK + 20, num=4, seed=3)
    sampler = Sampler(V, temperature=1.0, num=4, seed=3)
    logits = np.tile(LOGITS, (4, 1))
    before = [sampler.sample(logits) for _ in range(10)]
    sampler.keep([1, 3])
    after = [sampler.sample(logits[:2]) for _ in range(BLOCK + 10)]
    assert (np.stack(before) == many[:10]).all()
    assert (np.stack(after) == many[10:, [1, 3]]).all()


def test_temperature_zero_takes_the_likeliest_and_the_lowest_of_equals():
    assert (draw(3, num=2, temperature=0.0) == 3).all()
    assert (draw(3, num=2, temperature=0.0, forbidden=(3,)) == 4).all()
    assert (draw(20, top_k=1) == 3).all()
    assert (draw(20, top_p=1e-9) == 3).all()


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1e-3, 1e300])
def test_extreme_temperatures_neither_warn_nor_fail(temperature):
    logits = np.array([-1e30, 5.0, 1e30, 0.0], dtype=np.float32)
    ids = draw(50, logits=logits, temperature=temperature)
    assert set(ids.ravel()) <= {0, 1, 2, 3}
    if temperature < 1:
        assert (ids == 2).all()


def test_the_logits_stay_as_they_are():
    logits = LOGITS[None].astype(np.float32)
    Sampler(V, forbidden=(0,), top_k=2).sample(logits)
    assert (logits == LOGITS).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_refused(bad, temperature):
    with pytest.raises(RunError, match="NaN or infinite"):
        draw(1, logits=np.array([0.0, bad, 1.0]), temperature=temperature)


def test_top_k_above_the_vocabulary_is_clamped_with_a_notice():
    sampler = Sampler(V, top_k=V + 1)
    assert sampler.notices == [f"top-k {V + 1} is above the vocabulary's {V}: {V} is used"]
    assert Sampler(V, top_k=V).notices == []
    assert (draw(50, top_k=V + 1) == draw(50)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top-k is 0"),
        ({"top_k": -3}, "top-k is -3"),
        ({"top_p": 0.0}, r"top-p is 0\.0"),
        ({"top_p": 1.01}, r"top-p is 1\.01"),
        ({"top_p": math.nan}, "top-p is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"num": 0}, "number of samples is 0"),
    ],
)
def test_senseless_options_are_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        Sampler(V, **options)
    assert caught.value.exit_code == 2
