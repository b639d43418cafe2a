"""NumpyDecoder and TorchDecoder against plain float64 loops and torch's own LSTM."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from lstmcli.core.errors import RunError
from lstmcli.engine.decode import VECTOR_TEXTS
from lstmcli.kinds.text import decoder as decoder_module
from lstmcli.kinds.text.decoder import NumpyDecoder, TorchDecoder

V, E, H, T = 11, 6, 8, 20


def make_tensors(layers=2, tied=False, width=E, scale=0.8, seed=0):
    rng = np.random.default_rng(seed)
    width = H if tied else width

    def draw(*shape):
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    tensors = {"embedding.weight": draw(V, width), "head.bias": draw(V)}
    for layer in range(layers):
        tensors[f"layers.{layer}.weight_ih"] = draw(4 * H, width if layer == 0 else H)
        tensors[f"layers.{layer}.weight_hh"] = draw(4 * H, H)
        tensors[f"layers.{layer}.bias"] = draw(4 * H)
    if not tied:
        tensors["head.weight"] = draw(V, H)
    return tensors


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def reference(tensors, ids):
    """Logits (T, N, V) in float64 for ids (T, N), by the textbook's equations."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    layers = sum(name.endswith("weight_hh") for name in tensors)
    h = [np.zeros((ids.shape[1], H)) for _ in range(layers)]
    c = [np.zeros((ids.shape[1], H)) for _ in range(layers)]
    head = tensors.get("head.weight", tensors["embedding.weight"])
    logits = []
    for symbols in ids:
        x = tensors["embedding.weight"][symbols]
        for layer in range(layers):
            z = x @ tensors[f"layers.{layer}.weight_ih"].T + tensors[f"layers.{layer}.bias"]
            i, f, g, o = np.split(z + h[layer] @ tensors[f"layers.{layer}.weight_hh"].T, 4, axis=1)
            c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g)
            x = h[layer] = sigmoid(o) * np.tanh(c[layer])
        logits.append(x @ head.T + tensors["head.bias"])
    return np.stack(logits)


def run(decoder, ids):
    state = decoder.initial_state(ids.shape[1])
    return np.stack([decoder.step(symbols, state).copy() for symbols in ids])


def draw_ids(num, seed=1):
    return np.random.default_rng(seed).integers(0, V, (T, num))


@pytest.mark.parametrize("tabulated", [True, False])
@pytest.mark.parametrize("num", [1, 2, 5])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_logits_are_those_of_the_equations(layers, tied, num, tabulated, monkeypatch):
    if not tabulated:
        monkeypatch.setattr(decoder_module, "TABLE_ENTRIES", 0)
    tensors, ids = make_tensors(layers, tied), draw_ids(num)
    found = run(NumpyDecoder(tensors), ids)
    assert found.dtype == np.float32
    assert np.abs(found - reference(tensors, ids)).max() < 2e-5


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_logits_are_those_of_torch(layers):
    tensors, ids = make_tensors(layers), draw_ids(5)
    lstm = torch.nn.LSTM(E, H, layers)
    weights = {}
    for layer in range(layers):
        weights[f"weight_ih_l{layer}"] = torch.from_numpy(tensors[f"layers.{layer}.weight_ih"])
        weights[f"weight_hh_l{layer}"] = torch.from_numpy(tensors[f"layers.{layer}.weight_hh"])
        weights[f"bias_ih_l{layer}"] = torch.from_numpy(tensors[f"layers.{layer}.bias"])
        weights[f"bias_hh_l{layer}"] = torch.zeros(4 * H)
    lstm.load_state_dict(weights)
    with torch.inference_mode():
        outputs, _ = lstm(torch.from_numpy(tensors["embedding.weight"][ids]))
    expected = outputs.numpy() @ tensors["head.weight"].T + tensors["head.bias"]
    assert np.abs(run(NumpyDecoder(tensors), ids) - expected).max() < 2e-5


@pytest.mark.parametrize("num", [VECTOR_TEXTS, VECTOR_TEXTS + 3])
def test_texts_side_by_side_do_not_mix(num):
    decoder, ids = NumpyDecoder(make_tensors()), draw_ids(num)
    together = run(decoder, ids)
    for text in range(num):
        alone = run(decoder, ids[:, [text]])[:, 0]
        if num <= VECTOR_TEXTS:
            assert (together[:, text] == alone).all()
        np.testing.assert_allclose(together[:, text], alone, rtol=0, atol=2e-5)


