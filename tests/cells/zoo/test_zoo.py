"""Each built-in cell against its paper's equations in NumPy; gradients; dtypes; how parameters start."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from lstmcli.cells import BUILT_IN, FreeCell, GatedCell, ScanCell, find_cell
from lstmcli.cells.zoo.multiplicative import MogrifierLSTM, ProjectionLSTM

_spec = importlib.util.spec_from_file_location("references", Path(__file__).parent / "references.py")
references = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(references)

T, B, WIDTH, H = 7, 3, 4, 5
KINDS = {GatedCell: [], ScanCell: [], FreeCell: []}
for _name in BUILT_IN:
    next(names for kind, names in KINDS.items() if issubclass(find_cell(_name), kind)).append(_name)
GATED, SCAN, FREE = KINDS.values()


def started(name, batch=B, hidden_size=H):
    """A carried state, not zero, in float64; the cell with random parameters if it has its own."""
    torch.manual_seed(sum(map(ord, name)))
    cell_class = find_cell(name)
    if not issubclass(cell_class, FreeCell):
        state = {k: torch.randn(batch, hidden_size, dtype=torch.float64) for k in cell_class.state}
        if "normalizer" in state:
            state["normalizer"] = 0.5 + state["normalizer"].abs()
        return cell_class(), tuple(state.values())
    cell = cell_class(WIDTH, hidden_size).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return cell, tuple(torch.randn_like(s) for s in cell.initial_state(batch))


def drawn(cell, recurrent):
    """Parameters by name for a cell that has none of its own."""
    shapes = {f"W_{gate}": (H, WIDTH) for gate in cell.gates} | {f"b_{gate}": (H,) for gate in cell.gates}
    if recurrent:
        shapes |= {f"U_{gate}": (H, H) for gate in cell.gates} | {name: (H,) for name in cell.vectors}
    return {name: torch.randn(shape, dtype=torch.float64) * 0.7 for name, shape in shapes.items()}


def run_gated(cell, x, state, p):
    states, gates = [], []
    for x_t in x:
        inputs = {k: x_t @ p[f"W_{k}"].T + p[f"b_{k}"] for k in cell.gates}
        recurrent = {k: state[0] @ p[f"U_{k}"].T for k in cell.gates}
        z = [inputs[k] if k in cell.separate else inputs[k] + recurrent[k] for k in cell.gates]
        z += [recurrent[k] for k in cell.separate]
        state, activations = cell.pointwise(tuple(z), state, *(p[k] for k in cell.vectors))
        states.append(state)
        gates.append(dict(zip(cell.gates, activations, strict=True)))
    return states, gates


def named(cell):
    """A free cell's own parameters by the names of its paper, as `references` wants them."""
    p = {}
    for product in (module for module in cell.children() if hasattr(module, "gates")):
        whole = {"W": product.weight_ih, "U": product.weight_hh, "b": product.bias}
        for letter, value in whole.items():
            blocks = zip(product.gates, value.chunk(len(product.gates)), strict=True)
            p |= {f"{letter}_{gate}": block for gate, block in blocks}
    for key, value in cell.named_parameters():
        gate, _, part = key.partition("_from_")
        letters = {"input.weight": "W", "hidden.weight": "U", "input.bias": "b"}
        if part in letters:
            p[f"{letters[part]}_{gate}"] = value
        elif key.startswith("weights."):
            p[f"Q_{int(key.partition('.')[2]) + 1}"] = value
    other = {"weight_input": "W_m", "weight_hidden": "U_m", "weight_projection": "P"}
    p |= {short: getattr(cell, key) for key, short in other.items() if hasattr(cell, key)}
    if hasattr(cell, "weight_gates"):
        for to, rows in zip(("input", "forget", "output"), cell.weight_gates.chunk(3), strict=True):
            for start, block in zip(("input", "forget", "output"), rows.chunk(3, dim=1), strict=True):
                p[f"R_{to}_{start}"] = block
    return p


def assert_as_reference(name, x, state, p, states, gates):
    """states and gates: one tuple and one dictionary per step."""
    arrays = {key: value.detach().numpy() for key, value in p.items()}
    wanted, wanted_gates = references.REFERENCES[name](x.numpy(), tuple(s.numpy() for s in state), arrays)
    found = [torch.stack(values).detach().numpy() for values in zip(*states, strict=True)]
    assert set(gates[0]) == set(wanted_gates) and len(found) == len(wanted)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)
    for gate, want in wanted_gates.items():
        got = torch.stack([g[gate] for g in gates]).detach().numpy()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10, err_msg=gate)


@pytest.mark.parametrize("name", GATED)
def test_a_gated_cell_is_its_papers_equations(name):
    cell, state = started(name)
    x, p = torch.randn(T, B, WIDTH, dtype=torch.float64), drawn(cell, recurrent=True)
    assert_as_reference(name, x, state, p, *run_gated(cell, x, state, p))


@pytest.mark.parametrize("name", SCAN)
def test_a_scan_cell_is_its_papers_equations(name):
    cell, state = started(name)
    x, p = torch.randn(T, B, WIDTH, dtype=torch.float64), drawn(cell, recurrent=False)
    z = tuple(x @ p[f"W_{k}"].T + p[f"b_{k}"] for k in cell.gates)
    a, b, activations = cell.coefficients(z)
    states, (h,) = [], state
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append((h,))
    gates = [dict(zip(cell.gates, at_t, strict=True)) for at_t in zip(*activations, strict=True)]
    assert_as_reference(name, x, state, p, states, gates)


