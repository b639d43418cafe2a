"""Gradients by lag against slow loops in float64 that keep everything, and against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lstmcli.cells import BUILT_IN
from lstmcli.cells.base import GatedCell
from lstmcli.cells.zoo.lstm import LSTM
from lstmcli.core.errors import DataError
from lstmcli.engine.layers import FreeLayer, ScanLayer
from lstmcli.engine.measures.gradients import half_life, lag_holding, share_within
from lstmcli.kinds.series.inside import series_gradient_norms
from lstmcli.kinds.series.model import SeriesModel, SeriesShape
from lstmcli.kinds.series.normalise import Rows
from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

T, B, V, H = 12, 3, 7, 4  # T lags beyond lag 0; T + 2 symbols


def made(cell="lstm", layers=2, cell_class=None, size=H, **settings):
    """A model in float64 whose parameters are nowhere zero."""
    torch.manual_seed(0)
    config = LanguageModel(cell=cell, hidden_size=size, embedding_size=3, num_layers=layers, **settings)
    model = TextModel(config, V, cell_class)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return model.double().eval()


def symbols(length=T + 2, streams=B):
    return torch.randint(V, (length, streams), generator=torch.Generator().manual_seed(1))


def start(model, streams=B):
    draw = torch.Generator().manual_seed(2)
    return tuple(
        tuple(torch.rand(s.shape, generator=draw, dtype=s.dtype) for s in layer)
        for layer in model.initial_state(streams)
    )


# --- an LSTM by hand, with a hook into every state -----------------------------------------------


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def loss_by_hand(model, ids, state, nudge=None):
    """The loss of the last symbol of one stream; `nudge` (layer, state, step, values) is added to a state
    where it is made, before anything reads it. Also what every step made of f, o, c and the weights."""
    w = {k: v.numpy() for k, v in model.state_dict().items()}
    hs, cs = [s[0].numpy() for s in state], [s[1].numpy() for s in state]
    tape = []
    for t, symbol in enumerate(ids[:-1]):
        x = w["embedding.weight"][symbol]
        tape.append([])
        for k in range(len(hs)):
            z = w[f"layers.{k}.weight_ih"] @ x + w[f"layers.{k}.weight_hh"] @ hs[k] + w[f"layers.{k}.bias"]
            i, f, g, o = np.split(z, 4)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            before = cs[k]
            c = f * cs[k] + i * g
            if nudge is not None and nudge[:3] == (k, "cell", t):
                c = c + nudge[3]
            h = o * np.tanh(c)
            if nudge is not None and nudge[:3] == (k, "hidden", t):
                h = h + nudge[3]
            hs[k], cs[k], x = h, c, h
            tape[-1].append((i, f, g, o, c, before))
    logits = w["head.weight"] @ x + w["head.bias"]
    return math.log(np.exp(logits).sum()) - logits[ids[-1]], tape


def by_differences(model, ids, state, layer, name, step, size=1e-5):
    """The gradient (H,) at a state, by central differences."""
    found = np.zeros(H)
    for unit in range(H):
        both = [
            loss_by_hand(model, ids, state, (layer, name, step, sign * size * np.eye(H)[unit]))[0]
            for sign in (1, -1)
        ]
        found[unit] = (both[0] - both[1]) / (2 * size)
    return found


def test_exact_gradients_equal_finite_differences():
    model, ids = made(), symbols()
    state = start(model)
    found = gradient_norms(model, ids, state)
    for stream in range(B):
        own = [[s[stream] for s in layer] for layer in state]
        loss, _ = loss_by_hand(model, ids[:, stream].numpy(), own)
        assert float(found.loss[stream]) == pytest.approx(loss, rel=1e-12)
        for layer in range(2):
            for name in ("hidden", "cell"):
                for lag in (0, 1, 2, 5, T):
                    expected = by_differences(model, ids[:, stream].numpy(), own, layer, name, T - lag)
                    norm = float(found.layers[layer].states[name][lag, stream])
                    assert norm == pytest.approx(np.linalg.norm(expected), rel=1e-6), (layer, name, lag)


def test_the_explanations_equal_their_matrices():
    """From the exact gradient at lag 0: the product of the one-step derivatives written out as matrices, and
    of the forget gates alone."""
    model, ids = made(), symbols()
    state = start(model)
    found = gradient_norms(model, ids, state)
    weights = {k: v.numpy() for k, v in model.state_dict().items()}
    for stream in range(B):
        own = [[s[stream] for s in layer] for layer in state]
        _, tape = loss_by_hand(model, ids[:, stream].numpy(), own)
        for layer in range(2):
            chain = product = by_differences(model, ids[:, stream].numpy(), own, layer, "cell", T)
            u_i, u_f, u_g, _ = np.split(weights[f"layers.{layer}.weight_hh"], 4)
            for lag in range(1, T + 1):
                i, f, g, _, _, before = tape[T - lag + 1][layer]
                o, c = tape[T - lag][layer][3:5]
                through = np.diag(o * (1 - np.tanh(c) ** 2))  # dh_{t-1} / dc_{t-1}
                gates = (
                    np.diag(before * f * (1 - f)) @ u_f
                    + np.diag(g * i * (1 - i)) @ u_i
                    + np.diag(i * (1 - g**2)) @ u_g
                )
                chain = chain @ (np.diag(f) + gates @ through)
                product = product * f
                ours = found.layers[layer]
                assert float(ours.chain[lag, stream]) == pytest.approx(np.linalg.norm(chain), rel=1e-6)
                assert float(ours.forget_gates[lag, stream]) == pytest.approx(
                    np.linalg.norm(product), rel=1e-6
                )


# --- any cell ------------------------------------------------------------------------------------


def in_one_graph(model, ids, state):
    """Per layer and state, norms (T + 1, B): one graph over all steps, every state's gradient kept."""
    kept, x_t = [], None
    for symbol in ids[:-1]:
        x = functional.embedding(symbol.unsqueeze(0), model.embedding.weight)
        new = []
        for layer, old in zip(model.layers.layers, state, strict=True):
            layer.path = "scan" if isinstance(layer, ScanLayer) else "loop"
            if isinstance(layer, FreeLayer):
                output, layer_state, _ = layer.cell.step(x[0], old)
                x = output.unsqueeze(0)
            else:
                x, layer_state = layer(x, old)
            if isinstance(layer, ScanLayer):  # its final state is made from its output
                layer_state = (x[0],)
            if not isinstance(layer, FreeLayer):
                x = layer_state[0].unsqueeze(0)
            for tensor in layer_state:
                tensor.retain_grad()
            new.append(layer_state)
        state, x_t = tuple(new), x
        kept.append(state)
    functional.cross_entropy(model.logits(x_t)[0], ids[-1], reduction="sum").backward()
    norms = []
    for k, layer in enumerate(kept[0]):
        for s, _ in enumerate(layer):
            gradients = [step[k][s].grad for step in reversed(kept)]
            norms.append(
                torch.stack([g.norm(dim=-1) if g is not None else torch.zeros(B) for g in gradients])
            )
    model.zero_grad(set_to_none=True)
    return norms


