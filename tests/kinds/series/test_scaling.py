"""The figures by which values are scaled: of the training part alone, safe to divide by, undone exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lstmcli.core.errors import DataError, RunError
from lstmcli.kinds.series.figures import outliers
from lstmcli.kinds.series.scaling import Scaler, best_exponent
from lstmcli.kinds.series.settings import SeriesTable
from lstmcli.kinds.series.table.panel import prepare_series

TRANSFORMS = ["none", "log", "log1p", "box-cox"]
SERIES, STEPS = 3, 50


def table(tmp_path, values, name="t.csv"):
    """values (S, T, C) as a long table; NaN is an empty cell."""
    lines = ["time,name," + ",".join(f"y{c}" for c in range(values.shape[2]))]
    for s, series in enumerate(values):
        for t, row in enumerate(series):
            cells = ["" if np.isnan(v) else repr(float(v)) for v in row]
            lines.append(f"{t},s{s}," + ",".join(cells))
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return SeriesTable(
        path=str(path), time="time", group="name", splits=[0.6, 0.2, 0.2],
        target=[f"y{c}" for c in range(values.shape[2])],
    )  # fmt: skip


def drawn(channels=2):
    draw = np.random.default_rng(0)
    scales = np.array([1.0, 100.0, 1e-3])[:, None, None]
    return (2.0 + draw.gamma(2.0, 1.0, (SERIES, STEPS, channels))) * scales


def fitted(tmp_path, values, transform="none", scaling="standard", name="t.csv"):
    data = prepare_series(table(tmp_path, values, name))
    return data, Scaler.fit(data, transform, scaling)


def test_scaling_is_by_mean_and_deviation_of_each_series_and_channel(tmp_path):
    values = drawn()
    values[1, 3:9, 0] = np.nan
    _, scaler = fitted(tmp_path, values)
    train = values[:, :30]
    np.testing.assert_allclose(scaler.center, np.nanmean(train, axis=1), rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, np.nanstd(train, axis=1), rtol=1e-12)  # ddof 0
    np.testing.assert_array_equal(scaler.deviation, scaler.scale)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_lies_behind_the_training_part_changes_nothing(tmp_path, transform):
    values = drawn()
    spiked = values.copy()
    spiked[:, 30] = 1e7
    spiked[:, 45:] *= 1e4
    _, scaler = fitted(tmp_path, values, transform)
    _, again = fitted(tmp_path, spiked, transform, name="spiked.csv")
    assert scaler.to_json() == again.to_json()
    spiked[:, 29] = 1e7  # the last step of the training part, so that the test could fail
    assert fitted(tmp_path, spiked, transform, name="in.csv")[1].to_json() != scaler.to_json()


def test_the_deviation_of_the_table_is_kept_whatever_the_model_sees(tmp_path):
    values = drawn()
    wanted = values[:, :30].std(axis=1)
    for transform, scaling in (("log", "standard"), ("none", "none")):
        _, scaler = fitted(tmp_path, values, transform, scaling)
        np.testing.assert_allclose(scaler.deviation, wanted, rtol=1e-12)
    assert not scaler.center.any() and (scaler.scale == 1).all()


@pytest.mark.parametrize("constant", [0.0, 7.0, 1e12, 1e-12, 0.1])
def test_a_constant_is_shifted_and_borrows_its_scale(tmp_path, constant, notices):
    """As large a share of its size as the other series have, at most their scale."""
    values = drawn()
    values[0, :30, 0] = constant
    _, scaler = fitted(tmp_path, values)
    deviation, mean = values[1:, :30, 0].std(axis=1), values[1:, :30, 0].mean(axis=1)
    wanted = max(min(np.median(deviation), np.median(deviation / mean) * constant or np.inf), 1e-8 * constant)
    assert scaler.scale[0, 0] == pytest.approx(wanted, rel=1e-9)
    assert scaler.center[0, 0] == pytest.approx(constant, rel=1e-12, abs=1e-30)
    assert scaler.own.tolist() == [[False, True], [True, True], [True, True]]
    assert "s0 y0" in "".join(notices) and "1 of 6 series have no scale" in "".join(notices)


@pytest.mark.parametrize(("constant", "scale"), [(1e-4, 1e-5), (-300.0, 30.0), (0.0, 1.0)])
def test_a_constant_alone_has_a_tenth_of_its_size(tmp_path, constant, scale):
    _, scaler = fitted(tmp_path, np.full((1, STEPS, 1), constant))
    assert scaler.scale[0, 0] == pytest.approx(scale)


def test_a_series_without_a_scale_is_measured_at_each_origin(tmp_path):
    """By the window, then by all before it, then by the others; the rest of the series is never seen."""
    values = drawn(1)
    values[0, :40] = 0.0
    data = prepare_series(table(tmp_path, values))
    scaler = Scaler.fit(data, "none", "standard", window=10)
    series = np.zeros(4, dtype=np.int64)
    found = scaler.at(series, np.array([30, 40, 43, 50]))
    typical = np.median(values[1:, :30, 0].std(axis=1))
    np.testing.assert_allclose(found.scale[:, 0], [typical, typical, *(
        values[0, end - 10 : end, 0].std() for end in (43, 50)
    )])  # fmt: skip
    np.testing.assert_allclose(found.center[:, 0], [0, 0, values[0, 33:43].mean(), values[0, 40:].mean()])
    assert found.own[:, 0].tolist() == [False, False, True, True]
    assert np.isnan(found.deviation[:2]).all()  # so errors there count in no scaled figure
    values[0, 45:] = values[0, 45]
    still = Scaler.fit(prepare_series(table(tmp_path, values, "o.csv")), "none", "standard", window=3)
    late = still.at(series[:1], np.array([50]))
    assert late.scale[0, 0] == pytest.approx(values[0, :50].std())  # the window is constant


def test_a_column_that_began_of_late_is_filled_by_the_others(tmp_path):
    values = drawn(3)[:1]
    values[0, :45, 2] = np.nan
    data = prepare_series(table(tmp_path, values))
    scaler = Scaler.fit(data, "none", "standard")
    found = scaler.at(np.array([0, 0]), np.array([30, 50]))
    assert found.own.tolist() == [[True, True, False], [True, True, True]]
    deviation, mean = values[0, :30, :2].std(axis=0), values[0, :30, :2].mean(axis=0)
    wanted = min(np.median(deviation), np.median(deviation / mean) * np.median(mean))
    assert found.scale[0, 2] == pytest.approx(wanted)
    np.testing.assert_allclose([found.center[1, 2], found.scale[1, 2]],
                               [values[0, 45:, 2].mean(), values[0, 45:, 2].std()])  # fmt: skip


@pytest.mark.parametrize("odd", [1e9, -1e9, 99999.0])
def test_an_outlier_sets_no_scale_and_is_read_as_missing(tmp_path, odd, notices):
    values = 100.0 + np.random.default_rng(3).normal(0.0, 5.0, (1, 500, 1))
    wanted = np.delete(values[0, :300, 0], 100)
    values[0, [100, 450]] = odd
    data, scaler = fitted(tmp_path, values)
    assert scaler.scale[0, 0] == pytest.approx(wanted.std()) == scaler.deviation[0, 0]
    said = "".join(notices)
    assert f"{odd:g}" in said and "s0" in said and "step 101" in said and "missing" in said
    assert np.flatnonzero(np.isnan(scaler.scaled(data.panel).values)).tolist() == [100, 450]
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.outliers == ((0, 0, odd),)
    other = again.for_panel(data.panel, data.panel.names, "standard")
    np.testing.assert_array_equal(other.cleaned(data.panel), scaler.cleaned(data.panel))


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 60 + [2.0],  # counts that are mostly equal
        [0.0] * 60 + [900.0],  # a launch
        [0.0, 0.0, 1.0] * 20 + [25.0],
        np.random.default_rng(0).standard_t(3, 2000),
        np.random.default_rng(0).lognormal(0.0, 1.5, 500),
        [100.0] * 50 + [300.0] * 50,
        [np.nan] * 30,
        [1.0, 2.0, 1e9],
    ],
)
def test_what_is_merely_far_is_no_outlier(values):
    assert not outliers(np.asarray(values)[:, None]).any()


def slow_outliers(column):
    seen = sorted(v for v in column if not np.isnan(v))
    if len(seen) < 5:
        return [False] * len(column)
    middle = np.median(seen)
    distances = sorted(abs(v - middle) for v in seen)
    usual = distances[int(0.99 * (len(distances) - 1))] or abs(middle)
    return [bool(usual > 0 and abs(v - middle) > 30 * usual) for v in column]


@pytest.mark.parametrize("count", [4, 5, 7, 12, 60, 99, 130, 400])
def test_outliers_against_a_loop(count):
    """Which never takes the short way that most columns take."""
    draw = np.random.default_rng(count)
    found = 0
    for far in (1.0, 20.0, 29.0, 31.0, 60.0, 1e6):
        for share in (1, max(1, count // 100)):
            column = 5.0 + draw.uniform(-1.0, 1.0, count)
            column[:share] = 5.0 + far
            column[count // 2] = np.nan
            mine = outliers(column[:, None])[:, 0].tolist()
            assert mine == slow_outliers(column)
            found += sum(mine)
    assert found or count < 6


def test_values_that_are_small_are_no_constant(tmp_path):
    _, scaler = fitted(tmp_path, drawn() * 1e-12)
    np.testing.assert_allclose(scaler.scale, (drawn() * 1e-12)[:, :30].std(axis=1), rtol=1e-9)


def test_a_channel_without_any_value_stays_missing(tmp_path):
    values = drawn()
    values[2, :, 1] = np.nan
    data, scaler = fitted(tmp_path, values)
    assert scaler.center[2, 1] == pytest.approx(np.median(values[:2, :30, 1].mean(axis=1)))
    assert np.isnan(scaler.scaled(data.panel).values[100:, 1]).all()


@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_restoring_undoes_scaling(tmp_path, transform, scaling):
    values = drawn()
    values[0, 5, 1] = np.nan
    data, scaler = fitted(tmp_path, values, transform, scaling)
    seen = scaler.scaled(data.panel).values.reshape(SERIES, STEPS, 2)
    if scaling == "standard":
        np.testing.assert_allclose(np.nanmean(seen[:, :30], axis=1), 0.0, atol=1e-9)
        np.testing.assert_allclose(np.nanstd(seen[:, :30], axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(scaler.restore(seen, np.arange(SERIES)), values, rtol=1e-10)
    chosen = np.array([2, 0, 2])
    np.testing.assert_allclose(scaler.restore(seen[chosen], chosen), values[chosen], rtol=1e-10)
    quantiles = np.stack([seen, seen + 0.1], axis=-1)  # (B, h, C, Q)
    found = scaler.restore(quantiles, np.arange(SERIES))
    np.testing.assert_allclose(found[..., 0], values, rtol=1e-10)
    assert (found[..., 1] >= found[..., 0])[~np.isnan(values)].all()


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0, 2.0])
def test_box_cox_finds_the_exponent_that_made_the_values(exponent):
    """Values whose transform is Gaussian."""
    normal = np.random.default_rng(1).normal(0.0, 1.0, 20_000)
    if exponent == 0.0:
        values = np.exp(1.0 + 0.5 * normal)
    else:
        values = (exponent * (10.0 * np.sign(exponent) + normal) + 1.0) ** (1.0 / exponent)
    assert (values > 0).all()
    assert best_exponent(values) == pytest.approx(exponent, abs=0.25)
    assert best_exponent(np.append(values, np.nan)) == best_exponent(values)


@pytest.mark.parametrize("values", [[], [1.0], [3.0] * 50, [np.nan] * 9])
def test_box_cox_of_nothing_to_go_by_changes_nothing(values):
    assert best_exponent(np.array(values, dtype=np.float64)) == 1.0


@pytest.mark.parametrize("exponent", [0.0, -1.0, 0.5])
def test_box_cox_is_undone_at_its_bounds(exponent):
    """A forecast below what any value transforms to is 0, or without bound where the exponent is below 0."""
    one = np.ones((1, 1))
    scaler = Scaler(
        "box-cox", np.array([exponent]), 0 * one, one, one, one > 0, -np.inf * one[0], np.inf * one[0]
    )
    found = scaler.restore(np.array([-50.0, 0.0, 1.0]).reshape(1, 3, 1), np.array([0])).ravel()
    assert found[1] == 1.0 and not np.isnan(found).any() and found[0] >= 0.0


@pytest.mark.parametrize(
    ("transform", "bad"), [("log", 0.0), ("log", -1.0), ("box-cox", 0.0), ("log1p", -1.0)]
)
def test_a_value_out_of_range_is_told_with_its_series_and_column(tmp_path, transform, bad):
    values = drawn()
    values[1, 40, 1] = bad
    with pytest.raises(DataError) as caught:
        fitted(tmp_path, values, transform)
    message = str(caught.value)
    assert transform in message and "series s1" in message and "y1" in message and "step 41" in message


def test_a_new_table_keeps_what_is_known_and_measures_what_is_new(tmp_path):
    values = drawn()
    data, scaler = fitted(tmp_path, values, "log")
    names = data.panel.names
    other = prepare_series(table(tmp_path, values * 3.0, "other.csv"))
    same = scaler.for_panel(other.panel, names, "standard")
    np.testing.assert_array_equal(same.center, scaler.center)
    np.testing.assert_array_equal(same.deviation, scaler.deviation)
    partly = scaler.for_panel(other.panel, ["s0", "x", "s2"], "standard")
    np.testing.assert_array_equal(partly.center[[0, 2]], scaler.center[[0, 2]])
    np.testing.assert_allclose(partly.center[1], np.log(values[1] * 3.0).mean(axis=0), rtol=1e-12)
    assert not scaler.for_panel(other.panel, [], "none").center.any()
    with pytest.raises(DataError, match="log"):
        scaler.for_panel(prepare_series(table(tmp_path, -values, "negative.csv")).panel, names, "standard")


def test_the_figures_outlive_json(tmp_path):
    _, scaler = fitted(tmp_path, drawn(), "box-cox")
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.to_json() == scaler.to_json()


@pytest.mark.parametrize(
    "change", [{"center": None}, {"scale": [[1.0]]}, {"exponent": [1.0] * 5}, {"center": "x"}]
)
def test_damaged_figures_are_refused(tmp_path, change):
    _, scaler = fitted(tmp_path, drawn())
    with pytest.raises(RunError, match="damaged"):
        Scaler.from_json(scaler.to_json() | change)
    for document in ({}, None, [1]):
        with pytest.raises(RunError, match="damaged"):
            Scaler.from_json(document)
