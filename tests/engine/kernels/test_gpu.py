"""Kernels for GPUs, on the CPU: their text run by a stand-in for Triton's language, and by its interpreter.

The interpreter's tests need the package `triton` (`make test-triton` brings it); the stand-in needs nothing.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.base import GatedCell
from lstmcli.engine import pointwise
from lstmcli.engine.kernels import compiled as door
from lstmcli.engine.kernels.gpu import HELPER, TritonKernel, in_python, triton_source
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Unsupported
from lstmcli.engine.layers import Regularization, Start, make_layers

HERE = Path(__file__).parent


def load(path):
    name = f"loaded_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


standin = load(HERE / "standin.py")
composed = load(HERE / "test_composed.py")
functions = load(HERE / "test_functions.py")
GATED = [name for name in BUILT_IN if issubclass(find_cell(name), GatedCell)]
OWN = {
    name: cell
    for name, cell in vars(load(HERE.parents[1] / "cells" / "adversarial.py")).items()
    if isinstance(cell, type) and issubclass(cell, GatedCell) and cell.__module__ == "loaded_adversarial"
}
RIGHT = ["Coupled", "Heads", "HeadNorm", "HeadSoftmax", "MaskOnHidden", "MaskOnCell", "Mean", "Max"]
RIGHT += ["Norm", "Cumulative", "Softmax", "Rounded", "Sign"]
T, WIDTH = 6, 5


@pytest.fixture
def interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton")


@pytest.fixture(params=["stand-in", "interpreter"])
def kernels(request, monkeypatch):
    """What makes a kernel of a program, also for the engine's functions."""
    if request.param == "interpreter":
        request.getfixturevalue("interpreter")
    made = TritonKernel if request.param == "interpreter" else standin.kernel

    def compiled(function, arguments, summed=frozenset(), by_rows=None, name=""):
        return made(trace(by_rows or function, arguments))

    monkeypatch.setattr(pointwise, "compiled", compiled)
    return made


def everything(layer, x, state, path):
    """Outputs, final states and all gradients."""
    layer.path, layer.compiled = path, path == "engine"
    layer.zero_grad()
    x = x.clone().requires_grad_()
    state = tuple(s.clone().requires_grad_() for s in state)
    torch.manual_seed(5)
    outputs, final = layer(x, state)
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)
    ((outputs * weights).sum() + sum((k + 1) * s.sum() for k, s in enumerate(final))).backward()
    gradients = [x.grad, *(s.grad for s in state), *(p.grad for p in layer.parameters())]
    return [v.detach().double() for v in (outputs, *final, *gradients) if v is not None]


def compare(cell, rows, units, drops=None):
    """The engine with kernels in fp32 against the loop in float64."""
    torch.manual_seed(rows * units)
    (layer,) = make_layers(cell, [(WIDTH, units)], drops or Regularization())
    layer.reset_parameters(Start())
    for parameter in layer.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    x, state = (
        torch.randn(T, rows, WIDTH),
        tuple(0.3 * torch.randn_like(s) for s in layer.initial_state(rows)),
    )
    found = everything(layer, x, state, "engine")
    wanted = everything(layer.double(), x.double(), tuple(s.double() for s in state), "loop")
    assert len(found) == len(wanted)
    for ours, exact in zip(found, wanted, strict=True):
        assert float((ours - exact).abs().max()) <= 1e-5 * max(1.0, float(exact.abs().max()))


@pytest.mark.parametrize("name", GATED)
def test_every_built_in_cell_is_the_loop(name, kernels):
    compare(find_cell(name), 3, 20)


@pytest.mark.parametrize("name", RIGHT)
def test_own_cells_are_the_loop(name, kernels):
    compare(OWN[name], 2, 24)


@pytest.mark.parametrize(("rows", "units"), [(1, 16), (5, 2), (2, 300), (7, 33)])
@pytest.mark.parametrize("name", ["lstm", "lstm-peephole", "lstm-layer-norm"])
def test_any_shape(name, rows, units, kernels):
    """One row, two units, more units than a block, and what is no power of two."""
    if units == 2 and "norm" in name:
        pytest.skip("two units that are normalized are 1 and -1, of no slope")
    compare(find_cell(name), rows, units)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-peephole", "slstm"])
def test_masks(name, kernels):
    """Zoneout and what the recurrent product does not read."""
    compare(find_cell(name), 3, 20, Regularization(0.2, 0.3, (0.25,) * len(find_cell(name).state)))


@pytest.mark.parametrize("operands", [1, 2])
def test_every_function_is_the_librarys(operands):
    table = functions.ONE if operands == 1 else functions.TWO

    def function(*tensors):
        for f, into in zip(table.values(), tensors[operands:], strict=True):
            into.copy_(f(*tensors[:operands]))

    given = [3.0 * torch.randn(7, 40) for _ in range(operands)]
    room = [torch.zeros(7, 40) for _ in table]
    standin.kernel(trace(function, [*given, *room]), torch.float32)(*given, *room)
    for name, f, ours in zip(table, table.values(), room, strict=True):
        exact = f(*(x.double() for x in given))
        assert ((ours - exact).abs() / (1.0 + exact.abs())).max() < 3e-6, name


