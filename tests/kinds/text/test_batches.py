"""Batches against a slow reference: a ring of symbols, streams one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcli.core.errors import DataError
from lstmcli.kinds.text.batches import StreamBatches


def slow_batch(
    ids: list[int], batch_size: int, length: int, offset: int, window: int, rank: int, ranks: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Inputs and targets as one list per stream."""
    ring = ids[offset:] + ids[:offset]
    steps = len(ids) // (batch_size * ranks * length)
    streams = [ring[s * steps * length :] + ring[:1] for s in range(batch_size * ranks)]
    mine = streams[rank * batch_size : (rank + 1) * batch_size]
    first = window * length
    return (
        [stream[first : first + length] for stream in mine],
        [stream[first + 1 : first + length + 1] for stream in mine],
    )


@given(
    batch_size=st.integers(1, 4),
    length=st.integers(1, 5),
    ranks=st.integers(1, 3),
    extra=st.integers(0, 60),
    seed=st.integers(0, 2**63 - 1),
)
def test_batches_agree_with_the_reference(
    batch_size: int, length: int, ranks: int, extra: int, seed: int
) -> None:
    ids = np.arange(batch_size * ranks * (length + 1) + extra, dtype=np.uint16)
    for rank in range(ranks):
        batches = StreamBatches(ids, batch_size, length, seed, rank, ranks)
        for step in range(2 * batches.steps_per_epoch):
            epoch, window = divmod(step, batches.steps_per_epoch)
            first = StreamBatches(ids, batch_size, length, seed, 0, ranks)
            offset = int(first[epoch * batches.steps_per_epoch].inputs[0, 0])
            batch = batches[step]
            inputs, targets = slow_batch(ids.tolist(), batch_size, length, offset, window, rank, ranks)
            assert batch.inputs.T.tolist() == inputs
            assert batch.targets.T.tolist() == targets
            assert batch.reset.tolist() == [window == 0] * batch_size
            assert batch.epoch == epoch


def test_an_epoch_covers_the_text_but_for_less_than_one_batch() -> None:
    ids = np.arange(1000, dtype=np.uint16)
    batches = StreamBatches(ids, batch_size=3, sequence_length=7, seed=5)
    assert batches.steps_per_epoch == 1000 // 21
    targets = np.concatenate([batches[i].targets.ravel() for i in range(batches.steps_per_epoch)])
    assert len(set(targets.tolist())) == len(targets) == 1000 // 21 * 21


def test_no_symbol_is_left_out_for_ever() -> None:
    ids = np.arange(40, dtype=np.uint8)
    batches = StreamBatches(ids, batch_size=3, sequence_length=7, seed=5)
    seen = {symbol for step in range(40) for symbol in batches[step].targets.ravel().tolist()}
    assert seen == set(range(40))


def test_the_same_step_gives_the_same_batch_in_any_order() -> None:
    ids = np.random.default_rng(0).integers(0, 200, 5000).astype(np.uint8)
    one = StreamBatches(ids, 4, 9, seed=3, state_reset=0.3)
    other = StreamBatches(ids.copy(), 4, 9, seed=3, state_reset=0.3)
    forward = [one[step] for step in range(300)]
    for step in reversed(range(300)):
        again = other[step]
        for name in ("inputs", "targets", "reset"):
            np.testing.assert_array_equal(getattr(forward[step], name), getattr(again, name))


def test_shapes_types_and_continuity() -> None:
    ids = np.arange(5000, dtype=np.uint16)
    batches = StreamBatches(ids, 4, 9, seed=3)
    batch, following = batches[0], batches[1]
    assert batch.inputs.shape == batch.targets.shape == (9, 4)
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    assert batch.reset.shape == (4,)
    assert batch.reset.dtype == np.bool_
    assert batch.inputs.flags.c_contiguous
    np.testing.assert_array_equal(batch.targets[-1], following.inputs[0])


def test_seeds_and_epochs_move_the_borders() -> None:
    ids = np.arange(5000, dtype=np.uint16)
    batches = StreamBatches(ids, 4, 9, seed=3)
    starts = [int(batches[e * batches.steps_per_epoch].inputs[0, 0]) for e in range(6)]
    starts += [int(StreamBatches(ids, 4, 9, seed=s)[0].inputs[0, 0]) for s in range(4, 10)]
    assert len(set(starts)) == 12


def test_batches_stay_what_they_were() -> None:
    """A resumed run must see what the first one would have seen, on any version of anything."""
    ids = (np.arange(1000) % 251).astype(np.uint8)
    batches = StreamBatches(ids, 4, 8, seed=1, state_reset=0.5)
    assert batches[0].inputs[0].tolist() == [238, 235, 232, 229]
    assert batches[1].reset.tolist() == [True, False, False, True]


def test_ranks_share_the_streams_of_one_large_batch() -> None:
    ids = np.arange(9000, dtype=np.uint16)
    whole = StreamBatches(ids, 6, 11, seed=8, state_reset=0.4)
    parts = [StreamBatches(ids, 2, 11, 8, rank, 3, state_reset=0.4) for rank in range(3)]
    assert {part.steps_per_epoch for part in parts} == {whole.steps_per_epoch}
    for step in [0, 1, 2, whole.steps_per_epoch, 1000]:
        joined = [part[step] for part in parts]
        for name in ("inputs", "targets", "reset"):
            together = np.concatenate([getattr(part, name) for part in joined], axis=-1)
            np.testing.assert_array_equal(together, getattr(whole[step], name))


