"""`lstm validate` and `lstm train` refuse the same configs, with the same words."""

from __future__ import annotations

import random

import pytest

SETTINGS = {
    "model.cell": ["lstm", "gru", "mingru", "lstm-layer-norm", "lstm-readable", "projection-lstm"],
    "model.path": ["auto", "fused", "engine", "loop", "scan"],
    "model.zoneout": [0.0, 0.1, "[.1,.2]", "[.1,.2,.3]"],
    "model.weight_drop": [0.0, 0.3],
    "model.recurrent_dropout": [0.0, 0.2],
    "model.tie_weights": ["true", "false"],
    "train.optimizer": ["AdamW", "Muon", "SGD", "Adamm"],
    "train.optimizer_options": ["{}", "{betas: [0.9, 0.99]}", "{none_such: 1}"],
    "train.device": ["cpu", "auto"],
}
FEW = 25


def words_of(seed):
    draw = random.Random(seed)
    chosen = draw.sample(sorted(SETTINGS), k=draw.randint(1, 4))
    return [f"{name}={draw.choice(SETTINGS[name])}" for name in chosen]


@pytest.mark.parametrize("seed", range(FEW))
def test_validate_and_train_agree(lab, seed):
    agree(lab, words_of(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, 200))
def test_validate_and_train_agree_on_many(lab, seed):
    agree(lab, words_of(seed))


def agree(lab, words):
    words = ["config.yaml", "model.path=auto", "train.max_steps=1", "evaluation.sample_length=0", *words]
    words = list({word.partition("=")[0]: word for word in words}.values())
    checked, trained = lab.lstm("validate", *words), lab.lstm("train", *words, "--run", "r")
    assert (checked.code == 0) == (trained.code == 0), (words, checked.err, trained.err)
    if checked.code:
        assert checked.code == trained.code == 3, (words, checked.err, trained.err)
        assert "Traceback" not in trained.err and errors(checked) == errors(trained), words


def errors(outcome):
    return [line for line in outcome.err.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.path=fused", "model.cell=gru"], "model.path: fused serves LSTM only, not gru"),
        (
            ["model.path=auto", "model.zoneout=0.3", "model.cell=mingru"],
            "model.zoneout: mingru is a scan cell",
        ),
        (["model.path=scan"], "model.path: scan serves scan cells only, not lstm"),
        (["model.zoneout=[.1,.2,.3]"], "model.zoneout: 3 rates for the 2 states of lstm"),
        (["model.path=scan", "train.optimizer=Adamm"], "torch.optim has no 'Adamm'"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_both_at_once(lab, words, said):
    for command in ("validate", "train"):
        refused = lab.lstm(command, "config.yaml", *words)
        assert refused.code == 3 and said in refused.err, refused.err
    assert not lab.path("r").exists()


OF_TEXTS = [
    "model.input_dropout=0.1", "model.embedding_dropout=0.1", "model.mixtures=2", "train.state_reset=0.1",
    "train.label_smoothing=0.1", "train.activation_penalty=0.1", "train.temporal_penalty=0.1",
    "train.sequence_jitter=0.1", "train.sequence_length=16", "evaluation.protocol=stateful",
    "evaluation.sample_length=3", "evaluation.max_tokens=9",
]  # fmt: skip


@pytest.mark.parametrize(
    "word", [*OF_TEXTS, "evaluation.stride=2", "forecast.samples=3", "forecast.lags=[2]"]
)
def test_a_setting_that_nothing_would_read_is_refused_by_name(lab, word):
    (lab.folder / "task.yaml").write_text(
        "data: {kind: synthetic, task: adding, length: 10}\ntrain: {max_steps: 1, batch_size: 4}\n"
    )
    assert lab.lstm("validate", "task.yaml").code == 0
    for command in ("validate", "train"):
        refused = lab.lstm(command, "task.yaml", word)
        assert refused.code == 3 and f"{word.partition('=')[0]}: nothing reads it" in refused.err, refused.err


@pytest.mark.parametrize(
    ("word", "needs"),
    [
        ("train.plateau_factor=0.3", "train.schedule: plateau"),
        ("train.average_from=0.5", "train.average: swa"),
        ("train.average_patience=2", "train.average: nt-asgd"),
        ("model.chrono_steps=9", "model.forget_bias: chrono"),
    ],
)
def test_a_setting_without_what_gives_it_an_effect_is_refused(lab, word, needs):
    refused = lab.lstm("validate", "config.yaml", word)
    assert refused.code == 3 and f"it has no effect without {needs}" in refused.err
    name, _, value = needs.partition(": ")
    assert lab.lstm("validate", "config.yaml", word, f"{name}={value}").code == 0
