"""Units held at a value while a text is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lstmcli.core.errors import UsageError
from lstmcli.kinds.text.decoder import TorchDecoder, decoder_of_model
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.sampling import Clamp, ClampedDecoder, parse_clamp
from lstmcli.kinds.text.settings import LanguageModel

V, H = 9, 5
CLAMPS = (Clamp(1, 3, 2.0), Clamp(0, 0, -1.5), Clamp(1, 4, 0.0))


def a_model(cell="lstm"):
    torch.manual_seed(0)
    model = TextModel(LanguageModel(cell=cell, hidden_size=H, embedding_size=4, num_layers=2), V)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return model.eval()


def slow_lstm(model, ids, clamps):
    """Logits after each symbol of one text, by the equations in float64, with the cell states set before
    every step."""
    w = {k: v.double().numpy() for k, v in model.state_dict().items()}
    h, c, logits = np.zeros((2, H)), np.zeros((2, H)), []
    for symbol in ids:
        for layer, unit, value in clamps:
            c[layer, unit] = value
        x = w["embedding.weight"][symbol]
        for k in range(2):
            z = w[f"layers.{k}.weight_ih"] @ x + w[f"layers.{k}.weight_hh"] @ h[k] + w[f"layers.{k}.bias"]
            i, f, g, o = np.split(z, 4)
            i, f, o = (1.0 / (1.0 + np.exp(-gate)) for gate in (i, f, o))
            c[k] = f * c[k] + i * np.tanh(g)
            x = h[k] = o * np.tanh(c[k])
        logits.append(w["head.weight"] @ x + w["head.bias"])
    return np.array(logits)


@pytest.mark.parametrize("num", [1, 6])
@pytest.mark.parametrize("make", [decoder_of_model, TorchDecoder])
def test_both_decoders_equal_the_equations(make, num):
    model = a_model()
    decoder = ClampedDecoder(make(model), CLAMPS)
    texts = np.random.default_rng(0).integers(0, V, (num, 12))
    state, found = decoder.initial_state(num), []
    for t in range(12):
        found.append(decoder.step(texts[:, t], state).copy())
        if t == 5:
            state = decoder.copy_state(state, list(range(num)))
    for n in range(num):
        expected = slow_lstm(model, texts[n], CLAMPS)
        np.testing.assert_allclose(np.stack(found)[:, n], expected, atol=2e-4)
    assert not np.allclose(expected, slow_lstm(model, texts[n], ()), atol=0.05)


@pytest.mark.parametrize(("cell", "place"), [("gru", 0), ("mingru", 0), ("mogrifier-lstm", 1), ("slstm", 1)])
def test_any_cell_carries_the_value_into_every_step(cell, place):
    """The hidden state where there is no cell state."""
    model, seen = a_model(cell), []

    class Spy:
        layers = model.layers
        initial_state = staticmethod(model.initial_state)

        @staticmethod
        def step(ids, state):
            seen.append(float(state[1][place][0, 3]))
            return model.step(ids, state)

    decoder = ClampedDecoder(TorchDecoder(Spy), CLAMPS)
    state = decoder.initial_state(2)
    for _ in range(3):
        decoder.step(np.array([1, 2]), state)
    assert seen == [2.0, 2.0, 2.0]


def test_a_clamp_in_words():
    assert parse_clamp("1:233=+2") == (1, 233, 2.0) and parse_clamp(" 0:0=-1.5e0 ") == (0, 0, -1.5)


@pytest.mark.parametrize(
    "words", ["1:2", "1=2", "a:1=2", "-1:2=3", "1:2=x", "1:2=nan", "1:2=inf", "1:2=", ""]
)
def test_other_words_are_told(words):
    with pytest.raises(UsageError, match="LAYER:UNIT=VALUE"):
        parse_clamp(words)


@pytest.mark.parametrize(
    ("clamps", "said"),
    [
        ([(2, 0, 1.0)], "2:0: the layers are 0 to 1"),
        ([(0, 5, 1.0)], "0:5: the units of layer 0 are 0 to 4"),
        ([(0, 1, 1.0), (0, 1, 2.0)], "given twice"),
    ],
)
def test_units_that_are_not_there_are_told(clamps, said):
    with pytest.raises(UsageError, match=said):
        ClampedDecoder(decoder_of_model(a_model()), [Clamp(*each) for each in clamps])
