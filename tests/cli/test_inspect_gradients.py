"""lstm inspect RUN gradients, and RUN memory: what a person and a program read."""

from __future__ import annotations

import pytest

QUICK = ("--lags", 20, "--streams", 6)
SMALL = ("--context", 30, "--positions", 60)


@pytest.fixture(scope="module")
def gradients(trained_lab):
    outcome = trained_lab.lstm("inspect", "good", "gradients", *QUICK, "--initial", "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


@pytest.fixture(scope="module")
def memory(trained_lab):
    outcome = trained_lab.lstm("inspect", "good", "memory", *SMALL, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


def test_gradients_as_json(gradients):
    assert (gradients["run"], gradients["step"], gradients["data"]) == ("good", 150, "val")
    assert (gradients["lags"], gradients["bptt_window"], gradients["positions"]) == (20, 16, 6)
    for view in (gradients["trained"], gradients["initial"]):
        assert [layer["memory"] for layer in view["layers"]] == ["cell", "cell"]
        for layer in view["layers"]:
            assert layer["states"].keys() == {"hidden", "cell"}
            for curve in (*layer["states"].values(), layer["chain"], layer["forget_gates"]):
                assert len(curve["mean"]) == len(curve["p10"]) == len(curve["p90"]) == 21
                assert all(
                    a <= b <= c for a, b, c in zip(curve["p10"], curve["median"], curve["p90"], strict=True)
                )
                assert 0 <= curve["lag_of_99_percent"] <= 20
                assert 0.0 < curve["in_window_on_average"] < curve["in_window_at_its_end"] <= 1.0
            exact, product = layer["states"]["cell"]["mean"], layer["forget_gates"]["mean"]
            assert exact[0] == product[0] == layer["chain"]["mean"][0]
            assert exact[20] != product[20] != layer["chain"]["mean"][20]
        exponents = view["lyapunov"]["exponents"]
        assert len(exponents) == 8 and exponents == sorted(exponents, reverse=True)
        values = view["singular_values"]["median"]
        assert view["state_size"] == len(values) == 2 * 2 * 32


def test_training_has_changed_the_gradients(gradients):
    trained, initial = (
        gradients[name]["layers"][0]["states"]["cell"]["mean"] for name in ("trained", "initial")
    )
    assert trained != initial and gradients["trained"]["loss"] < gradients["initial"]["loss"]


def test_gradients_in_words(trained_lab, tmp_path):
    picture = tmp_path / "gradients.svg"
    outcome = trained_lab.lstm("inspect", "good", "gradients", *QUICK, "--plot", picture)
    assert outcome.code == 0 and picture.stat().st_size > 10_000
    for words in (
        "good at step 150 on val, mean over 6 positions",
        "layer 1: norm of the gradient of a symbol's loss",
        "how far back gradients reach",
        "its window of 16",
        "Lyapunov exponent 8",
        "forget gates: their product alone",
    ):
        assert words in outcome.out
    assert "initial" not in outcome.out and "wrote" in outcome.err
    at_16 = next(line for line in outcome.out.splitlines() if line.split()[:1] == ["16"])
    assert len(at_16.split()) == 6  # k, hidden, cell, its median, chain, forget gates


def test_a_short_text_gives_the_lags_that_it_has(trained_lab, tmp_path):
    file = tmp_path / "short.txt"
    file.write_text("the cat sat on a mat", encoding="utf-8")
    outcome = trained_lab.lstm("inspect", "good", "gradients", "--data", file, "--json")
    assert outcome.json["lags"] == 18 and "lags up to 18 instead of 200" in outcome.err
    file.write_text("th", encoding="utf-8")
    assert trained_lab.lstm("inspect", "good", "gradients", "--data", file).code == 4
    assert trained_lab.lstm("inspect", "good", "memory", "--data", file).code == 4


def test_memory_as_json(memory):
    assert (memory["run"], memory["step"], memory["measure"]) == ("good", 150, "nats per symbol")
    assert memory["positions"] == 50 and memory["longest"] == 30
    points = memory["dropped"]["contexts"]
    assert [point["k"] for point in points] == [1, 2, 3, 5, 10, 20, 30]
    assert points[0]["excess"] > points[-1]["excess"]  # more context, a better guess
    assert points[0]["mean"] == pytest.approx(memory["whole"]["mean"] + points[0]["excess"])
    assert [point["k"] for point in memory["shuffled"]["contexts"]] == [1, 2, 5, 10, 20]
    assert memory["dropped"]["enough"].keys() == {"within_0.01_nats", "within_1_percent"}
    dimensions = memory["dimensions"]
    assert [(d["layer"], d["state"]) for d in dimensions] == [
        (0, "hidden"), (0, "cell"), (1, "hidden"), (1, "cell")
    ]  # fmt: skip
    for found in dimensions:
        assert 1.0 <= found["participation_ratio"] <= found["units"] == 32
        assert 1 <= found["components_of_99_percent"] <= 32


def test_memory_in_words(trained_lab, tmp_path):
    picture = tmp_path / "memory.png"
    outcome = trained_lab.lstm("inspect", "good", "memory", *SMALL, "--plot", picture)
    assert outcome.code == 0 and picture.stat().st_size > 10_000
    for words in (
        "nats per symbol by how much is read before",
        "context that is enough",
        "participation ratio",
    ):
        assert words in outcome.out


@pytest.mark.parametrize("topic", ["gradients", "memory"])
def test_what_cannot_be_done(trained_lab, tmp_path, topic):
    def refused(*words):
        outcome = trained_lab.lstm("inspect", "good", topic, *words)
        assert "Traceback" not in outcome.err
        return outcome.code

    assert refused("--plot", tmp_path / "picture.gif") == 2
    assert refused("--split", "other") == 2
    assert trained_lab.lstm("inspect", "nowhere", topic).code == 5
    assert refused("--streams" if topic == "gradients" else "--positions", "0") == 2


@pytest.fixture(scope="module")
def series(shared_lab):
    rows = "".join(f"{t},{10 + t % 7 + (t * t) % 5}\n" for t in range(160))
    (shared_lab.folder / "table.csv").write_text("time,value\n" + rows, encoding="utf-8")
    shared_lab.configure(
        data={"kind": "series", "path": "table.csv", "target": "value", "time": "time",
              "splits": [0.6, 0.2, 0.2], "context_length": 14, "horizon": 3},
        train={"max_steps": 3, "batch_size": 8},
        evaluation={"every": 3},
    )  # fmt: skip
    shared_lab.train("table", "forecast.patch_length=2")
    return shared_lab


def test_a_forecaster(series, tmp_path):
    found = series.lstm("inspect", "table", "gradients", "--initial", "--json").json
    assert (found["unit"], found["lags"], found["data"]) == ("patches", 6, "test")
    curve = found["trained"]["layers"][0]["states"]["cell"]
    assert len(curve["mean"]) == 7 and curve["in_window_on_average"] is None
    found = series.lstm("inspect", "table", "memory", "--json").json
    points = found["dropped"]["contexts"]
    assert [point["k"] for point in points] == [1, 2, 3, 5, 10, 14]
    assert points[-1]["excess"] == 0.0 != points[0]["excess"]
    assert "shuffled" not in found and len(found["dimensions"]) == 4
    shown = series.lstm("inspect", "table", "memory", "--plot", tmp_path / "memory.png")
    assert "the rest made flat" in shown.out and (tmp_path / "memory.png").exists()