@pytest.mark.parametrize("cell", BUILT_IN)
def test_every_cell_equals_one_graph_over_all_steps(cell):
    model, ids = made(cell, layers=2), symbols()
    state = start(model)
    expected = in_one_graph(model, ids, state)
    found = gradient_norms(model, ids, state)
    norms = [norm for layer in found.layers for norm in layer.states.values()]
    assert len(norms) == len(expected)
    for ours, slow in zip(norms, expected, strict=True):
        torch.testing.assert_close(ours, slow.double(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("cell", ["gru", "rnn", "janet", "mingru"])
def test_the_chain_is_exact_where_one_state_is_all_there_is(cell):
    found = gradient_norms(made(cell, layers=1), symbols()).layers[0]
    torch.testing.assert_close(found.chain, found.states["hidden"], rtol=1e-10, atol=0.0)
    assert found.memory == "hidden" and (found.forget_gates is not None) == (cell == "janet")


def test_forget_gates_are_all_there_is_of_a_scan():
    """minLSTM's gates do not see the state: the carousel is the only path within a layer."""
    found = gradient_norms(made("minlstm", layers=1), symbols()).layers[0]
    torch.testing.assert_close(found.forget_gates, found.states["hidden"], rtol=1e-10, atol=0.0)


def test_a_stabilised_cell_is_not_explained_by_its_forget_gates():
    assert gradient_norms(made("slstm"), symbols()).layers[0].forget_gates is None


@pytest.mark.parametrize(
    "settings",
    [{"residual": True}, {"sum_outputs": True}, {"zoneout": 0.3}, {"recompute": True}, {"mixtures": 2}],
)
def test_the_loss_is_the_models_own(settings):
    model, ids = made(layers=3, **settings), symbols()
    state = start(model)
    model.product_dtype = torch.float64
    for layer in model.layers.layers:
        layer.path = "loop"
    logits, _ = model(ids[:-1], state)
    expected = functional.cross_entropy(logits[-1], ids[-1], reduction="none")
    torch.testing.assert_close(gradient_norms(model, ids, state).loss, expected.detach().double())


def test_each_stream_stands_for_itself():
    model, ids = made(), symbols()
    together = gradient_norms(model, ids).layers[1].states["cell"]
    alone = gradient_norms(model, ids[:, 1:2]).layers[1].states["cell"]
    torch.testing.assert_close(together[:, 1:2], alone)


# --- the constant error carousel -----------------------------------------------------------------


class Carousel(GatedCell):
    """The LSTM with its input gate shut, its forget gate open, and nothing fed back."""

    gates = LSTM.gates
    state = LSTM.state

    def pointwise(self, z, state, *vectors):
        shut = (torch.full_like(z[0], -1e4), torch.full_like(z[1], 1e4), z[2], z[3])
        return LSTM().pointwise(shut, state)


def test_the_constant_error_carousel():
    """i = 0 and f = 1: the cell state and what comes back to it stay exactly as they are for 1,000 steps."""
    model = made(layers=1, cell_class=Carousel)
    model.layers.layers[0].weight_hh.data.zero_()  # the output gate, too, must not see the state
    ids, state = symbols(1002, 2), start(model, 2)
    with torch.no_grad():
        _, final = model.layers(lambda layer, old: layer(model.embedding(ids[:-1]), old), state)
    assert torch.equal(final[0][1], state[0][1])
    found = gradient_norms(model, ids, state).layers[0]
    for norms in (found.states["cell"], found.chain, found.forget_gates):
        assert len(norms) == 1001 and float(norms[0].min()) > 0.0
        assert torch.equal(norms, norms[:1].expand_as(norms))


def test_the_forget_gates_alone_are_not_the_gradient():
    """What is sent back through the gates outlasts the carousel in a small LSTM with forget bias 1."""
    torch.manual_seed(0)
    model = TextModel(LanguageModel(hidden_size=16, embedding_size=16, num_layers=1), 65).double()
    ids = torch.randint(65, (52, 64))
    found = gradient_norms(model, ids).layers[0]
    exact, product = found.states["cell"][50].mean(), found.forget_gates[50].mean()
    assert float(exact) > 10.0 * float(product) > 0.0


# --- what is left behind ----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "mingru", "lstm-readable"])
def test_measuring_changes_nothing(cell):
    model, ids = made(cell, dropout=0.5), symbols()
    model.train()
    for layer in model.layers.layers:
        layer.path = "fused" if cell == "lstm" else layer.path
        layer.recompute = True
    before = [(layer.path, layer.recompute) for layer in model.layers.layers]
    state = model.initial_state(B)
    generator = torch.get_rng_state()
    with torch.no_grad():
        first = gradient_norms(model, ids, state).layers[0].states["hidden"]
    assert model.training and all(module.training for module in model.modules())
    assert [(layer.path, layer.recompute) for layer in model.layers.layers] == before
    assert torch.equal(generator, torch.get_rng_state())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(s.requires_grad for layer in state for s in layer)
    assert torch.equal(first, gradient_norms(model, ids, state).layers[0].states["hidden"])


def test_one_symbol_has_no_gradient():
    with pytest.raises(DataError, match="at least 2"):
        gradient_norms(made(), symbols(1))


# --- a forecaster --------------------------------------------------------------------------------


def forecaster(decoder, context=12, horizon=4):
    config = SeriesConfig.model_validate(
        {
            "data": {"kind": "series", "path": "x.csv", "context_length": context, "horizon": horizon},
            "model": {"hidden_size": 5, "num_layers": 2},
            "forecast": {"patch_length": 2, "decoder": decoder, "loss": "mse"},
        }
    )
    torch.manual_seed(0)
    model = SeriesModel(config, SeriesShape(1, 1, 1, 0, 0, 0, 0, False))
    values = torch.randn(3, context + horizon, 1, dtype=torch.float64)
    values[1, -1] = math.nan
    none = torch.zeros(3, context + horizon, 0)
    zeros = torch.zeros(3, dtype=torch.long)
    rows = Rows(values[:, :context], values[:, context:], zeros, zeros, none, none[:, :context], none[:, 0])
    return model, rows


@pytest.mark.parametrize("decoder", ["direct", "segments"])
def test_the_loss_of_a_forecast_is_the_models_own(decoder):
    model, rows = forecaster(decoder)
    found = series_gradient_norms(model, rows)
    each = [model.loss(Rows(*(part[k : k + 1] for part in rows))) for k in range(3)]
    assert found.loss.tolist() == pytest.approx([float(loss.detach()) for loss in each], rel=1e-5)


@pytest.mark.parametrize("decoder", ["direct", "segments", "recursive"])
def test_gradients_of_a_forecast_equal_one_graph(decoder):
    """A nudge of the first layer's hidden state, step by step, in a loop that stays in one graph."""
    model, rows = forecaster(decoder)
    network = model.networks[0]
    found = series_gradient_norms(model, rows)
    assert found.layers[0].states["hidden"].shape == (6, 3)
    for layer in network.layers.layers:
        layer.path = "loop"
    x, window, identity = network.inputs(rows)
    state, kept = network.layers.initial_state(3), []
    for patch in x:
        outputs, state = network.layers(lambda layer, old, x=patch: layer(x.unsqueeze(0), old), state)
        kept.append(state[1][1])
        kept[-1].retain_grad()
    truth = ((rows.target - window.ahead) / window.scale).float()
    if decoder == "direct":
        raw = network._direct(outputs[0], rows, identity)
    elif decoder == "segments":
        raw = network._segments(state, rows, identity)
    else:
        raw, truth = network.out(outputs[0]).view(3, 2, 1, 1), truth[:, :2]
    raw = raw[..., 0]
    seen = ~truth.isnan()
    errors = ((raw - truth.nan_to_num()).square() * seen).flatten(1).sum(1) / seen.flatten(1).sum(1)
    errors.sum().backward()
    expected = torch.stack([c.grad.norm(dim=-1) for c in reversed(kept)]).double()
    torch.testing.assert_close(found.layers[1].states["cell"], expected, rtol=1e-4, atol=1e-9)


# --- what is read from a curve -------------------------------------------------------------------


def test_half_life_of_an_exponential():
    for rate in (0.5, 0.9, 0.97):
        norms = [3.0 * rate**lag for lag in range(100)]
        assert half_life(norms) == pytest.approx(math.log(0.5) / math.log(rate))
    assert half_life([1.0] * 50) is None
    assert half_life([1.0, 2.0, 0.0]) == 2.0 and half_life([0.0, 0.0]) == 0.0


def test_the_lag_that_holds_99_percent():
    norms = [0.9**lag for lag in range(400)]
    lag = lag_holding(norms)
    assert sum(norms[: lag + 1]) >= 0.99 * sum(norms) > sum(norms[:lag])
    assert lag_holding([1.0, 0.0, 0.0]) == 0 and lag_holding([0.0, 0.0]) == 0


def test_what_truncated_bptt_reaches():
    norms, window = [1.0, 0.5, 0.25, 0.125], 3
    at_end, average = share_within(norms, window)
    assert at_end == pytest.approx(1.75 / 1.875)
    # positions 0, 1, 2 of the window reach lags up to 0, 1, 2
    assert average == pytest.approx((1.0 + 1.5 + 1.75) / 3 / 1.875)
    assert share_within([0.0, 0.0], 2) == (0.0, 0.0)