def test_resets_come_at_the_chance_asked_for() -> None:
    batches = StreamBatches(np.zeros(10**6, dtype=np.uint8), 50, 10, seed=2, state_reset=0.1)
    inside = [step for step in range(1000) if step % batches.steps_per_epoch]
    rate = np.mean([batches[step].reset for step in inside])
    assert abs(rate - 0.1) < 0.006  # 50,000 draws: 4.5 standard deviations
    assert batches[batches.steps_per_epoch].reset.all()
    never = StreamBatches(np.zeros(10**4, dtype=np.uint8), 5, 10, seed=2)
    assert not any(never[step].reset.any() for step in range(1, never.steps_per_epoch))


def test_a_memory_map_is_read_only_where_a_batch_lies(tmp_path: Path) -> None:
    """A hole of 100 GB on disk: a copy would not fit into memory."""
    path = tmp_path / "huge.ids"
    try:
        with open(path, "wb") as file:
            file.truncate(100 * 10**9)
    except OSError:
        pytest.skip("this file system has no sparse files of that size")
    ids = np.memmap(path, dtype=np.uint8, mode="r")
    assert StreamBatches(ids, 64, 128, seed=1)[12345].inputs.sum() == 0


def test_a_text_of_just_one_window_is_enough() -> None:
    batches = StreamBatches(np.arange(10, dtype=np.uint8), 2, 4, seed=0)
    assert batches.steps_per_epoch == 1
    assert batches[7].inputs.shape == (4, 2)


@pytest.mark.parametrize(
    ("symbols", "batch_size", "length", "ranks", "expected"),
    [
        (
            1000,
            64,
            128,
            1,
            "the text has 1,000 symbols, but one batch needs 8,256: batch_size 64 x "
            "(sequence_length 128 + 1)\n  use a longer text, or a train.batch_size of at most 7 "
            "or a train.sequence_length of at most 14",
        ),
        (
            100,
            64,
            8,
            2,
            "the text has 100 symbols, but one batch needs 1,152: batch_size 64 x 2 ranks x "
            "(sequence_length 8 + 1)\n  use a longer text, or a train.batch_size of at most 5",
        ),
        (
            1,
            1,
            8,
            1,
            "the text has 1 symbols, but one batch needs 9: batch_size 1 x (sequence_length 8 + 1)"
            "\n  use a longer text",
        ),
    ],
)
def test_too_short_a_text_says_what_would_fit(
    symbols: int, batch_size: int, length: int, ranks: int, expected: str
) -> None:
    ids = np.zeros(symbols, dtype=np.uint8)
    with pytest.raises(DataError) as caught:
        StreamBatches(ids, batch_size, length, 0, 0, ranks)
    assert str(caught.value) == expected


def test_what_the_message_promises_fits() -> None:
    ids = np.zeros(1000, dtype=np.uint8)
    assert StreamBatches(ids, 7, 128, 0).steps_per_epoch == 1
    assert StreamBatches(ids, 64, 14, 0).steps_per_epoch == 1
    with pytest.raises(DataError):
        StreamBatches(ids, 8, 128, 0)
    with pytest.raises(DataError):
        StreamBatches(ids, 64, 15, 0)


def test_there_is_no_negative_step_and_no_rank_outside() -> None:
    batches = StreamBatches(np.zeros(100, dtype=np.uint8), 2, 4, 0)
    with pytest.raises(IndexError):
        batches[-1]
    with pytest.raises(ValueError, match="rank 2"):
        StreamBatches(np.zeros(100, dtype=np.uint8), 2, 4, 0, rank=2, world_size=2)


@given(length=st.integers(2, 30), jitter=st.floats(0.0, 0.9), seed=st.integers(0, 2**40))
def test_windows_of_other_lengths_cover_every_stream_once(length: int, jitter: float, seed: int) -> None:
    ids = np.arange(1000, dtype=np.uint16)
    plain = StreamBatches(ids, 3, length, seed)
    moved = StreamBatches(ids, 3, length, seed, jitter=jitter)
    steps = plain.steps_per_epoch
    assert moved.steps_per_epoch == steps
    for epoch in range(2):
        of = range(epoch * steps, (epoch + 1) * steps)
        for name in ("inputs", "targets"):
            whole = np.concatenate([getattr(plain[i], name) for i in of])
            np.testing.assert_array_equal(np.concatenate([getattr(moved[i], name) for i in of]), whole)
        sizes = [len(moved[i].inputs) for i in of]
        assert all(abs(size - length) <= jitter * length and size >= 1 for size in sizes)


def test_window_borders_are_the_same_on_all_ranks_and_others_in_each_epoch() -> None:
    ids = np.arange(4000, dtype=np.uint16)
    ranks = [StreamBatches(ids, 2, 20, 7, rank, 3, jitter=0.5) for rank in range(3)]
    steps = ranks[0].steps_per_epoch
    sizes = [[len(batches[i].inputs) for i in range(2 * steps)] for batches in ranks]
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0][:steps] != sizes[0][steps:]
    assert len(set(sizes[0])) > 5
