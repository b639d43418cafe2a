"""Parameters and work of a cell, by formula, against what a layer really has."""

from __future__ import annotations

import pytest
import torch

from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.engine.layers import Regularization, Start, layer_class, make_layers

WIDTH, H = 6, 5


def cost(name, width=WIDTH, units=H):
    return layer_class(find_cell(name)).cost(find_cell(name), width, units)


@pytest.mark.parametrize("name", BUILT_IN)
def test_parameters_are_those_that_a_layer_has(name):
    (layer,) = make_layers(find_cell(name), [(WIDTH, H)], Regularization())
    assert cost(name).parameters == sum(p.numel() for p in layer.parameters())


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
    assert cost(name).parameters == wanted


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
def test_work_is_a_multiplication_and_an_addition_per_weight_of_a_product(name, weights):
    assert cost(name).multiply_adds == weights


def test_counting_takes_no_memory_and_no_random_numbers():
    before = torch.random.get_rng_state()
    assert cost("mogrifier-lstm", 100_000, 100_000).parameters > 10**10
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_look_up_saves_the_input_product_of_the_layers_that_make_one():
    saved = {name: cost(name).by_symbol for name in ("lstm", "gru", "mingru", "mogrifier-lstm")}
    assert saved == {"lstm": 4 * H * WIDTH, "gru": 3 * H * WIDTH, "mingru": 0, "mogrifier-lstm": 0}


def test_what_training_keeps_is_at_least_pre_activations_and_states_in_bf16():
    kept = {name: cost(name, units=8).kept for name in ("lstm", "gru", "mingru", "mogrifier-lstm")}
    assert kept == {"lstm": (4 + 2) * 8 // 2, "gru": (3 + 1) * 8 // 2, "mingru": 8, "mogrifier-lstm": 8}


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_training_keeps_that_much(name, dtype):
    """Measured by what autograd holds, on the path that keeps the least."""
    steps, rows, units = 64, 3, 16
    (layer,) = make_layers(find_cell(name), [(WIDTH, units)], Regularization())
    layer.reset_parameters(Start())
    layer.path = "engine" if layer.serves("engine") else layer.path
    held = {}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs, _ = layer(torch.randn(steps, rows, WIDTH, dtype=dtype), layer.initial_state(rows))
    numbers = (sum(size for size, _ in held.values()) + outputs.untyped_storage().nbytes()) / 4
    assert numbers >= 0.95 * cost(name, units=units).kept * steps * rows
