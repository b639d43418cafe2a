"""Means from quantiles, and medians between them."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from lstmcli.kinds.series.middle import mean_weights, median_of, normal_nodes

Z = NormalDist().inv_cdf
THREE, NINE = (0.05, 0.5, 0.95), tuple(k / 10 for k in range(1, 10))
FIVE = (0.025, 0.25, 0.5, 0.75, 0.975)


def test_the_weights_of_pearson_and_tukey():
    np.testing.assert_allclose(mean_weights(THREE), [0.185, 0.63, 0.185], atol=5e-4)


@pytest.mark.parametrize("levels", [THREE, NINE, FIVE, (0.1, 0.5, 0.8)])
def test_the_mean_of_a_square_of_a_normal_variable_is_exact(levels):
    weights, z = np.array(mean_weights(levels)), np.array([Z(level) for level in levels])
    assert (weights >= 0).all()
    for mean, slope, bend in ((3.0, 2.0, 0.0), (-1.0, 0.5, 0.4)):
        assert weights @ (mean + slope * z + bend * z**2) == pytest.approx(mean + bend)


@pytest.mark.parametrize("levels", [THREE, NINE, FIVE])
def test_the_mean_of_a_skewed_distribution_is_near(levels):
    quantiles = np.exp([0.7 * Z(level) for level in levels])
    assert quantiles @ np.array(mean_weights(levels)) == pytest.approx(np.exp(0.245), rel=0.02)


@pytest.mark.parametrize("levels", [(0.5,), (0.9, 0.95, 0.99), (0.05, 0.5), (0.4, 0.5, 0.6)])
def test_levels_that_tell_too_little_of_the_mean(levels):
    assert mean_weights(levels) is None


def test_the_nodes_of_a_normal_variable():
    levels, weights = normal_nodes()
    quantiles = np.exp([1.0 * Z(level) for level in levels])
    assert quantiles @ np.array(weights) == pytest.approx(np.exp(0.5), rel=1e-4)


def test_the_median_lies_between_its_neighbours():
    quantiles = np.array([[1.0, 2.0, 6.0]])
    assert median_of(quantiles, (0.1, 0.5, 0.9)).tolist() == [2.0]
    assert median_of(quantiles, (0.1, 0.4, 0.8)).tolist() == pytest.approx([3.0])
    assert median_of(quantiles, (0.9, 0.95, 0.99)).tolist() == [1.0]
    assert median_of(quantiles, (0.1, 0.2, 0.3)).tolist() == [6.0]
