"""lstm generate: prompts, sampling options, streams, JSON."""

from __future__ import annotations

import json

import pytest

from lstmcli.cells.zoo.lstm import ReadableLSTM


def text_of(lab, *words, stdin=b""):
    """The text that a command writes, prompt included, without the line end that closes it."""
    outcome = lab.lstm("generate", "good", *words, stdin=stdin)
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith("\n")
    return outcome.out[:-1]


def test_the_prompt_and_as_many_symbols_as_asked_for(trained_lab):
    text = text_of(trained_lab, "--prompt", "the cat", "--length", 50)
    assert text.startswith("the cat") and len(text) == 7 + 50


def test_the_default_length_and_no_prompt(trained_lab):
    assert len(text_of(trained_lab)) == 500
    assert len(text_of(trained_lab, "--prompt", "", "--length", 30)) == 30
    assert text_of(trained_lab, "--length", 0) == ""


def test_what_was_learned_shows(trained_lab):
    words = text_of(trained_lab, "--length", 2000, "--temperature", 0.3, "--seed", 1).split()
    learned = sum(word in ("the", "cat", "sat", "mat", "and", "saw", "dog", "on") for word in words)
    assert learned > len(words) / 4


def test_a_seed_gives_the_same_text_again_and_none_a_new_one(trained_lab):
    first, second = (text_of(trained_lab, "--seed", 3, "--length", 80) for _ in range(2))
    assert first == second != text_of(trained_lab, "--seed", 4, "--length", 80)
    assert text_of(trained_lab, "--length", 80) != text_of(trained_lab, "--length", 80)


def test_temperature_nought_takes_the_likeliest_symbol(trained_lab):
    texts = {text_of(trained_lab, "--temperature", 0, "--seed", seed, "--length", 60) for seed in range(3)}
    assert len(texts) == 1
    import numpy as np

    from lstmcli.api import load

    run = load(trained_lab.path("good"))
    state, symbol, greedy = run.decoder.initial_state(1), int(run.vocabulary.encode("\n")[0]), []
    for _ in range(60):
        logits = run.decoder.step(np.array([symbol]), state)[0].copy()
        logits[0] = -np.inf  # the unknown symbol is never written
        symbol = int(logits.argmax())
        greedy.append(symbol)
    assert texts == {run.vocabulary.decode(greedy)}


def test_top_1_is_the_likeliest_too(trained_lab):
    greedy = text_of(trained_lab, "--temperature", 0, "--length", 60)
    assert text_of(trained_lab, "--top-k", 1, "--temperature", 2, "--length", 60) == greedy
    assert text_of(trained_lab, "--top-p", 0.000001, "--temperature", 2, "--length", 60) == greedy


def test_top_k_above_the_vocabulary_is_clamped_with_a_notice(trained_lab):
    wide = trained_lab.lstm("generate", "good", "--top-k", 500, "--seed", 1, "--length", 20)
    assert wide.code == 0 and "top-k 500" in wide.err and "21" in wide.err
    assert wide.out == trained_lab.lstm("generate", "good", "--seed", 1, "--length", 20).out


@pytest.mark.parametrize(
    "words",
    [
        *(["--temperature", "-1"], ["--temperature", "nan"], ["--temperature", "inf"]),
        ["--temperature", "x"],
        *(["--top-k", "0"], ["--top-k", "1.5"], ["--top-p", "0"], ["--top-p", "1.1"], ["--top-p", "nan"]),
        *(["--num", "0"], ["--length", "-1"], ["--seed", "-1"], ["--stop", ""], ["--unknown"]),
        ["--prompt", "a", "--prompt-file", "b"],
    ],
)
def test_values_that_make_no_sense_end_with_code_2(trained_lab, words):
    refused = trained_lab.lstm("generate", "good", *words)
    assert refused.code == 2 and refused.out == "" and "Traceback" not in refused.err


def test_an_unknown_character_is_named(trained_lab):
    outcome = trained_lab.lstm("generate", "good", "--prompt", "the Zebra é", "--length", 5)
    assert outcome.code == 0
    for name in ("'Z' (U+005A)", "'b' (U+0062)", "'é' (U+00E9)"):
        assert name in outcome.err
    assert "'t'" not in outcome.err and outcome.err.count("\n") == 1


def test_several_samples(trained_lab):
    outcome = trained_lab.lstm("generate", "good", "--num", 3, "--seed", 1, "--length", 20, "--prompt", "the")
    assert [line for line in outcome.out.split("\n") if line.startswith("---")] == [
        "--- 1 ---",
        "--- 2 ---",
        "--- 3 ---",
    ]
    alone = text_of(trained_lab, "--seed", 1, "--length", 20, "--prompt", "the")
    assert f"--- 1 ---\n{alone}\n" in outcome.out  # a sample does not depend on how many there are


def test_a_stop_text_ends_a_sample_and_is_not_part_of_it(trained_lab):
    whole = text_of(trained_lab, "--seed", 2, "--length", 300)
    stopped = text_of(trained_lab, "--seed", 2, "--length", 300, "--stop", "the")
    assert stopped == whole[: whole.index("the")]
    two = text_of(trained_lab, "--seed", 2, "--length", 300, "--stop", "the", "--stop", " ")
    assert two == whole[: min(whole.index("the"), whole.index(" "))]


