"""Streamed moments and correlations against sums over all values at once."""

from __future__ import annotations

import math

import pytest
import torch

from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.moments import Correlations, Moments
from lstmcli.inspect.features import UnitSums


def slow_correlation(x, y):
    x, y = x.tolist(), y.tolist()
    mx, my = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    squares = sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y)
    return products / math.sqrt(squares)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_and_correlations_in_pieces_equal_the_loop(offset):
    """However far from nought the values lie."""
    draw = torch.Generator().manual_seed(1)
    units = torch.randn(200, 4, generator=draw, dtype=torch.float64) + offset
    noise = torch.randn(200, 3, generator=draw, dtype=torch.float64)
    features = units[:, :3] * torch.tensor([1.0, -0.5, 0.0]) + noise
    moments, sums = Moments(4), Correlations(3, 4)
    for part in (slice(0, 1), slice(1, 50), slice(50, 53), slice(53, 200)):
        moments.add(units[part])
        sums.add(features[part], units[part])
    for k in range(4):
        values = units[:, k].tolist()
        mean = math.fsum(values) / 200
        assert float(moments.mean[k]) == pytest.approx(mean, rel=1e-13)
        variance = math.fsum((v - mean) ** 2 for v in values) / 200
        assert float(moments.variance[k]) == pytest.approx(variance, rel=1e-9)
        for f in range(3):
            expected = slow_correlation(features[:, f], units[:, k])
            assert float(sums.values[f, k]) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_what_never_changes_correlates_with_nothing():
    sums = Correlations(2, 2)
    varying = torch.arange(10.0, dtype=torch.float64)
    sums.add(torch.stack([varying, torch.full((10,), 0.1)], 1), torch.stack([varying, varying * 0 + 0.7], 1))
    assert sums.values.tolist() == [[pytest.approx(1.0), 0.0], [0.0, 0.0]]


@pytest.fixture
def sums():
    """Two layers over 3 windows of 4 rows. Feature 0 is unit 1:2's cell state (reversed) and, less
    clearly, its hidden state and unit 0:0's; feature 1 is nobody's."""
    draw = torch.Generator().manual_seed(2)
    made = UnitSums(2, chance=True)
    for _ in range(3):

        def noise():
            return torch.randn(50, 4, 3, generator=draw, dtype=torch.float64)

        features = noise()[..., :2]
        below, hidden, cell = noise(), noise(), noise()
        below[..., 0] += features[..., 0]
        hidden[..., 2] += 2 * features[..., 0]
        cell[..., 2] = -features[..., 0]
        made.add(features, [Trace({}, {"hidden": below}), Trace({}, {"hidden": hidden, "cell": cell})])
    return made


def test_the_best_units_of_a_feature_each_by_its_best_state(sums):
    first, second, third = sums.best(0, 3)
    assert first[:3] == (1, 2, "cell") and first.correlation == pytest.approx(-1.0)
    assert second[:3] == (0, 0, "hidden") and 0.6 < second.correlation < 0.8
    assert abs(third.correlation) < 0.2


def test_what_chance_gives_is_what_a_feature_of_nobody_gives(sums):
    assert 0.0 < sums.chance(0) < 0.2 and abs(sums.best(1, 1)[0].correlation) < 0.2
    assert UnitSums(2).chance(0) is None


def test_all_correlations_of_a_unit(sums):
    found = sums.of_unit(1, 2)
    assert found.keys() == {"hidden", "cell"} and found["cell"].shape == (2,)
    assert float(found["cell"][0]) == pytest.approx(-1.0) and 0.8 < float(found["hidden"][0]) < 0.97
