"""The package from Python: a run as an object, without the command line."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pytest
import torch

import lstmcli
from lstmcli.core.errors import LstmError, RunError, UsageError


def in_fresh_python(code, folder):
    """What Python code prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, lstmcli; lstmcli.__version__\n"
        "heavy = ('torch', 'numpy', 'pydantic', 'rich', 'typer', 'lstmcli.cli')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert in_fresh_python(code, tmp_path) == "[]\n"


def test_loading_and_generating_does_not_import_the_command_line_or_torch(trained_lab):
    code = (
        "import sys, lstmcli\n"
        "run = lstmcli.load('good')\n"
        "text = run.generate('the ', length=20, seed=1)[0].text\n"
        "print(len(text), [m for m in ('torch', 'lstmcli.cli', 'typer') if m in sys.modules])"
    )
    assert in_fresh_python(code, trained_lab.folder) == "20 []\n"


def test_an_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="nothing"):
        lstmcli.nothing  # noqa: B018


@pytest.fixture(scope="module")
def run(trained_lab):
    return lstmcli.load(trained_lab.path("good"))


def test_a_run_says_what_it_is(run):
    assert (run.directory.name, run.step, run.config.model.hidden_size) == ("good", 150, 32)
    assert run.vocabulary.size == 21


def test_a_run_is_shown_in_a_line(run):
    assert repr(run) == "<Run good at step_00000150: text, 2 x 32 lstm>"


def test_a_frame_is_forecast_as_its_file_is(lab, monkeypatch):
    import polars as pl

    days = [date(2024, 1, 1) + timedelta(t) for t in range(112)]
    table = pl.DataFrame({"day": days, "sold": [float(t % 7) for t in range(112)]})
    table.write_csv(lab.folder / "table.csv")
    data = {"kind": "series", "path": "table.csv", "time": "day", "target": "sold", "frequency": "1d",
            "context_length": 14, "horizon": 3, "val_length": 7, "test_length": 7}  # fmt: skip
    lab.configure("series.yaml", data=data, train={"max_steps": 5})
    assert (made := lab.lstm("train", "series.yaml", "--run", "s")).code == 0, made.err
    monkeypatch.chdir(lab.folder)
    run = lstmcli.load("s")
    wanted = list(run.forecast(data=lab.folder / "table.csv").rows())
    assert list(run.forecast(data=table).rows()) == wanted
    frame = run.forecast(data=table).frame()
    assert frame.columns[:5] == ["group", "target", "time", "step", "mean"] and len(frame) == len(wanted)
    assert frame.row(0)[4] == wanted[0][4]

    class Column(list):
        tolist = list.copy

    class LikePandas(dict):
        columns = property(lambda self: list(self))

    like = LikePandas({name: Column(table[name].to_list()) for name in table.columns})
    assert list(run.forecast(data=like).rows()) == wanted
    with pytest.raises(UsageError, match="no table"):
        run.forecast(data=3)


def test_generating_as_the_command_does(run, trained_lab):
    samples = run.generate("the cat", length=40, num=2, seed=5, temperature=0.7)
    words = ["--prompt", "the cat", "--length", 40, "--num", 2, "--seed", 5, "--temperature", 0.7]
    outcome = trained_lab.lstm("generate", "good", *words, "--json")
    assert [s.text for s in samples] == [s["text"] for s in outcome.json["samples"]]


def test_text_can_be_taken_piece_by_piece(run):
    pieces = []
    sample = run.generate("the", length=30, seed=2, on_text=lambda *piece: pieces.append(piece))
    assert "".join(text for _, text in pieces) == sample[0].text and {n for n, _ in pieces} == {0}


def test_evaluating_as_the_command_does(run, trained_lab, monkeypatch):
    monkeypatch.chdir(trained_lab.folder)
    report = run.evaluate(split="test", protocol="stateful")
    words = ["--split", "test", "--protocol", "stateful", "--json"]
    found = trained_lab.lstm("eval", "good", *words).json
    told = report.to_json()
    assert told["tokens"] == 799 and {key: found[key] for key in told} == told


def test_the_model_is_a_module_that_agrees_with_the_decoder(run):
    assert isinstance(run.model, torch.nn.Module) and not run.model.training
    ids = run.vocabulary.encode("the cat")
    state, torch_state = run.decoder.initial_state(1), run.model.initial_state(1)
    for symbol in ids:
        logits = run.decoder.step(np.array([symbol]), state)
        with torch.no_grad():
            other, torch_state = run.model.step(torch.tensor([int(symbol)]), torch_state)
        assert np.allclose(logits, other.numpy(), atol=1e-5)


