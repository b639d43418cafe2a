"""The loop against the same few updates written out, and what it hands from window to window."""

from __future__ import annotations

import pytest
import torch

from lstmcli.config.schema import Train
from lstmcli.kinds.text.batches import StreamBatches
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel, TextSource
from lstmcli.kinds.text.source import prepare_text
from lstmcli.run.state import seed_step

STEPS = 20  # an epoch has 15


@pytest.fixture
def windows(monkeypatch):
    """What the model is given and gives back at each update: (ids, state before, state after)."""
    original, seen = TextModel.objective, []

    def objective(self, ids, targets, state, penalties):
        result, nats, carried = original(self, ids, targets, state, penalties)
        seen.append((ids, state, carried))
        return result, nats, carried

    monkeypatch.setattr(TextModel, "objective", objective)
    return seen


def zero(state, stream):
    return all(bool((s[stream] == 0).all()) for layer in state for s in layer)


def equal(state, other, stream):
    pairs = zip(sum(state, ()), sum(other, ()), strict=True)
    return all(torch.equal(a[stream], b[stream]) for a, b in pairs)


def test_the_state_is_carried_within_an_epoch_and_starts_anew_with_the_next(lab, windows):
    lab.train("r")
    assert len(windows) == STEPS
    for step, (_, before, _) in enumerate(windows):
        for stream in range(4):
            if step % 15 == 0:
                assert zero(before, stream)
            else:
                assert equal(before, windows[step - 1][2], stream) and not zero(before, stream)


def test_streams_are_reset_by_chance_and_the_others_are_carried(lab, windows):
    lab.train("r", "train.state_reset=0.3", "train.max_steps=15")
    fates = [zero(before, stream) for _, before, _ in windows[1:] for stream in range(4)]
    assert 0.1 < sum(fates) / len(fates) < 0.5
    for step in range(1, 15):
        before, previous = windows[step][1], windows[step - 1][2]
        assert all(zero(before, k) or equal(before, previous, k) for k in range(4))


def test_windows_follow_each_other_in_the_text(lab, windows):
    lab.train("r", "train.max_steps=14")
    text = (lab.folder / "text.txt").read_text()[:1000]
    ring = text + text
    vocabulary = prepare_text(
        TextSource(path=str(lab.folder / "text.txt"), cache=str(lab.folder / "c"))
    ).vocabulary
    for stream in range(4):
        read = vocabulary.decode(torch.cat([ids[:, stream] for ids, _, _ in windows]).numpy())
        assert len(read) == 14 * 16 and read in ring


def test_a_run_equals_its_updates_written_out(lab):
    """Batches, seeds, warm-up, schedule, clipping and optimizer, in a dozen lines of plain PyTorch."""
    lab.train("r", "model.dropout=0.2", "train.clip_norm=0.25", "telemetry.every=1", "model.path=loop")
    data = prepare_text(TextSource(path=str(lab.folder / "text.txt"), cache=str(lab.folder / "c")))
    batches = StreamBatches(data.train, 4, 16, 7)
    seed_step(7, -1 + 2**31)
    settings = LanguageModel(hidden_size=16, embedding_size=8, num_layers=2, dropout=0.2)
    model = TextModel(settings, data.vocabulary.size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0, fused=True)
    state, logged = model.initial_state(4), [r for r in lab.metrics("r") if "train/loss" in r]
    for step in range(STEPS):
        batch = batches[step]
        if step % 15 == 0:
            state = model.initial_state(4)
        seed_step(7, step)
        rate = 0.01 * (1 - step / STEPS) * min(1.0, (step + 1) / 5)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        logits, state = model(inputs, state)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        state = tuple(tuple(s.detach() for s in layer) for layer in state)
        assert logged[step]["train/loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert logged[step]["train/gradient_norm"] == pytest.approx(float(norm), rel=1e-4)
        assert logged[step]["train/learning_rate"] == pytest.approx(rate)
    assert any(r["train/gradient_norm"] > 0.25 for r in logged)  # told before clipping
    tensors = lab.checkpoint("r").tensors
    for name, value in model.state_dict().items():
        assert torch.allclose(value, torch.from_numpy(tensors[f"model.{name}"]), atol=1e-5), name


def test_without_clipping(lab):
    lab.train("r", "train.clip_norm=null", "telemetry.every=1")
    lab.train("loose", "train.clip_norm=1000000.0", "telemetry.every=1")
    assert lab.metrics("r") == lab.metrics("loose")


def test_the_default_optimizer_is_the_one_of_the_schema():
    assert Train().optimizer == "AdamW" and Train().clip_norm == 1.0


def test_two_paths_train_to_the_same_weights(lab):
    lab.train("loop", "model.path=loop")
    lab.train("fused", "model.path=fused")
    first, second = lab.checkpoint("loop").tensors, lab.checkpoint("fused").tensors
    for name, value in first.items():
        if name.startswith("model."):
            assert torch.allclose(torch.from_numpy(value), torch.from_numpy(second[name]), atol=2e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_run_on_the_compiled_engine_resumes_bit_equal(lab, same, precision):
    words = ["model.path=engine", f"train.precision={precision}", "model.dropout=0.2"]
    lab.train("whole", *words)
    fault = [("lstmcli.run.loop:_step", 14, "SIGKILL")]
    assert lab.process("train", "config.yaml", *words, "--run", "part", faults=fault).code == -9
    assert lab.process("train", "--resume", "part").code == 0
    same(lab, "whole", "part")
