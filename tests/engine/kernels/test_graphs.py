"""A window as one graph: what is captured, in which memory, and what happens where nothing can be.

There is no device here, so a graph is a fake of the two calls that make one: it runs the captured work again.
The kernel is the text for Triton, run by the stand-in.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from lstmcli.cells import find_cell
from lstmcli.engine import pointwise, walk
from lstmcli.engine.kernels import graphs
from lstmcli.engine.kernels.gpu import TritonKernel
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Fault
from lstmcli.engine.layers import Regularization, Start, make_layers

T, B, WIDTH, H = 7, 3, 5, 20
PATH = Path(__file__).parent / "standin.py"
spec = importlib.util.spec_from_file_location("loaded_standin", PATH)
standin = sys.modules.setdefault("loaded_standin", importlib.util.module_from_spec(spec))
spec.loader.exec_module(standin)


class Kernel(TritonKernel):
    """One that counts its calls, and where they are made."""

    def __init__(self, program, device):
        self.written, self.device = frozenset(program.written), device
        self.run = standin.kernel(program)

    def __call__(self, *tensors):
        self.device.calls.append((self.device.where, *(t.data_ptr() for t in tensors)))
        self.run(*tensors)


class Device:
    """What a graph is made with: it notes whether work is done at once, in warming up, or in a capture."""

    def __init__(self):
        self.where, self.calls, self.replays, self.failing = "outside", [], 0, False

    def during(self, where, run):
        self.where = where
        try:
            run()
        finally:
            self.where = "outside"

    def capture(self, run):
        if self.failing:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.during("capture", run)

        def replay():
            self.replays += 1
            self.during("replay", run)

        return replay

    def count(self, where):
        return sum(call[0] == where for call in self.calls)


@pytest.fixture
def device(monkeypatch):
    device = Device()
    monkeypatch.setattr(graphs, "_capture", device.capture)
    monkeypatch.setattr(graphs, "_warm_up", lambda run: device.during("warming up", run))
    monkeypatch.setattr(walk, "_windows", graphs.Windows())

    def compiled(function, arguments, summed=frozenset(), by_rows=None, name=""):
        return Kernel(trace(by_rows or function, arguments), device)

    monkeypatch.setattr(pointwise, "compiled", compiled)
    return device


def made(name, drops=None):
    torch.manual_seed(3)
    (layer,) = make_layers(find_cell(name), [(WIDTH, H)], drops or Regularization())
    layer.reset_parameters(Start())
    return layer


def outcome(layer, rows, path, seed=0, steps=T):
    layer.path, layer.compiled = path, path == "engine"
    layer.zero_grad()
    torch.manual_seed(seed)
    x = torch.randn(steps, rows, WIDTH, requires_grad=True)
    state = tuple(torch.rand_like(s) + 0.5 for s in layer.initial_state(rows))
    outputs, final = layer(x, state)
    ((outputs * torch.linspace(-1, 1, H)).sum() + sum(s.sum() for s in final)).backward()
    return [outputs, *final, x.grad.clone(), *(p.grad.clone() for p in layer.parameters())]


def agree(layer, rows, seed=0, steps=T):
    found, wanted = (outcome(layer, rows, path, seed, steps) for path in ("engine", "loop"))
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-peephole", "slstm"])
def test_a_graph_computes_what_the_loop_does(name, device):
    layer = made(name, Regularization(0.0, 0.3, (0.2,) * len(find_cell(name).state)))
    for seed in range(3):  # new data in new memory
        agree(layer, B, seed)


def test_each_shape_is_captured_once_with_all_its_steps(device):
    layer = made("lstm")
    agree(layer, B)
    assert device.count("capture") == 2 * T and device.replays == 2  # forward and backward
    agree(layer, B, 1)
    agree(layer, B, 2)
    assert device.count("capture") == 2 * T and device.replays == 6
    assert device.count("outside") == 0, "no step is launched from Python"
    agree(layer, B + 1)
    assert device.count("capture") == 4 * T
    agree(layer, B)
    assert device.count("capture") == 4 * T, "a shape that was seen is still there"


def test_a_graph_has_memory_of_its_own(device):
    """The same in its capture and each replay, whatever memory the window has."""
    layer = made("lstm")
    kept = [outcome(layer, B, "engine", seed) for seed in range(3)]  # so that no memory is used again
    first = {call[1] for call in device.calls if call[0] in ("capture", "replay")}
    assert len(first) == 2 * T and len(kept) == 3


def test_a_single_step_is_no_graph(device):
    agree(made("lstm"), B, steps=1)
    assert device.count("capture") == 0 and device.count("outside") == 2


def test_what_cannot_be_captured_runs_step_by_step_and_is_told_once(device, monkeypatch):
    told = []
    monkeypatch.setattr(graphs, "notice", told.append)
    monkeypatch.setenv("LSTM_KERNELS", "")
    device.failing = True
    layer = made("lstm")
    agree(layer, B)
    agree(layer, B, 1)
    assert device.count("outside") == 4 * T and device.replays == 0
    why = "operation not permitted when stream is capturing"
    assert set(told) == {f"the loop over a window is no CUDA graph, and slower ({why})"}
    monkeypatch.setenv("LSTM_KERNELS", "strict")
    with pytest.raises(Fault, match="no CUDA graph"):
        agree(layer, B + 2)


def test_the_oldest_window_goes_first(device, monkeypatch):
    monkeypatch.setattr(graphs, "KEPT", 4)
    layer = made("lstm")
    for rows in (2, 3, 4, 2):  # two graphs each
        agree(layer, rows)
    assert device.count("capture") == 8 * T


def test_the_calls_that_make_a_graph(monkeypatch):
    """In order: a side stream waits, warms up, is waited for; then the capture, in this thread alone."""
    log = []

    class Stream:
        def wait_stream(self, other):
            log.append(("waits", self, other))

    class Context:
        def __init__(self, *args, **options):
            self.args = args, options

        def __enter__(self):
            log.append(("enters", self.args))

        def __exit__(self, *_):
            log.append(("leaves", self.args))

    class Graph:
        def replay(self):
            log.append("replays")

    main, side = Stream(), Stream()
    monkeypatch.setattr(torch.cuda, "Stream", lambda: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", Context)
    monkeypatch.setattr(torch.cuda, "graph", Context)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    graphs._warm_up(lambda: log.append("works"))
    beside = ((side,), {})
    expected = [("waits", side, main), ("enters", beside), "works", ("leaves", beside), ("waits", main, side)]
    assert log == expected
    log.clear()
    replay = graphs._capture(lambda: log.append("works"))
    assert [entry if isinstance(entry, str) else entry[0] for entry in log] == ["enters", "works", "leaves"]
    assert log[0][1][1] == {"capture_error_mode": "thread_local"}
    replay()
    assert log[-1] == "replays"
