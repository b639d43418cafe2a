"""Synthetic tasks and classifiers from a config to an answer: train, resume, evaluate, classify."""

from __future__ import annotations

import csv
import io
import json
import random

import numpy as np
import pytest
import yaml

LOOP = "lstmcli.run.loop"
SETTINGS = {
    "seed": 3,
    "model": {"hidden_size": 12, "num_layers": 1, "embedding_size": 6, "path": "fused", "dropout": 0.1},
    "train": {
        "batch_size": 8, "max_steps": 24, "learning_rate": 0.02, "warmup_steps": 3, "threads": 1,
        "precision": "fp32",
    },
    "evaluation": {"every": 8, "max_windows": 40},
    "telemetry": {"every": 4, "gates_every": 8, "tensorboard": False},
    "checkpoint": {"every": 8, "keep": 20},
}  # fmt: skip


OF_NUMBERS = ("adding", "sine", "sawtooth")
"""Tasks whose sequences are numbers, which are read as they are."""


def configure(lab, data, **sections):
    merged = {k: v | sections.get(k, {}) if isinstance(v, dict) else v for k, v in SETTINGS.items()}
    if data.get("kind") == "series" or data.get("task") in OF_NUMBERS:
        merged["model"] = {k: v for k, v in merged["model"].items() if k != "embedding_size"}
    (lab.folder / "config.yaml").write_text(yaml.safe_dump(merged | {"data": data}))


def stopped_and_resumed(lab, run, step):
    fault = [(f"{LOOP}:_step", step, "SIGTERM")]
    outcome = lab.process("train", "config.yaml", "--run", run, faults=fault)
    assert outcome.code == 143, outcome.err
    assert lab.lstm("train", "--resume", run).code == 0


# --- synthetic tasks ----------------------------------------------------------------------------


def synthetic(task="recall", length=3, **more):
    return {"kind": "synthetic", "task": task, "length": length, **more}


@pytest.fixture(scope="module")
def solved(shared_lab):
    """A lab with a run `recall` that has solved its task."""
    configure(
        shared_lab, synthetic(symbols=3), train={"max_steps": 120, "batch_size": 32}, model={"dropout": 0.0}
    )
    shared_lab.train("recall")
    return shared_lab


def test_a_task_is_learned_and_says_what_it_did(solved):
    outcome = solved.train("told", "train.max_steps=16", "--json")
    found = outcome.json
    assert found["sequences"] == 16 * 32 and found["best"]["loss"] > 0 and "sequences_per_second" in found
    assert "recall" in outcome.err and "sequences/s" in outcome.err
    tags = set().union(*solved.metrics("recall"))
    assert {"val/loss", "val/accuracy", "val/exact", "val/solved", "gates/layer0/forget/mean"} <= tags
    assert [r["val/solved"] for r in solved.metrics("recall") if "val/solved" in r][-1] == 1.0


def test_an_evaluation_tells_the_baseline_and_whether_it_is_solved(solved):
    found = solved.lstm("eval", "recall", "--json").json
    assert found["task"] == "recall" and found["length"] == 3 and found["sequences"] == 40
    assert found["solved"] and found["accuracy"] > 0.99 and found["longest_solved"] == 3
    assert found["baselines"]["no memory"]["accuracy"] == pytest.approx(1 / 3)
    shown = solved.lstm("eval", "recall", "--length", 3, "--length", 5).out
    assert "length 3: solved" in shown and "length 5: solved" in shown and "longest solved: 5" in shown
    early = solved.lstm("eval", "recall@8", "--length", 3, "--length", 5).out
    assert "length 3: not solved" in early and "solved at none of the lengths" in early


def test_lengths_can_be_swept_in_python(solved, monkeypatch):
    from lstmcli.api import load

    monkeypatch.chdir(solved.folder)
    report = load("recall").evaluate(lengths=[4, 2], sequences=24)
    assert [(r.length, r.sequences, r.solved) for r in report.lengths] == [(4, 24, True), (2, 24, True)]
    assert report.longest_solved == 4 and report.to_json()["length"] == 4


