"""lstm tune, the command: real trials of a tiny model; the range test of learning rates."""

from __future__ import annotations

import pytest

from lstmcli.core.errors import DataError
from lstmcli.inspect.rates import RateTest

pytest.importorskip("optuna")


def test_a_search_on_the_command_line(lab):
    (lab.folder / "space.yaml").write_text("train.learning_rate: [0.001, 0.02]\n")
    words = [
        "tune",
        "config.yaml",
        "--space",
        "space.yaml",
        "--trials",
        "2",
        "--run",
        "s",
        "train.max_steps=10",
    ]
    found = lab.lstm(*words, "--json")
    assert found.code == 0, found.err
    result = found.json
    folder = lab.folder / "runs" / "s"
    assert result["directory"] == "runs/s" and len(result["trials"]) == 2
    assert result["best"]["train.learning_rate"] in (0.001, 0.02)
    assert (folder / "figure.png").exists() and (folder / "trial-0000" / "manifest.json").exists()
    assert lab.lstm("validate", "runs/s/best.yaml").code == 0
    assert lab.lstm("eval", "runs/s/trial-0000").code == 0  # a trial is an ordinary run
    more = lab.lstm("tune", "--resume", "s", "--trials", "3")  # by its name, as a run
    assert more.code == 0 and "3 trials" in more.out and "next" in more.err


def test_wrong_words(lab):
    assert lab.lstm("tune").code == 2
    assert lab.lstm("tune", "config.yaml", "--space", "absent.yaml").code == 3
    assert lab.lstm("tune", "--resume", "runs/absent").code == 5
    assert lab.lstm("tune", "config.yaml", "--resume", "runs/absent").code == 2
    assert lab.lstm("tune", "config.yaml", "--learning-rates", "--plot", "a.gif").code == 2
    (lab.folder / "space.yaml").write_text("model.hidden: [1, 2]\n")
    wrong = lab.lstm("tune", "config.yaml", "--space", "space.yaml")
    assert wrong.code == 3 and "hidden_size" in wrong.err
    assert not (lab.folder / "runs").exists()


def test_the_range_test_of_learning_rates(lab):
    found = lab.lstm("tune", "config.yaml", "--learning-rates", "--plot", "r.png", "--json")
    assert found.code == 0, found.err
    assert found.json["rates"][0] == pytest.approx(1e-5)
    assert all(a < b for a, b in zip(found.json["rates"], found.json["rates"][1:], strict=False))
    assert 1e-4 < found.json["proposed"] < 0.5 and found.json["proposed"] < found.json["lowest"]
    assert (lab.folder / "r.png").stat().st_size > 5000 and not (lab.folder / "runs").exists()
    assert "proposed: train.learning_rate=" in lab.lstm("tune", "config.yaml", "--learning-rates").out


def test_the_proposal_is_a_third_of_the_rate_of_the_lowest_loss():
    test = RateTest([1e-3, 1e-2, 1e-1, 1.0], [3.0, 2.0, 1.0, 5.0], [3.0, 2.5, 2.0, 2.6])
    assert test.lowest == 0.1 and test.proposed == 0.033
    assert len(test.figure().axes) == 1 and "0.033" in test.tables()[0].note


def test_a_loss_that_never_falls_is_told(lab, monkeypatch):
    import lstmcli.inspect.rates as rates

    with pytest.raises(DataError, match="did not fall"):
        from lstmcli.config.load import load_config

        monkeypatch.chdir(lab.folder)
        rates.rate_test(load_config("config.yaml"), steps=5, low=1e-12, high=1e-11)
