"""Each task's sequences, held against a slow definition of the task."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstmcli.kinds.sequence.batch import every
from lstmcli.kinds.sequence.batches import SyntheticBatches, generator_of, held_batches
from lstmcli.kinds.sequence.synthetic import TASKS, find_task
from lstmcli.kinds.sequence.synthetic.languages import shapes

COUNT = 40


def drawn(name, length, symbols=None, count=COUNT, seed=5):
    return find_task(name, symbols).draw(generator_of(seed, 0), length, count)


def answers(batch):
    """Of each sequence: (step, wanted) of its answers, in the order of steps."""
    found = [[] for _ in batch.lengths]
    for place, target in zip(batch.places.tolist(), batch.targets, strict=True):
        step, column = divmod(place, len(batch.lengths))
        assert step < batch.lengths[column]
        found[column].append((step, target.tolist() if target.ndim else int(target)))
    return [sorted(each) for each in found]


def columns(batch):
    return [batch.inputs[:length, k].tolist() for k, length in enumerate(batch.lengths)]


def test_adding_asks_for_the_sum_of_the_two_marked_numbers():
    batch = drawn("adding", 21)
    for rows, asked in zip(columns(batch), answers(batch), strict=True):
        marked = [k for k, (_, mark) in enumerate(rows) if mark == 1.0]
        assert len(rows) == 21 and len(marked) == 2 and marked[0] < 10 <= marked[1]
        assert all(0.0 <= value < 1.0 and mark in (0.0, 1.0) for value, mark in rows)
        assert asked == [(20, [pytest.approx(sum(rows[k][0] for k in marked), abs=1e-6)])]


@pytest.mark.parametrize("symbols", [None, 3])
def test_copy_asks_for_the_ten_symbols_after_the_marker(symbols):
    known = symbols or 8
    batch = drawn("copy", 7, symbols)
    for row, asked in zip(columns(batch), answers(batch), strict=True):
        assert len(row) == 7 + 20 and all(s < known for s in row[:10])
        assert row[10:] == [known] * 6 + [known + 1] + [known] * 10
        assert asked == list(zip(range(17, 27), row[:10], strict=True))


def test_parity_asks_at_the_end_whether_the_ones_are_odd():
    batch = drawn("parity", 9)
    for row, asked in zip(columns(batch), answers(batch), strict=True):
        assert set(row) <= {0, 1} and asked == [(8, sum(row) % 2)]


def test_recall_asks_for_the_key_that_came_so_many_symbols_before():
    batch = drawn("recall", 12, 5)
    for row, asked in zip(columns(batch), answers(batch), strict=True):
        key, *between, question = row
        assert len(between) == 12 and all(5 <= s < 10 for s in between) and question == 10
        assert asked == [(13, key)] and key < 5


@pytest.mark.parametrize(("length", "kinds"), [(2, 2), (20, 2), (31, 5)])
def test_dyck_asks_for_the_kind_on_top_of_the_stack_wherever_a_bracket_closes(length, kinds):
    batch = drawn("dyck", length, kinds)
    task = find_task("dyck", kinds)
    facts = iter(sorted(zip(batch.places.tolist(), *task.facts(batch), strict=True)))
    found = {}
    for column, (row, asked) in enumerate(zip(columns(batch), answers(batch), strict=True)):
        wanted, stack, last = dict(asked), [], None
        word = [*row, kinds + asked[-1][1]]  # what is read, and the bracket that is left to close
        assert len(word) == 2 * ((length + 1) // 2)
        for step, symbol in enumerate(word):
            if symbol < kinds:
                assert step == 0 or step - 1 not in wanted
                stack.append((step, symbol))
                last = symbol
            else:
                opened, kind = stack.pop()
                assert kind == symbol - kinds == wanted.pop(step - 1)
                found[(step - 1) * COUNT + column] = (step - opened, last)
        assert not stack and not wanted
    assert all(found.pop(place) == (distance, guess) for place, distance, guess in facts) and not found


def test_shapes_of_brackets_are_uniform():
    """Of the five balanced words of three pairs each is as likely as any other."""
    words = shapes(generator_of(1), 5000, 3).T
    _, counts = np.unique(words, axis=0, return_counts=True)
    assert len(counts) == 5
    assert all(abs(n - 1000) < 4 * math.sqrt(1000 * 0.8) for n in counts)


def test_anbn_asks_for_another_b_or_the_end():
    batch = drawn("anbn", 6)
    sizes = set()
    for row, asked in zip(columns(batch), answers(batch), strict=True):
        size = row.count(1)
        sizes.add(size)
        assert row == [0] + [1] * size + [2] * size
        assert asked == [(k, int(k == 2 * size)) for k in range(size + 1, 2 * size + 1)]
    assert sizes == set(range(1, 7))


@pytest.mark.parametrize(
    ("name", "wave"),
    [("sine", lambda x: math.sin(2 * math.pi * x)), ("sawtooth", lambda x: 2 * (x % 1.0) - 1)],
)
def test_waves_ask_for_the_next_value_in_the_second_half(name, wave):
    batch = drawn(name, 30)
    assert np.abs(batch.inputs).max() <= 1.0
    generator = generator_of(5, 0)
    periods, phases = generator.uniform(10, 50, COUNT), generator.random(COUNT)
    for k, asked in enumerate(answers(batch)):
        whole = [wave(step / periods[k] + phases[k]) for step in range(31)]
        assert batch.inputs[:, k, 0].tolist() == pytest.approx(whole[:-1], abs=1e-6)
        assert [step for step, _ in asked] == list(range(14, 30))
        assert [value[0] for _, value in asked] == pytest.approx(whole[15:], abs=1e-6)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_batch_is_a_pure_function_of_seed_and_step(name):
    def batches(seed=3):
        return SyntheticBatches(find_task(name, None), (4, 12), 6, seed)

    one, other = batches(), batches()
    other[0], other[9]
    first, second = one[5], other[5]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    further = [one[6], batches(4)[5]]
    for batch in further:
        assert batch.inputs.shape != first.inputs.shape or not np.array_equal(batch.inputs, first.inputs)


def test_lengths_of_training_come_from_the_whole_range():
    batches = SyntheticBatches(find_task("parity", None), (3, 6), 2, 1)
    assert {int(batches[k].lengths[0]) for k in range(60)} == {3, 4, 5, 6}


@pytest.mark.parametrize("name", ["dyck", "anbn", "sine"])
def test_ranks_share_a_batch(name):
    task = find_task(name, None)
    whole = SyntheticBatches(task, (8, 8), 6, 1)[2]
    asked = answers(whole)
    for rank in range(3):
        part = SyntheticBatches(task, (8, 8), 6, 1, rank, 3)[2]
        assert np.array_equal(part.inputs, whole.inputs[:, rank::3])
        assert answers(part) == asked[rank::3]
    assert all(np.array_equal(a, b) for a, b in zip(every(whole, 0, 1), whole, strict=True))


def test_what_is_evaluated_is_not_what_is_trained_on():
    task = find_task("recall", None)
    val, test = (list(held_batches(task, 20, 10, 4, 1, split)) for split in ("val", "test"))
    assert [len(batch.lengths) for batch in val] == [4, 4, 2]
    trained = SyntheticBatches(task, (20, 20), 4, 1)[0]
    seen = {tuple(row) for batch in (val[0], test[0], trained) for row in columns(batch)}
    assert len(seen) == 12
    again = list(held_batches(task, 20, 10, 4, 1, "val"))
    assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(val, again, strict=True))


def test_languages_are_evaluated_on_every_size_once():
    sizes = [
        int((length - 1) // 2)
        for b in held_batches(find_task("anbn", None), 9, 100, 4, 1)
        for length in b.lengths
    ]
    assert sizes == list(range(1, 10))
    few = [
        int((length - 1) // 2)
        for b in held_batches(find_task("anbn", None), 100, 5, 4, 1)
        for length in b.lengths
    ]
    assert few[0] == 1 and few[-1] == 100 and len(few) == 5


BEST = {"adding": 1.0, "sine": 0.0, "sawtooth": 0.0}


@pytest.mark.parametrize("name", ["adding", "sine", "sawtooth"])
def test_the_baselines_of_numbers_are_what_constant_answers_get(name):
    batch = drawn(name, 60, count=20_000)
    found = find_task(name, None).baselines(60)
    constant = float(((batch.targets - BEST[name]) ** 2).mean())
    assert next(iter(found.values()))["mse"] == pytest.approx(constant, rel=0.03)
    if name != "adding":
        last = batch.inputs.reshape(-1, 1)[batch.places]
        assert found["the last value"]["mse"] == pytest.approx(
            float(((batch.targets - last) ** 2).mean()), rel=0.05
        )


@pytest.mark.parametrize("name", ["copy", "parity", "recall", "dyck"])
def test_the_baselines_of_classes_are_those_of_chance(name):
    task = find_task(name, None)
    found = next(iter(task.baselines(10).values()))
    assert found["accuracy"] == pytest.approx(1 / task.outputs)
    assert found["loss"] == pytest.approx(math.log(task.outputs))


def test_the_literatures_loss_of_copy_is_a_mean_over_all_steps():
    found = find_task("copy", None).baselines(100)["no memory"]
    assert found["loss_all_steps"] == pytest.approx(10 * math.log(8) / 120)


def test_who_always_says_b_is_right_but_at_the_end():
    batch = find_task("anbn", None).strings(np.arange(1, 8))
    right = float((batch.targets == 0).mean())
    assert find_task("anbn", None).baselines(7)["always b"] == {
        "accuracy": pytest.approx(right),
        "exact": 0.0,
    }


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_shortest_lengths_work(name, length):
    task = find_task(name, None)
    batch = task.draw(generator_of(1), length, 3)
    assert len(batch.places) == len(batch.targets) > 0
    assert batch.inputs.shape[0] == batch.lengths.max() <= task.steps(length)
