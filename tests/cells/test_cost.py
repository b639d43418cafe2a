"""Parameters and work of a cell, by formula, against what a layer really has."""

from __future__ import annotations

import pytest
import torch

from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.cost import flops_per_step, parameters
from lstmcli.engine.layers import Regularization, make_layers

WIDTH, H = 6, 5


@pytest.mark.parametrize("name", BUILT_IN)
def test_parameters_are_those_that_a_layer_has(name):
    (layer,) = make_layers(find_cell(name), [(WIDTH, H)], Regularization())
    assert parameters(find_cell(name), WIDTH, H) == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lstm", 4 * (WIDTH * H + H * H + H)),
        ("lstm-peephole", 4 * (WIDTH * H + H * H + H) + 3 * H),
        ("lstm-coupled", 3 * (WIDTH * H + H * H + H)),
        ("lstm-layer-norm", 4 * (WIDTH * H + H * H + H) + 14 * H),
        ("lstm-full-gate-recurrence", 4 * (WIDTH * H + H * H + H) + 9 * H * H),
        ("gru", 3 * (WIDTH * H + H * H + H) + H),
        ("gru-reset-before", 3 * (WIDTH * H + H * H + H)),
        ("rnn", WIDTH * H + H * H + H),
        ("janet", 2 * (WIDTH * H + H * H + H)),
        ("mingru", 2 * (WIDTH * H + H)),
        ("minlstm", 3 * (WIDTH * H + H)),
        ("multiplicative-lstm", 4 * (WIDTH * H + H * H + H) + WIDTH * H + H * H),
        ("mogrifier-lstm", 4 * (WIDTH * H + H * H + H) + 5 * WIDTH * H),
        ("projection-lstm", 4 * (WIDTH * 2 * H + H * 2 * H + 2 * H) + 2 * H * H),
    ],
)
def test_parameters_by_hand(name, wanted):
    assert parameters(find_cell(name), WIDTH, H) == wanted


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("lstm", 4 * H * (WIDTH + H)),
        ("lstm-readable", 4 * H * (WIDTH + H)),
        ("lstm-layer-norm", 4 * H * (WIDTH + H)),
        ("gru", 3 * H * (WIDTH + H)),
        ("mingru", 2 * H * WIDTH),
        ("mogrifier-lstm", 4 * H * (WIDTH + H) + 5 * WIDTH * H),
        ("projection-lstm", 4 * 2 * H * (WIDTH + H) + 2 * H * H),
    ],
)
def test_work_is_two_operations_per_weight_of_a_product(name, weights):
    assert flops_per_step(find_cell(name), WIDTH, H) == 2.0 * weights


def test_counting_takes_no_memory_and_no_random_numbers():
    before = torch.random.get_rng_state()
    assert parameters(find_cell("mogrifier-lstm"), 100_000, 100_000) > 10**10
    assert torch.equal(torch.random.get_rng_state(), before)
