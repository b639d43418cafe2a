"""What forecasts are learned as: losses, quantiles and samples against formulas and sums written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lstmcli.kinds.series.heads import HEADS, find_head

LEVELS = [0.05, 0.25, 0.5, 0.9]
ONE = torch.ones(())


def softplus(x):
    return math.log1p(math.exp(x)) + 1e-4


def unsoftplus(y):
    """What the network must say for a scale of y."""
    return math.log(math.expm1(y - 1e-4))


def raws(size, count=6):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)


def losses(name, raw, truth, scale=None):
    head = find_head(name, LEVELS)
    return head.loss(raw, truth, torch.ones_like(truth) if scale is None else scale).tolist()


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("mse", lambda e: e * e),
        ("mae", abs),
        ("huber", lambda e: 0.5 * e * e if abs(e) <= 1 else abs(e) - 0.5),
    ],
)
def test_losses_of_a_point(name, formula):
    raw, truth = raws(1) * 2, raws(2)[:, 0]
    wanted = [formula(float(y - r)) for r, y in zip(raw[:, 0], truth, strict=True)]
    assert losses(name, raw, truth) == pytest.approx(wanted, rel=1e-12)
    assert torch.equal(find_head(name, LEVELS).center(raw, ONE), raw[:, 0])


def test_the_pinball_loss_is_twice_the_mean_over_levels():
    raw, truth = raws(4), raws(2)[:, 0]
    wanted = []
    for row, y in zip(raw.tolist(), truth.tolist(), strict=True):
        each = [q * (y - r) if y >= r else (1 - q) * (r - y) for q, r in zip(LEVELS, row, strict=True)]
        wanted.append(2 * sum(each) / len(each))
    assert losses("quantile", raw, truth) == pytest.approx(wanted, rel=1e-12)


def test_the_pinball_loss_is_least_at_the_quantile():
    truth = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for k, level in enumerate(LEVELS):
        raw = torch.full((1001, 4), 2.0, dtype=torch.float64)

        def mean(at, k=k, raw=raw):
            raw[:, k] = at
            return sum(losses("quantile", raw, truth))

        assert mean(level) < min(mean(level - 0.02), mean(level + 0.02))


def test_the_gaussians_likelihood():
    raw, truth = raws(2), raws(3)[:, 0]
    wanted = []
    for (mean, spread), y in zip(raw.tolist(), truth.tolist(), strict=True):
        s = softplus(spread)
        wanted.append(0.5 * ((y - mean) / s) ** 2 + math.log(s) + 0.5 * math.log(2 * math.pi))
    assert losses("gaussian", raw, truth) == pytest.approx(wanted, rel=1e-12)


def student_density(x, freedom):
    gammas = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    return np.exp(gammas - 0.5 * math.log(freedom * math.pi) - (freedom + 1) / 2 * np.log1p(x * x / freedom))


def test_students_likelihood():
    raw, truth = raws(3), raws(2)[:, 0]
    wanted = []
    for (mean, spread, freedom), y in zip(raw.tolist(), truth.tolist(), strict=True):
        s = softplus(spread)
        density = float(student_density(np.array((y - mean) / s), 2 + softplus(freedom)))
        wanted.append(math.log(s) - math.log(density))
    assert losses("student-t", raw, truth) == pytest.approx(wanted, rel=1e-10)


def counts(mean, dispersion, most=4000):
    """Probability of 0 .. most - 1 by the recursion of the negative binomial, one after the other."""
    size = 1.0 / dispersion
    share = mean / (mean + size)
    found = [(1 - share) ** size]
    for k in range(1, most):
        found.append(found[-1] * share * (size + k - 1) / k)
    return np.array(found)


def test_the_negative_binomials_likelihood_counts_in_the_windows_own_units():
    mean, dispersion, scale = 0.8, 0.5, 5.0
    raw = torch.tensor([[unsoftplus(mean), unsoftplus(dispersion)]], dtype=torch.float64)
    probability = counts(mean * scale, dispersion)
    for count in (0, 1, 7, 30):
        truth, scales = torch.tensor([count / scale]).double(), torch.tensor([scale]).double()
        (found,) = losses("negative-binomial", raw, truth, scales)
        assert found == pytest.approx(-math.log(probability[count]), rel=1e-9)


def gradients_are_finite(name, raw, truth):
    raw = raw.clone().requires_grad_()
    find_head(name, LEVELS).loss(raw, truth, torch.ones_like(truth)).sum().backward()
    return bool(torch.isfinite(raw.grad).all())


@pytest.mark.parametrize("name", [*HEADS, "quantile"])
def test_extreme_numbers_give_finite_losses_and_gradients(name):
    size = find_head(name, LEVELS).size
    truth = torch.tensor([0.0, 1.0, 50.0, 0.0])
    raw = torch.tensor([-60.0, -1.0, 0.0, 60.0]).unsqueeze(-1).expand(4, size)
    assert all(map(math.isfinite, losses(name, raw, truth)))
    assert gradients_are_finite(name, raw, truth)


@pytest.mark.parametrize("freedom", [2.01, 3.0, 10.0, 100.0])
def test_students_quantiles_are_where_its_distribution_reaches_them(freedom):
    """By a table of the distribution, summed finely in the middle and far into the tails."""
    levels = [0.01, 0.05, 0.25, 0.5, 0.8, 0.95, 0.99]
    u = np.linspace(-12.0, 12.0, 400_001)
    x = np.sinh(u)
    steps = student_density(x, freedom) * np.cosh(u)
    mass = np.concatenate([[0.0], np.cumsum((steps[1:] + steps[:-1]) / 2) * (u[1] - u[0])])
    wanted = np.interp(np.array(levels) * mass[-1], mass, x)
    raw = torch.tensor([[0.5, unsoftplus(2.0), unsoftplus(freedom - 2)]], dtype=torch.float64)
    found = HEADS["student-t"].quantiles(raw, ONE, levels)[0]
    np.testing.assert_allclose((found.numpy() - 0.5) / 2.0, wanted, rtol=1e-3, atol=1e-3)


def test_students_quantiles_known_in_closed_form():
    """With 4 degrees of freedom; and of very many it is a Gaussian."""
    raw = torch.tensor([[0.0, unsoftplus(1.0), unsoftplus(2.0)], [0.0, unsoftplus(1.0), 1e6]]).double()
    found = HEADS["student-t"].quantiles(raw, ONE, [0.9, 0.975])
    np.testing.assert_allclose(found.numpy(), [[1.533206, 2.776445], [1.281552, 1.959964]], atol=1e-3)


def test_the_gaussians_quantiles():
    raw = torch.tensor([[[1.0, unsoftplus(0.5)]], [[-2.0, unsoftplus(3.0)]]], dtype=torch.float64)
    found = HEADS["gaussian"].quantiles(raw, ONE, [0.025, 0.5, 0.9])
    unit = np.array([-1.959964, 0.0, 1.281552])
    np.testing.assert_allclose(found.numpy(), [[1 + 0.5 * unit], [-2 + 3 * unit]], atol=1e-5)


def test_the_negative_binomials_mean_and_quantiles_are_those_of_the_sum():
    torch.manual_seed(0)
    cases = [(0.8, 0.5, 5.0), (1.0, 0.1, 40.0), (1.2, 1.5, 2.0)]
    levels = [0.1, 0.5, 0.9]
    raw = torch.tensor([[unsoftplus(mean), unsoftplus(d)] for mean, d, _ in cases])
    scale = torch.tensor([s for *_, s in cases])
    many, each = raw.repeat(50, 1, 1), scale.expand(50, 3)
    found = HEADS["negative-binomial"].quantiles(many, each, levels).mean(0) * scale.unsqueeze(-1)
    center = HEADS["negative-binomial"].center(raw, scale)
    for k, (mean, dispersion, s) in enumerate(cases):
        probability = counts(mean * s, dispersion)
        numbers = np.arange(len(probability))
        assert float(center[k]) * s == pytest.approx(float(probability @ numbers), rel=1e-4)
        for level, quantile in zip(levels, found[k].tolist(), strict=True):
            # 400 draws know a rank to about 0.015; a mean over many of them may lie between two numbers.
            low, high = np.searchsorted(probability.cumsum(), [level - 0.03, level + 0.03])
            assert low - 0.4 <= quantile <= high + 0.4


def test_quantiles_that_cross_are_sorted_and_the_point_is_the_middle():
    head = find_head("quantile", [0.1, 0.5, 0.9])
    raw = torch.tensor([[3.0, 1.0, 2.0]])
    assert head.quantiles(raw, ONE, [0.1, 0.5, 0.9]).tolist() == [[1.0, 2.0, 3.0]]
    assert head.center(raw, ONE).tolist() == [2.0]
    with pytest.raises(ValueError, match="levels"):
        head.quantiles(raw, ONE, [0.2, 0.5, 0.9])


@pytest.mark.parametrize("name", ["gaussian", "student-t", "negative-binomial"])
def test_samples_have_the_moments_of_their_distribution(name):
    torch.manual_seed(0)
    scale = 20.0 if name == "negative-binomial" else 1.0
    raw = torch.tensor([unsoftplus(1.5), unsoftplus(0.4), unsoftplus(8.0)])[: HEADS[name].size]
    drawn = HEADS[name].sample(raw.expand(200_000, -1), torch.full((200_000,), scale)).double()
    first = 1.5 if name == "negative-binomial" else float(raw[0])
    wanted = {
        "gaussian": 0.4**2,
        "student-t": 0.4**2 * 10.0 / 8.0,
        "negative-binomial": (1.5 * scale + 0.4 * (1.5 * scale) ** 2) / scale**2,
    }
    assert float(drawn.mean()) == pytest.approx(first, abs=0.02)
    assert float(drawn.var()) == pytest.approx(wanted[name], rel=0.04)


def test_samples_of_quantiles_lie_between_them_in_their_shares():
    torch.manual_seed(0)
    head = find_head("quantile", LEVELS)
    drawn = head.sample(torch.tensor([5.0, 1.0, 3.0, 2.0]).expand(100_000, 4), ONE)
    assert float(drawn.min()) >= 1.0 and float(drawn.max()) <= 5.0
    for level, value in zip(LEVELS[1:3], (2.0, 3.0), strict=True):
        assert float((drawn <= value).double().mean()) == pytest.approx(level, abs=0.01)
    (single,) = (find_head("quantile", [0.5]).sample(torch.tensor([[4.0]]), ONE),)
    assert single.tolist() == [4.0]
