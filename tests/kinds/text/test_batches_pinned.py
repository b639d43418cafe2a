"""Batches as they were when the first runs were saved: a run resumed by a later version reads on in place."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.text.batches import StreamBatches

IDS = np.arange(1000, dtype=np.uint16)


def test_where_epochs_begin_and_which_streams_are_reset_never_changes():
    batches = StreamBatches(IDS, 4, 16, seed=7, state_reset=0.3)
    assert batches.steps_per_epoch == 15
    assert batches[0].inputs[0].tolist() == [175, 415, 655, 895]
    assert batches[20].inputs[0].tolist() == [232, 472, 712, 952] and batches[20].epoch == 1
    resets = [batches[step].reset.tolist() for step in (0, 1, 2, 3)]
    assert resets[:2] == [[True] * 4, [False, False, True, False]]
    assert resets[2:] == [[False] * 4, [True, True, False, False]]


def test_a_stream_keeps_its_fate_whatever_the_ranks():
    whole = StreamBatches(IDS, 4, 16, seed=7, state_reset=0.3)
    halves = [StreamBatches(IDS, 2, 16, 7, rank, 2, state_reset=0.3) for rank in range(2)]
    for step in range(40):
        both = [half[step] for half in halves]
        assert np.array_equal(whole[step].reset, np.concatenate([b.reset for b in both]))
        assert np.array_equal(whole[step].inputs, np.concatenate([b.inputs for b in both], axis=1))


def test_jittered_borders_reach_as_far_as_they_say_and_no_further():
    batches = StreamBatches(np.arange(4096, dtype=np.uint16), 1, 16, seed=1, jitter=0.5)
    moved = [batches._border(epoch, window) - 16 * window for epoch in range(8) for window in range(1, 250)]
    assert (min(moved), max(moved)) == (-4, 4) and len(set(moved)) == 9
    assert batches._border(0, 0) == 0 and batches._border(0, batches.steps_per_epoch) == 16 * 256


@pytest.mark.parametrize(
    ("symbols", "batch_size", "length", "fits", "not_said"),
    [
        (17, 2, 16, "train.batch_size of at most 1 or a train.sequence_length of at most 7", None),
        (16, 2, 16, "train.sequence_length of at most 7", "batch_size of at most"),
        (4, 2, 2, "train.batch_size of at most 1 or a train.sequence_length of at most 1", None),
        (3, 4, 4, "use a longer text", "at most"),
    ],
)
def test_a_text_that_is_too_short_is_told_what_fits_and_that_fits(
    symbols, batch_size, length, fits, not_said
):
    with pytest.raises(DataError) as caught:
        StreamBatches(IDS[:symbols], batch_size, length, 1)
    assert fits in str(caught.value.hint) and (not_said is None or not_said not in str(caught.value.hint))
    needed = batch_size * (length + 1)
    assert f"has {symbols:,} symbols, but one batch needs {needed:,}" in caught.value.message
    if "batch_size of at most 1" in fits:
        assert StreamBatches(IDS[:symbols], 1, length, 1).steps_per_epoch >= 1