@pytest.mark.parametrize("name", FREE)
def test_a_free_cell_is_its_papers_equations(name):
    cell, state = started(name)
    x, carried = torch.randn(T, B, WIDTH, dtype=torch.float64), state
    states, gates = [], []
    for x_t in x:
        output, carried, activations = cell.step(x_t, carried)
        assert torch.equal(output, carried[0])
        states.append(carried)
        gates.append(activations)
    assert_as_reference(name, x, state, named(cell), states, gates)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_cell_is_found_told_and_has_a_reference(name):
    cell = find_cell(name)
    assert name in references.REFERENCES, "tests/cells/zoo/references.py has no equations for it"
    assert issubclass(cell, (GatedCell, ScanCell, FreeCell)) and cell.state[0] == "hidden"
    assert "source: " in cell.__doc__.lower() and ("h_t" in cell.__doc__ or "see `LSTM`" in cell.__doc__)
    assert cell.__doc__.isascii()  # `lstm cells` prints it on any terminal
    assert len(set(cell.gates)) == len(cell.gates) and set(getattr(cell, "separate", ())) <= set(cell.gates)


def test_no_reference_is_left_over():
    assert set(references.REFERENCES) == set(BUILT_IN)


def one_step(name):
    """A function of one step and its inputs, parameters among them, which need gradients."""
    cell, state = started(name, batch=2, hidden_size=3)
    if isinstance(cell, FreeCell):
        x_t = torch.randn(2, WIDTH, dtype=torch.float64)
        inputs = [x_t, *state, *cell.parameters()]
        return lambda x, *rest: cell.step(x, rest[: len(state)])[1], inputs
    z = [torch.randn(2, 3, dtype=torch.float64) for _ in cell.gates]
    if isinstance(cell, ScanCell):
        return lambda *z: cell.coefficients(z)[:2], z
    z += [torch.randn(2, 3, dtype=torch.float64) for _ in cell.separate]
    vectors = [torch.randn(3, dtype=torch.float64) for _ in cell.vectors]

    def step(*tensors):
        carried = tensors[len(z) : len(z) + len(state)]
        new, activations = cell.pointwise(tensors[: len(z)], carried, *tensors[len(z) + len(state) :])
        return *new, *activations

    return step, [*z, *state, *vectors]


@pytest.mark.parametrize("name", BUILT_IN)
def test_gradients_of_a_step_are_those_of_differences(name):
    step, inputs = one_step(name)
    # gradcheck moves parameters where they are, so that `step` of a module sees it
    inputs = [value.detach() if not value.is_leaf else value for value in inputs]
    assert gradcheck(step, [value.requires_grad_() for value in inputs], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_step_stays_in_the_dtype_of_its_state(name, dtype):
    cell, state = started(name)
    state = tuple(s.to(dtype) for s in state)
    if isinstance(cell, FreeCell):
        cell.to(dtype)
        output, new, gates = cell.step(torch.randn(B, WIDTH, dtype=dtype), state)
        found = [output, *new, *gates.values()]
        assert [s.shape for s in new] == [s.shape for s in cell.initial_state(B)]
    elif isinstance(cell, ScanCell):
        a, b, gates = cell.coefficients(tuple(torch.randn(T, B, H, dtype=dtype) for _ in cell.gates))
        found = [a, b, *gates]
    else:
        z = tuple(torch.randn(B, H, dtype=dtype) for _ in (*cell.gates, *cell.separate))
        new, gates = cell.pointwise(z, state, *(torch.ones(H, dtype=dtype) for _ in cell.vectors))
        found = [*new, *gates]
        assert len(new) == len(cell.state) and len(gates) == len(cell.gates)
    assert all(value.dtype == dtype and bool(value.isfinite().all()) for value in found)


@pytest.mark.parametrize("name", FREE)
def test_a_free_cell_keeps_its_state_in_fp32_under_autocast(name):
    cell = find_cell(name)(WIDTH, H)
    state = cell.initial_state(B)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for x_t in torch.randn(3, B, WIDTH, dtype=torch.bfloat16):
            _, state, gates = cell.step(x_t, state)
            if name != "lstm-readable":
                assert all(gate.dtype == torch.float32 for gate in gates.values())
            assert all(s.dtype == torch.float32 for s in state)


@pytest.mark.parametrize("name", [name for name in FREE if name != "lstm-readable"])
def test_how_a_free_cell_starts(name):
    cell = find_cell(name)(WIDTH, H)
    products = [module for module in cell.children() if hasattr(module, "gates")]
    assert [gate for product in products for gate in product.gates] == list(cell.gates)
    for product in products:
        biases, recurrent = (v.chunk(len(product.gates)) for v in (product.bias, product.weight_hh))
        for gate, bias, block in zip(product.gates, biases, recurrent, strict=True):
            assert bool((bias == (1.0 if gate == "forget" else 0.0)).all())
            torch.testing.assert_close(block.T @ block, torch.eye(H))
        assert 0.5 / math.sqrt(H) < product.weight_ih.abs().max() <= 1.0 / math.sqrt(H)
    assert all(bool(parameter.isfinite().all()) for parameter in cell.parameters())


def test_a_subclass_sets_the_mogrifiers_rounds_and_the_projections_cells():
    class Rounds(MogrifierLSTM):
        rounds = 2

    class Wide(ProjectionLSTM):
        expansion = 3

    assert [tuple(w.shape) for w in Rounds(WIDTH, H).weights] == [(WIDTH, H), (H, WIDTH)]
    assert [s.shape[1] for s in Wide(WIDTH, H).initial_state(B)] == [H, 3 * H]
