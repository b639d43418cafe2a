"""Gate statistics against a slow loop in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lstmcli.cells import BUILT_IN
from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.gates import STREAMS, gate_statistics, layer_statistics, timescales
from lstmcli.kinds.text.inside import text_traces
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

T, V, H, LAYERS = 9, 7, 5, 2
GATES = ("input", "forget", "cell", "output")


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def slow_gates(model, ids, state):
    """Per layer: gate activations and cell states by name, (T, B, H), one step and stream at a time."""
    w = {k: v.double().numpy() for k, v in model.state_dict().items()}
    found = [{name: np.zeros((*ids.shape, H)) for name in (*GATES, "state")} for _ in range(LAYERS)]
    for b in range(ids.shape[1]):
        h = [layer[0][b].double().numpy() for layer in state]
        c = [layer[1][b].double().numpy() for layer in state]
        for t in range(ids.shape[0]):
            x = w["embedding.weight"][ids[t, b]]
            for k in range(LAYERS):
                z = w[f"layers.{k}.weight_ih"] @ x + w[f"layers.{k}.weight_hh"] @ h[k] + w[f"layers.{k}.bias"]
                i, f, g, o = np.split(z, 4)
                i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
                c[k] = f * c[k] + i * g
                x = h[k] = o * np.tanh(c[k])
                for name, value in zip((*GATES, "state"), (i, f, g, o, c[k]), strict=True):
                    found[k][name][t, b] = value
    return found


@pytest.fixture
def case():
    """A model with wide open and shut gates, a window for more streams than are looked at, a state."""
    torch.manual_seed(0)
    model = TextModel(LanguageModel(hidden_size=H, embedding_size=4, num_layers=LAYERS, dropout=0.9), V)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=1.5)
    ids = torch.randint(V, (T, STREAMS + 3))
    state = tuple((torch.randn(STREAMS + 3, H).tanh(), torch.randn(STREAMS + 3, H)) for _ in range(LAYERS))
    return model, ids, state


def test_statistics_equal_the_loop(case):
    model, ids, state = case
    found = gate_statistics(text_traces(model, ids, state))
    expected = {}
    for k, layer in enumerate(slow_gates(model, ids[:, :STREAMS], state)):
        for name in GATES:
            values = layer[name]
            if name == "cell":
                expected[f"gates/layer{k}/{name}/std"] = values.std()
                continue
            expected[f"gates/layer{k}/{name}/mean"] = values.mean()
            expected[f"gates/layer{k}/{name}/low"] = (values < 0.1).mean()
            expected[f"gates/layer{k}/{name}/high"] = (values > 0.9).mean()
        tau = [-1.0 / np.mean([math.log(f) for f in layer["forget"][:, :, j].flat]) for j in range(H)]
        for percent in (10, 50, 90):
            expected[f"gates/layer{k}/forget/timescale_p{percent}"] = np.percentile(tau, percent)
        norms = [np.sqrt((c**2).sum()) for c in layer["state"].reshape(-1, H)]
        expected[f"gates/layer{k}/cell_state/norm"] = np.mean(norms)
    assert found.keys() == expected.keys()
    for tag, value in expected.items():
        assert found[tag] == pytest.approx(value, rel=1e-4, abs=1e-6), tag


@pytest.mark.parametrize("path", ["fused", "engine", "loop"])
def test_statistics_do_not_depend_on_the_path(case, path):
    model, ids, state = case
    expected = gate_statistics(text_traces(model, ids, state))
    for layer in model.layers.layers:
        layer.path = path
    assert gate_statistics(text_traces(model, ids, state)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_observing_changes_nothing(case):
    model, ids, state = case
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    generator = torch.get_rng_state()
    gate_statistics(text_traces(model, ids, state))
    assert model.training and torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("gate", "steps"), [(math.exp(-1.0), 1.0), (math.exp(-0.01), 100.0), (0.5, 1 / math.log(2))]
)
def test_a_timescale_is_the_time_to_forget_all_but_1_over_e(gate, steps):
    found = timescales(torch.full((4, 3, 2), gate, dtype=torch.float64))
    assert found["timescale_p50"] == pytest.approx(steps)
    assert gate**steps == pytest.approx(1 / math.e)


def test_a_timescale_uses_the_geometric_mean_over_time():
    forget = torch.tensor([0.9, 0.1], dtype=torch.float64).reshape(2, 1, 1)  # two steps of one unit
    expected = -1.0 / (0.5 * (math.log(0.9) + math.log(0.1)))
    assert timescales(forget)["timescale_p50"] == pytest.approx(expected)


def test_timescales_of_gates_at_the_ends_are_finite():
    units = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 3)
    found = timescales(units)
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    assert found["timescale_p10"] < found["timescale_p50"] < found["timescale_p90"]


def test_gates_of_other_cells_have_the_statistics_that_apply():
    ones = torch.ones(2, 2, 3)
    found = layer_statistics(Trace({"update": 0.95 * ones}, {"hidden": ones}))
    assert set(found) == {f"update/{k}" for k in ("mean", "low", "high")}
    assert (found["update/high"], found["update/low"]) == (1.0, 0.0)


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_layer_of_any_cell_has_more_than_fifteen_scalars(name):
    torch.manual_seed(0)
    model = TextModel(LanguageModel(cell=name, hidden_size=8, num_layers=1), V)
    ids = torch.randint(V, (20, 4))
    found = gate_statistics(text_traces(model, ids, model.initial_state(4)))
    assert 1 <= len(found) <= 14 or not model.observe(ids, model.initial_state(4))[0].gates  # and a half-life
    assert all(math.isfinite(value) for value in found.values())
