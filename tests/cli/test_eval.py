"""lstm eval: figures, splits, files of the user's own, and what costs nothing beside them."""

from __future__ import annotations

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
