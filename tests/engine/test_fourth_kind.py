"""A fourth kind of cell, in one file that a person could have written: nothing of the tool knows it, and it
is trained, checked, resumed, read from and looked into."""

from __future__ import annotations

import pytest
import torch
import yaml

from lstmcli.benchmark import speed
from lstmcli.cells import find_cell
from lstmcli.engine.checks.check import check_cell
from lstmcli.engine.layers import Regularization, Start, layer_class, make_layers

KIND = '''
"""Cells that look two steps back."""
import math
from typing import ClassVar
import torch
from torch import nn
from torch.nn import functional
from lstmcli.cells import Cell
from lstmcli.engine.layers import Layer, layer_of


class LookBackCell(Cell):
    """Its author writes `blend(z, near, far) -> (hidden, gates by name)`, from z = W x + b and the products
    of the two hidden states before with matrices of their own."""

    state = ("hidden", "before")


@layer_of(LookBackCell)
class LookBackLayer(Layer):
    kind = "look-back"
    function = "blend"

    def __init__(self, cell, input_size, hidden_size, drops=None):
        super().__init__(cell, input_size, hidden_size)
        widths = {"input": input_size, "near": hidden_size, "far": hidden_size}
        self.weights = nn.ParameterDict({k: torch.empty(2 * hidden_size, n) for k, n in widths.items()})
        self.bias = nn.Parameter(torch.empty(2 * hidden_size))

    def reset_parameters(self, start):
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(self.hidden_size), 1 / math.sqrt(self.hidden_size))

    def step(self, x, state, multiply=functional.linear):
        near, far = state
        z = multiply(x, self.weights["input"]) + self.bias
        hidden, gates = self.cell.blend(
            z, multiply(near, self.weights["near"]), multiply(far, self.weights["far"]), near
        )
        return hidden, (hidden, near), gates


class Mine(LookBackCell):
    """f = sigmoid(...), h = f h_{t-1} + (1 - f) tanh(...)"""

    def blend(self, z, near, far, hidden):
        forget, new = (z + near + far).chunk(2, dim=-1)
        f = forget.sigmoid()
        return f * hidden + (1 - f) * new.tanh(), {"forget": f}


class Leaks(Mine):
    def blend(self, z, near, far, hidden):
        return super().blend(z - z.mean(0), near, far, hidden)
'''
CELL = "model.cell=kind.py:Mine"
WORDS = (CELL, "model.path=auto")
WIDTH, H, T, B = 3, 4, 6, 2


@pytest.fixture
def home(lab):
    (lab.folder / "kind.py").write_text(KIND)
    return lab


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "kind.py").write_text(KIND)
    return find_cell(f"{tmp_path}/kind.py:Mine")


def test_it_computes_its_equations(mine):
    """Against matrices and two remembered states, written out; whole windows, states and gates."""
    torch.manual_seed(0)
    (layer,) = make_layers(mine, [(WIDTH, H)], Regularization())
    layer.reset_parameters(Start())
    layer.double()
    x, state = torch.randn(T, B, WIDTH).double(), tuple(torch.randn(2, B, H).double())
    p, (near, far) = dict(layer.named_parameters()), state
    wanted, gates = [], []
    for x_t in x:
        total = x_t @ p["weights.input"].T + near @ p["weights.near"].T + far @ p["weights.far"].T + p["bias"]
        f = torch.sigmoid(total[:, :H])
        near, far = f * near + (1 - f) * torch.tanh(total[:, H:]), near
        wanted.append(near)
        gates.append(f)
    outputs, final = layer(x, state)
    assert torch.allclose(outputs, torch.stack(wanted), atol=1e-12)
    assert torch.allclose(final[0], near) and torch.allclose(final[1], far)
    _, _, trace = layer.observe(x, state)
    assert torch.allclose(trace.gates["forget"], torch.stack(gates), atol=1e-12)
    assert list(trace.states) == ["hidden", "before"]
    layer.recompute = True
    assert torch.equal(layer(x, state)[0], outputs)


def test_it_says_what_it_costs(mine):
    cost = layer_class(mine).cost(mine, WIDTH, H)
    assert (cost.parameters, cost.multiply_adds) == (2 * H * (WIDTH + 2 * H + 1), 2 * H * (WIDTH + 2 * H))


