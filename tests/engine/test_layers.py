"""Every path of the recurrence against `nn.LSTM` and a float64 loop by hand: outputs, state, gradients."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lstmcli.cells.base import GatedCell
from lstmcli.cells.zoo.lstm import LSTM, ReadableLSTM
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import FreeLayer, GatedLayer, Start

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).parent / "reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

T, B, IN, H = 7, 5, 6, 8


def make_case(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    layer = GatedLayer(LSTM(), IN, H)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.8, 0.8)
    layer.to(dtype)
    x = torch.randn(T, B, IN, dtype=dtype)
    state = (torch.randn(B, H, dtype=dtype).tanh(), torch.randn(B, H, dtype=dtype))
    weights = (
        torch.randn(T, B, H, dtype=dtype),
        torch.randn(B, H, dtype=dtype),
        torch.randn(B, H, dtype=dtype),
    )
    return layer, x, state, weights


def run(module, x, state, weights):
    """Outputs, final state, and the gradients of x, the state and the parameters."""
    x = x.clone().requires_grad_()
    state = tuple(s.clone().requires_grad_() for s in state)
    outputs, final = module(x, state)
    (outputs * weights[0]).sum().add((final[0] * weights[1]).sum()).add(
        (final[1] * weights[2]).sum()
    ).backward()
    return outputs.detach(), tuple(s.detach() for s in final), x.grad, tuple(s.grad for s in state)


def compare(got, wanted, tolerance):
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


def by_hand(layer, x, state, weights):
    arrays = [p.detach().double().numpy() for p in (layer.weight_ih, layer.weight_hh, layer.bias)]
    outputs, h, c, tape = reference.lstm_forward(
        x.double().numpy(), *arrays, *(s.double().numpy() for s in state)
    )
    gradients = reference.lstm_backward(tape, arrays[0], arrays[1], *(w.double().numpy() for w in weights))
    return outputs, h, c, gradients


def readable_from(layer):
    """The readable cell with the weights of a gated layer."""
    cell = ReadableLSTM(IN, H).to(layer.bias.dtype)
    with torch.no_grad():
        for k, gate in enumerate(cell.gates):
            cell.get_submodule(f"{gate}_from_input").weight.copy_(layer.weight_ih.chunk(4)[k])
            cell.get_submodule(f"{gate}_from_input").bias.copy_(layer.bias.chunk(4)[k])
            cell.get_submodule(f"{gate}_from_hidden").weight.copy_(layer.weight_hh.chunk(4)[k])
    return cell


@pytest.mark.parametrize("path", ["loop", "engine", "fused"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_each_path_equals_the_loop_by_hand(path, dtype, tolerance):
    layer, x, state, weights = make_case(dtype=dtype)
    layer.path = path
    outputs, final, d_x, d_state = run(layer, x, state, weights)
    expected, h, c, (e_x, e_ih, e_hh, e_bias, e_h, e_c) = by_hand(layer, x, state, weights)
    compare([outputs, *final], [expected, h, c], tolerance)
    compare([d_x, *d_state], [e_x, e_h, e_c], tolerance)
    gradients = [layer.weight_ih.grad, layer.weight_hh.grad, layer.bias.grad]
    compare(gradients, [e_ih, e_hh, e_bias], 10 * tolerance)


def test_the_stock_lstm_is_that_of_torch():
    layer, x, state, _ = make_case()
    library = nn.LSTM(IN, H).double()
    with torch.no_grad():
        library.weight_ih_l0.copy_(layer.weight_ih)
        library.weight_hh_l0.copy_(layer.weight_hh)
        library.bias_ih_l0.copy_(layer.bias)
        library.bias_hh_l0.zero_()
    expected, (h, c) = library(x, tuple(s.unsqueeze(0) for s in state))
    for path in ("loop", "engine", "fused"):
        layer.path = path
        outputs, final = layer(x, state)
        compare([t.detach() for t in (outputs, *final)], [t.detach() for t in (expected, h[0], c[0])], 1e-12)


def test_the_readable_cell_is_the_stock_lstm_in_outputs_state_and_gradients():
    layer, x, state, weights = make_case()
    free = FreeLayer(readable_from(layer))
    got = run(free, x, state, weights)
    wanted = run(layer, x, state, weights)
    compare([got[0], *got[1], got[2], *got[3]], [wanted[0], *wanted[1], wanted[2], *wanted[3]], 1e-12)
    blocks = [free.cell.get_submodule(f"{g}_from_hidden").weight.grad for g in free.cell.gates]
    compare(blocks, layer.weight_hh.grad.chunk(4), 1e-12)


@pytest.mark.parametrize("path", ["engine", "fused"])
def test_bf16_products_stay_near_the_float64_loop(path):
    layer, x, state, _ = make_case(dtype=torch.float32)
    layer.path = path
    outputs, final = layer(x.bfloat16(), state)
    expected, h, c, _ = by_hand(layer, x, state, [torch.zeros(T, B, H), torch.zeros(B, H), torch.zeros(B, H)])
    assert outputs.dtype == torch.bfloat16 and final[1].dtype == torch.float32
    compare([outputs.float().detach(), *(s.detach() for s in final)], [expected, h, c], 0.05)


@pytest.mark.parametrize("path", ["loop", "engine", "fused"])
def test_a_sequence_in_two_windows_is_the_sequence_in_one(path):
    layer, x, state, _ = make_case()
    layer.path = path
    whole, final = layer(x, state)
    first, middle = layer(x[:3], state)
    second, end = layer(x[3:], middle)
    compare([torch.cat([first, second]).detach(), *(s.detach() for s in end)],
            [whole.detach(), *(s.detach() for s in final)], 1e-12)  # fmt: skip


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_engine_is_the_eager_engine(dtype):
    layer, x, state, weights = make_case(dtype=torch.float32)
    layer.path = "engine"
    results = []
    for compiled in (False, True):
        layer.compiled = compiled
        layer.zero_grad()
        outputs, final, d_x, d_state = run(
            lambda a, s: layer(a.to(dtype), s), x, state, [w.to(dtype) for w in weights]
        )
        results.append([outputs.float(), *final, d_x, *d_state, layer.weight_hh.grad.clone()])
    # bf16 keeps 8 bits: two orders of the same operations may round apart once per step
    compare(results[1], results[0], 1e-5 if dtype == torch.float32 else 0.1)


class Leaky(GatedCell):
    """A cell that is no LSTM and whose equations read the hidden state itself."""

    gates = ("forget", "candidate")
    state = ("hidden",)

    def pointwise(self, z, state):
        f, g = z[0].sigmoid(), z[1].tanh()
        return (f * state[0] + (1 - f) * g,), (f, g)


def test_the_engine_serves_a_cell_that_reads_its_hidden_state():
    torch.manual_seed(1)
    layer = GatedLayer(Leaky(), IN, H).double()
    layer.reset_parameters(Start("orthogonal", 1.0))
    x, state = torch.randn(T, B, IN, dtype=torch.float64), (torch.randn(B, H, dtype=torch.float64),)
    results = []
    for path in ("loop", "engine"):
        layer.path = path
        layer.zero_grad()
        start = tuple(s.clone().requires_grad_() for s in state)
        outputs, final = layer(x, start)
        (outputs**2).sum().add(final[0].sum()).backward()
        results.append([outputs.detach(), final[0].detach(), start[0].grad, layer.weight_hh.grad.clone(),
                        layer.weight_ih.grad.clone(), layer.bias.grad.clone()])  # fmt: skip
    compare(results[1], results[0], 1e-10)


def test_gradcheck_of_the_engine():
    layer, x, state, _ = make_case()
    layer.path = "engine"
    x = x[:3, :2].clone().requires_grad_()
    start = tuple(s[:2].clone().requires_grad_() for s in state)
    assert torch.autograd.gradcheck(lambda a, h, c: layer(a, (h, c))[0], (x, *start))


@pytest.mark.parametrize("path", ["loop", "engine", "fused"])
def test_symbols_by_table_are_symbols_by_embedding(path):
    layer, _, state, weights = make_case()
    layer.path = path
    ids = torch.randint(0, 9, (T, B))
    gradients = []
    for by_table in (True, False):
        embedding = torch.randn(9, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        embedding.requires_grad_()
        layer.zero_grad()
        if by_table:
            outputs, _ = layer.forward_symbols(embedding, ids, state)
        else:
            outputs, _ = layer(embedding[ids], state)
        (outputs * weights[0]).sum().backward()
        gradients.append(
            [outputs.detach(), embedding.grad, layer.weight_ih.grad.clone(), layer.bias.grad.clone()]
        )
    compare(gradients[0], gradients[1], 1e-11)


def test_a_large_vocabulary_does_not_go_by_table(monkeypatch):
    layer, _, state, _ = make_case()
    layer.path = "engine"
    monkeypatch.setattr("lstmcli.engine.layers.gated.look_up", None)
    embedding = torch.randn(100, IN, dtype=torch.float64)
    ids = torch.randint(0, 100, (T, B))
    expected, _ = layer(embedding[ids], state)
    compare([layer.forward_symbols(embedding, ids, state)[0].detach()], [expected.detach()], 1e-12)


@pytest.mark.parametrize("path", ["loop", "engine", "fused"])
def test_the_gates_found_by_one_product_are_those_of_the_loop(path):
    layer, x, state, _ = make_case()
    layer.path = path
    _, _, trace = layer.observe(x, state)
    arrays = [p.detach().numpy() for p in (layer.weight_ih, layer.weight_hh, layer.bias)]
    _, _, _, tape = reference.lstm_forward(x.numpy(), *arrays, *(s.numpy() for s in state))
    for k, gate in enumerate(("input", "forget", "cell", "output")):
        compare([trace.gates[gate]], [np.stack([step[3 + k] for step in tape])], 1e-6)
    compare([trace.states["cell"]], [np.stack([step[7] for step in tape])], 1e-6)


def test_initial_weights_are_orthogonal_by_gate_with_the_forget_bias_alone():
    layer = GatedLayer(LSTM(), IN, H)
    layer.reset_parameters(Start("orthogonal", 1.5))
    for block in layer.weight_hh.detach().chunk(4):
        compare([block @ block.T], [torch.eye(H)], 1e-5)
    i, f, g, o = layer.bias.detach().chunk(4)
    assert f.eq(1.5).all() and not (i.any() or g.any() or o.any())


def test_uniform_initialisation_leaves_the_biases_as_drawn():
    layer = GatedLayer(LSTM(), IN, H)
    layer.reset_parameters(Start("uniform", None))
    bound = H**-0.5
    assert layer.bias.detach().abs().max() <= bound and layer.bias.detach().std() > 0.1 * bound
