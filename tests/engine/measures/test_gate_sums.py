"""Statistics of gates over a stream against a loop that keeps every value."""

from __future__ import annotations

import math

import pytest
import torch

from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.gates import GateSums, LayerSums, StateSums, add_all, gate_statistics

T, B, H = 13, 3, 6


@pytest.fixture
def windows():
    """Values in (0, 1), float64: unit 0 is almost always shut, unit 1 almost always open."""
    draw = torch.Generator().manual_seed(0)
    made = []
    for steps in (T, 1, 40):
        values = torch.rand(steps, B, H, generator=draw, dtype=torch.float64)
        values[..., 0] *= 0.09
        values[..., 1] = 0.95
        made.append(values)
    made[0][0, 0, :2] = 0.5  # one step of 162 is not "always"
    return made


def every(windows, unit=None):
    """All values as a list."""
    return [v for w in windows for v in (w if unit is None else w[..., unit]).flatten().tolist()]


@pytest.mark.parametrize("signed", [False, True])
def test_a_gate_over_a_stream_equals_the_loop(windows, signed):
    if signed:
        windows = [2.0 * w - 1.0 for w in windows]
    sums = GateSums("forget" if not signed else "cell", H)
    for values in windows:
        sums.add(values)
    values = every(windows)
    mean = math.fsum(values) / len(values)
    assert sums.mean == pytest.approx(mean, rel=1e-12)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    assert sums.deviation == pytest.approx(spread, rel=1e-12)
    dead = opened = 0
    for unit in range(H):
        own = every(windows, unit)
        shut = sum(v < (-0.9 if signed else 0.1) for v in own) / len(own)
        assert float(sums.left[unit]) == shut
        assert float(sums.right[unit]) == sum(v > 0.9 for v in own) / len(own)
        dead += sum(abs(v) < 0.1 for v in own) / len(own) >= 0.99
        opened += sum(v > 0.9 for v in own) / len(own) >= 0.99
    assert (sums.signed, sums.dead, sums.always_open) == (signed, dead, opened)
    assert signed or (dead, opened) == (1, 1)


def test_timescales_over_a_stream_equal_the_loop(windows):
    sums = GateSums("forget", H)
    for values in windows:
        sums.add(values)
    for unit in range(H):
        logs = [math.log(v) for v in every(windows, unit)]
        assert float(sums.timescales[unit]) == pytest.approx(-len(logs) / math.fsum(logs), rel=1e-12)
    assert GateSums("input", H).timescales is None


def test_a_state_over_a_stream_equals_the_loop(windows):
    windows = [3.0 * w - 1.0 for w in windows]
    sums = StateSums("cell", H)
    for values in windows:
        sums.add(values)
    steps = [step for w in windows for step in w.reshape(-1, H).tolist()]
    norms = [math.sqrt(sum(v * v for v in step)) for step in steps]
    assert sums.norm == pytest.approx(sum(norms) / len(norms), rel=1e-12)
    values = every(windows)
    assert sums.rms == pytest.approx(math.sqrt(math.fsum(v * v for v in values) / len(values)), rel=1e-12)
    assert sums.largest == max(abs(v) for v in values)


def test_a_stream_of_one_window_has_the_figures_of_training(windows):
    """The same definitions, whichever way they are computed."""
    window = windows[2].float()
    trace = Trace({"forget": window, "cell": 2 * window - 1}, {"cell": window})
    layers: list[LayerSums] = []
    add_all(layers, [trace, trace])
    expected = gate_statistics([trace, trace])
    for number, layer in enumerate(layers):
        for name, gate in layer.gates.items():
            found = {
                "mean": gate.mean, "std": gate.deviation, "low": float(gate.left.mean()),
                "high": float(gate.right.mean()),
            }  # fmt: skip
            for key, value in found.items():
                logged = expected.get(f"gates/layer{number}/{name}/{key}", value)
                assert value == pytest.approx(logged, abs=1e-6)
        median = float(torch.quantile(layer.gates["forget"].timescales, 0.5))
        assert median == pytest.approx(expected[f"gates/layer{number}/forget/timescale_p50"], rel=1e-5)
        norm = expected[f"gates/layer{number}/cell_state/norm"]
        assert layer.states["cell"].norm == pytest.approx(norm, rel=1e-6)