def test_it_is_checked_and_what_is_wrong_with_a_cell_of_it_is_named(home, monkeypatch):
    for name, value in {"HIDDEN": 8, "BATCH": 4, "STEPS": 8}.items():
        monkeypatch.setattr(speed, name, value)
    checked = home.lstm("cells", "check", "kind.py:Mine")  # with its speed
    assert checked.code == 0 and "FAILED" not in checked.out and "path loop               ok" in checked.out
    shown = home.lstm("cells", "show", "kind.py:Mine", "--json").json
    assert shown["kind"] == "look-back" and shown["state"] == ["hidden", "before"]
    found = {v.check: v for v in check_cell(find_cell(f"{home.folder}/kind.py:Leaks"))}
    assert found["streams apart"].result == "FAILED"
    assert f"{home.folder / 'kind.py'}:" in found["streams apart"].detail
    refused = home.lstm("train", "config.yaml", "model.cell=kind.py:Leaks", "model.path=auto")
    assert refused.code == 3 and "of the batch changes when the others change" in refused.err


def test_it_is_trained_and_goes_on_bit_for_bit(home):
    home.train("whole", *WORDS)
    whole = home.checkpoint("whole", 20).tensors
    resumed = home.lstm("train", "--resume", "whole@10")
    assert resumed.code == 0, resumed.err
    again = home.checkpoint("whole", 20).tensors
    assert whole.keys() == again.keys() and any("weights.far" in name for name in whole)
    assert all((whole[name] == again[name]).all() for name in whole)


def test_it_is_read_from_and_looked_into(home):
    home.train("r", *WORDS)
    sampled = home.lstm("generate", "r", "--length", "20", "--json")
    assert sampled.code == 0 and len(sampled.json["samples"][0]["text"]) == 20
    for topic in ("gates", "gradients", "units"):
        looked = home.lstm("inspect", "r", topic, "--json")
        assert looked.code == 0, looked.err
    gates = home.lstm("inspect", "r", "gates")
    assert "forget" in gates.out and "before" in gates.out
    assert home.lstm("eval", "r", "--json").json["loss"] > 0


SERIES = {
    "data": {"kind": "series", "path": "t.csv", "time": "t", "context_length": 8, "horizon": 4},
    "model": {"hidden_size": 8, "num_layers": 1, "path": "auto", "cell": "kind.py:Mine"},
    "train": {"max_steps": 4, "threads": 1, "batch_size": 16, "precision": "fp32"},
}
TASK = {
    "data": {"kind": "synthetic", "task": "adding", "length": 10},
    "model": SERIES["model"],
    "train": SERIES["train"],
}


@pytest.mark.parametrize("config", [SERIES, TASK], ids=["series", "sequences"])
def test_it_learns_other_kinds_of_data(home, config):
    (home.folder / "t.csv").write_text("t,a\n" + "".join(f"{k},{k % 7 + k / 50}\n" for k in range(200)))
    (home.folder / "other.yaml").write_text(yaml.safe_dump(config))
    trained = home.lstm("train", "other.yaml", "--run", "r", "--json")
    assert trained.code == 0 and trained.json["path"] == "loop", trained.err
    assert home.lstm("eval", "r", "--split", "val", "--json").code == 0
    if config is SERIES:
        assert home.lstm("inspect", "r", "gates", "--json").code == 0
        assert home.lstm("generate", "r", "--json").code == 0


def test_where_its_file_is_gone_the_run_has_its_layer_too(home):
    home.train("r", *WORDS)
    before = home.lstm("eval", "r", "--json").json["loss"]
    (home.folder / "kind.py").unlink()
    found = home.lstm("eval", "r", "--json")
    assert found.code == 0 and found.json["loss"] == before and "code that came with the run" in found.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["model.path=auto", "model.zoneout=0.1"],
            "Mine is a look-back cell, whose recurrence is its own",
        ),
        (["model.path=engine"], "not kind.py:Mine, which is a look-back cell: loop"),
    ],
)
def test_what_it_cannot_do_is_refused(home, words, said):
    refused = home.lstm("train", "config.yaml", CELL, *words)
    assert refused.code == 3 and said in refused.err


def test_a_kind_without_a_layer_is_refused(home):
    (home.folder / "none.py").write_text("from lstmcli.cells import Cell\n\nclass Mine(Cell):\n    pass\n")
    refused = home.lstm("train", "config.yaml", "model.cell=none.py:Mine", "model.path=auto")
    assert refused.code == 3 and "Mine is of a kind that no layer computes" in refused.err
    assert "Traceback" not in refused.err
