"""What must hold of the cells whatever their weights, and the library's own cells where it has them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lstmcli.cells import BUILT_IN, FreeCell, GatedCell, ScanCell, find_cell
from lstmcli.cells.zoo.lstm import LSTM, LayerNormLSTM
from lstmcli.cells.zoo.multiplicative import ProjectionLSTM
from lstmcli.cells.zoo.variants import CoupledLSTM
from lstmcli.cells.zoo.xlstm import SLSTM

_spec = importlib.util.spec_from_file_location("references", Path(__file__).parent / "references.py")
references = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(references)

T, B, WIDTH, H = 6, 3, 4, 5
LINEAR = {("lstm-no-input-activation", "cell"), ("mingru", "candidate"), ("minlstm", "candidate")}


def activations(name, scale):
    """Gates by name for pre-activations of that size."""
    cell_class = find_cell(name)
    if issubclass(cell_class, FreeCell):
        cell = cell_class(WIDTH, H).double()
        return cell.step(scale * torch.randn(B, WIDTH, dtype=torch.float64), cell.initial_state(B))[2]
    cell = cell_class()
    z = tuple(
        scale * torch.randn(B, H, dtype=torch.float64) for _ in (*cell.gates, *getattr(cell, "separate", ()))
    )
    if isinstance(cell, ScanCell):
        return dict(zip(cell.gates, cell.coefficients(z)[2], strict=True))
    state = tuple(torch.zeros(B, H, dtype=torch.float64) for _ in cell.state)
    vectors = [torch.full((H,), value, dtype=torch.float64) for value in cell.vectors.values()]
    return dict(zip(cell.gates, cell.pointwise(z, state, *vectors)[1], strict=True))


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("name", BUILT_IN)
def test_gates_are_within_their_range(name, scale):
    torch.manual_seed(1)
    for gate, values in activations(name, scale).items():
        if (name, gate) in LINEAR:
            continue
        if name == "rnn-relu":
            assert bool((values >= 0.0).all())
            continue
        lowest = -1.0 if gate in ("cell", "candidate") else 0.0
        assert bool((values >= lowest).all() and (values <= 1.0).all()), gate


def test_a_carousel_with_i_0_and_f_1_keeps_cell_state_and_gradient_exactly():
    start = torch.randn(B, H).requires_grad_()
    shut, wide = torch.full((B, H), -1e3), torch.full((B, H), 1e3)
    state = (torch.zeros(B, H), start)
    for _ in range(200):
        state, _ = LSTM().pointwise((shut, wide, torch.randn(B, H), torch.randn(B, H)), state)
    assert torch.equal(state[1], start)
    (gradient,) = torch.autograd.grad(state[1].sum(), start)
    assert torch.equal(gradient, torch.ones(B, H))


def test_a_coupled_cell_writes_as_much_as_it_forgets():
    """i + f = 1: where cell state and cell input agree, the gates cannot change it."""
    z = torch.randn(3, B, H, dtype=torch.float64) * 3
    (_, c), (f, g, _) = CoupledLSTM().pointwise(tuple(z), (torch.zeros(B, H), z[1].tanh()))
    torch.testing.assert_close(c, g, rtol=0, atol=1e-15)
    (_, c), _ = CoupledLSTM().pointwise(tuple(z), (torch.zeros(B, H), torch.zeros(B, H)))
    torch.testing.assert_close(c / g + f, torch.ones_like(f))


def over_time(cell, x, state, weight_ih, weight_hh, bias, vectors=()):
    """Outputs of a gated cell with weights in blocks, as the library has them."""
    outputs = []
    for x_t in x:
        inputs = dict(zip(cell.gates, (x_t @ weight_ih.T + bias).chunk(len(cell.gates), -1), strict=True))
        hidden = dict(zip(cell.gates, (state[0] @ weight_hh.T).chunk(len(cell.gates), -1), strict=True))
        z = [inputs[k] if k in cell.separate else inputs[k] + hidden[k] for k in cell.gates]
        state, _ = cell.pointwise((*z, *(hidden[k] for k in cell.separate)), state, *vectors)
        outputs.append(state[0])
    return torch.stack(outputs), state


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "rnn-relu"])
def test_the_library_agrees(name):
    torch.manual_seed(2)
    cell = find_cell(name)()
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
    words = {"nonlinearity": "relu"} if name == "rnn-relu" else {}
    library = kinds[name.partition("-")[0]](WIDTH, H, **words).double()
    w_ih, w_hh, b_ih, b_hh = library._flat_weights
    vectors = ()
    if name == "gru":  # the candidate's recurrent bias is behind the reset gate
        vectors, b_hh = (b_hh[2 * H :],), torch.cat([b_hh[: 2 * H], torch.zeros(H)])
    x = torch.randn(T, B, WIDTH, dtype=torch.float64)
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in cell.state)
    start = tuple(s.unsqueeze(0) for s in state)
    wanted, final = library(x, start if name == "lstm" else start[0])
    found, carried = over_time(cell, x, state, w_ih, w_hh, b_ih + b_hh, vectors)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    final = final if name == "lstm" else (final,)
    for got, want in zip(carried, final, strict=True):
        torch.testing.assert_close(got, want.squeeze(0), rtol=0, atol=1e-12)


def test_the_library_agrees_on_the_projection():
    torch.manual_seed(3)
    cell, library = ProjectionLSTM(WIDTH, H).double(), nn.LSTM(WIDTH, 2 * H, proj_size=H).double()
    w_ih, w_hh, b_ih, b_hh, w_hr = library._flat_weights
    with torch.no_grad():
        cell.product.weight_ih.copy_(w_ih)
        cell.product.weight_hh.copy_(w_hh)
        cell.product.bias.copy_(b_ih + b_hh)
        cell.weight_projection.copy_(w_hr)
    x, state = (
        torch.randn(T, B, WIDTH, dtype=torch.float64),
        tuple(map(torch.randn_like, cell.initial_state(B))),
    )
    wanted, (h, c) = library(x, tuple(s.unsqueeze(0) for s in state))
    outputs = []
    for x_t in x:
        output, state, _ = cell.step(x_t, state)
        outputs.append(output)
    torch.testing.assert_close(torch.stack(outputs), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, (h[0], c[0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_slstm_is_finite_from_the_zero_state_for_extreme_preactivations(dtype):
    """All corners of ±50 (and far beyond), step after step, with their gradients."""
    for size in (50.0, 1000.0):
        corners = torch.cartesian_prod(*[torch.tensor([-size, size], dtype=dtype)] * 4)  # (16, 4)
        z = tuple(corners[:, k : k + 1].clone().requires_grad_() for k in range(4))
        flipped = tuple(-value for value in z)
        state = tuple(torch.zeros(16, 1, dtype=dtype) for _ in SLSTM.state)
        total = torch.zeros((), dtype=dtype)
        for t in range(6):
            state, gates = SLSTM().pointwise(z if t % 3 else flipped, state)
            assert all(bool(value.isfinite().all()) for value in (*state, *gates))
            assert bool((state[0].abs() <= 1.0).all() and (state[2] >= 1.0).all())
            total = total + state[0].sum()
        gradients = torch.autograd.grad(total, z)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("fresh", [True, False], ids=["zero state", "carried state"])
def test_the_stabiliser_of_slstm_cancels(fresh):
    """The same hidden states without it, where nothing overflows."""
    torch.manual_seed(4)
    p = {f"W_{k}": torch.randn(H, WIDTH) for k in SLSTM.gates} | {
        f"b_{k}": torch.randn(H) for k in SLSTM.gates
    }
    p = {k: v.double() for k, v in (p | {f"U_{k}": torch.randn(H, H) for k in SLSTM.gates}).items()}
    x = torch.randn(T, B, WIDTH, dtype=torch.float64)
    state = torch.zeros(4, B, H, dtype=torch.float64)
    if not fresh:
        state = torch.randn(4, B, H, dtype=torch.float64)
        state[2] = 0.5 + state[2].abs()
    arrays = {k: v.numpy() for k, v in p.items()}
    hidden, ratios = references.slstm_plain(x.numpy(), state.numpy(), arrays)
    blocks = [torch.cat([p[f"{letter}_{k}"] for k in SLSTM.gates]) for letter in "WUb"]
    found, carried = over_time(SLSTM(), x, tuple(state), *blocks)
    np.testing.assert_allclose(found.numpy(), hidden, rtol=0, atol=1e-11)
    np.testing.assert_allclose((carried[1] / carried[2]).numpy(), ratios[-1], rtol=0, atol=1e-11)


def test_slstm_can_overrule_what_it_has_stored():
    """A later input gate of e^20 outweighs one of e^0, which a sigmoid could not."""
    zero, big = torch.zeros(1, 1), torch.full((1, 1), 20.0)
    state = tuple(torch.zeros(1, 1) for _ in SLSTM.state)
    state, _ = SLSTM().pointwise((zero, big, zero + 3.0, big), state)
    state, _ = SLSTM().pointwise((big, big, zero - 3.0, big), state)
    assert float(state[0]) == pytest.approx(float((zero - 3.0).tanh()), abs=1e-6)


def test_layer_norm_takes_no_notice_of_the_scale_of_its_inputs():
    torch.manual_seed(5)
    vectors = [torch.full((H,), value, dtype=torch.float64) for value in LayerNormLSTM.vectors.values()]
    z = [torch.randn(B, H, dtype=torch.float64) for _ in range(8)]
    state = (torch.zeros(B, H), torch.randn(B, H, dtype=torch.float64))
    once, _ = LayerNormLSTM().pointwise(tuple(z), state, *vectors)
    again, _ = LayerNormLSTM().pointwise(tuple(7.0 * v + 3.0 for v in z), state, *vectors)
    torch.testing.assert_close(once, again, rtol=0, atol=1e-4)


def test_minlstm_with_both_gates_shut_divides_nothing_by_nothing():
    z = (torch.full((1, 1, 1), -200.0), torch.full((1, 1, 1), -200.0), torch.ones(1, 1, 1))
    a, b, _ = find_cell("minlstm")().coefficients(z)
    assert float(a) == float(b) == 0.5


@pytest.mark.parametrize("name", ["mingru", "minlstm"])
def test_a_scan_cell_mixes_old_and_new_in_full(name):
    """a and the weight of the candidate add up to 1, also far from 0."""
    cell = find_cell(name)()
    z = [torch.randn(T, B, H) * 20 for _ in cell.gates]
    z[-1] = torch.ones(T, B, H)  # the candidate
    a, b, _ = cell.coefficients(tuple(z))
    torch.testing.assert_close(a + b, torch.ones(T, B, H))
    assert bool((a >= 0.0).all())


@pytest.mark.parametrize("name", [name for name in BUILT_IN if issubclass(find_cell(name), GatedCell)])
def test_a_stream_is_alone_in_its_batch(name):
    """What is in another row of the batch changes nothing."""
    torch.manual_seed(6)
    cell = find_cell(name)()
    z = [torch.randn(B, H) for _ in (*cell.gates, *cell.separate)]
    state = [torch.rand(B, H) + 0.1 for _ in cell.state]
    vectors = [torch.randn(H) for _ in cell.vectors]
    whole, _ = cell.pointwise(tuple(z), tuple(state), *vectors)
    alone, _ = cell.pointwise(tuple(v[1:2] for v in z), tuple(s[1:2] for s in state), *vectors)
    torch.testing.assert_close(tuple(s[1:2] for s in whole), alone)
