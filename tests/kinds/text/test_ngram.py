"""The counted baselines against dictionaries and the formula, symbol by symbol."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.text import ngram
from lstmcli.kinds.text.ngram import NGram, unigram_loss


class Reference:
    """Interpolated Witten-Bell smoothing with one dictionary per context."""

    def __init__(self, train, size, order):
        self.size, self.order = size, order
        self.following = defaultdict(Counter)
        for position, symbol in enumerate(train):
            for length in range(min(order - 1, position) + 1):
                self.following[tuple(train[position - length : position])][symbol] += 1

    def probability(self, context, symbol):
        context = tuple(context[-(self.order - 1) :]) if self.order > 1 else ()
        lower = self.probability_below(context, symbol)
        counts = self.following.get(context)
        if not counts:
            return lower
        types = len(counts)
        return (counts[symbol] + types * lower) / (counts.total() + types)

    def probability_below(self, context, symbol):
        return self.probability(context[1:], symbol) if context else 1 / self.size

    def losses(self, ids):
        return [-math.log(self.probability(ids[:j], ids[j])) for j in range(1, len(ids))]


def draw(length, size, seed):
    """Ids with some structure: small steps upward, so that contexts recur."""
    steps = np.random.default_rng(seed).choice([0, 1, 1, 1, 2, 5], length)
    return (steps.cumsum() % size).astype(np.uint16)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [3, 12, 5388])
def test_losses_are_those_of_the_formula(size, order):
    train, ids = draw(400, size - 1, 0), draw(300, size, 1)  # the last symbol is new
    expected = Reference(train.tolist(), size, order).losses(ids.tolist())
    model = NGram(train, size, order)
    np.testing.assert_allclose(model.losses(ids), expected, rtol=0, atol=1e-12)
    assert model.loss(ids) == pytest.approx(np.mean(expected), abs=1e-12)


def test_unigram_loss_is_that_of_the_formula():
    train, ids = draw(400, 7, 0), draw(100, 9, 1)
    counts = np.bincount(train, minlength=9)
    probabilities = (counts + 7 / 9) / (400 + 7)
    assert unigram_loss(train, ids, 9) == pytest.approx(-np.log(probabilities[ids[1:]]).mean())


@pytest.mark.parametrize("context", [[], [3], [4, 5, 6], [8, 8, 8, 8, 8, 8], [0, 1, 2, 3, 4, 5, 6]])
def test_probabilities_sum_to_one(context):
    model = NGram(draw(500, 8, 2), 9, order=5)
    start = context or [0]
    losses = [model.losses(np.array([*start, symbol]))[-1] for symbol in range(9)]
    assert np.exp(-np.array(losses)).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("length", [0, 1, 2, 4])
def test_a_training_text_shorter_than_the_order(length):
    train, ids = draw(length, 4, 0), draw(30, 4, 1)
    expected = Reference(train.tolist(), 4, 6).losses(ids.tolist())
    np.testing.assert_allclose(NGram(train, 4, 6).losses(ids), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_scoring_in_pieces_changes_nothing(chunk, monkeypatch):
    model, ids = NGram(draw(400, 8, 0), 8), draw(120, 8, 1)
    whole = model.losses(ids)
    monkeypatch.setattr(ngram, "CHUNK", chunk)
    assert (model.losses(ids) == whole).all()


def test_only_the_end_of_a_long_training_text_counts(monkeypatch):
    train, ids = draw(500, 8, 0), draw(100, 8, 1)
    assert NGram(train, 8).symbols == 500
    monkeypatch.setattr(ngram, "LONGEST", 120)
    capped = NGram(train, 8)
    assert capped.symbols == 120
    assert capped.loss(ids) == NGram(train[-120:], 8).loss(ids)


def test_ranks_of_a_huge_vocabulary_do_not_overflow():
    size = 1_114_112
    train = np.random.default_rng(0).integers(0, size, 5000)
    train = np.concatenate([train, train])
    expected = Reference(train.tolist(), size, 6).losses(train[-50:].tolist())
    np.testing.assert_allclose(NGram(train, size).losses(train[-50:]), expected, atol=1e-12)


@pytest.mark.parametrize("length", [0, 1])
def test_too_few_symbols_to_score_are_a_data_error(length):
    with pytest.raises(DataError, match=f"{length} symbols are too few"):
        NGram(draw(100, 5, 0), 5).loss(np.zeros(length, dtype=np.uint8))
