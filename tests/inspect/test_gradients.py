"""Where gradients are taken, and the model that a run began with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lstmcli.cells.base import FreeCell
from lstmcli.core.errors import DataError
from lstmcli.inspect import gradient_views
from lstmcli.inspect.gradient_views import Passages, text_view
from lstmcli.inspect.gradients import curve
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel, TextConfig

V = 6


def model(cell_class=None):
    torch.manual_seed(0)
    return TextModel(LanguageModel(hidden_size=5, embedding_size=3, num_layers=2), V, cell_class).eval()


def text(length=900):
    return np.random.default_rng(0).integers(V, size=length).astype(np.uint8)


@pytest.mark.parametrize(
    ("symbols", "lags", "streams"),
    [(10_000, 200, 128), (300, 200, 16), (203, 200, 9), (60, 200, 4), (4, 9, 9)],
)
def test_passages_lie_within_the_text(symbols, lags, streams):
    found = Passages.of(text(symbols), lags, streams)
    assert found.lags == min(lags, symbols - 2)
    end = found.starts + found.warm_up + found.lags + 2
    assert found.starts.min() == 0 and end.max() <= symbols
    assert len(found.starts) == len(set(found.starts)) <= streams
    if symbols == 10_000:
        assert found.warm_up == 256 and len(found.starts) == streams and end.max() == symbols


def test_a_text_that_is_too_short():
    with pytest.raises(DataError, match="at least 4"):
        Passages.of(text(3), 10, 1)


def test_what_is_measured_is_what_the_measure_says_of_each_passage(monkeypatch):
    monkeypatch.setattr(gradient_views, "TOGETHER", 2)
    monkeypatch.setattr(gradient_views, "STRETCH", 8)
    monkeypatch.setattr(gradient_views, "BURN_IN", 4)
    made, ids, heard = model(), text(), []
    passages = Passages.of(ids, 10, 5)
    found = text_view(made, TextConfig.model_validate({"data": {"path": "x"}}), passages, heard.append)
    assert heard == [2, 2, 1]
    for number, start in enumerate(passages.starts):
        read = torch.from_numpy(ids[start : start + 256 + 12].astype(np.int64)).unsqueeze(1)
        with torch.no_grad():
            _, state = made(read[:256], made.initial_state(1))
        alone = gradient_norms(made, read[256:], state)
        for ours, one in zip(found.gradients.layers, alone.layers, strict=True):
            for name, norms in one.states.items():
                torch.testing.assert_close(ours.states[name][:, number], norms[:, 0], rtol=1e-4, atol=1e-9)
            torch.testing.assert_close(ours.chain[:, number], one.chain[:, 0], rtol=1e-4, atol=1e-9)
    assert found.spectrum.size == 20 and found.spectrum.exponents.steps == 8
    assert found.spectrum.singular.shape[1] == 20


class Backward(torch.autograd.Function):
    """A function without a forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh() ** 2)


class Own(FreeCell):
    gates = ()

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def step(self, x_t, state):
        h = Backward.apply(self.linear(torch.cat([x_t, state[0]], dim=-1)))
        return h, (h,), {}


def test_a_cell_without_forward_derivatives_has_gradients_and_no_exponents(capsys):
    passages = Passages.of(text(), 10, 2)
    config = TextConfig.model_validate({"data": {"path": "x"}})
    found = text_view(model(Own), config, passages, lambda streams: None)
    assert float(found.gradients.layers[0].states["hidden"][3].mean()) > 0.0
    assert found.gradients.layers[0].forget_gates is None
    assert found.spectrum.exponents is None and found.spectrum.singular is None
    assert "without a forward derivative" in capsys.readouterr().err


def test_a_curve_is_told_by_its_mean_and_its_band():
    norms = torch.tensor([[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    found = curve(norms, 1)
    assert found["mean"] == [4.0, 1.0] and found["median"] == [4.0, 1.0]
    assert found["p10"] == pytest.approx([2.4, 1.0]) and found["p90"] == pytest.approx([5.6, 1.0])
    assert found["half_life"] == pytest.approx(0.5) and found["in_window_at_its_end"] == pytest.approx(0.8)


def test_the_initial_model_is_the_one_that_training_began_with(trained_lab, monkeypatch):
    from lstmcli.api import load
    from lstmcli.inspect.gradients import initial_text_model
    from lstmcli.run.session import assemble
    from lstmcli.run.telemetry.console import Console

    monkeypatch.chdir(trained_lab.folder)
    run = load("good")
    trained, before = run.model.state_dict(), torch.get_rng_state()
    again = initial_text_model(run).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    began = assemble(run.config, Console(quiet=True)).task.model.state_dict()
    assert began.keys() == again.keys()
    assert all(torch.equal(began[name], again[name]) for name in began)
    assert not torch.equal(again["head.weight"], trained["head.weight"])