@pytest.mark.parametrize(
    "data",
    [synthetic("adding", 12), synthetic("dyck", 8, train_length=[4, 12]), synthetic("anbn", 4),
     synthetic("sine", 12), synthetic("copy", 3), synthetic("parity", 5)],
    ids=lambda data: data["task"],
)  # fmt: skip
def test_a_task_stopped_and_resumed_is_bit_equal(lab, same, data):
    configure(lab, data)
    lab.train("whole")
    stopped_and_resumed(lab, "stopped", 13)
    same(lab, "whole", "stopped")
    found = lab.lstm("eval", "whole", "--json").json
    assert found["task"] == data["task"] and found["loss"] > 0.0 and found["baselines"]


def test_a_wave_goes_on_by_itself(lab):
    configure(lab, synthetic("sine", 20))
    lab.train("sine")
    found = lab.lstm("eval", "sine", "--json").json
    assert found["free_mse"] > found["mse"] > 0.0 and found["baselines"]["the mean"]["free_mse"] == 0.5


def test_a_resumed_task_may_not_become_another_one(lab):
    configure(lab, synthetic("copy", 3))
    lab.train("done")
    refused = lab.lstm("train", "--resume", "done", "data.length=4")
    assert refused.code == 5 and "data.length" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [(["data.task=null"], "needs a task"), (["data.path=x.txt"], "path belongs to kind"),
     (["data.task=adding", "data.symbols=4"], "symbols belongs to task"),
     (["data.train_length=[9,3]"], "train_length must rise"), (["model.pooling=max"], "pooling"),
     (["data.label=a"], "label belongs to kind"), (["data.horizon=3"], "horizon belongs to kind")],
)  # fmt: skip
def test_settings_that_do_not_fit_a_task_are_refused(lab, words, said):
    configure(lab, synthetic("copy", 3))
    refused = lab.lstm("validate", "config.yaml", *words)
    assert refused.code == 3 and said in refused.err


def test_options_that_do_not_fit_a_task_are_refused(solved):
    refused = solved.lstm("eval", "recall", "--data", "text.txt")
    assert refused.code == 2 and "--data: of no use to recall" in refused.err
    assert "there are --split and --length" in refused.err
    refused = solved.lstm("generate", "recall")
    assert refused.code == 2 and "lstm eval recall" in refused.err
    assert solved.lstm("eval", "recall", "--split", "train").code == 2
    assert solved.lstm("validate", "config.yaml", "--json").json["data"] == {"task": "recall", "length": 3}


# --- classifiers --------------------------------------------------------------------------------

KINDS = {"fruit": "aeiou", "metal": "xyzqk", "stone": "0123456"}
TEXTS = {"path": "table.csv", "label": "kind", "text": "word", "splits": [0.6, 0.2, 0.2]}


def texts(count=120, seed=1):
    """(text, class): whichever class's symbols it ends with, of very different lengths."""
    draw = random.Random(seed)
    rows = []
    for k in range(count):
        kind = list(KINDS)[k % 3]
        filler = "".join(draw.choices('bcdfg ",\n', k=draw.randint(0, 12)))
        rows.append((filler + "".join(draw.choices(KINDS[kind], k=3)), kind))
    return rows


def write_texts(folder, rows, name="table.csv"):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "kind", "word"])
        writer.writerows([k, kind, word] for k, (word, kind) in enumerate(rows))


