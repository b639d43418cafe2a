"""A forecaster from a table to its forecast: train, evaluate, forecast, resume; and nothing of the future
reaches what is learned."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
import yaml

STEPS, HORIZON = 240, 6
TRAIN, VAL = 168, 36  # steps of them; the rest is the test
START = datetime(2024, 1, 1)
SETTINGS = {
    "seed": 3,
    "data": {
        "kind": "series", "path": "table.csv", "time": "time", "splits": [0.7, 0.15, 0.15],
        "context_length": 24, "horizon": HORIZON,
    },
    "model": {"hidden_size": 8, "num_layers": 1, "path": "fused", "dropout": 0.1},
    "forecast": {"patch_length": 6, "loss": "quantile"},
    "train": {
        "batch_size": 8, "max_steps": 24, "learning_rate": 0.01, "warmup_steps": 3, "threads": 1,
        "precision": "fp32",
    },
    "evaluation": {"every": 8},
    "telemetry": {"every": 4, "gates_every": 8, "tensorboard": False},
    "checkpoint": {"every": 8, "keep": 20},
}  # fmt: skip


def values():
    """Two series with a daily season, (STEPS, 2)."""
    draw, hours = np.random.default_rng(0), np.arange(STEPS)
    season = np.stack([np.sin(hours * 2 * math.pi / 24), np.cos(hours * 2 * math.pi / 12)], axis=1)
    return 10.0 + 3.0 * season + draw.normal(0.0, 0.3, (STEPS, 2)).round(3)


def write(lab, table, name="table.csv", offset="", first=0, columns=("a", "b")):
    """Hours from START; `offset`: how the times are written, such as +05:00, for the same moments."""
    hours = int(offset[1:3]) if offset else 0
    lines = ["time," + ",".join(columns)]
    for k, row in enumerate(table, first):
        time = START + timedelta(hours=k + hours)
        lines.append(f"{time.isoformat(sep=' ')}{offset}," + ",".join(repr(float(v)) for v in row))
    (lab.folder / name).write_text("\n".join(lines) + "\n")


def configure(lab, **sections):
    merged = {k: v | sections.get(k, {}) if isinstance(v, dict) else v for k, v in SETTINGS.items()}
    (lab.folder / "config.yaml").write_text(yaml.safe_dump(merged))


def document(lab, run, step=None):
    number = lab.steps(run)[-1] if step is None else step
    return json.loads((lab.path(run) / f"checkpoints/step_{number:08d}/series.json").read_text())


@pytest.fixture
def series_lab(lab):
    write(lab, values())
    configure(lab)
    return lab


@pytest.fixture(scope="module")
def done(shared_lab):
    """A lab with a run `whole`."""
    write(shared_lab, values())
    configure(shared_lab)
    shared_lab.train("whole")
    return shared_lab


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


# --- train, evaluate, forecast ------------------------------------------------------------------


def test_training_says_what_it_did_and_learns(done):
    outcome = done.train("told", "train.max_steps=60", "--json")
    found = outcome.json
    wanted = {"run", "steps", "epochs", "windows", "seconds", "parameters", "device", "precision", "best",
              "final", "checkpoint"}  # fmt: skip
    assert wanted <= found.keys() and found["steps"] == 60 and found["windows"] == 60 * 8
    losses = [r["train/loss"] for r in done.metrics("told") if "train/loss" in r]
    assert losses[-1] < 0.8 * losses[0]
    tags = set().union(*done.metrics("told"))
    assert {"val/loss", "val/scaled_mse", "val/mase", "gates/layer0/forget/mean"} <= tags


METRICS = {"mse", "mae", "scaled_mse", "scaled_mae", "smape", "mase", "crps"}


def test_an_evaluation_has_the_models_and_the_baselines_metrics(done):
    found = done.lstm("eval", "whole", "--json").json
    assert METRICS | {"split", "horizon", "windows", "coverage", "baselines"} <= found.keys()
    assert found["split"] == "test" and found["horizon"] == HORIZON
    # Independent channels: a window of each at every origin of the test.
    assert found["windows"] == 2 * (STEPS - TRAIN - VAL - HORIZON + 1)
    for name in ("naive", "seasonal_naive", "drift"):
        assert found["baselines"][name].keys() >= METRICS
        assert all(math.isfinite(found["baselines"][name][k]) for k in METRICS)
    again = done.lstm("eval", "whole").out
    assert "this model" in again and "last value" in again


def test_the_naive_baseline_is_the_last_value_written_out(done):
    table, errors = values(), []
    for origin in range(TRAIN + VAL, STEPS - HORIZON + 1):
        errors.append(table[origin : origin + HORIZON] - table[origin - 1])
    found = done.lstm("eval", "whole", "--json").json["baselines"]["naive"]
    assert found["mse"] == pytest.approx(float(np.square(errors).mean()), rel=1e-9)
    scaled = np.array(errors) / table[:TRAIN].std(axis=0)
    assert found["scaled_mse"] == pytest.approx(float(np.square(scaled).mean()), rel=1e-9)


def test_the_score_in_the_log_is_that_of_the_checkpoint_before_its_calibration(done, monkeypatch):
    from lstmcli.kinds.series.forecaster import Forecaster

    logged = {r["step"]: r["val/scaled_mse"] for r in done.metrics("whole") if "val/scaled_mse" in r}
    monkeypatch.setattr(Forecaster, "_calibrated", lambda self, batch, prediction: prediction.quantiles)
    for step in (8, 24):
        found = done.lstm("eval", f"whole@{step}", "--split", "val", "--json").json
        assert found["scaled_mse"] == pytest.approx(logged[step], rel=1e-5)


def test_the_mean_of_a_forecast_by_quantiles_is_the_one_that_they_imply(done):
    """By the weights of Pearson and Tukey (1965) for these three levels."""
    rows = done.lstm("generate", "whole", "--json").json["rows"]
    for row in rows:
        wanted = 0.63 * row["q0.5"] + 0.185 * (row["q0.05"] + row["q0.95"])
        assert row["mean"] == pytest.approx(wanted, rel=1e-3)
    assert any(abs(row["mean"] - row["q0.5"]) > 1e-6 for row in rows)
    assert "Errors are those of the median" in done.lstm("eval", "whole").out


@pytest.mark.parametrize(
    ("words", "columns", "point"),
    [
        (["forecast.loss=mse"], ["mean", "q0.05", "q0.5", "q0.95"], "mean"),
        (["forecast.loss=mae"], ["mean", "median", "q0.05", "q0.5", "q0.95"], "median"),
        (["forecast.loss=mae", "data.splits=[1.0]"], ["median"], "median"),
        (["forecast.loss=mse", "forecast.transform=log", "data.splits=[1.0]"], ["median"], "median"),
        (["forecast.loss=gaussian"], ["mean", "q0.05", "q0.5", "q0.95"], "mean"),
        (["forecast.quantiles=[0.1,0.9]"], ["mean", "median", "q0.1", "q0.9"], "median"),
        (["forecast.quantiles=[0.9,0.95,0.99]"], ["q0.9", "q0.95", "q0.99"], "q0.9"),
    ],
)
def test_a_number_is_called_what_it_is(series_lab, words, columns, point):
    series_lab.train("r", *words, "train.max_steps=3")
    made = series_lab.lstm("generate", "r")
    assert list(rows_of(made.out)[0])[4:] == columns
    assert ("say nothing of the middle" in made.err) == (point == "q0.9")
    if "data.splits=[1.0]" not in words:
        assert series_lab.lstm("eval", "r", "--json").json["point"] == point
        assert f"Errors are those of the {point} that is forecast" in series_lab.lstm("eval", "r").out


def test_the_mean_of_a_logarithmic_model_is_that_of_its_paths(series_lab):
    """Whose logarithms are normal: their mean, taken back, is the median."""
    write(series_lab, np.exp(np.random.default_rng(5).normal(0.0, 1.0, (STEPS, 2))))
    words = ["forecast.loss=gaussian", "forecast.transform=log", "train.max_steps=60"]
    series_lab.train("r", *words)
    rows = series_lab.lstm("generate", "r", "--samples", "2000", "--json").json["rows"]
    for row in rows:
        paths = [value for name, value in row.items() if name.startswith("sample")]
        assert row["mean"] == pytest.approx(np.mean(paths), rel=0.12)
        assert row["median"] == pytest.approx(np.median(paths), rel=0.12)
        assert row["mean"] > 1.1 * row["median"]


# --- bounds -------------------------------------------------------------------------------------


def counts():
    return np.random.default_rng(4).poisson(0.7, (STEPS, 2)).astype(float)


@pytest.mark.parametrize("words", [[], ["forecast.transform=log1p"], ["forecast.loss=gaussian"],
                                   ["forecast.decoder=recursive", "forecast.loss=student-t"]])  # fmt: skip
def test_no_forecast_of_counts_lies_below_zero(series_lab, words):
    write(series_lab, counts())
    series_lab.train("r", *words)
    rows = series_lab.lstm("generate", "r", "--samples", "20", "--horizon", 10, "--json").json["rows"]
    numbers = [v for row in rows for k, v in row.items() if k not in ("group", "target", "time", "step")]
    assert min(numbers) == 0.0
    assert document(series_lab, "r")["scaler"]["bounds"] == [[0.0, 0.0], [None, None]]
    series_lab.train("free", *words, "forecast.lower=none")
    rows = series_lab.lstm("generate", "free", "--samples", "20", "--json").json["rows"]
    assert min(row["q0.05"] for row in rows) < 0.0


def test_bounds_as_stated(series_lab):
    write(series_lab, values())
    refused = series_lab.lstm("train", "config.yaml", "forecast.upper=12.5", "--run", "r")
    assert refused.code == 4 and "b has 12.96 (step 1, 2024-01-01 00:00:00), beyond" in refused.err
    series_lab.train("s", "forecast.lower=5", "forecast.upper=13.9", "forecast.loss=gaussian")
    rows = series_lab.lstm("generate", "s", "--samples", "50", "--json").json["rows"]
    numbers = [v for row in rows for k, v in row.items() if k not in ("group", "target", "time", "step")]
    assert min(numbers) >= 5.0 and max(numbers) == 13.9
    refused = series_lab.lstm("validate", "config.yaml", "forecast.lower=5", "forecast.upper=5")
    assert refused.code == 3 and "forecast.lower must lie below" in refused.err


@pytest.mark.parametrize("bad", [-2.0, 0.5])
def test_counts_that_are_none_are_refused_by_their_likelihood(series_lab, bad):
    table = counts()
    table[50, 1] = bad
    write(series_lab, table)
    words = ["forecast.loss=negative-binomial", "forecast.scaling=none", "forecast.normalization=none"]
    for command in ("train", "validate"):
        refused = series_lab.lstm(command, "config.yaml", *words)
        assert refused.code == 4 and f"b has {bad:g} (step 51, 2024-01-03 02:00:00)" in refused.err


def test_a_forecast_is_a_table_of_what_comes_next(done):
    rows = rows_of(done.lstm("generate", "whole").out)
    assert list(rows[0]) == ["group", "target", "time", "step", "mean", "q0.05", "q0.5", "q0.95"]
    places = [(r["target"], int(r["step"])) for r in rows]
    assert places == [(c, s) for c in "ab" for s in range(1, HORIZON + 1)]
    times = [START + timedelta(hours=STEPS + k) for k in range(HORIZON)]
    assert [datetime.fromisoformat(r["time"]) for r in rows[:HORIZON]] == times
    for row in rows:
        assert float(row["q0.05"]) <= float(row["q0.5"]) <= float(row["q0.95"])
        assert 0.0 < float(row["mean"]) < 20.0


def test_the_forecast_goes_to_a_file_a_picture_and_json_alike(done):
    printed = done.lstm("generate", "whole").out
    files = done.lstm("generate", "whole", "--output", "f.csv", "--plot", "f.png", "--json")
    assert (done.folder / "f.csv").read_text() == printed
    assert (done.folder / "f.png").read_bytes().startswith(b"\x89PNG")
    for row, same in zip(files.json["rows"], rows_of(printed), strict=True):
        assert {k: str(v) for k, v in row.items()} == {k: str(v) for k, v in same.items()}


def test_a_forecast_is_written_as_the_name_says_or_refused_before_it_is_made(done):
    pl = pytest.importorskip("polars")
    wrote = done.lstm("generate", "whole", "--output", "f.parquet")
    assert wrote.code == 0, wrote.err
    table = pl.read_parquet(done.folder / "f.parquet")
    assert table.schema["step"].is_integer() and table.schema["q0.95"].is_float()
    rows = rows_of(done.lstm("generate", "whole").out)
    assert [{k: str(v) for k, v in row.items()} for row in table.to_dicts()] == rows
    for name in ("f.xlsx", "f"):
        refused = done.lstm("generate", "whole", "--output", name)
        assert refused.code == 2 and ".csv or .parquet" in refused.err
        assert not (done.folder / name).exists()


def test_samples_are_further_columns_and_the_same_by_their_seed(done):
    first, same, other = (
        done.lstm("generate", "whole", "--samples", 3, "--seed", seed).out for seed in (1, 1, 2)
    )
    assert first == same != other
    assert {"sample1", "sample2", "sample3"} <= rows_of(first)[0].keys()


def test_a_horizon_beyond_that_of_training_goes_on_from_itself_and_says_so(done):
    longer = done.lstm("generate", "whole", "--horizon", 15)
    rows, short = rows_of(longer.out), rows_of(done.lstm("generate", "whole").out)
    assert len(rows) == 2 * 15 and "longer than the 6 steps" in longer.err
    assert rows[:HORIZON] == short[:HORIZON]
    shorter = done.lstm("generate", "whole", "--horizon", 2)
    assert rows_of(shorter.out)[:2] == short[:2] and "longer" not in shorter.err


def test_another_table_is_forecast_from_its_own_end(done):
    write(done, values()[:100], "new.csv", first=1000)
    rows = rows_of(done.lstm("generate", "whole", "--input", "new.csv").out)
    assert datetime.fromisoformat(rows[0]["time"]) == START + timedelta(hours=1100)
    whole = rows_of(done.lstm("generate", "whole").out)
    assert rows[0]["mean"] != whole[0]["mean"]
    scored = done.lstm("eval", "whole", "--data", "new.csv", "--json").json
    assert scored["windows"] == 2 * (100 - 24 - HORIZON + 1)


def test_a_new_series_is_scored_by_what_lies_before_each_origin(lab):
    """What comes later moves neither the forecast nor what its error is divided by."""
    steps = 24 + 2 * HORIZON
    level = 100.0 + np.random.default_rng(4).normal(0.0, 1.0, steps + HORIZON)

    def long(name, series):
        times = ((START + timedelta(hours=k)).isoformat() for k in range(len(series)))
        return "name,time,y\n" + "".join(
            f"{name},{t},{v!r}\n" for t, v in zip(times, map(float, series), strict=True)
        )

    (lab.folder / "table.csv").write_text(long("a", values()[:, 0]))
    configure(lab, data={"group": "name", "target": "y"}, forecast={"normalization": "none"})
    lab.train("one", "train.max_steps=8")
    ends = len(level) - HORIZON
    level[ends:] += 200.0
    (lab.folder / "whole.csv").write_text(long("new", level[ends - 24 :]))
    (lab.folder / "context.csv").write_text(long("new", level[ends - 24 : ends]))
    made = rows_of(lab.lstm("generate", "one", "--input", "context.csv").out)
    middle = np.array([float(row["q0.5"]) for row in made])
    found = lab.lstm("eval", "one", "--data", "whole.csv", "--json").json
    assert found["windows"] == 1
    assert found["mae"] == pytest.approx(float(np.abs(level[ends:] - middle).mean()), rel=1e-9)
    before = level[ends - 24 : ends]
    assert found["scaled_mae"] == pytest.approx(found["mae"] / before.std(), rel=1e-9)
    assert found["mase"] == pytest.approx(found["mae"] / np.abs(np.diff(before)).mean(), rel=1e-9)


def test_an_evaluation_where_naive2_is_exact_has_no_owa(series_lab):
    table = values()
    table[-10:, 1] = table[-11, 1] = 0.0
    write(series_lab, table)
    words = ["data.target=b", "data.val_length=6", "data.test_length=6", "train.max_steps=2"]
    series_lab.train("spare", *words)
    scored = series_lab.lstm("eval", "spare", "--json")
    assert scored.code == 0 and scored.json["baselines"]["naive2"]["smape"] == 0.0
    assert scored.json["owa"] is None


def test_a_table_without_the_targets_is_refused(done):
    write(done, values()[:100], "else.csv", columns=("x", "b"))
    refused = done.lstm("generate", "whole", "--input", "else.csv")
    assert refused.code == 4 and "else.csv" in refused.err


def test_new_series_in_a_long_table_are_forecast_too(lab):
    def long(names, count):
        table = values()
        lines = ["name,time,y"]
        for number, name in enumerate(names):
            for k in range(count):
                time = START + timedelta(hours=k)
                lines.append(f"{name},{time.isoformat()},{table[k, number % 2] * (1 + number)}")
        return "\n".join(lines) + "\n"

    (lab.folder / "table.csv").write_text(long(["a", "b"], STEPS))
    (lab.folder / "new.csv").write_text(long(["b", "c", "d"], 60))
    configure(lab, data={"group": "name", "target": "y"}, forecast={"series_embedding": 2})
    lab.train("long", "train.max_steps=8")
    rows = rows_of(lab.lstm("generate", "long", "--input", "new.csv").out)
    assert [r["group"] for r in rows[::HORIZON]] == ["b", "c", "d"]
    assert all(math.isfinite(float(r["mean"])) for r in rows)


@pytest.mark.parametrize("words", [
    ["forecast.decoder=segments", "forecast.loss=student-t"],
    ["forecast.decoder=recursive", "forecast.loss=gaussian", "forecast.samples=8", "forecast.lags=[24]"],
    ["forecast.channels=joint", "forecast.calendar=true", "model.cell=mingru", "model.path=auto"],
    ["model.cell=gru", "model.path=engine", "model.zoneout=0.1", "forecast.members=2", "train.average=0.9"],
    ["forecast.loss=negative-binomial", "forecast.scaling=none", "forecast.normalization=mean-abs"],
])  # fmt: skip
def test_every_kind_of_forecaster_goes_from_training_to_forecast(done, words, monkeypatch):
    monkeypatch.setattr("lstmcli.engine.hardware.can_compile", lambda device: False)
    run = "kind-" + str(abs(hash(tuple(words))))
    write(done, counts(), "counts.csv")
    words = [*words, "data.path=counts.csv"] if "forecast.loss=negative-binomial" in words else words
    said = done.train(run, "train.max_steps=3", "evaluation.max_windows=4", "evaluation.stride=6", *words).err
    assert "(on 4 of 6 windows: lstm eval reads all)" in said
    scored = done.lstm("eval", run, "--json")
    assert scored.code == 0 and math.isfinite(scored.json["scaled_mse"])
    rows = rows_of(done.lstm("generate", run, "--samples", 2).out)
    assert len(rows) == 2 * HORIZON
    assert all(math.isfinite(float(v)) for row in rows for v in list(row.values())[4:])


def test_what_should_be_known_ahead_and_is_not_is_told(series_lab):
    """A price that is the target of the step: known, it makes the forecast; unknown, its mean does."""
    price = np.random.default_rng(2).integers(0, 2, STEPS + HORIZON).astype(float)
    table = np.stack([price * 4.0, price], axis=1)
    write(series_lab, table[:STEPS], columns=("y", "price"))
    configure(series_lab, data={"target": "y", "known": ["price"]}, forecast={"normalization": "none"})
    series_lab.train("priced", "train.max_steps=150", "train.learning_rate=0.02", "evaluation.every=null")
    blind = series_lab.lstm("generate", "priced")
    assert blind.code == 0 and "price (data.known)" in blind.err and "--input" in blind.err
    table[STEPS:, 0] = math.nan
    write(series_lab, table, "ahead.csv", columns=("y", "price"))
    text = (series_lab.folder / "ahead.csv").read_text().replace("nan", "")
    (series_lab.folder / "ahead.csv").write_text(text)
    seen = series_lab.lstm("generate", "priced", "--input", "ahead.csv")
    rows = rows_of(seen.out)
    assert "data.known" not in seen.err
    assert [float(r["q0.5"]) > 2.0 for r in rows] == [p > 0 for p in price[STEPS:]]


def test_channels_of_quite_different_sizes_are_not_mixed_up(series_lab):
    """Neither forecasts nor their intervals, in many windows at once."""
    table = values()
    table[:, 1] *= 1000.0
    write(series_lab, table)
    words = ["forecast.scaling=none", "forecast.normalization=mean-abs", "train.max_steps=40"]
    series_lab.train("sizes", *words)
    found = series_lab.lstm("eval", "sizes", "--json").json
    assert found["smape"] < 60 and found["scaled_mse"] < 5
    assert found["coverage"] > 0.6


# --- resume -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [
    ("lstmcli.run.loop:_step", 5, "SIGTERM"),
    ("lstmcli.run.loop:_step", 17, "SIGTERM"),  # right after a checkpoint with its evaluation
    ("lstmcli.run.loop:_step", 19, "SIGKILL"),
    ("lstmcli.kinds.series.task:evaluate_series", 2, "SIGTERM"),
    ("lstmcli.run.loop:save_checkpoint", 3, "SIGKILL"),
])  # fmt: skip
def test_stopped_and_resumed_is_bit_equal(done, same, stop):
    run = f"{stop[0].rpartition(':')[2]}-{stop[1]}"
    ended = done.process("train", "config.yaml", "--run", run, faults=[stop])
    assert ended.code in (143, -9), ended.err
    resumed = done.lstm("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    same(done, "whole", run)
    assert document(done, run) == document(done, "whole")
    assert done.lstm("generate", run).out == done.lstm("generate", "whole").out


def test_the_calibration_of_the_last_evaluation_outlives_a_stop(series_lab):
    """Also in a checkpoint between two evaluations (at 8 and 16)."""
    words = ["train", "config.yaml", "checkpoint.every=5"]
    assert series_lab.lstm(*words, "--run", "whole").code == 0
    stop = [("lstmcli.run.loop:_step", 9, "SIGTERM")]
    assert series_lab.process(*words, "--run", "cut", faults=stop).code == 143
    assert series_lab.lstm("train", "--resume", "cut@8").code == 0
    found = document(series_lab, "cut", 10)["calibration"]
    assert found is not None and found == document(series_lab, "whole", 10)["calibration"]
    assert document(series_lab, "whole", 5)["calibration"] is None
    assert found != document(series_lab, "whole", 20)["calibration"]


def test_resuming_as_another_forecaster_is_refused(done):
    for word in ("forecast.loss=mae", "data.horizon=3", "data.splits=[0.5,0.2,0.3]"):
        refused = done.lstm("train", "--resume", "whole", word, "train.max_steps=30")
        assert refused.code == 5 and word.partition("=")[0] in refused.err


# --- what must not leak, and what must not matter -----------------------------------------------


def learned(lab, run):
    """All that training found: numbers of the log, weights, figures."""
    snapshot, found = lab.checkpoint(run), document(lab, run)
    figures = snapshot.document["best"], found["scaler"], found["calibration"]
    return lab.metrics(run), snapshot.tensors, *figures


def assert_as_learned(found, wanted):
    assert found[0] == wanted[0] and found[2:] == wanted[2:]
    assert found[1].keys() == wanted[1].keys()
    for name, value in wanted[1].items():
        assert np.array_equal(found[1][name], value), name


LEAKS = [
    [],
    ["forecast.decoder=recursive", "forecast.patch_length=2", "forecast.lags=[24]"],
    ["forecast.channels=joint", "forecast.transform=box-cox", "forecast.normalization=standard"],
]


@pytest.mark.parametrize("words", LEAKS)
def test_what_happens_in_the_test_part_changes_nothing_that_is_learned(series_lab, words):
    series_lab.train("before", *words)
    table = values()
    table[TRAIN + VAL :] = 1e6 + np.random.default_rng(1).random((STEPS - TRAIN - VAL, 2)) * 1e6
    write(series_lab, table)
    series_lab.train("after", *words)
    assert_as_learned(learned(series_lab, "after"), learned(series_lab, "before"))
    table[TRAIN - 1] += 1.0  # the training part's last step, so that the test could fail
    write(series_lab, table)
    series_lab.train("other", *words)
    assert document(series_lab, "other")["scaler"] != document(series_lab, "before")["scaler"]


def test_what_happens_in_the_validation_part_changes_no_weight(series_lab):
    words = ["evaluation.every=null", "train.max_steps=8"]
    series_lab.train("before", *words)
    table = values()
    table[TRAIN:] *= 50.0
    write(series_lab, table)
    series_lab.train("after", *words)
    before, after = learned(series_lab, "before"), learned(series_lab, "after")
    assert before[3] == after[3]
    for name, value in before[1].items():
        assert np.array_equal(after[1][name], value), name


def test_a_backtest_has_every_forecast_at_its_origins(done):
    """The last origins, a horizon apart; each forecast is the one that is made of a table that ends there."""
    scored = done.lstm("eval", "whole", "--origins", 3, "--output", "rows.csv", "--json")
    assert scored.code == 0 and scored.json["windows"] == 2 * 3
    rows = rows_of((done.folder / "rows.csv").read_text())
    assert list(rows[0])[:6] == ["group", "target", "origin", "time", "step", "actual"]
    assert len(rows) == 2 * 3 * HORIZON
    error = [abs(float(row["actual"]) - float(row["q0.5"])) for row in rows]
    assert np.mean(error) == pytest.approx(scored.json["mae"])
    for back in (3, 2, 1):
        origin = STEPS - back * HORIZON
        write(done, values()[:origin], "until.csv")
        made = rows_of(done.lstm("generate", "whole", "--input", "until.csv").out)
        start = str(START + timedelta(hours=origin))
        mine = [row for row in rows if row["origin"] == start]
        assert [(r["target"], r["time"], r["step"]) for r in mine] == [
            (r["target"], r["time"], r["step"]) for r in made
        ]
        for row, other in zip(mine, made, strict=True):
            assert float(row["mean"]) == pytest.approx(float(other["mean"]), rel=1e-5)
    assert done.lstm("eval", "whole", "--output", "rows.txt").code == 2


def test_one_series_is_drawn(done):
    assert done.lstm("generate", "whole", "--plot", "p.svg", "--series", "nobody").code == 2
    assert done.lstm("generate", "whole", "--series", "a").code == 2
    write(done, values(), "long.csv")
    lines = [f"{k},{name},{v}" for name, v in (("x", 1.0), ("y", 9.0)) for k in range(60)]
    (done.folder / "long.csv").write_text("t,name,v\n" + "\n".join(lines) + "\n")
    words = ["data.path=long.csv", "data.time=t", "data.group=name", "data.target=v", "train.max_steps=2"]
    done.train("long", *words)
    assert done.lstm("generate", "long", "--plot", "p.svg", "--series", "y").code == 0
    drawn = (done.folder / "p.svg").read_text()
    assert "y v" in drawn and "x v" not in drawn


def test_steps_that_calibrate_are_neither_learned_from_nor_chosen_on(series_lab):
    """Changed where no context of validation reaches, they change the calibration and nothing else."""
    word = "data.calibration_length=48"
    said = series_lab.train("before", word).err
    assert "intervals rest on 43 windows of steps that nothing was learned from" in said
    table = values()
    table[TRAIN - 48 : TRAIN - 24] *= 5.0
    write(series_lab, table)
    series_lab.train("after", word)
    before, after = learned(series_lab, "before"), learned(series_lab, "after")
    assert before[-1] != after[-1]
    for record in (*before[0], *after[0]):
        record.pop("val/mase", None)  # which divides by all that lies before validation
    assert_as_learned(before[:-1], after[:-1])
    basis = {"part": "calibration", "origins": 43, "values": 96}  # 48 steps of two columns
    assert document(series_lab, "before")["calibrated_on"] == basis
    assert series_lab.lstm("eval", "before", "--json").json["intervals"] == basis
    assert "Intervals of 90% rest on steps that nothing was learned" in series_lab.lstm("eval", "before").out


def test_without_such_steps_validation_calibrates_and_that_is_said(done):
    assert document(done, "whole")["calibrated_on"]["part"] == "val"
    assert "rest on the validation part" in done.lstm("eval", "whole").out
    assert "they may be too narrow (data.calibration_length)" in done.train("again", "train.max_steps=1").err


def test_without_validation_the_intervals_are_calibrated_all_the_same(series_lab):
    words = ["data.splits=[1.0]", "data.calibration_length=30", "train.max_steps=3", "evaluation.every=null"]
    series_lab.train("r", *words)
    assert document(series_lab, "r")["calibrated_on"]["part"] == "calibration"


def test_times_with_an_offset_are_the_same_moments(series_lab):
    words = ["forecast.calendar=true"]
    series_lab.train("utc", *words)
    forecast = rows_of(series_lab.lstm("generate", "utc").out)
    write(series_lab, values(), offset="+05:00")
    series_lab.train("east", *words)
    assert_as_learned(learned(series_lab, "east"), learned(series_lab, "utc"))
    again = rows_of(series_lab.lstm("generate", "east").out)
    for row, other in zip(forecast, again, strict=True):
        moments = [datetime.fromisoformat(r.pop("time")).replace(tzinfo=None) for r in (row, other)]
        assert moments[0] == moments[1] and row == other


def test_times_that_are_shifted_shift_the_labels_alone(series_lab):
    series_lab.train("now")
    write(series_lab, values(), first=77)
    series_lab.train("later")
    assert_as_learned(learned(series_lab, "later"), learned(series_lab, "now"))
    rows = [rows_of(series_lab.lstm("generate", run, "--input", "table.csv").out) for run in ("later", "now")]
    assert rows[0] == rows[1]
    assert datetime.fromisoformat(rows[0][0]["time"]) == START + timedelta(hours=77 + STEPS)


@pytest.mark.parametrize("words", [[], ["forecast.scaling=none", "forecast.normalization=standard"]])
def test_other_units_give_the_same_scaled_errors(series_lab, words):
    series_lab.train("small", *words)
    write(series_lab, values() * 1000.0 + 1e6)
    series_lab.train("large", *words)
    names = ("val/scaled_mse", "val/scaled_mae", "val/mase", "val/coverage", "val/loss")
    for name in names:
        small, large = ([r[name] for r in series_lab.metrics(run) if name in r] for run in ("small", "large"))
        assert large == pytest.approx(small, rel=1e-3), name
    means = [float(r["mean"]) for r in rows_of(series_lab.lstm("generate", "large").out)]
    assert np.mean(means) == pytest.approx(1e6 + 1000 * 10.0, rel=5e-3)


@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_a_constant_series_is_forecast_as_what_it_is(series_lab, scaling):
    table = values()
    table[:, 1] = 5.0
    write(series_lab, table)
    series_lab.train("flat", "train.max_steps=8", f"forecast.scaling={scaling}", "forecast.loss=mae")
    rows = rows_of(series_lab.lstm("generate", "flat").out)
    assert all(abs(float(r["mean"]) - 5.0) < 2.0 for r in rows if r["target"] == "b")
    assert series_lab.lstm("eval", "flat", "--json").code == 0


@pytest.mark.parametrize("loss", ["mae", "quantile", "student-t"])
def test_gaps_and_missing_values_are_no_obstacle(series_lab, loss):
    table = values()
    table[30:40, 0] = math.nan
    table[-1, 1] = math.nan
    write(series_lab, table)
    text = (series_lab.folder / "table.csv").read_text().replace("nan", "")
    lines = text.splitlines()
    (series_lab.folder / "table.csv").write_text("\n".join(lines[:80] + lines[90:]) + "\n")  # a gap, too
    series_lab.train("holes", f"forecast.loss={loss}", "train.max_steps=8")
    assert all(math.isfinite(r["train/loss"]) for r in series_lab.metrics("holes") if "train/loss" in r)
    rows = rows_of(series_lab.lstm("generate", "holes").out)
    assert len(rows) == 2 * HORIZON and all(math.isfinite(float(r["mean"])) for r in rows)
