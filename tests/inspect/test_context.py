"""Losses under spoilt contexts against one symbol at a time, and the numbers that are made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lstmcli.core.errors import DataError
from lstmcli.inspect import context
from lstmcli.inspect.context import (
    carried,
    choose_targets,
    contexts_up_to,
    dropped,
    enough,
    longest_context,
    mean_of_blocks,
    permute_beyond,
    shuffled,
    student_t,
)
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

V, LENGTH, LONGEST = 5, 90, 11


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = TextModel(LanguageModel(hidden_size=6, embedding_size=3, num_layers=2, dropout=0.5), V)
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.4)
    made = made.double().train()
    made.product_dtype = torch.float64
    return made


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(V, size=LENGTH).astype(np.uint16)


def one_by_one(model, read, target):
    """The loss of `target` after the symbols in `read`, one after the other from zero state."""
    model.eval()
    state = model.initial_state(1)
    with torch.no_grad():
        for symbol in read:
            logits, state = model(torch.tensor([[int(symbol)]]), state)
    model.train()
    return float(functional.cross_entropy(logits[0], torch.tensor([int(target)])))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """So that rows and steps are cut into several parts."""
    monkeypatch.setattr(context, "ROWS", 4)
    monkeypatch.setattr(context, "STEPS", 5)


PLACES = np.array([[11, 14, 17], [40, 43, 46], [70, 73, 89]])


@pytest.mark.parametrize("k", [1, 4, LONGEST])
def test_dropped_contexts_equal_a_loop(model, ids, k):
    found = dropped(model, ids, PLACES, k)
    expected = [[one_by_one(model, ids[p - k : p], ids[p]) for p in row] for row in PLACES]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert model.training


@pytest.mark.parametrize("k", [0, 1, 6])
def test_shuffled_contexts_equal_a_loop(model, ids, k):
    found = shuffled(model, ids, PLACES, k, LONGEST, seed=4)
    columns = permute_beyond(context.ids_before(ids, PLACES.ravel(), LONGEST), k, 4)
    expected = [one_by_one(model, columns[:, n], ids[p]) for n, p in enumerate(PLACES.ravel())]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-9)


def test_shuffling_nothing_is_dropping_what_is_beyond(model, ids):
    np.testing.assert_array_equal(
        shuffled(model, ids, PLACES, LONGEST, LONGEST), dropped(model, ids, PLACES, LONGEST)
    )


def test_a_carried_state_equals_a_loop(model, ids):
    found = carried(model, ids, PLACES, LONGEST)
    expected = [[one_by_one(model, ids[row[0] - LONGEST : p], ids[p]) for p in row] for row in PLACES]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_shuffle_keeps_the_last_symbols_and_all_the_others_in_another_order():
    columns = np.arange(20 * 6).reshape(20, 6)
    found = permute_beyond(columns, 5, seed=0)
    assert np.array_equal(found[15:], columns[15:])
    assert np.array_equal(np.sort(found, axis=0), columns)
    assert not np.array_equal(found[:15], columns[:15])
    orders = {tuple(found[:, n] - n) for n in range(6)}
    assert len(orders) == 6  # each column its own
    assert np.array_equal(found, permute_beyond(columns, 5, seed=0))


def test_every_symbol_read_is_told(model, ids):
    heard = []
    dropped(model, ids, PLACES, 7, heard.append)
    assert sum(heard) == 7 * PLACES.size
    heard.clear()
    carried(model, ids, PLACES, LONGEST, heard.append)
    assert sum(heard) == 3 * (LONGEST + 19)


@pytest.mark.parametrize(
    ("symbols", "count", "longest"),
    [
        (100, 30, 10),
        (111_540, 2000, 1000),
        (50_000_000, 2000, 1000),
        (21, 500, 10),
        (4, 9, 2),
        (1500, 7, 700),
    ],
)
def test_targets_lie_in_the_text_and_none_twice(symbols, count, longest):
    places = choose_targets(symbols, count, longest)
    assert places.min() >= longest and places.max() < symbols
    assert len(np.unique(places)) == places.size <= count
    assert places.size >= min(count, symbols - longest) / 2
    assert (np.diff(places, axis=1) <= context.GAP).all()
    if symbols > 100_000:  # all over the text, in order
        assert len(places) == context.BLOCKS and (np.diff(places.ravel()) > 0).all()
        assert places.max() > 0.95 * symbols


def test_long_contexts_are_read_before_fewer_targets():
    places = choose_targets(100_000, 2000, 1000)
    assert context.thinned(places, 100).shape == (50, 40)
    assert context.thinned(places, 101).shape == (50, 20)
    assert context.thinned(places, 1000).shape == (50, 4)
    assert context.thinned(places[:, :3], 10_000).shape == (50, 1)
    assert np.isin(context.thinned(places, 300), places).all()


def test_lengths_of_context():
    assert contexts_up_to(1000) == [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000]
    assert contexts_up_to(70) == [1, 2, 3, 5, 10, 20, 30, 50, 70]
    assert contexts_up_to(4000)[-3:] == [2000, 3000, 4000]
    assert contexts_up_to(1) == [1]
    assert longest_context(100, 1000) == 50 and longest_context(5000, 1000) == 1000
    with pytest.raises(DataError, match="at least 4"):
        longest_context(3, 1000)


def test_intervals_are_those_of_the_blocks():
    values = np.random.default_rng(0).normal(2.0, 1.0, size=(10, 40))
    found = mean_of_blocks(values)
    means = [row.mean() for row in values]
    spread = math.sqrt(sum((m - np.mean(means)) ** 2 for m in means) / 9 / 10)
    assert found.value == pytest.approx(values.mean())
    assert found.margin == pytest.approx(2.262157 * spread, rel=1e-3)
    assert mean_of_blocks(values[:3]).margin is None


@pytest.mark.parametrize(("freedom", "point"), [(3, 3.182446), (5, 2.570582), (10, 2.228139), (49, 2.009575)])
def test_student_t(freedom, point):
    assert student_t(freedom) == pytest.approx(point, rel=0.01)


def test_how_much_context_is_enough():
    contexts, losses = [1, 10, 100, 1000], [3.0, 1.51, 1.53, 1.50]
    assert enough(contexts, losses, 1.60) == 10
    assert enough(contexts, losses, 1.52) == 1000  # what is worse in between counts
    assert enough(contexts, losses, 1.40) is None
    assert enough(contexts, losses, 5.0) == 1
