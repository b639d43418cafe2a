"""Figures of an evaluation, held against slow definitions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from lstmcli.kinds.sequence.batches import generator_of, held_batches
from lstmcli.kinds.sequence.classes import (
    class_rows,
    confusion,
    cross_entropy,
    grams_of,
    logits_of,
    macro_f1,
    naive_bayes,
    probabilities,
    summary_of,
)
from lstmcli.kinds.sequence.encoding import Sequences
from lstmcli.kinds.sequence.model import SequenceModel, SequenceShape, rows_of
from lstmcli.kinds.sequence.report import (
    Answers,
    by_distance,
    class_scores,
    collect,
    free_error,
    longest_accepted,
    score_length,
)
from lstmcli.kinds.sequence.settings import Classifier
from lstmcli.kinds.sequence.synthetic import find_task


def random_answers():
    draw = np.random.default_rng(0)
    return Answers(
        draw.normal(size=(30, 4)).astype(np.float32), draw.integers(0, 4, 30), np.repeat(np.arange(15), 2), 15
    )


def test_scores_of_classes():
    answers = random_answers()
    nats, right, whole = [], [], {}
    for row, wanted, owner in zip(answers.given.tolist(), answers.wanted, answers.sequence, strict=True):
        nats.append(math.log(sum(math.exp(x) for x in row)) - row[wanted])
        right.append(row.index(max(row)) == wanted)
        whole[owner] = whole.get(owner, True) and right[-1]
    found = class_scores(answers)
    assert found["loss"] == pytest.approx(sum(nats) / 30, abs=1e-6)
    assert found["accuracy"] == sum(right) / 30 and found["exact"] == sum(whole.values()) / 15


def test_rows_by_distance_double():
    distance = np.array([1, 2, 3, 4, 7, 8, 15, 16, 99, 1] * 3)
    rows = by_distance(random_answers(), distance)
    assert [(r["from"], r["to"], r["answers"]) for r in rows] == [
        (1, 1, 6), (2, 3, 6), (4, 7, 6), (8, 15, 6), (16, 31, 3), (64, 127, 3)
    ]  # fmt: skip
    assert sum(r["accuracy"] * r["answers"] for r in rows) / 30 == pytest.approx(
        class_scores(random_answers())["accuracy"]
    )


def test_confusions_precision_recall_and_f1():
    draw = np.random.default_rng(1)
    wanted, guessed = draw.integers(0, 3, 50), draw.integers(0, 3, 50)
    table = confusion(wanted, guessed, 4)  # class 3 never occurs
    f1 = []
    for code, row in enumerate(class_rows(table, list("abcd"))):
        both = sum(w == g == code for w, g in zip(wanted, guessed, strict=True))
        said, of = sum(guessed == code), sum(wanted == code)
        assert row["sequences"] == of and row["class"] == "abcd"[code]
        if of:
            precision, recall = both / said, both / of
            assert (row["precision"], row["recall"]) == (pytest.approx(precision), pytest.approx(recall))
            f1.append(2 * precision * recall / (precision + recall))
            assert row["f1"] == pytest.approx(f1[-1])
    assert macro_f1(table) == pytest.approx(sum(f1) / 3)


def test_probabilities_and_their_loss():
    logits = np.array([[1000.0, 1001.0], [-3.0, 2.0]])
    shares = probabilities(logits)
    assert shares.sum(1) == pytest.approx([1.0, 1.0]) and shares[0, 1] == pytest.approx(
        1 / (1 + math.exp(-1))
    )
    loss = -(math.log(shares[0, 0]) + math.log(shares[1, 1])) / 2
    assert cross_entropy(logits, np.array([0, 1])) == pytest.approx(loss)


def of_texts(texts, labels):
    values = np.array([ord(c) - 96 for text in texts for c in text], dtype=np.uint8)
    return Sequences(values, np.concatenate([[0], np.cumsum([len(t) for t in texts])]), np.array(labels))


def slow_bayes(train, labels, text, classes):
    def grams(text):
        return Counter(text[k : k + n] for n in (1, 2, 3) for k in range(len(text) - n + 1))

    known = {gram for each in train for gram in grams(each)}
    scores = []
    for code in range(classes):
        own = [t for t, label in zip(train, labels, strict=True) if label == code]
        counts = sum((grams(t) for t in own), Counter())
        total = sum(counts.values()) + len(known)
        seen = ((gram, n) for gram, n in grams(text).items() if gram in known)
        scores.append(
            math.log(len(own) + 1) + sum(n * math.log((counts[gram] + 1) / total) for gram, n in seen)
        )
    return scores.index(max(scores))


def test_naive_bayes_of_character_grams():
    draw = np.random.default_rng(2)
    texts = ["".join(draw.choice(list("abcdef"), int(draw.integers(1, 9)))) for _ in range(60)]
    labels = draw.integers(0, 3, 60).tolist()
    data = of_texts(texts, labels)
    train, chosen = np.arange(0, 60, 2), np.array([1, 59, 3, 31, 33, 35])
    found = grams_of(data, train, data, chosen, 3)
    own = [texts[k] for k in train], [labels[k] for k in train]
    assert found.tolist() == [slow_bayes(*own, texts[k], 3) for k in chosen]


def test_naive_bayes_of_numbers_tells_two_means_apart():
    draw = np.random.default_rng(3)
    labels = np.repeat([0, 2], 50)
    features = draw.normal(size=(100, 4)) + 5.0 * labels[:, None]
    assert naive_bayes(features[::2], features[1::2], labels[::2], 3).tolist() == labels[1::2].tolist()
    data = Sequences(
        np.array([[1.0], [3.0], [7.0]], dtype=np.float32), np.array([0, 2, 3]), np.zeros(2, dtype=int)
    )
    assert summary_of(data, np.array([1, 0])).tolist() == [[7, 0, 7], [2, 1, 3]]


def model(task, **settings):
    torch.manual_seed(1)
    shape = SequenceShape(task.symbols, task.inputs, task.outputs, task.symbols == 0)
    return SequenceModel(Classifier(hidden_size=6, num_layers=1, path="loop", **settings), shape)


def test_logits_come_in_the_order_asked_for():
    data = of_texts(["abc", "a", "fedcba", "ab"], [0, 1, 0, 1])
    made = SequenceModel(Classifier(hidden_size=6, num_layers=1, path="loop"), SequenceShape(8, 0, 2, False))
    chosen = np.array([2, 0, 3])
    found = logits_of(made, data, chosen)
    for k, number in enumerate(chosen):
        alone = made(rows_of(data.batch(np.array([number])), torch.device("cpu")))
        assert found[k] == pytest.approx(alone[0].tolist(), abs=1e-6)


def test_a_wave_is_continued_from_the_models_own_answers():
    task = find_task("sine", None)
    made, batch = model(task), task.draw(generator_of(1), 12, 3)
    seen = torch.from_numpy(batch.inputs)
    read, errors = seen[:6], []
    for step in range(6, 12):  # all that was read, anew at each step
        outputs, _ = made.outputs(read, made.initial_state(3))
        value = made.answer(outputs[-1])
        errors.append(((value - seen[step]) ** 2).mean().item())
        read = torch.cat([read, value.detach()[None]])
    assert free_error(made, batch, 6) == pytest.approx(sum(errors) / 6, rel=1e-5)


class Counting:
    """Stands for a model that counts right up to a size."""

    def __init__(self, most):
        self.most = most
        self.training = False
        self.head = torch.nn.Linear(1, 1)

    def eval(self):
        pass

    def train(self, training):
        pass

    def __call__(self, rows):
        batch = rows.inputs.shape[1]
        sizes = ((rows.lengths - 1) // 2)[rows.places % batch]
        right = (rows.places // batch == 2 * sizes) & (sizes <= self.most)
        return torch.stack([~right, right], -1).float()


@pytest.mark.parametrize("most", [0, 1, 5, 33, 49, 50, 1000])
def test_the_longest_string_that_is_counted_right(most):
    strings = find_task("anbn", None).strings
    assert longest_accepted(Counting(most), strings, 5) == min(most, 50)


def test_evaluating_in_batches_is_evaluating_one_by_one():
    task = find_task("dyck", 3)
    made = model(task)
    whole = collect(made, held_batches(task, 10, 9, 9, 1))
    parts = collect(made, held_batches(task, 10, 9, 9, 1))
    assert np.array_equal(whole.given, parts.given)
    found = score_length(made, task, 10, 9, 1, "val")
    assert found.scores["loss"] == pytest.approx(class_scores(whole)["loss"], abs=1e-6)
    assert found.answers == sum(row["answers"] for row in found.by_distance) == 9 * 5
    assert set(found.baselines) == {"chance", "kind of the last opening bracket"}