def write_series(folder, groups=30, name="series.csv"):
    """Groups `up` and `down`, with rows in no order."""
    draw = np.random.default_rng(0)
    rows = []
    for k in range(groups):
        slope = 1.0 if k % 2 else -1.0
        steps = int(draw.integers(4, 12))
        values = slope * np.arange(steps) + draw.normal(0, 0.3, steps) + 5.0 * draw.normal()
        rows += [
            (f"g{k}", f"2024-01-{t + 1:02d}", f"{v:.3f}", "up" if k % 2 else "down")
            for t, v in enumerate(values)
        ]
    draw.shuffle(rows)
    lines = ["who,day,value,way", *(",".join(row) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")


SERIES = {"kind": "series", "path": "series.csv", "label": "way", "group": "who", "time": "day",
          "splits": [0.6, 0.4]}  # fmt: skip


@pytest.fixture(scope="module")
def classifier(shared_lab):
    """A lab with a run `words` that tells texts apart."""
    write_texts(shared_lab.folder, texts())
    configure(shared_lab, TEXTS, train={"max_steps": 80}, model={"dropout": 0.0})
    shared_lab.train("words")
    return shared_lab


def test_a_classifier_learns_a_simple_rule(classifier):
    found = classifier.lstm("eval", "words", "--json").json
    assert found["split"] == "test" and found["sequences"] == 24
    assert found["accuracy"] > 0.9 and found["macro_f1"] > 0.9 and found["loss"] < 0.4
    assert found["baselines"]["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert found["baselines"]["naive_bayes"]["accuracy"] > 0.9
    assert np.array(found["confusion"]).sum() == 24
    shown = classifier.lstm("eval", "words", "--split", "val").out
    assert "naive Bayes" in shown and "fruit" in shown and "macro F1" in shown


def test_one_text_is_classified(classifier):
    shown = classifier.lstm("generate", "words", "--prompt", "bcd aei")
    assert shown.code == 0 and shown.out.splitlines()[0].startswith("fruit")
    row = classifier.lstm("generate", "words", "--prompt", "Ω 123", "--json").json["rows"][0]
    assert row["label"] == "stone" and sum(row["probabilities"].values()) == pytest.approx(1.0)


def test_a_table_without_labels_is_classified_row_by_row(classifier):
    rows = texts(30, seed=9)
    with (classifier.folder / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["word"], *([word] for word, _ in rows)])
    out = classifier.lstm("generate", "words", "--input", "new.csv").out
    found = list(csv.DictReader(io.StringIO(out)))
    assert [row["sequence"] for row in found] == [str(k) for k in range(1, 31)]
    assert np.mean([row["label"] == kind for row, (_, kind) in zip(found, rows, strict=True)]) > 0.9
    # One at a time gives the same as side by side.
    alone = classifier.lstm("generate", "words", "--prompt", rows[7][0], "--json").json["rows"][0]
    assert alone["probabilities"]["metal"] == pytest.approx(float(found[7]["p_metal"]), abs=1e-5)
    wrote = classifier.lstm("generate", "words", "--input", "new.csv", "--output", "classes.csv")
    assert "wrote classes.csv" in wrote.out and (classifier.folder / "classes.csv").read_text() == out


def test_another_labelled_table_is_evaluated(classifier):
    write_texts(classifier.folder, texts(60, seed=4), "other.csv")
    found = classifier.lstm("eval", "words", "--data", "other.csv", "--json").json
    assert found["sequences"] == 60 and found["accuracy"] > 0.9 and "naive_bayes" in found["baselines"]
    write_texts(classifier.folder, [("abc", "wood"), ("x", "fruit")], "wrong.csv")
    refused = classifier.lstm("eval", "words", "--data", "wrong.csv")
    assert refused.code == 4 and "'wood'" in refused.err


@pytest.mark.parametrize("words", [[], ["model.pooling=mean", "model.num_layers=2"], ["model.pooling=max"]])
def test_a_classifier_stopped_and_resumed_is_bit_equal(lab, same, words):
    write_texts(lab.folder, texts(70))
    configure(lab, TEXTS | {"max_length": 9})
    merged = yaml.safe_load((lab.folder / "config.yaml").read_text())
    for word in words:
        name, _, value = word.removeprefix("model.").partition("=")
        merged["model"][name] = yaml.safe_load(value)
    (lab.folder / "config.yaml").write_text(yaml.safe_dump(merged))
    lab.train("whole")
    stopped_and_resumed(lab, "stopped", 13)
    same(lab, "whole", "stopped")


def test_series_are_classified_by_group(lab):
    write_series(lab.folder)
    configure(lab, SERIES, train={"max_steps": 60}, model={"dropout": 0.0})
    lab.train("ways")
    found = lab.lstm("eval", "ways", "--json").json
    assert found["split"] == "val" and found["sequences"] == 12 and found["accuracy"] > 0.9
    rows = lab.lstm("generate", "ways", "--input", "series.csv", "--json").json["rows"]
    assert {row["sequence"] for row in rows} == {f"g{k}" for k in range(30)}
    assert np.mean([row["label"] == ("up" if int(row["sequence"][1:]) % 2 else "down") for row in rows]) > 0.9
    assert "--input" in lab.lstm("generate", "ways", "--prompt", "a").err


def test_json_lines_are_a_table_too(lab):
    rows = texts(40)
    lines = [json.dumps({"word": word, "kind": kind}) for word, kind in rows]
    (lab.folder / "table.jsonl").write_text("\n".join(lines) + "\n\n")
    configure(lab, TEXTS | {"path": "table.jsonl"})
    said = lab.lstm("validate", "config.yaml", "--json").json["data"]
    assert said["sequences"] == {"train": 24, "val": 7, "test": 9} and said["classes"] == 3
    (lab.folder / "table.jsonl").write_text("\n".join([*lines[:3], '{"word": "a"']))
    refused = lab.lstm("validate", "config.yaml")
    assert refused.code == 4 and "line 4" in refused.err


@pytest.mark.parametrize(
    ("rows", "said"),
    [([("abc", "a"), ("", "b")], "row 3: no text in column word"),
     ([("abc", "a"), ("abd", "")], "row 3: no class in column kind"),
     ([("abc", "a"), ("abd", "a")], "one class only"),
     ([("abc", "a"), ("abd", "b")], "at most 2")],
)  # fmt: skip
def test_tables_that_cannot_be_learned_are_refused(lab, rows, said):
    write_texts(lab.folder, rows)
    configure(lab, TEXTS)
    refused = lab.lstm("validate", "config.yaml")
    assert refused.code == 4 and said in refused.err


@pytest.mark.parametrize(
    ("data", "said"),
    [(TEXTS | {"level": "bytes"}, "level belongs to kind: text, but the kind is text with a label"),
     (TEXTS | {"label": None, "max_length": 3}, "max_length belongs to kind: text with a label"),
     (SERIES | {"horizon": 3}, "horizon belongs to kind: series, but the kind is series with a label"),
     (SERIES | {"group": None}, "needs a group"),
     ({"source": "python-packages"}, "needs a label"),
     ({"source": "python-stdlib", "label": "a"}, "has no label")],
)  # fmt: skip
def test_settings_that_do_not_fit_a_label_are_refused(lab, data, said):
    configure(lab, {k: v for k, v in data.items() if v is not None})
    refused = lab.lstm("validate", "config.yaml")
    assert refused.code == 3 and said in refused.err


def test_wrong_columns_are_told(lab):
    write_texts(lab.folder, texts(9))
    configure(lab, TEXTS | {"text": "words"})
    refused = lab.lstm("validate", "config.yaml")
    assert refused.code == 4 and "did you mean word?" in refused.err and "data.text" in refused.err


def test_a_group_with_two_classes_is_refused(lab):
    (lab.folder / "series.csv").write_text("who,day,value,way\na,2024-01-01,1,up\na,2024-01-02,2,down\n")
    configure(lab, SERIES)
    refused = lab.lstm("validate", "config.yaml")
    assert refused.code == 4 and "row 3" in refused.err and "up and down" in refused.err


def test_what_fits_no_classifier_is_refused(classifier):
    assert classifier.lstm("generate", "words").code == 2
    assert "--top-k" in classifier.lstm("generate", "words", "--prompt", "a", "--top-k", "3").err
    assert "--length" in classifier.lstm("eval", "words", "--length", "3").err
    assert "no train2" in classifier.lstm("eval", "words", "--split", "train2").err
    assert classifier.lstm("inspect", "words", "gates").code == 2


def test_the_page_of_tensorboard_shows_losses_and_what_is_solved(lab):
    configure(lab, synthetic("copy", 3))
    lab.train("told", "telemetry.tensorboard=true")
    events = b"".join(p.read_bytes() for p in lab.path("told").glob("events*"))
    assert b"val/solved" in events and b"speed/sequences_per_second" in events
