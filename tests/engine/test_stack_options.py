"""Layers over depth: widths, residual connections, how parameters start, what a cell cannot do, and what is
seen of gates and states."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.base import FreeCell, GatedCell, ScanCell
from lstmcli.config.schema import Model
from lstmcli.engine.layers import Regularization, Start, make_layers
from lstmcli.engine.stack import Stack

T, B, WIDTH = 7, 3, 6


def stack(cell="lstm", window=100, **settings):
    torch.manual_seed(0)
    made = Stack(Model(cell=cell, **settings), find_cell(cell), WIDTH, window)
    made.reset_parameters()
    return made


def outputs_of(layers, x, state=None):
    state = state or layers.initial_state(x.shape[1])
    return layers(lambda layer, start: layer(x, start), state)


def by_layers(layers, x, residual):
    """Layer after layer, each whole, with its input added where it has the same width."""
    found = []
    for number, layer in enumerate(layers.layers):
        below, (x, _) = x, layer(x, layer.initial_state(x.shape[1]))
        if residual and number and below.shape == x.shape:
            x = x + below
        found.append(x)
    return found


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "projection-lstm"])
def test_each_layer_has_the_width_that_it_was_given(cell):
    layers = stack(cell, hidden_size=[8, 5, 3], num_layers=3)
    assert [(layer.input_size, layer.hidden_size) for layer in layers.layers] == [(WIDTH, 8), (8, 5), (5, 3)]
    outputs, state = outputs_of(layers, torch.randn(T, B, WIDTH))
    assert outputs.shape == (T, B, 3) and [s[0].shape for s in state] == [(B, 8), (B, 5), (B, 3)]


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("sizes", [[6, 6, 6], [6, 6, 4, 4], [8, 6, 8]])
def test_a_residual_connection_is_where_widths_agree_from_the_second_layer_on(sizes, residual):
    layers = stack(hidden_size=sizes, num_layers=len(sizes), residual=residual)
    x = torch.randn(T, B, WIDTH)
    wanted = by_layers(layers, x, residual)[-1]
    assert torch.equal(outputs_of(layers, x)[0], wanted)


def test_a_residual_connection_changes_what_comes_out_and_carries_the_gradient_past_a_layer():
    x = torch.randn(T, B, WIDTH, requires_grad=True)
    plain, residual = (stack(hidden_size=6, residual=on) for on in (False, True))
    assert not torch.allclose(outputs_of(plain, x)[0], outputs_of(residual, x)[0])
    for parameter in residual.layers[1].parameters():
        torch.nn.init.zeros_(parameter)
    outputs = outputs_of(residual, x)[0]  # that layer says nothing now
    assert torch.equal(outputs, by_layers(residual, x, True)[0])
    assert torch.autograd.grad(outputs.sum(), x)[0].abs().min() > 0


@pytest.mark.parametrize("cell", BUILT_IN)
def test_what_is_seen_of_a_stack_is_what_it_does(cell):
    layers = stack(cell, hidden_size=[WIDTH, 4, 4], num_layers=3, residual=True, dropout=0.3).eval()
    x = torch.randn(T, B, WIDTH)
    traces = layers.observe(x, layers.initial_state(B))
    below, expected = x, []
    for number, layer in enumerate(layers.layers):
        states, gates = by_steps(layer, below, layer.initial_state(B))
        expected.append((states, gates))
        out = states[0]
        below = out + below if number and out.shape == below.shape else out
    assert len(traces) == 3
    for trace, (states, gates) in zip(traces, expected, strict=True):
        for found, names, wanted in (
            (trace.gates, find_cell(cell).gates, gates), (trace.states, find_cell(cell).state, states)
        ):  # fmt: skip
            assert set(found) == set(names)
            for name, want in zip(names, wanted, strict=True):
                torch.testing.assert_close(found[name], want, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(outputs_of(layers, x)[0], below, rtol=1e-5, atol=2e-6)


def by_steps(layer, x, state):
    """States and gates of every step, each (T, B, H): one step after the other."""
    states, gates = [], []
    with torch.no_grad():
        for x_t in x:
            state, activations = step(layer, x_t, state)
            states.append(state)
            gates.append(activations)
    return [[torch.stack(values) for values in zip(*steps, strict=True)] for steps in (states, gates)]


def step(layer, x_t, state):
    cell = layer.cell
    if isinstance(cell, FreeCell):
        _, new, activations = cell.step(x_t, state)
        return new, tuple(activations[name] for name in cell.gates)
    inputs = functional.linear(x_t, layer.weight_ih, layer.bias).chunk(len(cell.gates), -1)
    if isinstance(cell, ScanCell):
        a, b, activations = cell.coefficients(inputs)
        return (a * state[0] + b,), activations
    recurrent = functional.linear(state[0], layer.weight_hh).chunk(len(cell.gates), -1)
    apart = [cell.gates.index(name) for name in cell.separate]
    z = [i if k in apart else i + r for k, (i, r) in enumerate(zip(inputs, recurrent, strict=True))]
    vectors = [layer.vectors[name] for name in cell.vectors]
    return cell.pointwise((*z, *(recurrent[k] for k in apart)), state, *vectors)


@pytest.mark.parametrize("path", ["engine", "loop"])
def test_what_is_seen_with_zoneout_is_its_mean(path):
    layers = stack(hidden_size=5, zoneout=[0.2, 0.4], weight_drop=0.3, recurrent_dropout=0.3).eval()
    for layer in layers.layers:
        layer.path = path
    x = torch.randn(T, B, WIDTH)
    outputs, state = outputs_of(layers, x)
    trace = layers.observe(x, layers.initial_state(B))[-1]
    torch.testing.assert_close(trace.states["hidden"], outputs, rtol=0, atol=1e-6)
    torch.testing.assert_close(trace.states["cell"][-1], state[-1][1], rtol=0, atol=1e-6)


def blocks(layer):
    return dict(zip(layer.cell.gates, layer.bias.detach().chunk(len(layer.cell.gates)), strict=True))


@pytest.mark.parametrize("cell", ["lstm", "minlstm", "janet", "lstm-coupled"])
def test_a_constant_forget_bias_is_the_forget_gates_alone(cell):
    for layer in stack(cell, hidden_size=8, forget_bias=2.5).layers:
        found = blocks(layer)
        assert found.pop("forget").eq(2.5).all() and not any(bias.any() for bias in found.values())


def test_a_cell_without_a_forget_gate_has_no_forget_bias():
    for layer in stack("gru", hidden_size=8, forget_bias=2.5).layers:
        assert not layer.bias.detach().any()


def test_without_a_forget_bias_all_biases_are_drawn():
    for bias in blocks(stack(hidden_size=16, forget_bias=None).layers[0]).values():
        assert float(bias.abs().min()) > 0 and float(bias.abs().max()) <= 16**-0.5


@pytest.mark.parametrize(("settings", "longest"), [({"chrono_steps": 50}, 50), ({}, 200)])
def test_chrono_spreads_the_forget_bias_over_timescales(settings, longest):
    """exp(bias) is uniform between 1 and the longest timescale less 1; without a setting, the window."""
    settings |= {"hidden_size": 1000, "num_layers": 1, "recurrent_init": "uniform"}
    layer = stack(window=200, forget_bias="chrono", **settings).layers[0]
    found = blocks(layer)
    steps = found["forget"].exp()
    assert 1.0 <= float(steps.min()) < 2.0 and longest - 3.0 < float(steps.max()) <= longest - 1 + 1e-3
    assert float(steps.mean()) == pytest.approx(longest / 2, rel=0.05)
    assert torch.equal(found["input"], -found["forget"])
    assert not found["cell"].any() and not found["output"].any()


def test_chrono_of_a_very_short_window_is_finite():
    layer = stack(hidden_size=8, window=1, forget_bias="chrono").layers[0]
    assert torch.isfinite(layer.bias).all() and float(layer.bias.detach().max()) <= math.log(2) + 1e-6


def test_identity_starts_every_recurrent_block_as_the_identity():
    layers = stack("gru", hidden_size=[5, 4], num_layers=2, recurrent_init="identity")
    for layer in layers.layers:
        for block in layer.weight_hh.detach().chunk(3):
            assert torch.equal(block, torch.eye(layer.hidden_size))


def test_rectified_units_with_the_identity_keep_what_they_have():
    layer = stack("rnn-relu", hidden_size=5, num_layers=1, recurrent_init="identity").layers[0]
    torch.nn.init.zeros_(layer.weight_ih)
    start = (torch.rand(B, 5),)
    outputs, _ = layer(torch.randn(T, B, WIDTH), start)
    torch.testing.assert_close(outputs, start[0].expand(T, B, 5), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "setting", ["zoneout=0.1", "zoneout=[0.1]", "weight_drop=0.2", "recurrent_dropout=0.2"]
)
@pytest.mark.parametrize("cell", ["mingru", "lstm-readable"])
def test_a_cell_without_the_engines_product_refuses_what_is_dropped_there(shared_lab, cell, setting):
    words = [f"model.cell={cell}", "model.path=auto", f"model.{setting}"]
    refused = shared_lab.lstm("train", "config.yaml", *words)
    assert refused.code == 3 and refused.out == ""
    assert f"model.{setting.partition('=')[0]}" in refused.err and cell in refused.err
    assert not (shared_lab.folder / "runs").exists()


def test_zoneout_needs_a_rate_per_state(shared_lab):
    words = ["model.cell=gru", "model.path=engine", "model.zoneout=[0.1,0.2]"]
    refused = shared_lab.lstm("train", "config.yaml", *words)
    assert refused.code == 3 and "model.zoneout" in refused.err and "2 rates for the 1 state" in refused.err


@pytest.mark.parametrize("cell", [name for name in BUILT_IN if issubclass(find_cell(name), GatedCell)])
def test_every_gated_cell_starts_finite_and_differs_from_layer_to_layer(cell):
    first, second = make_layers(find_cell(cell), [(6, 6), (6, 6)], Regularization())
    for layer in (first, second):
        layer.reset_parameters(Start())
        assert all(torch.isfinite(p).all() for p in layer.parameters())
    assert not torch.equal(first.weight_hh, second.weight_hh)
