"""Every built-in cell on every path against one step after the other, written out: values and gradients."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.base import FreeCell, GatedCell, ScanCell, zeros_like_state
from lstmcli.engine import pointwise
from lstmcli.engine.dropout import chosen, dropout
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import GatedLayer, Regularization, Start, base, gated, make_layers
from lstmcli.engine.pointwise import Drops, pointwise_pair
from lstmcli.engine.recurrence import run_engine

T, B, WIDTH, H = 9, 4, 6, 5
GATED = [name for name in BUILT_IN if issubclass(find_cell(name), GatedCell)]
OTHER = [name for name in BUILT_IN if name not in GATED]
COMPILED = ["lstm", "gru", "slstm", "lstm-layer-norm"]
DOUBLE, SINGLE = (torch.float64, 1e-10), (torch.float32, 1e-5)
RATES = (0.3, 0.4)  # of weights, of what the recurrent product reads


def made(name, drops=None, dtype=torch.float64):
    """A layer whose parameters are nowhere zero, an input, and a carried state. The seed is one at which no
    norm of five units divides by nearly nothing: there fp32 itself is 1e-4 off, step by step, too."""
    torch.manual_seed(1 + sum(map(ord, name)))
    (layer,) = make_layers(find_cell(name), [(WIDTH, H)], drops or Regularization())
    layer.reset_parameters(Start())
    for parameter in layer.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    layer.to(dtype)
    state = tuple(torch.rand_like(s) * 0.5 for s in layer.initial_state(B))
    return layer, torch.randn(T, B, WIDTH, dtype=dtype), state


def dropped(name, rate=0.25):
    return Regularization(*RATES, (rate,) * len(find_cell(name).state))


def by_steps(layer, x, state, weight=None, mask=None, zoned=None, mean=()):
    """One step after the other. `zoned`: a mask (T, B, H) of what stays as it was per state; `mean`: the
    share of the old state in the new one."""
    outputs = []
    for t, x_t in enumerate(x):
        if isinstance(layer.cell, FreeCell):
            new = layer.cell.step(x_t, state)[1]
        elif isinstance(layer.cell, ScanCell):
            z = functional.linear(x_t, layer.weight_ih, layer.bias).chunk(len(layer.cell.gates), -1)
            a, b, _ = layer.cell.coefficients(z)
            new = (a * state[0] + b,)
        else:
            new = gated_step(layer, x_t, state, layer.weight_hh if weight is None else weight, mask)
        if zoned is not None:
            new = tuple(z[t] * o + ~z[t] * n for z, o, n in zip(zoned, state, new, strict=True))
        if mean:
            new = tuple(p * o + (1 - p) * n for p, o, n in zip(mean, state, new, strict=True))
        state = new
        outputs.append(state[0])
    return torch.stack(outputs), state


def gated_step(layer, x_t, state, weight, mask):
    cell, count = layer.cell, len(layer.cell.gates)
    read = state[0] if mask is None else state[0] * mask
    inputs = dict(zip(cell.gates, (x_t @ layer.weight_ih.T + layer.bias).chunk(count, -1), strict=True))
    recurrent = dict(zip(cell.gates, (read @ weight.T).chunk(count, -1), strict=True))
    z = [inputs[k] if k in cell.separate else inputs[k] + recurrent[k] for k in cell.gates]
    z += [recurrent[k] for k in cell.separate]
    return cell.pointwise(tuple(z), state, *(layer.vectors[k] for k in cell.vectors))[0]


def everything(layer, x, state, run=None):
    """Outputs, final state, and the gradients of the input, the start and all parameters."""
    x = x.clone().requires_grad_()
    state = tuple(s.clone().requires_grad_() for s in state)
    layer.zero_grad()
    torch.manual_seed(7)  # what is dropped is drawn before the path
    outputs, final = (run or layer)(x, state)
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = (outputs * weights).sum()
    for number, value in enumerate(final, 1):
        loss = loss + number * (value * weights[0, :1, :1]).sum()
    loss.backward()
    gradients = [x.grad, *(s.grad for s in state), *(p.grad for p in layer.parameters())]
    # A cell may not read all that it carries.
    found = [outputs, *final, *(torch.zeros(()) if g is None else g for g in gradients)]
    return [value.detach().clone() for value in found]


def close(found, wanted, tolerance):
    """Within `tolerance` of the size of the values."""
    assert len(found) == len(wanted)
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        worst = float((a.double() - b.double()).abs().max())
        assert worst <= tolerance * max(1.0, float(b.abs().max())), (number, worst)


def reference(name, **given):
    """The loop in float64, for whatever precision the path has."""
    layer, x, state = made(name)
    return everything(layer, x, state, lambda a, s: by_steps(layer, a, s, **given))


@pytest.mark.parametrize("path", ["engine", "loop"])
@pytest.mark.parametrize("name", GATED)
def test_a_gated_cell_on_each_path_is_its_steps(name, path):
    wanted = reference(name)
    for dtype, tolerance in (DOUBLE, SINGLE):
        layer, x, state = made(name)
        layer.path, layer = path, layer.to(dtype)
        close(everything(layer, x.to(dtype), tuple(s.to(dtype) for s in state)), wanted, tolerance)


@pytest.mark.parametrize("name", OTHER)
def test_a_scan_or_free_cell_is_its_steps(name):
    wanted = reference(name)
    for dtype, tolerance in (DOUBLE, SINGLE):
        layer, x, state = made(name)
        layer.to(dtype)
        close(everything(layer, x.to(dtype), tuple(s.to(dtype) for s in state)), wanted, tolerance)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_reset_stream_begins_from_nothing_and_the_others_go_on(name):
    layer, x, state = made(name)
    layer.path = "engine" if name in GATED else layer.path
    reset = torch.tensor([True, False, False, True])
    halves = everything(layer, x, state, lambda a, s: two_windows(layer, a, s, reset))
    wanted = everything(layer, x, state, lambda a, s: two_windows(layer, a, s, reset, steps=by_steps))
    close(halves, wanted, 1e-10)
    outputs, _ = layer(x[4:], layer.initial_state(B))
    close([halves[0][4:, reset]], [outputs.detach()[:, reset]], 1e-10)


def two_windows(layer, x, state, reset, steps=None):
    run = layer if steps is None else lambda a, s: steps(layer, a, s)
    first, middle = run(x[:4], state)
    second, final = run(x[4:], zeros_like_state(middle, reset))
    return torch.cat([first, second]), final


def drawn(layer, seed=7):
    """What a layer drops for a window of T steps, in the order in which it draws."""
    torch.manual_seed(seed)
    weight = dropout(layer.weight_hh, RATES[0], True)
    mask = dropout(torch.ones(B, H, dtype=torch.float64), RATES[1], True)
    zoned = [chosen((T, B, H), rate, torch.device("cpu")) for rate in layer.drops.zoneout]
    return weight, mask, zoned


@pytest.mark.parametrize("path", ["engine", "loop"])
@pytest.mark.parametrize("name", GATED)
def test_a_gated_cell_with_everything_dropped_is_its_steps(name, path):
    layer, x, state = made(name, dropped(name))
    layer.path = path
    found = everything(layer, x, state)

    def run(a, s):
        weight, mask, zoned = drawn(layer)
        return by_steps(layer, a, s, weight, mask, zoned)

    wanted = everything(layer, x, state, run)
    close(found, wanted, 1e-10)
    plain, _, _ = made(name)
    assert not torch.allclose(found[0], everything(plain, x, state)[0])


@pytest.mark.parametrize("path", ["engine", "loop"])
@pytest.mark.parametrize("name", GATED)
def test_in_evaluation_nothing_is_drawn_and_zoneout_is_its_mean(name, path):
    layer, x, state = made(name, dropped(name))
    layer.path = path
    layer.eval()
    wanted = everything(layer, x, state, lambda a, s: by_steps(layer, a, s, mean=layer.drops.zoneout))
    torch.manual_seed(1)
    close(everything(layer, x, state), wanted, 1e-10)


class Competing(GatedCell):
    """Units that share what may be written, one that all others read, and a mean that forgets for all."""

    gates = ("share", "candidate", "forget")
    state = ("hidden", "cell")
    vectors: ClassVar = {"gain": 1.0}

    def pointwise(self, z, state, gain):
        share, candidate = z[0].softmax(-1), z[1].tanh()
        forget = z[2].mean(-1, keepdim=True).sigmoid()
        c = forget * state[1] + share * candidate * share.shape[-1]
        h = (c * gain).tanh() * (1.0 + z[2][:, 7:8].sigmoid())
        return (h, c), (share, candidate, forget.expand_as(share))


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
@pytest.mark.parametrize("cell", [find_cell("lstm-layer-norm"), Competing])
def test_a_cell_with_reductions_compiles_at_a_width_for_vectors(cell, monkeypatch):
    monkeypatch.setattr("lstmcli.engine.kernels.compiled.inductor_kernel", pytest.fail)
    torch.manual_seed(3)
    (layer,) = make_layers(cell, [(WIDTH, 64)], Regularization())
    layer.reset_parameters(Start())
    layer.path, layer.compiled = "engine", False
    x, state = torch.randn(T, B, WIDTH), tuple(torch.rand(B, 64) for _ in range(2))
    eager = everything(layer, x, state)
    layer.compiled = True
    close(everything(layer, x, state), eager, 2e-5)


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
@pytest.mark.parametrize("name", COMPILED)
def test_the_compiled_engine_is_its_steps_and_compiles_once(name, monkeypatch):
    """One kernel forward and one backward: whatever the length of the window, and for a short last batch."""
    calls, compile_ = [], pointwise.compiled
    monkeypatch.setattr(pointwise, "compiled", lambda *a: (calls.append(a), compile_(*a))[1])
    monkeypatch.setattr("lstmcli.engine.kernels.compiled.inductor_kernel", pytest.fail)
    layer, x, state = made(name)
    layer.path, layer.compiled = "engine", True
    layer.float()
    x, state = x.float(), tuple(s.float() for s in state)
    close(everything(layer, x, state), reference(name), 1e-5)
    assert len(calls) == 2
    close(everything(layer, x[:3], state)[:1], [everything(layer, x, state)[0][:3]], 1e-6)
    few = tuple(s[:3] for s in state)
    close(everything(layer, x[:, :3], few)[:1], [everything(layer, x, state)[0][:, :3]], 1e-6)
    layer.eval()
    with torch.no_grad():
        layer(torch.cat([x, x]), state)
        layer(torch.cat([x, x], 1), tuple(torch.cat([s, s]) for s in state))
    layer.train()
    layer.recompute = True
    close(everything(layer, x, state), reference(name), 1e-5)
    other = GatedLayer(layer.cell, 2 * WIDTH, H)  # the next layer of a stack, which reads another width
    other.path, other.compiled = "engine", True
    other.reset_parameters(Start())
    other(torch.randn(T, B, 2 * WIDTH), state)[0].square().sum().backward()
    assert len(calls) == 2


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
def test_the_compiled_engine_with_everything_dropped_is_the_eager_one():
    layer, x, state = made("lstm", dropped("lstm"), torch.float32)
    layer.path = "engine"
    wanted = everything(layer, x, state)
    layer.compiled = True
    close(everything(layer, x, state), wanted, 1e-5)


@pytest.mark.parametrize("path", ["engine", "loop"])
def test_weight_drop_draws_once_a_window_and_learns_what_it_kept(path):
    layer, x, state = made("lstm", Regularization(weight_drop=0.5))
    layer.path = path
    kept = []
    for seed in (7, 8):
        torch.manual_seed(seed)
        mask = dropout(torch.ones_like(layer.weight_hh), 0.5, True) > 0
        torch.manual_seed(seed)
        layer.zero_grad()
        layer(x, state)[0].square().sum().backward()
        gradient = layer.weight_hh.grad
        assert not gradient[~mask].any() and gradient[mask].abs().min() > 0
        kept.append(mask)
    assert 0.3 < float(kept[0].double().mean()) < 0.7 and not torch.equal(*kept)


@pytest.mark.parametrize("path", ["engine", "loop"])
def test_recurrent_dropout_hides_the_same_units_at_all_steps_of_a_window(path):
    """A unit that the product does not see has no influence but by itself, at whatever step."""
    layer, x, state = made("lstm", Regularization(recurrent_dropout=0.5))
    layer.path = path
    torch.manual_seed(7)
    mask = dropout(torch.ones(B, H, dtype=torch.float64), 0.5, True)
    hidden = tuple(s.clone().requires_grad_() for s in state)
    for steps in (1, T):
        torch.manual_seed(7)
        outputs, _ = layer(x[:steps], hidden)
        (gradient,) = torch.autograd.grad(outputs.sum(), hidden[0])
        assert not gradient[mask == 0].any() and gradient[mask > 0].abs().min() > 0
    gradient_of_weight = everything(layer, x, state)[-2 - len(layer.vectors)]
    assert gradient_of_weight.shape == layer.weight_hh.shape
    never = (mask == 0).all(0)  # units that no stream sees
    assert not gradient_of_weight[:, never].any() and gradient_of_weight[:, ~never].abs().min() > 0


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-peephole", "lstm-layer-norm", "slstm"])
def test_gradcheck_through_the_engine(name):
    torch.manual_seed(0)
    cell = find_cell(name)()
    pair = pointwise_pair(cell, False, Drops())
    states, vectors = len(cell.state), len(cell.vectors)
    z = torch.randn(3, 2, len(cell.gates) * 3, dtype=torch.float64, requires_grad=True)
    weight = (torch.randn(len(cell.gates) * 3, 3, dtype=torch.float64) * 0.5).requires_grad_()
    start = [(0.2 + torch.rand(2, 3, dtype=torch.float64)).requires_grad_() for _ in range(states)]
    own = [(torch.randn(3, dtype=torch.float64) * 0.5).requires_grad_() for _ in range(vectors)]

    def run(z, weight, *rest):
        outputs, final = run_engine(pair, z.clone(), weight, rest[:states], rest[states:])
        return outputs, *final

    assert torch.autograd.gradcheck(run, (z, weight, *start, *own))


def test_gradcheck_through_the_engine_with_masks():
    torch.manual_seed(0)
    pair = pointwise_pair(find_cell("gru")(), False, Drops((0.4,), True, True))
    mask = dropout(torch.ones(2, 3, dtype=torch.float64), 0.4, True)
    zoned = [chosen((3, 2, 3), 0.4, torch.device("cpu"))]
    shapes = (3, 2, 9), (9, 3), (2, 3), (3,)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def run(z, weight, start, own):
        outputs, final = run_engine(pair, z.clone(), weight, (start,), [own], mask, zoned)
        return outputs, *final

    assert torch.autograd.gradcheck(run, tuple(given))


@pytest.mark.parametrize("path", ["engine", "loop"])
@pytest.mark.parametrize("name", [*GATED, "mogrifier-lstm"])
def test_recomputing_changes_no_gradient(name, path):
    gated = name in GATED
    layer, x, state = made(name, dropped(name) if gated else None)
    layer.path = path if gated else layer.path
    wanted = everything(layer, x, state)
    layer.recompute = True
    close(everything(layer, x, state), wanted, 1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-readable"])
def test_recomputing_saves_memory(name, monkeypatch):
    """What is kept over the window and, in backward, of the part that is computed again."""
    (layer,) = make_layers(find_cell(name), [(WIDTH, H)], Regularization())
    layer.reset_parameters(Start())
    layer.path = "engine" if isinstance(layer, GatedLayer) else layer.path
    x, parts, checkpoint = torch.randn(256, B, WIDTH), [], base.checkpoint

    def measured(run, *given, **options):
        parts.append(saved_bytes(lambda: run(*given)))
        return checkpoint(run, *given, **options)

    for module in (base, gated):
        monkeypatch.setattr(module, "checkpoint", measured)
    whole = saved_bytes(lambda: layer(x, layer.initial_state(B)))
    layer.recompute = True
    kept = saved_bytes(lambda: layer(x, layer.initial_state(B)))
    assert len(parts) == 16 and kept + max(parts) < 0.5 * whole


def saved_bytes(run):
    """Of what the graph keeps until backward, each memory once."""
    held = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(size for size, _ in held.values())
