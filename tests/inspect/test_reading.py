"""A text read in rows and windows against one that is read symbol by symbol."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lstmcli.core.errors import DataError
from lstmcli.inspect import reading
from lstmcli.inspect.reading import NOTHING, cut, read, warm_up_ids
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

V = 11


@pytest.fixture
def small(monkeypatch):
    """Short rows, warm-ups and windows."""
    monkeypatch.setattr(reading, "SHORTEST", 24)
    monkeypatch.setattr(reading, "WARM_UP", 20)
    monkeypatch.setattr(reading, "NUMBERS", 8 * 12 * 4 * 7)


def a_model(cell):
    torch.manual_seed(0)
    return TextModel(LanguageModel(cell=cell, hidden_size=6, embedding_size=4, num_layers=2, dropout=0.5), V)


def slow_traces(model, ids, first):
    """Per layer and name (gates, states), the values after each symbol from `first` on; one symbol at a
    time, from the zero state before them."""
    model.eval()
    state, found = model.initial_state(1), []
    for symbol in ids[first:]:
        step = torch.tensor([[int(symbol)]])
        found.append(model.observe(step, state))
        with torch.no_grad():
            _, state = model(step, state)
    return found


@pytest.mark.parametrize("cell", ["lstm", "gru", "mogrifier-lstm", "mingru"])
def test_rows_in_windows_equal_single_symbols(small, cell):
    model, ids = a_model(cell), np.random.default_rng(0).integers(0, V, 103).astype(np.uint8)
    rows = cut(len(ids))
    assert len(rows.starts) == 4 and rows.length == 25
    begins = [max(0, int(start) - reading.WARM_UP) for start in rows.starts]
    slow = [slow_traces(model, ids[: begin + 45], begin) for begin in begins]
    seen = []
    for passage in read(model, ids, rows):
        seen.append(passage.positions)
        assert np.array_equal(passage.ids.numpy(), ids[passage.positions])
        for b in range(4):
            for t, position in enumerate(passage.positions[:, b]):
                for trace, one in zip(passage.traces, slow[b][position - begins[b]], strict=True):
                    for name, values in (trace.gates | trace.states).items():
                        expected = (one.gates | one.states)[name][0, 0]
                        torch.testing.assert_close(values[t, b], expected, atol=1e-5, rtol=1e-4)
    assert sorted(np.concatenate(seen).flatten().tolist()) == list(range(100))


def test_what_comes_before_the_rows(small):
    ids = np.arange(103)
    found = warm_up_ids(ids, cut(len(ids)))
    assert (found[:, 0] == NOTHING).all() and found[:, 1].tolist() == list(range(5, 25))


def test_a_short_text_is_one_row_and_a_very_short_one_an_error(small):
    model, heard = a_model("lstm"), []
    passages = list(read(model, np.array([1, 2, 3]), cut(3), lambda *at: heard.append(at)))
    assert len(passages) == 1 and passages[0].positions.tolist() == [[0], [1], [2]] and heard == [(3, 3)]
    with pytest.raises(DataError, match="at least 2"):
        cut(1)


def test_reading_leaves_the_model_as_it_was(small):
    model = a_model("lstm").train()
    list(read(model, np.zeros(80, dtype=np.uint8), cut(80)))
    assert model.training and all(p.grad is None for p in model.parameters())