@pytest.mark.parametrize("rows", [[1], [0, 0, 1], [1, 0, 1, 0, 1, 1, 0]])
def test_a_copied_state_goes_on_by_itself(rows):
    tensors, ids = make_tensors(), draw_ids(2)
    decoder = NumpyDecoder(tensors)
    expected = run(decoder, ids)
    state = decoder.initial_state(2)
    for symbols in ids[:-1]:
        decoder.step(symbols, state)
    copy = decoder.copy_state(state, rows)
    found = decoder.step(ids[-1][rows], copy)
    np.testing.assert_allclose(found, expected[-1][rows], rtol=0, atol=2e-5)
    assert (decoder.step(ids[-1], state) == expected[-1]).all()  # and leaves the first alone


def test_huge_weights_neither_warn_nor_overflow():
    """A saturated gate is 0 or 1, without NaN; warnings are errors here."""
    found = run(NumpyDecoder(make_tensors(scale=1e4)), draw_ids(3))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("entries", [0, decoder_module.TABLE_ENTRIES])
def test_later_changes_of_the_tensors_do_not_reach_a_decoder(entries, monkeypatch):
    """The tensors may be those of a model that trains on."""
    monkeypatch.setattr(decoder_module, "TABLE_ENTRIES", entries)
    tensors, ids = make_tensors(), draw_ids(2)
    decoder = NumpyDecoder(tensors)
    before = run(decoder, ids)
    for tensor in tensors.values():
        tensor += 1.0
    assert (run(decoder, ids) == before).all()


def test_a_missing_tensor_is_named():
    tensors = make_tensors()
    del tensors["layers.1.bias"]
    with pytest.raises(RunError, match=r"layers\.1\.bias"):
        NumpyDecoder(tensors)


@pytest.mark.parametrize("name", ["head.weight", "layers.0.weight_ih", "layers.1.bias"])
def test_a_wrong_shape_is_named(name):
    tensors = make_tensors()
    tensors[name] = tensors[name][:-1]
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        NumpyDecoder(tensors)


class Pair(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor


class TorchModel:
    """An LSTM whose state has several kinds of containers and batch axes."""

    def __init__(self, tensors):
        self.tensors = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}

    def initial_state(self, num):
        pairs = [Pair(torch.zeros(num, H), torch.zeros(1, num, H)) for _ in range(2)]
        return {"layers": pairs, "steps": torch.zeros(1)}

    def step(self, ids, state):
        assert ids.dtype == torch.int64
        x, pairs = self.tensors["embedding.weight"][ids], []
        for layer, pair in enumerate(state["layers"]):
            z = x @ self.tensors[f"layers.{layer}.weight_ih"].T
            z = z + pair.h @ self.tensors[f"layers.{layer}.weight_hh"].T
            i, f, g, o = (z + self.tensors[f"layers.{layer}.bias"]).chunk(4, dim=1)
            c = f.sigmoid() * pair.c[0] + i.sigmoid() * g.tanh()
            x = o.sigmoid() * c.tanh()
            pairs.append(Pair(x, c[None]))
        logits = x @ self.tensors["head.weight"].T + self.tensors["head.bias"]
        return logits, {"layers": pairs, "steps": state["steps"] + 1}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint16])
def test_torch_decoder_gives_what_the_lstm_decoder_gives(dtype):
    tensors, ids = make_tensors(), draw_ids(3).astype(dtype)
    found = run(TorchDecoder(TorchModel(tensors)), ids)
    np.testing.assert_allclose(found, run(NumpyDecoder(tensors), ids), rtol=0, atol=2e-5)


def test_torch_decoder_copies_any_state():
    tensors, ids = make_tensors(), draw_ids(2)
    decoder = TorchDecoder(TorchModel(tensors))
    state = decoder.initial_state(2)
    for symbols in ids[:-1]:
        decoder.step(symbols, state)
    copy = decoder.copy_state(state, [1, 0, 1])
    assert copy.value["layers"][0].c.shape == (1, 3, H)
    found = decoder.step(ids[-1][[1, 0, 1]], copy)
    np.testing.assert_allclose(found, decoder.step(ids[-1], state)[[1, 0, 1]], rtol=0, atol=1e-6)