@pytest.mark.parametrize("reference", ["good@50", "good@best", "good@last"])
def test_other_checkpoints(trained_lab, monkeypatch, reference):
    monkeypatch.chdir(trained_lab.folder)
    assert lstmcli.load(reference).step in (50, 150)


def test_errors_are_those_of_the_one_tree(run, trained_lab, monkeypatch):
    monkeypatch.chdir(trained_lab.folder)
    with pytest.raises(RunError):
        lstmcli.load("nothing")
    with pytest.raises(UsageError):
        run.generate(temperature=-1.0)
    with pytest.raises(UsageError):
        run.evaluate(protocol="other")
    assert issubclass(RunError, LstmError)


def test_evaluating_in_bf16_does_not_change_what_is_generated_afterwards(lab, monkeypatch):
    words = ["model.cell=lstm-readable", "model.path=auto", "train.precision=bf16", "train.max_steps=10"]
    lab.train("free", *words)
    monkeypatch.chdir(lab.folder)
    run = lstmcli.load("free")
    before = run.decoder.step(np.array([3]), run.decoder.initial_state(1)).copy()
    assert run.evaluate().precision == "bf16"
    after = run.decoder.step(np.array([3]), run.decoder.initial_state(1))
    assert np.array_equal(before, after) and run.model.product_dtype == torch.float32


def test_a_model_with_shared_weights(lab, monkeypatch):
    words = ["model.tie_weights=true", "model.embedding_size=null"]
    lab.train("tied", *words)
    monkeypatch.chdir(lab.folder)
    run = lstmcli.load("tied")
    assert "model.head.weight" not in lab.checkpoint("tied").tensors
    assert run.model.head.weight is run.model.embedding.weight
    assert len(run.generate("the", length=10)[0].text) == 10 and run.evaluate().loss > 0


def test_training_from_a_file_as_the_command_does(lab, same, monkeypatch):
    monkeypatch.chdir(lab.folder)
    lab.train("told", "train.learning_rate=0.02")
    made = lstmcli.train("config.yaml", run="made", quiet=True, train__learning_rate=0.02)
    same(lab, "told", "made")
    assert type(made) is lstmcli.Run and made.directory.path.name == "made"
    assert len(made.generate("the", length=5)[0].text) == 5


@pytest.mark.parametrize("kind", ["dictionary", "config"])
def test_training_from_what_is_no_file(lab, monkeypatch, tmp_path, kind):
    import yaml

    from lstmcli.config.load import load_config

    monkeypatch.chdir(lab.folder)
    config = (
        load_config("config.yaml")
        if kind == "config"
        else yaml.safe_load((lab.folder / "config.yaml").read_text())
    )
    made = lstmcli.train(config, runs=tmp_path / "there", quiet=True, **{"train.max_steps": 3})
    assert made.directory.path.parent == tmp_path / "there" and made.step == 3
    assert made.directory.name.startswith("run-")


def test_a_callback_is_told_and_may_end_the_run(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    told = []
    made = lstmcli.train(
        "config.yaml",
        run="r",
        quiet=True,
        callback=lambda e: told.append(e) or e.step >= 4,
        evaluation__every=2,
    )
    assert [e.step for e in told] == [2, 4] and all(e.loss == e.values["val/loss"] for e in told)
    assert told[0].best and lab.steps("r")[-1] == 4 and made.config.train.max_steps == 20
    whole = lstmcli.train(resume="r", quiet=True)  # its budget was not used up
    assert lab.steps("r")[-1] == 20 and whole.directory.path == made.directory.path


def test_a_run_that_was_ended_by_a_callback_goes_on_as_if_it_had_not_been(lab, same, monkeypatch):
    monkeypatch.chdir(lab.folder)
    lab.train("whole")
    lstmcli.train("config.yaml", run="cut", quiet=True, callback=lambda e: "enough" if e.step == 10 else None)
    assert lab.steps("cut") == [10]
    lstmcli.train(resume="cut", quiet=True)
    same(lab, "whole", "cut")


def test_errors_of_training_are_those_of_the_command(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    for wrong, code, words in (
        ({}, 2, "no config"),
        ({"config": "config.yaml", "train__max_step": 3}, 3, "train.max_steps"),
        ({"config": "absent.yaml"}, 3, "absent.yaml"),
        ({"config": "config.yaml", "data__path": "gone.txt"}, 4, "gone.txt"),
        ({"resume": "nothing"}, 5, "nothing"),
        ({"config": "config.yaml", "train__learning_rate": 1e39, "train__warmup_steps": 0}, 6, "not finite"),
    ):
        with pytest.raises(LstmError, match=words) as caught:
            lstmcli.train(**wrong, quiet=True)
        assert caught.value.exit_code == code, wrong
