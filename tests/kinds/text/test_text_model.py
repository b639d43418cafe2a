"""The language model: one window, many windows, ties, dropout, and the NumPy decoder beside it."""

import numpy as np
import pytest
import torch

from lstmcli.engine.dropout import dropout
from lstmcli.engine.stack import detach, reset_streams
from lstmcli.kinds.text.decoder import decoder_of_model
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

V = 11


def make(path="loop", **settings):
    torch.manual_seed(0)
    model = TextModel(LanguageModel(**{"hidden_size": 12, "num_layers": 2, **settings}), V)
    for layer in model.layers.layers:
        layer.path = path
    return model


def test_the_state_carries_the_text_over_windows():
    model = make()
    ids = torch.randint(0, V, (20, 3))
    whole, _ = model(ids, model.initial_state(3))
    first, state = model(ids[:9], model.initial_state(3))
    second, _ = model(ids[9:], detach(state))
    torch.testing.assert_close(torch.cat([first, second]), whole)


def test_a_detached_state_takes_no_gradient_into_the_window_before():
    model = make()
    _, state = model(torch.zeros(4, 2, dtype=torch.long), model.initial_state(2))
    assert all(s.requires_grad for layer in state for s in layer)
    assert not any(s.requires_grad for layer in detach(state) for s in layer)


def test_streams_that_are_reset_begin_like_new_ones():
    model = make()
    ids = torch.randint(0, V, (5, 3))
    _, state = model(ids, model.initial_state(3))
    state = reset_streams(detach(state), torch.tensor([True, False, True]))
    logits, _ = model(ids, state)
    fresh, _ = model(ids, model.initial_state(3))
    torch.testing.assert_close(logits[:, [0, 2]], fresh[:, [0, 2]])
    assert not torch.allclose(logits[:, 1], fresh[:, 1])


def test_tied_weights_are_one_matrix_and_count_once():
    tied, free = make(tie_weights=True), make()
    assert tied.head.weight is tied.embedding.weight
    assert free.parameter_count() - tied.parameter_count() == V * 12


def test_dropout_acts_while_training_only_and_on_the_last_layer_too():
    model = make(dropout=0.5, num_layers=1)
    ids = torch.randint(0, V, (6, 2))
    state = model.initial_state(2)
    model.train()
    assert not torch.allclose(model(ids, state)[0], model(ids, state)[0])
    model.eval()
    torch.testing.assert_close(model(ids, state)[0], model(ids, state)[0])


@pytest.mark.parametrize(
    "cell, layers, tied", [("lstm", 1, False), ("lstm", 3, True), ("lstm-readable", 2, False)]
)
def test_the_decoder_gives_the_logits_of_the_training_forward_pass(cell, layers, tied):
    model = make(path="loop", cell=cell, num_layers=layers, tie_weights=tied).eval()
    ids = torch.randint(0, V, (30, 4))
    with torch.no_grad():
        expected, _ = model(ids, model.initial_state(4))
    decoder = decoder_of_model(model)
    state = decoder.initial_state(4)
    logits = np.stack([decoder.step(row, state).copy() for row in ids.numpy()])
    np.testing.assert_allclose(logits, expected.numpy(), atol=2e-6)


def test_observing_changes_neither_the_model_nor_its_mode():
    model = make(dropout=0.5).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    traces = model.observe(torch.randint(0, V, (6, 2)), model.initial_state(2))
    assert model.training and len(traces) == 2
    assert traces[0].gates["forget"].shape == (6, 2, 12)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    x = torch.ones(401, 997, requires_grad=True)
    y = dropout(x, p, True)
    dropped = float((y == 0).float().mean())
    assert abs(dropped - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5 + 2**-16
    kept = y.detach()[y.detach() > 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-4, atol=0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    # neighbours share a word of random bits, and must not share a fate
    pairs = (y[:, :-1] == 0).float().mul((y[:, 1:] == 0).float()).mean()
    assert abs(float(pairs) - p * p) < 0.01
