"""Faults that take a GPU: its memory runs out, it is there in training and not afterwards."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
WORDS = ["train.device=auto", "train.max_steps=10", "model.path=auto"]


def test_a_checkpoint_of_the_gpu_goes_on_without_one_and_back(lab, monkeypatch):
    lab.train("r", *WORDS)
    loss = lab.lstm("eval", "r", "--json").json["loss"]
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        assert lab.lstm("eval", "r", "--json").json["loss"] == pytest.approx(loss, rel=1e-2)
        there = lab.lstm("train", "--resume", "r", "train.max_steps=14")
        assert there.code == 0 and "began with device cuda, now cpu" in there.err, there.err
    back = lab.lstm("train", "--resume", "r", "train.max_steps=18")
    assert back.code == 0 and lab.steps("r")[-1] == 18, back.err


def test_memory_of_the_gpu_that_runs_out(lab):
    lab.train("r", *WORDS, "train.max_steps=4", "checkpoint.every=2")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        words = ["train.max_steps=10", "model.hidden_size=2048", "train.batch_size=16", "model.path=auto"]
        failed = lab.lstm("train", "config.yaml", "train.device=auto", *words, "--run", "s")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert failed.code == 7 and "out of memory" in failed.err and "Traceback" not in failed.err, failed.err
    assert lab.lstm("eval", "r", "--json").json["step"] in (2, 4)