@pytest.mark.parametrize("name", composed.OPERATIONS)
def test_what_is_taken_apart_is_the_librarys(name):
    f, given = composed.OPERATIONS[name], composed.tensors(torch.float32)
    standin.kernel(trace(composed.forward_and_backward(f, by_rows=True), given))(*given)
    for ours, wanted in zip(given[4:], composed.library(f, given), strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(50, 450, 50))]
)
def test_programs_at_random(first):
    for seed in range(first, first + 50):
        dice = random.Random(seed)
        names = [(dice.choice(list(composed.OPERATIONS)), dice.random(), dice.random()) for _ in range(3)]

        def f(x, y, v, names=names):
            values = [x, y * v]
            for name, p, q in names:
                a, b = values[int(p * len(values))], values[int(q * len(values))]
                values.append(composed.OPERATIONS[name](a.tanh(), b.tanh() + 1.5, v).tanh())
            return values[-1] + values[-2]

        given = composed.tensors(torch.float32, rows=3, seed=seed)
        function = composed.forward_and_backward(f, by_rows=True)
        standin.kernel(trace(function, given), exact=True)(*given)
        for ours, exact in zip(given[4:], composed.library(f, given), strict=True):
            off = (ours - exact).abs() / (1.0 + exact.abs())
            assert float(off.max()) < 1e-5, (seed, names)


def test_bf16_is_rounded_where_the_program_says():
    def function(x, y, into, other):
        into.copy_(x.float() * y)
        other.copy_((x * 3.0).float() + y)

    given = [
        torch.randn(3, 24).bfloat16(),
        torch.randn(3, 24),
        torch.zeros(3, 24).bfloat16(),
        torch.zeros(3, 24),
    ]
    wanted = [t.clone() for t in given]
    function(*wanted)
    standin.kernel(trace(function, given), torch.float32)(*given)
    assert torch.equal(given[2], wanted[2]) and torch.equal(given[3], wanted[3])


def test_choices_become_where():
    assert in_python("{0} < 0 ? 0 : {0}") == "tl.where({0} < 0, 0, {0})"
    assert in_python("{0} < {1} ? {1} : {0} > {2} ? {2} : {0}") == (
        "tl.where({0} < {1}, {1}, tl.where({0} > {2}, {2}, {0}))"
    )
    assert in_python("{0} * ({1} > 0 ? 1 : f({1} * {2}))") == "{0} * (tl.where({1} > 0, 1, f({1} * {2})))"
    assert in_python("!{0}") == "({0} == 0)"
    assert all(text.startswith("@jit\ndef ") for text in HELPER.values())


def test_a_block_holds_a_part_of_the_columns_unless_something_is_gathered():
    def sums(x, y):
        y.copy_(x - x.mean(-1, keepdim=True))

    wide = [torch.zeros(2, 600), torch.zeros(2, 600)]
    apart = triton_source(trace(lambda x, y: y.copy_(x.tanh()), wide))
    assert (apart.block, apart.blocks) == (256, 3)
    whole = triton_source(trace(sums, wide))
    assert (whole.block, whole.blocks) == (1024, 1)


def test_what_is_not_for_gpus_is_said():
    double = [torch.zeros(2, 8, dtype=torch.float64)] * 2
    with pytest.raises(Unsupported, match="double"):
        triton_source(trace(lambda x, y: y.copy_(x + 1), double))
    with pytest.raises(Unsupported, match="every row would write"):
        triton_source(trace(lambda x, v: v.copy_(v * 2), [torch.zeros(2, 8), torch.zeros(8)]))


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-layer-norm", "slstm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_text_compiles_for_a_card(name, dtype, monkeypatch):
    """All the way to machine code for compute capability 9.0, for which no card is needed."""
    triton = pytest.importorskip("triton")
    programs = []

    def compiled(function, arguments, summed=frozenset(), by_rows=None, name=""):
        programs.append(trace(by_rows or function, arguments))
        return function

    monkeypatch.setattr(pointwise, "compiled", compiled)
    cell = find_cell(name)
    (layer,) = make_layers(cell, [(WIDTH, 48)], Regularization(0.0, 0.2, (0.1,) * len(cell.state)))
    layer.reset_parameters(Start())
    layer.path, layer.compiled = "engine", True
    outputs, _ = layer(torch.randn(2, 3, WIDTH).to(dtype), layer.initial_state(3))
    outputs.float().sum().backward()
    assert len(programs) == 2
    for program in programs:
        assert "cubin" in machine_code(triton, program)


@pytest.mark.parametrize("first", range(0, len(composed.OPERATIONS), 4))
def test_what_is_taken_apart_compiles_for_a_card(first):
    triton = pytest.importorskip("triton")
    for f in list(composed.OPERATIONS.values())[first : first + 4]:
        function = composed.forward_and_backward(f, by_rows=True)
        assert "cubin" in machine_code(triton, trace(function, composed.tensors(torch.float32)))


def machine_code(triton, program):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source, kernel = (made := TritonKernel(program)).source, made._kernel
    types = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.bool: "*i1"}
    signature = {f"a{n}": types[a.dtype] for n, a in enumerate(program.arguments)} | {"BLOCK": "constexpr"}
    text = ASTSource(fn=kernel, signature=signature, constexprs={"BLOCK": source.block})
    return triton.compile(text, target=GPUTarget("cuda", 90, 32)).asm


def test_the_door_takes_triton_for_cuda(monkeypatch):
    """What it makes of tensors that are on a card, which here only say so."""
    told, made = [], []
    monkeypatch.setattr(door, "notice", told.append)
    monkeypatch.setattr(door, "_slower_ones", set())
    monkeypatch.setattr(door, "TritonKernel", lambda program: made.append(program) or "a kernel")
    with FakeTensorMode():
        given = [torch.empty(4, 8, device="cuda"), torch.empty(4, 8, device="cuda")]

    def function(x, y):
        y.copy_(x.tanh())

    assert door.compiled(function, given) == "a kernel"
    assert len(made) == 1 and not told


def test_without_triton_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(Unsupported, match="no Triton"):
        TritonKernel(trace(lambda x, y: y.copy_(x + 1), [torch.zeros(2, 8), torch.zeros(2, 8)]))
