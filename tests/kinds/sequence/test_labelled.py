"""Tables with classes become splits and batches."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lstmcli.core.errors import DataError, RunError
from lstmcli.kinds.sequence.batches import generator_of
from lstmcli.kinds.sequence.encoding import Encoding, Sequences
from lstmcli.kinds.sequence.labelled import LabelledBatches, prepare_labelled, stratified
from lstmcli.kinds.sequence.settings import LabelledSeries, LabelledTexts


def sequences(count=50, columns=None, seed=0):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 12, count)
    size = (int(lengths.sum()),) if columns is None else (int(lengths.sum()), columns)
    values = (
        draw.integers(1, 9, size).astype(np.uint8)
        if columns is None
        else draw.normal(size=size).astype(np.float32)
    )
    return Sequences(values, np.concatenate([[0], np.cumsum(lengths)]), draw.integers(0, 3, count))


@pytest.mark.parametrize("columns", [None, 2])
def test_a_batch_holds_each_sequence_and_zeros_behind_it(columns):
    data = sequences(columns=columns)
    chosen = np.array([7, 0, 31, 7])
    batch = data.batch(chosen)
    for k, number in enumerate(chosen):
        own = data.values[data.offsets[number] : data.offsets[number + 1]]
        assert batch.lengths[k] == len(own) and batch.targets[k] == data.labels[number]
        assert np.array_equal(batch.inputs[: len(own), k], own)
        assert not batch.inputs[len(own) :, k].any()
        assert batch.places[k] == (len(own) - 1) * len(chosen) + k


def test_an_epoch_reads_every_sequence_once_in_an_order_of_its_own():
    data = sequences(50)
    data = Sequences(data.values, data.offsets, np.arange(50))  # so that a target names its sequence
    chosen = np.arange(3, 50)
    batches = LabelledBatches(data, chosen, 5, seed=1)
    assert batches.steps_per_epoch == 9
    epochs = [[batches[step].targets.tolist() for step in range(k * 9, k * 9 + 9)] for k in range(3)]
    for epoch in epochs:
        read = [number for batch in epoch for number in batch]
        assert len(set(read)) == 45 and set(read) <= set(chosen.tolist())
    assert epochs[0] != epochs[1]
    other = LabelledBatches(data, chosen, 5, seed=1)
    assert other[20].targets.tolist() == epochs[2][2]
    parts = [LabelledBatches(data, chosen, 1, 1, rank, 5)[20].targets.tolist() for rank in range(5)]
    assert [number for part in parts for number in part] == epochs[2][2]


def test_sequences_of_like_length_are_read_together():
    data = sequences(2000)
    batches = LabelledBatches(data, np.arange(2000), 20, seed=1)
    padded = sum(batches[k].inputs.size for k in range(100))
    assert padded < 1.1 * len(data.values)


def test_more_sequences_than_there_are_cannot_be_in_a_batch():
    with pytest.raises(DataError, match="50 sequences, but a batch needs 51"):
        LabelledBatches(sequences(50), np.arange(50), 51, seed=1)


def test_splits_have_the_same_share_of_each_class_and_follow_the_seed():
    codes = np.repeat([0, 1, 2], [100, 40, 3])
    splits = stratified(codes, 3, [0.5, 0.25, 0.25], generator_of(1))
    assert sorted(np.concatenate(list(splits.values()))) == list(range(143))
    assert np.bincount(codes[splits["train"]]).tolist()[:2] == [50, 20]
    assert np.bincount(codes[splits["test"]]).tolist()[:2] == [25, 10]
    again, other = (stratified(codes, 3, [0.5, 0.25, 0.25], generator_of(seed)) for seed in (1, 2))
    assert np.array_equal(again["train"], splits["train"]) and not np.array_equal(
        other["train"], splits["train"]
    )


def test_a_class_of_one_sequence_is_in_training():
    splits = stratified(np.array([0] * 20 + [1]), 2, [0.1, 0.9], generator_of(1))
    assert 20 in splits["train"]


def settings(path, **more):
    return LabelledTexts(path=str(path), label="kind", **more)


def table(path, rows):
    path.write_text("text,kind\n" + "".join(f"{text},{kind}\n" for text, kind in rows), encoding="utf-8")
    return path


def test_the_vocabulary_is_of_the_training_texts_and_the_end_of_a_text_is_kept(tmp_path):
    train = table(tmp_path / "train.csv", [("abcde", "x"), ("ee", "y"), ("NA", "x")])
    test = table(tmp_path / "test.csv", [("zebra", "y")])
    data = prepare_labelled(settings(train, test_path=str(test), max_length=3), seed=1)
    vocabulary = data.encoding.vocabulary
    assert vocabulary.symbols == "ANabcde" or set("cdeNA") <= set(vocabulary.symbols)
    held = data.sequences.batch(data.splits["test"])
    assert vocabulary.decode(held.inputs[:, 0]) == "b�a" and data.encoding.classes == ["x", "y"]
    assert vocabulary.decode(data.sequences.batch(np.array([0])).inputs[:, 0]) == "cde"
    assert "val" not in data.splits and Encoding.from_json(data.encoding.to_json()) == data.encoding


def test_the_fingerprint_is_of_contents_settings_and_seed(tmp_path):
    rows = [("ab", "x"), ("cd", "y")] * 5
    first, second = table(tmp_path / "a.csv", rows), table(tmp_path / "b.csv", rows)
    changed = table(tmp_path / "c.csv", [*rows[:-1], ("ce", "y")])

    def of(path, seed=1, **more):
        return prepare_labelled(settings(path, **more), seed).fingerprint

    assert of(first) == of(second)
    assert (
        len({of(first), of(changed), of(first, 2), of(first, splits=[0.8, 0.2]), of(first, max_length=1)})
        == 5
    )


def test_series_are_ordered_by_time_scaled_by_training_and_cut_at_their_start(tmp_path):
    lines = ["who,t,a,b,way", "p,3,30,1,x", "q,1,5,,y", "p,1,10,1,x", "p,2,20,1,x", "q,2,7,2,y"]
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    data = LabelledSeries(path=str(tmp_path / "s.csv"), label="way", group="who", time="t",
                splits=[1.0], max_length=2)  # fmt: skip
    found = prepare_labelled(data, seed=1)
    values = np.array([[10, 1], [20, 1], [30, 1], [5, np.nan], [7, 2]], dtype=float)
    z = (values - np.nanmean(values, 0)) / np.nanstd(values, 0)
    z[3, 1] = 0.0  # missing: the mean
    assert found.encoding.columns == ("a", "b")
    assert np.allclose(found.sequences.values, np.concatenate([z[1:3], z[3:]]), atol=1e-6)
    assert found.sequences.lengths.tolist() == [2, 2] and found.sequences.labels.tolist() == [0, 1]


def test_the_built_in_table_has_several_packages():
    from lstmcli.kinds.sequence.rows import PACKAGES, package_lines

    rows = package_lines()
    assert set(rows.labels) == set(PACKAGES) and len(rows.texts) == len(set(rows.texts)) > 5000
    assert package_lines().sha256 == rows.sha256


def test_a_damaged_encoding_is_told():
    whole = Encoding(["a", "b"], None, ("x",), (0.5,), (2.0,)).to_json()
    found = Encoding.from_json(whole)
    assert found.fits(0, 1, 2)
    assert not any(found.fits(*wrong) for wrong in [(0, 1, 3), (0, 2, 2), (5, 1, 2)])
    for change in ({"means": ["x"]}, {"classes": None}, {"vocabulary": {"level": "characters"}}):
        with pytest.raises(RunError):
            Encoding.from_json(whole | change)
    with pytest.raises(RunError):
        Encoding.from_json({})


def test_a_table_with_another_checksum_is_refused(tmp_path):
    path = table(tmp_path / "a.csv", [("ab", "x"), ("cd", "y")] * 5)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert prepare_labelled(settings(path, sha256=found), seed=1).summary["classes"] == 2
    with pytest.raises(DataError, match=found):
        prepare_labelled(settings(path, sha256="0" * 64), seed=1)
