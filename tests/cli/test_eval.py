"""lstm eval: figures, splits, files of the user's own, and what costs nothing beside them."""

from __future__ import annotations

import copy
import math
import shutil

import pytest

KEYS = {"split", "protocol", "tokens", "loss", "bpc", "perplexity", "accuracy", "baselines"}


@pytest.mark.parametrize("protocol", ["windows", "stateful"])
@pytest.mark.parametrize("split", ["val", "test", "train"])
def test_json_has_the_promised_keys_and_they_agree(trained_lab, split, protocol):
    outcome = trained_lab.lstm("eval", "good", "--split", split, "--protocol", protocol, "--json")
    found = outcome.json
    assert outcome.code == 0 and found.keys() >= KEYS
    assert (found["split"], found["protocol"], found["run"]) == (split, protocol, "good")
    assert found["tokens"] == {"val": 799, "test": 799, "train": 6399}[split]
    assert found["bpc"] == pytest.approx(found["loss"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert 0.4 < found["accuracy"] < 0.9
    baselines = found["baselines"]
    assert baselines.keys() == {"unigram", "ngram"}
    assert found["loss"] < baselines["unigram"]["loss"] and baselines["ngram"]["loss"] > 0
    for each in baselines.values():
        assert each["bpc"] == pytest.approx(each["loss"] / math.log(2))


def test_the_same_figure_as_the_training_reported(trained_lab):
    logged = [r for r in trained_lab.metrics("good") if "val/loss" in r]
    best = min(logged, key=lambda r: r["val/loss"])
    found = trained_lab.lstm("eval", "good", "--json").json
    assert found["step"] == best["step"]
    assert found["loss"] == pytest.approx(best["val/loss"], abs=1e-6)
    assert found["accuracy"] == pytest.approx(best["val/accuracy"])


def test_words_for_a_person(trained_lab):
    outcome = trained_lab.lstm("eval", "good")
    assert outcome.code == 0
    assert "good at step 150 on val" in outcome.out and "799 symbols" in outcome.out
    for word in ("nats/symbol", "this model", "6-gram of the training text", "unigram of the training text"):
        assert word in outcome.out


def test_a_step_by_number(trained_lab):
    assert trained_lab.lstm("eval", "good@50", "--json").json["step"] == 50
    assert trained_lab.lstm("eval", "good@60", "--json").code == 5


def test_a_file_of_the_users_own_with_unknown_symbols(trained_lab, tmp_path):
    file = tmp_path / "other.txt"
    file.write_text("the cat säw a död dög\n", encoding="utf-8")
    found = trained_lab.lstm("eval", "good", "--data", file, "--json").json
    assert found["tokens"] == 21 and found["unknown"] == 3 and found["split"] == str(file)
    assert found["baselines"].keys() == {"unigram", "ngram"}
    said = trained_lab.lstm("eval", "good", "--data", file).out
    assert "21 symbols, 3 of them unknown to the model" in said


@pytest.mark.parametrize("content", [b"", b"t", b"\xff\xfe the cat"])
def test_a_file_that_cannot_be_evaluated(trained_lab, tmp_path, content):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    refused = trained_lab.lstm("eval", "good", "--data", file)
    assert refused.code == 4 and "Traceback" not in refused.err
    assert trained_lab.lstm("eval", "good", "--data", tmp_path / "none.txt").code == 4


def test_a_split_that_the_data_do_not_have(lab):
    lab.train("r")
    refused = lab.lstm("eval", "r", "--split", "test")
    assert refused.code == 4 and "no test split" in refused.err and "train, val" in refused.err


@pytest.mark.parametrize("words", [["--split", "all"], ["--protocol", "nanogpt"], ["--nothing"]])
def test_words_that_mean_nothing(trained_lab, words):
    assert trained_lab.lstm("eval", "good", *words).code == 2


def test_a_run_whose_data_are_gone_evaluates_a_file_without_baselines(lab):
    lab.train("r")
    shutil.copy(lab.folder / "text.txt", lab.folder / "copy.txt")
    (lab.folder / "text.txt").unlink()
    refused = lab.lstm("eval", "r")
    assert refused.code == 4 and "text.txt" in refused.err and "--data" in refused.err
    found = lab.lstm("eval", "r", "--data", "copy.txt", "--json")
    assert found.code == 0 and found.json["tokens"] == 1111 and found.json["baselines"] == {}
    assert "no baselines" in found.err
    assert "this model" in lab.lstm("eval", "r", "--data", "copy.txt").out


def test_a_run_whose_data_have_changed(lab):
    lab.train("r")
    shutil.copy(lab.folder / "text.txt", lab.folder / "copy.txt")
    text = (lab.folder / "copy.txt").read_text()
    (lab.folder / "text.txt").write_text(text.replace("cat", "act"))
    same_symbols = lab.lstm("eval", "r", "--json")
    assert same_symbols.code == 0 and "have changed" in same_symbols.err
    (lab.folder / "text.txt").write_text("other symbols: xyz!?\n" * 60)
    refused = lab.lstm("eval", "r")
    assert refused.code == 5 and "--data" in refused.err
    found = lab.lstm("eval", "r", "--data", "copy.txt", "--json")
    assert found.code == 0 and found.json["tokens"] == 1111, found.err


def test_a_run_on_bytes(lab):
    (lab.folder / "text.txt").write_bytes(bytes(range(256)) * 5)
    lab.train("r", "data.level=bytes")
    found = lab.lstm("eval", "r", "--json").json
    assert found["unknown"] == 0 and found["tokens"] == 127


def test_a_run_without_validation_text(lab):
    lab.train("r", "data.splits=[1.0]")
    refused = lab.lstm("eval", "r")
    assert refused.code == 4 and "no val split" in refused.err
    assert lab.lstm("eval", "r", "--split", "train", "--json").code == 0


def test_each_line_and_each_symbol_by_itself(trained_lab, tmp_path):
    import numpy as np

    from lstmcli.api import load

    lines = ["the cat sat", "", "tac eht", "the cat sat on the mat and saw the dog on the mat"]
    file = tmp_path / "lines.txt"
    file.write_text("\r\n".join(lines), newline="")
    found = trained_lab.lstm("eval", "good", "--data", file, "--by", "line", "--json").json
    assert [each["symbols"] for each in found["lines"]] == [len(line) for line in lines]
    assert found["tokens"] == sum(map(len, lines))
    run = load(trained_lab.path("good"))
    for each, line in zip(found["lines"], lines, strict=True):  # symbol after symbol, by the decoder
        state, symbol, nats = run.decoder.initial_state(1), int(run.vocabulary.encode("\n")[0]), []
        for following in run.vocabulary.encode(line).tolist():
            logits = run.decoder.step(np.array([symbol]), state)[0].astype(np.float64)
            nats.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[following])
            symbol = following
        assert each["total"] == pytest.approx(sum(nats), rel=2e-3, abs=1e-6)
        assert (
            each["loss"] is None
            if not line
            else each["loss"] == pytest.approx(sum(nats) / len(line), rel=2e-3)
        )
    assert found["lines"][0]["loss"] < found["lines"][2]["loss"]
    by_symbol = trained_lab.lstm("eval", "good", "--data", file, "--by", "symbol", "--json").json["symbols"]
    assert "".join(each["symbol"] for each in by_symbol) == "".join(lines)
    first = [each["loss"] for each in by_symbol if each["line"] == 1]
    assert sum(first) == pytest.approx(found["lines"][0]["total"])
    assert run.score(lines)[0].tolist() == pytest.approx(first, rel=1e-4)
    assert trained_lab.lstm("eval", "good", "--by", "line").code == 0
    assert trained_lab.lstm("eval", "good", "--by", "series").code == 2
    assert trained_lab.lstm("eval", "good", "--by", "line", "--dynamic").code == 2


def test_several_files_a_pattern_and_standard_input(trained_lab, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat\n")
    (tmp_path / "b.txt").write_text("on the mat\n")
    both = ["--data", tmp_path / "a.txt", "--data", tmp_path / "b.txt"]
    expected = trained_lab.lstm("eval", "good", *both, "--json").json
    assert expected["tokens"] == 22
    for words, given in (
        (["--data", tmp_path / "?.txt"], b""),
        (["--data", "-"], b"the cat sat\non the mat\n"),
    ):
        found = trained_lab.lstm("eval", "good", *words, "--json", stdin=given).json
        assert found["loss"] == expected["loss"], words


def test_the_data_are_found_from_another_folder(lab):
    lab.train("r", "train.max_steps=2")
    other = lab.folder / "elsewhere"
    other.mkdir()
    here = copy.copy(lab)
    here.folder = other
    found = here.lstm("eval", "../runs/r", "--json")
    assert found.code == 0 and "where the run began" in found.err
    gone_on = here.lstm("train", "--resume", "../runs/r", "train.max_steps=3")
    assert gone_on.code == 0 and "lstm eval ../runs/r" in gone_on.err
    assert not list(other.iterdir()), "the cache is the one where the run began"
    (lab.folder / "text.txt").unlink()
    refused = here.lstm("train", "--resume", "../runs/r", "train.max_steps=4")
    assert refused.code == 4 and "text.txt" in refused.err and "data.path=PATH" in refused.err
    assert "neither here nor in" in refused.err


def test_a_name_is_checked_before_anything_is_read(lab):
    lab.train("r", "train.max_steps=2")
    (lab.folder / "broken.yaml").write_text("data: [")
    for name, word in (("r", "exists already"), ("my run", "cannot name a run")):
        refused = lab.lstm("train", "broken.yaml", "--run", name)
        assert refused.code == 2 and word in refused.err
