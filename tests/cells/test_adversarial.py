"""Cells of a user's own that were written to be computed wrongly: each is right on every path, by a plain
loop written here, or `lstm train` and `lstm cells check` refuse it in one message that names the line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from lstmcli.cells import FreeCell, GatedCell, find_cell
from lstmcli.config.schema import Model
from lstmcli.core import notices
from lstmcli.core.errors import ConfigError
from lstmcli.engine.checks.check import check_before_training, check_cell
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import GatedLayer, Regularization, Start, make_layers

CELLS = Path(__file__).parent / "adversarial.py"
T, B, WIDTH, H = 5, 3, 6, 8
PLACES = {
    node.name: range(node.lineno, node.end_lineno + 1)
    for node in ast.parse(CELLS.read_text()).body
    if isinstance(node, ast.ClassDef)
}
RIGHT = (
    "Heads",
    "HeadNorm",
    "HeadSoftmax",
    "MaskOnHidden",
    "MaskOnCell",
    "Mean",
    "Max",
    "Norm",
    "Cumulative",
    "Softmax",
    "Rounded",
    "Sign",
    "Quantized",
    "StraightThrough",
    "ScaledVectors",
    "OwnTemporary",
    "Lists",
    "UnusedGate",
    "NotContiguous",
    "SameTwice",
    "OldState",
    "Constant",
    "Made",
    "BooleanGate",
    "Clamped",
    "FreeBuffer",
    "FreeParameter",
    "FreeControl",
    "FreeDropout",
    "ScanMask",
    "Peculiar",
)
REFUSED = {
    "Parameter": "self.scale holds parameters that nothing trains or saves",
    "GlobalParameter": "a parameter that nothing trains or saves",
    "Module": "self.inner holds parameters that nothing trains or saves",
    "Buffer": "neither an argument nor made in the step",
    "AddsInPlace": "writes in place into what it is given (the state 'cell')",
    "MulInPlace": "writes in place into what it is given (the state 'hidden')",
    "IndexInPlace": "writes in place into what it is given (z of gate 'forget')",
    "Dropout": "draws random numbers from torch",
    "Noise": "draws random numbers from torch",
    "PythonNoise": "draws random numbers from Python's random",
    "Counts": "a step changes self.count",
    "Remembers": "neither an argument nor made in the step",
    "Appends": "a step changes self.seen",
    "Branches": "Python's control flow, or a number, depends on the data",
    "Items": "Python's control flow, or a number, depends on the data",
    "Numpy": "Python's control flow, or a number, depends on the data",
    "Selects": "Python's control flow, or a number, depends on the data",
    "MeanOverBatch": "of the batch changes when the others change",
    "BatchNorm": "of the batch changes when the others change",
    "Flipped": "of the batch changes when the others change",
    "WrongShape": "has shape",
    "Column": "has shape",
    "Double": "float32",
    "Integers": "int64",
    "Complex": "complex",
    "OneGateTooFew": "1 gate activations for 2 gates",
    "OneStateTooFew": "a tuple of 2 tensors",
    "NotANumber": "NaN or infinite",
    "Logarithm": "NaN or infinite",
    "Text": "must be a tensor, not str",
    "Raises": "ValueError: not today",
    "NoGradient": "with respect to z of gate 'forget' is wrong",
    "DetachedState": "with respect to the state 'cell' is wrong",
    "WrongBackward": "is wrong",
    "FreeComplex": "its 'phase' is complex128, which no checkpoint holds",
    "FreeCounts": "a step changes self.count",
    "FreeStray": "a parameter that nothing trains or saves",
    "FreeMixes": "of the batch changes when the others change",
    "FreeAlwaysDrops": "draws random numbers from torch",
    "FreeStart": "initial_state must give zeros",
    "ScanOverTime": "step 1 of the window changes when the others change",
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings(name):
    return Model(cell=f"{CELLS}:{name}", hidden_size=H, embedding_size=WIDTH, num_layers=1)


def test_every_cell_of_the_collection_is_tried():
    cells = {name for name in PLACES if name not in ("Coupled", "Free", "Scan", "Doubled")}
    assert cells == set(RIGHT) | REFUSED.keys()
    assert len(cells) >= 36


# --- what is right -------------------------------------------------------------------------------


def layer_of(name, dtype=torch.float64):
    torch.manual_seed(len(name))
    layer = make_layers(find_cell(f"{CELLS}:{name}"), [(WIDTH, H)], Regularization())[0]
    layer.reset_parameters(Start())
    for parameter in layer.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return layer.to(dtype).eval()


def plain_loop(layer, x, state):
    """The equations over time, with parameters by name."""
    cell, p, outputs = layer.cell, dict(layer.named_parameters()), []
    for x_t in x:
        if isinstance(cell, FreeCell):
            output, state, _ = cell.step(x_t, state)
            outputs.append(output)
            continue
        rows = {name: slice(k * H, (k + 1) * H) for k, name in enumerate(cell.gates)}
        z = {name: x_t @ p["weight_ih"][r].T + p["bias"][r] for name, r in rows.items()}
        if isinstance(layer, GatedLayer):
            u = {name: state[0] @ p["weight_hh"][r].T for name, r in rows.items()}
            joined = [z[name] if name in cell.separate else z[name] + u[name] for name in cell.gates]
            joined += [u[name] for name in cell.separate]
            state, _ = cell.pointwise(tuple(joined), state, *(p[f"vectors.{name}"] for name in cell.vectors))
        else:
            a, b, _ = cell.coefficients(tuple(value.unsqueeze(0) for value in z.values()))
            state = (a[0] * state[0] + b[0],)
        outputs.append(state[0])
    return torch.stack(outputs), tuple(state)


def numbers(layer, run, dtype=torch.float64):
    """Outputs, final states and gradients, under a loss in which everything has a weight of its own."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    x, state = drawn(T, B, WIDTH), tuple(drawn(B, H) for _ in layer.cell.state)
    leaves = [x, *state, *layer.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()
    outputs, final = run(x, state)
    results = [outputs, *final]
    loss = sum((value * drawn(*value.shape)).sum() for value in results)
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    filled = [torch.zeros_like(v) if g is None else g for g, v in zip(gradients, leaves, strict=True)]
    return [value.detach() for value in (*results, *filled)]


def compare(name, path, compiled, dtype, tolerance):
    layer = layer_of(name, dtype)
    wanted = numbers(layer, lambda x, state: plain_loop(layer, x, state), dtype)
    layer.path, layer.compiled = path or layer.path, compiled
    for got, want in zip(numbers(layer, layer, dtype), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    return layer


@pytest.mark.parametrize("name", RIGHT)
def test_a_cell_that_keeps_to_the_contract_is_right_on_every_path(name):
    gated = issubclass(find_cell(f"{CELLS}:{name}"), GatedCell)
    for path in ("loop", "engine") if gated else (None,):
        compare(name, path, False, torch.float64, 1e-10)


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
@pytest.mark.parametrize("name", ["MaskOnHidden", "Mean", "Max", "Norm", "OldState", "StraightThrough"])
def test_and_compiled(name):
    compare(name, "engine", True, torch.float32, 2e-5)


@pytest.mark.parametrize("name", RIGHT)
def test_a_cell_that_keeps_to_the_contract_is_trained(name, capsys):
    notices._said.clear()
    check_before_training(settings(name))
    said = capsys.readouterr().err
    warned = "taken for a straight-through estimator" in said
    assert warned == (name in ("StraightThrough", "Quantized"))


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "said"), REFUSED.items())
def test_a_cell_that_does_not_is_refused_with_its_line(name, said):
    with pytest.raises(ConfigError) as refused:
        check_before_training(settings(name))
    text = f"{refused.value} {refused.value.hint}"
    assert f"{CELLS}:{name}: " in text and said in text
    lines = [int(part.split(")")[0].split()[0]) for part in text.split(f"{CELLS}:")[1:] if part[:1].isdigit()]
    assert lines and all(line in PLACES[name] for line in lines), text
    verdicts = check_cell(find_cell(f"{CELLS}:{name}"), H)
    assert said in str(next(verdict for verdict in verdicts if verdict.result == "FAILED"))


def test_in_a_run_the_refusal_is_one_message(lab):
    (lab.folder / "cells.py").write_text(CELLS.read_text())
    for verb in ("train", "validate"):
        refused = lab.lstm(verb, "config.yaml", "model.cell=cells.py:Counts", "model.path=auto")
        assert refused.code == 3 and "a step changes self.count (" in refused.err
        assert "Traceback" not in refused.err and not (lab.folder / "runs").exists()
    (lab.folder / "broken.py").write_text("import nothing_of_that_name\n")
    broken = lab.lstm("train", "config.yaml", "model.cell=broken.py:Mine", "model.path=auto")
    assert broken.code == 3 and "broken.py:1)" in broken.err and "Traceback" not in broken.err
    words = ("model.cell=cells.py:StraightThrough", "model.path=engine", "train.max_steps=2")
    assert "straight-through" in lab.train("r", *words).err
