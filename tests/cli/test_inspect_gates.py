"""lstm inspect RUN gates: tables, JSON, pictures, what is refused."""

from __future__ import annotations

import numpy as np
import pytest


def slow_gates(run, ids):
    """Every gate and state of every layer over a text, read from its start symbol by symbol."""
    import torch

    state, gates = run.model.initial_state(1), []
    for symbol in ids:
        traces = run.model.observe(torch.tensor([[int(symbol)]]), state)
        state = tuple(tuple(v[-1] for v in t.states.values()) for t in traces)
        gates.append([{k: v[0, 0].double().numpy() for k, v in t.gates.items()} for t in traces])
    return gates


def test_the_figures_are_those_of_the_model(trained_lab, monkeypatch):
    """A text of one row, against all gates kept."""
    from lstmcli.api import load

    found = trained_lab.lstm("inspect", "good", "gates", "--tokens", 700, "--json").json
    monkeypatch.chdir(trained_lab.folder)
    run = load("good")
    ids = run.splits()["val"][:700]
    gates = slow_gates(run, ids)
    assert (found["tokens"], found["data"], found["bptt_window"]) == (700, "val", 16)
    forget = np.array([step[1]["forget"] for step in gates])  # (700, H)
    row = next(g for g in found["gates"] if (g["layer"], g["gate"]) == (1, "forget"))
    assert row["mean"] == pytest.approx(forget.mean(), rel=1e-5)
    assert row["std"] == pytest.approx(forget.std(), rel=1e-4)
    assert row["high"] == pytest.approx((forget > 0.9).mean(), abs=2e-4)
    tau = -1.0 / np.log(forget).mean(0)
    assert row["timescales"] == pytest.approx(tau.tolist(), rel=1e-3)
    assert row["beyond_window"] == (tau > 16).mean()
    full_stop = next(
        c for c in found["characters"] if (c["layer"], c["gate"], c["character"]) == (1, "forget", ".")
    )
    there = ids == run.vocabulary.encode(".")[0]
    assert full_stop["count"] == there.sum()
    difference = forget[there].mean() - forget[~there].mean()
    assert full_stop["difference"] == pytest.approx(difference, abs=1e-5)


def test_the_table_has_gates_states_and_characters(trained_lab):
    shown = trained_lab.lstm("inspect", "good", "gates", "--split", "train", "--characters", 3)
    assert shown.code == 0, shown.err
    assert "good at step 150 on train" in shown.out and "beyond 16" in shown.out
    lines = shown.out.splitlines()
    for gate in ("input", "forget", "cell", "output"):
        assert sum(line.startswith(f"1      {gate}") for line in lines) == 1 + (gate == "cell")
    below = shown.out.split("layer 1: mean gate at a character")[1].splitlines()
    marks = [line.split()[0] for line in below[2:] if "±" in line and not line.startswith("±")]
    assert {".", "\\n"} <= set(marks) and len(marks) <= 5
    assert "±" in shown.out and "blocks of 512" in shown.out


def test_a_picture(trained_lab, tmp_path):
    shown = trained_lab.lstm("inspect", "good", "gates", "--plot", tmp_path / "gates.svg")
    assert shown.code == 0 and "gates.svg" in shown.err
    picture = (tmp_path / "gates.svg").read_text()
    assert "layer 1: forget" in picture and "saturated on the left" in picture


def test_another_text(trained_lab, tmp_path):
    (tmp_path / "other.txt").write_text("the cat.\n" * 30)
    found = trained_lab.lstm("inspect", "good", "gates", "--data", tmp_path / "other.txt", "--json").json
    assert found["tokens"] == 270 and {c["character"] for c in found["characters"]} == set("the cat.\n")


@pytest.mark.parametrize("cell", ["gru", "mingru", "mogrifier-lstm"])
def test_gates_of_other_cells(shared_lab, cell):
    path = "auto" if cell == "mingru" else "loop"
    shared_lab.train(cell, f"model.cell={cell}", "train.max_steps=2", f"model.path={path}")
    found = shared_lab.lstm("inspect", cell, "gates", "--json").json
    names = {g["gate"] for g in found["gates"]}
    expected = {"gru": {"reset", "update", "candidate"}, "mingru": {"update", "candidate"}}
    assert names == expected.get(cell, {"input", "forget", "cell", "output"})
    table = shared_lab.lstm("inspect", cell, "gates").out
    assert ("tau" in table) == (cell == "mogrifier-lstm")


def test_gates_of_a_forecaster(forecaster_lab):
    found = forecaster_lab.lstm("inspect", "f", "gates", "--json").json
    assert found["data"] == "test" and found["bptt_window"] == 16 and "characters" not in found
    assert found["windows"] == 27 and found["tokens"] == 27 * 16
    few = forecaster_lab.lstm("inspect", "f", "gates", "--tokens", 50, "--split", "val", "--json").json
    assert few["windows"] == 3 and few["data"] == "val"
    assert forecaster_lab.lstm("inspect", "f", "gates", "--data", "table.csv").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--tokens", 1], 2, "at least 2"),
        (["--split", "half"], 2, "no split"),
        (["--data", "text.txt", "--split", "val"], 2, "not both"),
        (["--data", "missing.txt"], 4, "missing.txt"),
        (["--plot", "gates.gif"], 2, ".gif"),
    ],
)
def test_what_is_refused(trained_lab, words, code, said):
    shown = trained_lab.lstm("inspect", "good", "gates", *words)
    assert shown.code == code and said in shown.err and shown.out == ""


def test_a_split_that_is_not_there(shared_lab):
    shared_lab.train("plain", "train.max_steps=2")
    shown = shared_lab.lstm("inspect", "plain", "gates", "--split", "test")
    assert shown.code == 4 and "no test split" in shown.err
