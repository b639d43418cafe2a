"""`lstm experiment` as a user meets it."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from lstmcli.cli.app import app
from lstmcli.core.errors import Interrupted
from lstmcli.sweep import worker


@pytest.fixture
def command(desk):
    """`lstm WORDS` in the desk's folder: code, output, errors."""

    def run(*words):
        done = CliRunner().invoke(app, ["experiment", *map(str, words)])
        return done.exit_code, done.stdout, done.stderr

    return run


def test_an_experiment_ends_in_a_table_a_picture_and_json(desk, command):
    path = desk.write()
    code, out, err = command(path, "--jobs", 0, "--run", "first", "--out", "pages", "train.max_steps=2")
    assert code == 0, err
    assert "Small" in out and "narrow" in out and "±" in out
    assert "4/4" in err and "wrote runs/first/results.json" in err
    folder = desk.folder / "runs" / "first"
    found = json.loads((folder / "results.json").read_text())
    assert found["overrides"] == ["train.max_steps=2"] and len(found["trials"]) == 4
    assert (folder / "results.md").read_text().startswith("**Small**\n\n| variant | trials |")
    assert (folder / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert (desk.folder / "pages" / "small.md").read_text() == (folder / "results.md").read_text()
    assert (desk.folder / "pages" / "small.png").exists()
    # Again, by a resume: everything is read, nothing is trained.
    code, again, err = command("--resume", folder)
    assert code == 0 and again == out and "4/4" in err


def test_what_is_done_of_an_experiment_that_is_cut_off_can_be_read(desk, command, monkeypatch):
    train, made = worker.run_trial, []

    def cut_off(*words, **more):
        if made:
            raise Interrupted("stopped")
        made.append(1)
        return train(*words, **more)

    monkeypatch.setattr(worker, "run_trial", cut_off)
    path = desk.write(against="wide")  # of which nothing is there yet
    code, _, _ = command(path, "--jobs", 0, "--run", "cut")
    found = json.loads((desk.folder / "runs" / "cut" / "results.json").read_text())
    assert code == 130 and [t["trial"] for t in found["trials"]] == ["narrow-seed1"]
    assert "| narrow | 1 |" in (desk.folder / "runs" / "cut" / "results.md").read_text()


def test_json_is_one_object(desk, command):
    code, out, _ = command(desk.write(), "--jobs", 0, "--quick", "--json")
    document = json.loads(out)
    assert code == 0 and document["quick"] and document["seeds"] == [1]
    assert document["directory"].startswith("runs/experiment-small-")
    assert document["rows"][0]["numbers"]["best_loss"]["values"]


def test_the_list_of_experiments(desk, command):
    shipped = command()[1]
    assert "forget-bias" in shipped and "small" not in shipped.split()
    folder = desk.folder / "configs" / "experiments"
    folder.mkdir(parents=True)
    desk.write("configs/experiments/small.yaml", takes=2.5)
    for words in ((), ("list",)):
        code, out, _ = command(*words)
        assert code == 0 and ["small", "Small", "2.5", "min"] in [line.split() for line in out.splitlines()]
        assert len(out.splitlines()) == len(shipped.splitlines()) + 1
    listed = json.loads(command("--json")[1])["experiments"]
    assert {"name": "small", "title": "Small", "minutes": 2.5} in listed
    assert command("smal")[0] == 3 and "did you mean small?" in command("smal")[2]


def test_nothing_is_made_where_a_config_is_wrong(desk, command):
    path = desk.write(variants={"a": {}, "b": {"model.cel": "lstm"}})
    code, _, err = command(path, "--run", "x")
    assert code == 3 and "did you mean model.cell?" in err and not (desk.folder / "runs").exists()


def test_wrong_words(desk, command):
    path = desk.write()
    for words, said in (
        (("--resume", "runs", path), "--resume goes on with an experiment as it began"),
        (("--resume", "nowhere"), "nowhere holds no experiment"),
        ((path, "model.hidden_size=3"), "varies model.hidden_size itself"),
        ((path, "--run", "a/b"), "cannot name"),
    ):
        code, _, err = command(*words)
        assert code in (2, 5) and said in err, (words, err)


def test_the_trials_are_runs_for_the_other_commands(desk, command):
    desk.write()
    command("small.yaml", "--jobs", 0, "--run", "first")
    config = yaml.safe_load((desk.folder / "runs/first/wide-seed2/config.yaml").read_text())
    assert config["model"]["hidden_size"] == 12 and config["seed"] == 2
    done = CliRunner().invoke(app, ["generate", "runs/first/wide-seed2", "--length", "5", "--seed", "1"])
    assert done.exit_code == 0 and done.stdout
    assert "first" not in CliRunner().invoke(app, ["runs"]).stdout


def test_failed_trials_are_an_error_after_the_rest_is_shown(desk, command):
    path = desk.write(variants={"lost": {"data.path": "gone.txt"}, "narrow": {}}, seeds=[1])
    code, out, err = command(path, "--jobs", 0, "--run", "x")
    assert code == 5 and "lost" in out and "1 (1 failed)" in out and "narrow" in out
    assert "1 of 2 trials failed, first lost-seed1: " in err and "--resume runs/x" in err
    (desk.folder / "gone.txt").write_text((desk.folder / "text.txt").read_text())
    code, out, _ = command("--resume", "x", "--jobs", 0)
    assert code == 0 and "failed" not in out
