"""Nothing that a forecast or its figure uses lies behind its origin: a change planted there moves nothing
before it, on every path of values to figures."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcli.api import load
from lstmcli.kinds.series.metrics import ScoreBoard

STEPS, CONTEXT, HORIZON, PART = 90, 14, 7, 14
TRAIN, VAL = STEPS - 2 * PART, STEPS - PART  # where the parts end
FORMS = {
    "plain": {},
    "transformed": {"transform": "log1p", "loss": "gaussian", "normalization": "standard"},
    "unscaled": {"scaling": "none", "normalization": "mean-abs", "lags": [7]},
}


def values(names="abc", steps=STEPS):
    """(S, T, 3): the target, a column known ahead, and one that is not."""
    draw = np.random.default_rng(len(names) + ord(names[0]))
    days = np.arange(steps)[:, None]
    return np.stack(
        [10.0 + s + np.sin(days / 7.0 + s) + draw.gamma(2.0, 0.3, (steps, 3)) for s, _ in enumerate(names)]
    )


def write(path, found, names="abc"):
    dates = np.datetime64("2020-01-01") + np.arange(found.shape[1])
    lines = [
        f"{day},{name},{row[0]!r},{row[1]!r},{row[2]!r},{k}"
        for k, (name, series) in enumerate(zip(names, found.tolist(), strict=True))
        for day, row in zip(dates, series, strict=True)
    ]
    path.write_text("date,name,y,known,past,kind\n" + "\n".join(lines) + "\n")
    return path


def changed(found, step, columns=(0, 1, 2), only=None):
    """The same values before a step; from it on, others."""
    planted = found.copy()
    for column in columns:
        planted[slice(None) if only is None else only, step:, column] *= 50.0
    return planted


@pytest.fixture
def used(monkeypatch):
    """All that figures are made of but the truth, in order: forecasts and what errors are divided by."""
    kept: list[np.ndarray] = []
    add = ScoreBoard.add

    def watched(self, key, actual, point, scale, mase_scale, quantiles=None):
        for array in (key, point, scale, mase_scale, *(() if quantiles is None else (quantiles,))):
            kept.append(np.array(array))
        add(self, key, actual, point, scale, mase_scale, quantiles)

    monkeypatch.setattr(ScoreBoard, "add", watched)
    return kept


def trained(lab, table="table.csv", run="r", **forecast):
    lab.configure(
        data={
            "kind": "series", "path": str(lab.folder / table), "time": "date", "group": "name", "target": "y",
            "known": ["known"], "past": ["past"], "static": ["kind"], "context_length": CONTEXT,
            "horizon": HORIZON, "val_length": PART, "test_length": PART,
        },
        forecast={"series_embedding": 2, **forecast},
        model={"hidden_size": 4},
        train={"max_steps": 4, "batch_size": 8},
    )  # fmt: skip
    lab.train(run)
    return load(lab.path(run))


@pytest.mark.parametrize("form", FORMS)
def test_training_sees_no_later_part(lab, form):
    """Weights, scaling and codes are those of the training part; validation alone moves the calibration."""
    found, documents = values(), []
    for number, table in enumerate((found, changed(found, VAL), changed(found, TRAIN))):
        write(lab.folder / "table.csv", table)
        run = trained(lab, run=f"r{number}", **FORMS[form])
        tensors = {k: v for k, v in lab.checkpoint(f"r{number}").tensors.items() if k.startswith("model")}
        assert tensors
        documents.append((run._document, tensors))
    (first, weights), (test_changed, _), (both_changed, _) = documents
    assert first == test_changed
    first, both_changed = dict(first), dict(both_changed)
    assert first.pop("calibration") != both_changed.pop("calibration")  # the change does something
    assert first == both_changed
    for _, other in documents[1:]:
        for name in weights:
            np.testing.assert_array_equal(weights[name], other[name])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("split", ["val", "test"])
def test_what_comes_after_an_origin_moves_no_figure_before_it(lab, used, form, split):
    found = values()
    write(lab.folder / "table.csv", found)
    run = trained(lab, **FORMS[form])
    begin = TRAIN if split == "val" else VAL
    used.clear()  # of training's own evaluations
    run.evaluate(split=split)
    before = [array.copy() for array in used]
    for origin in range(begin, begin + PART - HORIZON + 1):
        planted = changed(found, origin, columns=(0, 2))  # what is known ahead, a forecast may read
        write(lab.folder / "table.csv", planted)
        used.clear()
        load(lab.path("r")).evaluate(split=split)
        _same_until(before, used, origin - begin + 1, PART - HORIZON + 1)


def _same_until(before, after, windows, of):
    """Arrays of all windows, series by series: the first so many of each series are the same."""
    assert len(before) == len(after) > 5
    moved = False
    for one, other in zip(before, after, strict=True):
        one, other = (a.reshape(-1, of, *a.shape[1:]) for a in (one, other))
        np.testing.assert_array_equal(one[:, :windows], other[:, :windows])
        moved |= not np.array_equal(one, other)
    assert moved or windows == of


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", ["abc", "xyz", "ax"])
def test_another_table_is_scored_by_what_precedes_each_origin(lab, used, form, names):
    """Of series that training knew, and of such that it did not."""
    write(lab.folder / "table.csv", values())
    run = trained(lab, **FORMS[form])
    found = values(names, 40)
    other = lab.folder / "other.csv"
    used.clear()
    run.evaluate(write(other, found, names))
    before = [array.copy() for array in used]
    origins = range(CONTEXT, 40 - HORIZON + 1)
    for origin in origins[::4]:
        used.clear()
        run.evaluate(write(other, changed(found, origin, columns=(0, 2)), names))
        _same_until(before, used, origin - CONTEXT + 1, len(origins))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", ["abc", "xyz", "ax"])
def test_generate_reads_nothing_behind_the_last_observed_value(lab, form, names):
    """Rows of the future have what is known ahead; whatever else stands in them, nobody reads. And the
    forecast is the one that is scored at that origin."""
    write(lab.folder / "table.csv", values())
    run = trained(lab, **FORMS[form])
    other, found, end = lab.folder / "other.csv", values(names, 40), 40 - HORIZON
    future = found.copy()
    future[:, end:, 0] = np.nan
    write(other, future, names)
    other.write_text(other.read_text().replace("nan", ""))
    made = run.forecast(data=other).prediction
    planted = changed(future, end, columns=(2,))
    write(other, planted, names)
    other.write_text(other.read_text().replace("nan", ""))
    again = run.forecast(data=other).prediction
    np.testing.assert_array_equal(made.point, again.point)
    write(other, found, names)
    forecaster = run.forecaster(run.panel(other))
    scored = forecaster.forecast(np.arange(len(names)), np.full(len(names), end))
    np.testing.assert_array_equal(made.point, scored.point)
    np.testing.assert_array_equal(made.quantiles, scored.quantiles)


def test_a_series_does_not_move_another(lab):
    """What one new series does, the others' forecasts do not feel."""
    write(lab.folder / "table.csv", values())
    run = trained(lab)
    found, other = values("axz", 40), lab.folder / "other.csv"
    made = run.forecast(data=write(other, found, "axz")).prediction
    again = run.forecast(data=write(other, changed(found, 20, only=1), "axz")).prediction
    np.testing.assert_array_equal(made.point[[0, 2]], again.point[[0, 2]])
    assert not np.array_equal(made.point[1], again.point[1])