def test_the_prompt_may_come_from_a_file_or_standard_input(trained_lab, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("the dog\n")
    expected = text_of(trained_lab, "--prompt", "the dog\n", "--seed", 1, "--length", 30)
    assert text_of(trained_lab, "--prompt-file", file, "--seed", 1, "--length", 30) == expected
    words = ["--prompt-file", "-", "--seed", 1, "--length", 30]
    assert text_of(trained_lab, *words, stdin=b"the dog\n") == expected
    assert text_of(trained_lab, *words, stdin=b"") == text_of(trained_lab, "--seed", 1, "--length", 30)


def test_a_prompt_file_that_cannot_be_read(trained_lab, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"the \xff")
    refused = trained_lab.lstm("generate", "good", "--prompt-file", file)
    assert refused.code == 4 and "byte 4" in refused.err
    assert trained_lab.lstm("generate", "good", "--prompt-file", tmp_path / "none").code == 4
    assert trained_lab.lstm("generate", "good", "--prompt-file", tmp_path).code == 4


def test_json_is_one_object_with_the_promised_keys_and_nothing_else(trained_lab):
    words = ["--num", 2, "--length", 25, "--seed", 9, "--prompt", "Zoo ", "--top-k", 99, "--json"]
    outcome = trained_lab.lstm("generate", "good", *words)
    assert outcome.code == 0 and "U+005A" in outcome.err and "top-k" in outcome.err
    found = json.loads(outcome.out)
    assert found.keys() >= {"samples", "tokens_per_second"} and found["tokens_per_second"] > 0
    assert found["seed"] == 9
    for sample in found["samples"]:
        assert sample.keys() >= {"text", "tokens", "seconds"}
        assert sample["tokens"] == len(sample["text"]) == 25 and sample["seconds"] > 0
    again = trained_lab.lstm("generate", "good", *words).json
    assert [s["text"] for s in again["samples"]] == [s["text"] for s in found["samples"]]


def test_the_seed_that_was_drawn_is_told_and_repeats_the_text(trained_lab):
    first = trained_lab.lstm("generate", "good", "--length", 20, "--json").json
    again = trained_lab.lstm("generate", "good", "--length", 20, "--json", "--seed", first["seed"]).json
    assert again["samples"][0]["text"] == first["samples"][0]["text"]


def test_latest_and_a_path_mean_the_run(trained_lab):
    texts = {
        trained_lab.lstm("generate", run, "--seed", 1, "--length", 20).out
        for run in ("good", "latest", "runs/good", trained_lab.path("good"), "good@150", "good@best")
    }
    assert len(texts) == 1
    assert trained_lab.lstm("generate", "good@50", "--seed", 1, "--length", 20).out not in texts


def test_the_readable_cell_writes_what_the_same_weights_say(lab):
    """A free cell goes another way (the module, step by step); its text is that of its equations."""
    import torch

    lab.train("free", "model.cell=lstm-readable", "model.path=auto")
    greedy = lab.lstm("generate", "free", "--temperature", 0, "--length", 15).out[:-1]
    from lstmcli.api import load

    run = load(lab.path("free"))
    layers = [layer.cell for layer in run.model.layers.layers]
    assert all(isinstance(cell, ReadableLSTM) for cell in layers)
    symbol, states, written = int(run.vocabulary.encode("\n")[0]), run.model.initial_state(1), []
    states = list(states)
    with torch.no_grad():
        for _ in range(15):
            x = run.model.embedding.weight[[symbol]]
            for k, cell in enumerate(layers):
                x, states[k], _ = cell.step(x, states[k])
            logits = run.model.head(x)[0]
            logits[0] = -torch.inf
            symbol = int(logits.argmax())
            written.append(symbol)
    assert greedy == run.vocabulary.decode(written)


def test_bytes_become_text(lab):
    (lab.folder / "text.txt").write_bytes(("the mat é 日本 " * 90).encode())
    lab.train("bytes", "data.level=bytes", "train.max_steps=30")
    outcome = lab.lstm("generate", "bytes", "--length", 300, "--json", "--prompt", "日")
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.json["samples"][0]["tokens"] == 300


def test_bytes_are_written_as_bytes_and_can_be_decoded_again(lab):
    import base64
    import subprocess
    import sys

    (lab.folder / "text.txt").write_bytes(b"caf\xe9 \xfcber " * 120)
    lab.train("bytes", "data.level=bytes", "train.max_steps=60")
    words = [
        "generate",
        "bytes",
        "--seed",
        "1",
        "--length",
        "40",
        "--temperature",
        "0.3",
        "--prompt-file",
        "-",
    ]
    command = [sys.executable, "-m", "lstmcli", *words]
    done = subprocess.run(command, input=b"\xe9\x00", cwd=lab.folder, capture_output=True, check=True)
    found = lab.lstm(*words, "--json", stdin=b"\xe9\x00").json["samples"][0]
    raw = base64.b64decode(found["base64"])
    assert len(raw) == 40 and done.stdout == b"\xe9\x00" + raw
    assert found["text"] == raw.decode("utf-8", "replace")
    stopped = lab.lstm(*words, "--json", "--stop", " ", stdin=b"\xe9\x00").json["samples"][0]
    assert base64.b64decode(stopped["base64"]) == raw.split(b" ")[0]


def test_a_prompt_in_the_other_normal_form_is_understood(lab):
    (lab.folder / "text.txt").write_text("cafe\u0301 " * 300, encoding="utf-8")
    lab.train("nfd", "train.max_steps=5")
    words = ["--seed", 1, "--length", 20]
    typed = lab.lstm("generate", "nfd", "--prompt", "caf\u00e9", *words)
    assert "U+0065 + U+0301" in typed.err and "never saw" not in typed.err
    assert typed.out == lab.lstm("generate", "nfd", "--prompt", "cafe\u0301", *words).out


def test_stops_that_cannot_match_are_told(trained_lab):
    said = trained_lab.lstm("generate", "good", "--length", 5, "--stop", r"\n", "--stop", "Ж").err
    assert "$'\\n' makes a line break" in said and "'Ж' (U+0416)" in said
