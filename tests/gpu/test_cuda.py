"""The same results on a GPU as on the CPU; skipped where there is none."""

import pytest
import torch

from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.base import GatedCell
from lstmcli.engine.layers import GatedLayer, Start, make_layers
from lstmcli.engine.layers import Regularization as Drops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
T, B, IN, H = 17, 6, 8, 32


def run(layer, x, state, weight):
    """Outputs, final state and all gradients, on the CPU."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    outputs, final = layer(x, state)
    ((outputs * weight).sum() + sum(s.sum() for s in final)).backward()
    found = [outputs, *final, x.grad, *(p.grad for p in layer.parameters())]
    return [t.detach().double().cpu() for t in found]


def close(got, wanted, tolerance):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_every_cell_computes_on_cuda_what_it_computes_on_the_cpu(name):
    torch.manual_seed(1)
    layer = make_layers(find_cell(name), [(IN, H)], Drops())[0].double()
    layer.reset_parameters(Start())
    x, weight = torch.randn(T, B, IN).double(), torch.randn(T, B, H).double()
    state = tuple(s.double() for s in layer.initial_state(B))
    expected = run(layer, x, state, weight)
    layer.cuda()
    paths = ["loop", "engine"] if issubclass(find_cell(name), GatedCell) else [layer.path]
    paths += ["fused"] if layer.serves("fused") else []
    for path in paths:
        layer.path = path
        close(run(layer, x.cuda(), tuple(s.cuda() for s in state), weight.cuda()), expected, 1e-9)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-peephole", "slstm"])
def test_the_compiled_engine_is_the_loop(name):
    torch.manual_seed(1)
    layer = GatedLayer(find_cell(name)(), IN, H).cuda()
    layer.reset_parameters(Start())
    x, weight = torch.randn(T, B, IN, device="cuda"), torch.randn(T, B, H, device="cuda")
    state = layer.initial_state(B)
    layer.path = "loop"
    expected = run(layer, x, state, weight)
    layer.path, layer.compiled = "engine", True
    close(run(layer, x, state, weight), expected, 1e-4)
