"""Thousands of distinct characters, all beyond ASCII, from the file to the text and back."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

TANG = Path(__file__).parents[3] / "shared" / "data" / "text" / "tang_poetry.txt"


def test_three_thousand_characters_train_and_come_back(lab):
    draw = random.Random(0)
    characters = [chr(0x4E00 + k) for k in range(3200)]
    lines = ["".join(draw.choices(characters, k=7)) + "。\n" for _ in range(2000)]
    text = "".join(characters) + "\n" + "".join(lines)
    (lab.folder / "text.txt").write_text(text, encoding="utf-8")
    words = ["train.max_steps=6", "evaluation.every=3", "evaluation.max_tokens=600"]
    trained = lab.train("r", *words, "--json")
    assert "vocabulary 3203" in trained.err
    assert 0 < trained.json["final"]["loss"] < 9
    outcome = lab.process("generate", "r", "--prompt", characters[5], "--length", 200, "--temperature", 1.0)
    assert outcome.code == 0 and outcome.err == ""
    written = outcome.out.removeprefix(characters[5])[:-1]
    assert len(written) == 200 and set(written) <= set(text) and len(set(written)) > 100
    found = lab.lstm("eval", "r", "--json").json
    assert found["unknown"] == 0 and found["tokens"] > 1000
    again = lab.lstm("train", "--resume", "r", "train.max_steps=8", "--json")
    assert again.code == 0 and again.json["steps"] == 8


def test_rare_characters_become_the_unknown_symbol_and_are_never_written(lab):
    common = "的一是不了人我在有他" * 120
    (lab.folder / "text.txt").write_text(common + "鬱龘" + common, encoding="utf-8")
    trained = lab.train("r", "data.min_count=3", "train.max_steps=5", "--json")
    assert "vocabulary 11" in trained.err
    outcome = lab.lstm("generate", "r", "--prompt", "龘", "--length", "300", "--temperature", "3")
    assert "U+9F98" in outcome.err
    assert not set(outcome.out[1:]) & set("鬱龘\N{REPLACEMENT CHARACTER}")


@pytest.mark.skipif(not TANG.exists(), reason="the corpus is not here")
def test_tang_poetry(lab):
    shutil.copy(TANG, lab.folder / "text.txt")
    words = ["train.max_steps=4", "evaluation.every=null", "evaluation.max_tokens=2000", "data.min_count=2"]
    trained = lab.train("r", *words, "--json")
    text = TANG.read_text(encoding="utf-8")
    assert trained.json["final"]["loss"] < 10
    outcome = lab.process("generate", "r", "--length", 100, "--prompt", text[:1], "--json")
    assert outcome.code == 0
    written = outcome.json["samples"][0]["text"]
    assert len(written) == 100 and set(written) <= set(text)
