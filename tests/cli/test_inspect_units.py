"""lstm inspect RUN units, and a unit held while text is generated."""

from __future__ import annotations

import math

import numpy as np
import pytest


def slow_correlation(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())


def slow_states(run, ids, layer, unit):
    """Hidden and cell state of a unit after each symbol of a text read from its start."""
    import torch

    state, found = run.model.initial_state(1), []
    for symbol in ids:
        traces = run.model.observe(torch.tensor([[int(symbol)]]), state)
        state = tuple(tuple(v[-1] for v in t.states.values()) for t in traces)
        found.append([float(s[0, unit]) for s in state[layer]])
    return np.array(found)  # (n, 2)


def test_correlations_are_those_of_the_model(trained_lab, monkeypatch):
    from lstmcli.api import load

    words = ("inspect", "good", "units", "--tokens", 700, "--unit", "1:5", "--json")
    found = trained_lab.lstm(*words).json
    monkeypatch.chdir(trained_lab.folder)
    run = load("good")
    ids = run.splits()["val"][:700]
    text = run.vocabulary.decode(ids)
    position = [len(text[: t + 1].rsplit("\n", 1)[-1]) for t in range(700)]
    states = slow_states(run, ids, 1, 5)
    for k, state in enumerate(("hidden", "cell")):
        expected = slow_correlation(position, states[:, k])
        assert found["unit"]["correlations"][state]["position in line"] == pytest.approx(expected, abs=1e-4)
    assert (found["unit"]["layer"], found["unit"]["unit"], found["unit"]["state"]) == (1, 5, "cell")
    shown = "".join(each["symbol"] for each in found["unit"]["text"])
    begin = text.index(shown)
    values = [each["value"] for each in found["unit"]["text"]]
    assert len(shown) >= 150 and begin > 0 and text[begin - 1] == "\n"
    assert values == pytest.approx(states[begin : begin + len(values), 1].tolist(), abs=1e-4)


def test_the_best_unit_is_shown_at_work(trained_lab):
    """It is the one that tracks best what must be remembered; chance does much less."""
    words = ("inspect", "good", "units", "--split", "train")
    shown = trained_lab.lstm(*words)
    assert shown.code == 0, shown.err
    found = trained_lab.lstm(*words, "--json").json
    line = next(f for f in found["features"] if f["feature"] == "position in line")
    best = line["best"][0]
    assert abs(best["correlation"]) > 2 * line["chance"] > 0
    assert f"{best['layer']}:{best['unit']} {best['state']}" in shown.out
    assert "never seen, or always the same: " in shown.out and "quotes" in shown.out.split("never seen")[1]
    assert "\n" + "unit " in shown.out and "▁" in shown.out and "▇" in shown.out and "\x1b" not in shown.out


def test_one_unit_and_its_text(trained_lab):
    shown = trained_lab.lstm("inspect", "good", "units", "--unit", "0:3", "--length", 60)
    assert shown.code == 0, shown.err
    assert "unit 0:3, correlation of its states" in shown.out and "best unit" not in shown.out
    text = shown.out.split("unit 0:3 cell, from")[1]
    assert sum(text.count(symbol) for symbol in "▁▂▃▄▅▆▇") == 60 + 2  # and the legend


def test_colours_on_a_terminal(trained_lab):
    words = ("inspect", "good", "units", "--unit", "0:3", "--length", 40, "--tokens", 200)
    coloured = trained_lab.terminal(*words, TERM="xterm-256color", COLORTERM="truecolor", NO_COLOR="")
    assert coloured.code == 0 and "48;2;" in coloured.out and "(blue)" in coloured.out
    plain = trained_lab.terminal(*words, TERM="xterm-256color", NO_COLOR="1")
    assert "48;2;" not in plain.out and "▇" in plain.out


def test_a_page_and_pictures(trained_lab, tmp_path):
    words = ("--html", tmp_path / "unit.html", "--plot", tmp_path / "units.svg")
    shown = trained_lab.lstm("inspect", "good", "units", *words)
    assert shown.code == 0, shown.err
    assert "<span" in (tmp_path / "unit.html").read_text(encoding="utf-8")
    assert "position in line" in (tmp_path / "units-units.svg").read_text()
    assert (tmp_path / "units-text.svg").exists()


def test_units_of_a_forecaster(forecaster_lab, tmp_path):
    shown = forecaster_lab.lstm("inspect", "f", "units", "--plot", tmp_path / "units.svg")
    assert shown.code == 0, shown.err
    assert all(name in shown.out for name in ("level", "trend", "season (sine)", "0:"))
    assert (tmp_path / "units-windows.svg").exists() and (tmp_path / "units-units.svg").exists()
    found = forecaster_lab.lstm("inspect", "f", "units", "--unit", "0:2", "--json").json
    assert set(found["unit"]["correlations"]) == {"hidden", "cell"} and "text" not in found["unit"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--unit", "7"], 2, "LAYER:INDEX"),
        (["--unit", "2:0"], 2, "the layers are 0 to 1"),
        (["--unit", "1:32"], 2, "the units of layer 1 are 0 to 31"),
        (["--html", "nowhere/unit.html"], 7, "nowhere"),
        (["--plot", "units.gif"], 2, ".gif"),
    ],
)
def test_what_is_refused(trained_lab, words, code, said):
    shown = trained_lab.lstm("inspect", "good", "units", *words)
    assert shown.code == code and said in shown.err


def test_a_page_of_a_forecaster_is_refused(forecaster_lab):
    shown = forecaster_lab.lstm("inspect", "f", "units", "--html", "unit.html")
    assert shown.code == 2 and "--html: of no use to f" in shown.err


def test_a_held_unit_changes_what_is_written(trained_lab):
    def written(*words):
        shown = trained_lab.lstm("generate", "good", "--seed", 3, "--length", 80, *words)
        assert shown.code == 0, shown.err
        return shown.out

    clamps = [word for unit in range(8) for word in ("--clamp", f"1:{unit}=+30")]
    held = written(*clamps)
    assert held != written() and held == written(*clamps)


@pytest.mark.parametrize(
    ("clamp", "said"),
    [("5:0=1", "the layers are 0 to 1"), ("1:40=1", "0 to 31"), ("1:4", "LAYER:UNIT=VALUE")],
)
def test_a_clamp_that_makes_no_sense(trained_lab, clamp, said):
    shown = trained_lab.lstm("generate", "good", "--clamp", clamp)
    assert shown.code == 2 and said in shown.err and shown.out == ""


def test_a_clamp_is_for_text(forecaster_lab):
    shown = forecaster_lab.lstm("generate", "f", "--clamp", "0:0=1")
    assert shown.code == 2 and "--clamp" in shown.err
