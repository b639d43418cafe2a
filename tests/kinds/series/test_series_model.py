"""The forecaster's network: what it promises of shifts and scales, and what it may and may not see."""

from __future__ import annotations

import math

import pytest
import torch

from lstmcli.kinds.series.forecaster import by_channel
from lstmcli.kinds.series.model import SeriesModel, SeriesShape
from lstmcli.kinds.series.normalise import Rows, normalise
from lstmcli.kinds.series.settings import SeriesConfig

L, HORIZON, R = 12, 6, 5
METHODS = ["none", "last", "seasonal", "mean-abs", "standard"]
SEASON = 4
DECODERS = ["direct", "segments", "recursive"]
LEVELS = (0.05, 0.5, 0.95)


def model(channels=1, calendar=0, known=0, past=0, static=0, observed=False, hidden_size=6, **forecast):
    """A network whose parameters are random all through, in float32, ready to forecast."""
    config = SeriesConfig.model_validate(
        {
            "data": {"kind": "series", "path": "x.csv", "context_length": L, "horizon": HORIZON},
            "model": {"hidden_size": hidden_size, "num_layers": 1},
            "forecast": {"patch_length": 2, "samples": 20, **forecast},
        }
    )
    shape = SeriesShape(channels, 1, 3, calendar, known, past, static, observed, season=SEASON)
    torch.manual_seed(0)
    made = SeriesModel(config, shape)
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def rows(made, count=R, level=10.0, seed=1):
    draw = torch.Generator().manual_seed(seed)
    shape, lag = made.shape, made.lag
    steps = lag + L

    def normal(*size):
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    return Rows(
        level + normal(count, steps, shape.channels),
        level + normal(count, HORIZON, shape.channels),
        torch.zeros(count, dtype=torch.long),
        torch.arange(count) % 3,
        normal(count, steps + HORIZON, shape.calendar + shape.known),
        normal(count, steps, shape.past),
        normal(count, shape.static),
    )


def forecast(made, given, levels=LEVELS):
    torch.manual_seed(3)
    return made(given, levels)


def column(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1)


# --- normalisation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "location", "scale"),
    [("none", 0, 1), ("last", 4, 1), ("mean-abs", 0, 2), ("standard", 0.5, math.sqrt(21 / 4))],
)
def test_normalisation_is_over_what_is_observed(method, location, scale):
    window = normalise(column(math.nan, -2.0, math.nan, 1.0, math.nan, -1.0, 4.0, math.nan), method)
    assert float(window.location) == pytest.approx(location) and float(window.scale) == pytest.approx(scale)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values",
    [
        *((math.nan,) * 4, (0.0,) * 4, (7.0,) * 4, (math.nan, math.nan, math.nan, 3.0)),
        *((1e-12, 2e-12, 3e-12, 5e-12), (1e15, 2e15, -3e15, 0.0), (1e15, 1e15 + 1, 1e15, 1e15)),
    ],
)
def test_a_window_of_any_kind_has_a_scale_that_divides(method, values):
    window = normalise(column(*values), method)
    assert torch.isfinite(window.location).all() and torch.isfinite(window.scale).all()
    assert float(window.scale) > 0
    normal = (column(*values) - window.location) / window.scale
    if method in ("mean-abs", "standard"):
        assert float(normal.nan_to_num().abs().max()) < 10
    restored = normal * window.scale + window.location
    torch.testing.assert_close(restored, column(*values), rtol=1e-9, atol=0, equal_nan=True)


def by_hand_seasonal(values):
    """Location of each of the last L values, and of the HORIZON steps behind them; NaN is missing."""
    whole = values[len(values) % SEASON :]
    seasons = [whole[k : k + SEASON] for k in range(0, len(whole), SEASON)]
    seen = [[v for v in season if not math.isnan(v)] for season in seasons]
    levels = [sum(s) / len(s) if s else math.nan for s in seen]
    level = next((v for v in reversed(levels) if not math.isnan(v)), 0.0)
    profile = []
    for k in range(SEASON):
        apart = [s[k] - v for s, v in zip(seasons, levels, strict=True) if not math.isnan(s[k])]
        profile.append(level + (sum(apart) / len(apart) if apart else 0.0))
    return [profile[t % SEASON] for t in range(-len(values), HORIZON)]


@pytest.mark.parametrize("steps", [4, 7, 8, 11, 12])
@pytest.mark.parametrize("missing", [[], [-1], [-4, -3, -2, -1], [-2, -3], [0, 1]])
def test_the_seasonal_location_is_written_out(steps, missing):
    draw = torch.Generator().manual_seed(1)
    values = (10 + torch.randn(steps, generator=draw, dtype=torch.float64)).tolist()
    for place in missing:
        values[place] = math.nan
    window = normalise(column(*values), "seasonal", 0, HORIZON, SEASON)
    found = [*window.location.flatten().tolist(), *window.ahead.flatten().tolist()]
    assert found == pytest.approx(by_hand_seasonal(values)) and float(window.scale) == 1.0
    far = normalise(column(5.0, math.nan, *values), "seasonal", 2, HORIZON, SEASON)  # the lags have no say
    assert far.ahead.flatten().tolist() == pytest.approx(found[steps:])
    assert far.location.flatten().tolist()[2:] == pytest.approx(found[:steps])


def test_a_context_shorter_than_a_season_is_taken_at_its_last_value():
    window = normalise(column(1.0, 2.0, 5.0), "seasonal", 0, HORIZON, SEASON)
    assert window.location.item() == window.ahead.item() == 5.0


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("method", METHODS)
def test_windows_of_any_kind_give_finite_forecasts_and_gradients(method, decoder):
    made = model(normalization=method, decoder=decoder, loss="gaussian", observed=True, lags=[2])
    given = rows(made)
    context = given.context
    context[0], context[1], context[2] = math.nan, 0.0, 5.0
    context[3, :-1], context[4, -3:] = math.nan, math.nan
    point, quantiles = forecast(made, given)
    assert torch.isfinite(point).all() and torch.isfinite(quantiles).all()
    given.target[2, 3:] = math.nan
    loss = made.train().loss(given)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


MANY = [1e-12, 2.5, 1e12]
SHIFTS = {"last": 1000.0, "seasonal": 1000.0, "standard": 1000.0, "mean-abs": 0.0, "none": 0.0}
SCALES = {"last": [1.0], "seasonal": [1.0], "standard": MANY, "mean-abs": MANY, "none": [1.0]}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("loss", ["mae", "gaussian", "quantile"])
@pytest.mark.parametrize("method", METHODS)
def test_the_forecast_of_shifted_or_scaled_values_is_shifted_or_scaled(method, loss, decoder):
    made = model(normalization=method, loss=loss, decoder=decoder, quantiles=list(LEVELS))
    given = rows(made)
    point, quantiles = forecast(made, given)
    for scale in SCALES[method]:
        shift = SHIFTS[method] * scale
        other = given._replace(context=given.context * scale + shift)
        again, spread = forecast(made, other)
        torch.testing.assert_close((again - shift) / scale, point, rtol=1e-4, atol=1e-4)
        assert (spread is None) == (quantiles is None)
        if quantiles is not None:
            torch.testing.assert_close((spread - shift) / scale, quantiles, rtol=1e-4, atol=1e-4)


# --- what is seen -------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", DECODERS)
def test_rows_do_not_know_of_each_other(decoder):
    made = model(decoder=decoder, calendar=2, known=1, past=1, static=2, series_embedding=2, lags=[2, 5])
    given = rows(made)
    whole, _ = forecast(made, given)
    for k in range(R):
        alone, _ = forecast(made, Rows(*(t[k : k + 1] for t in given)))
        torch.testing.assert_close(alone[0], whole[k], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("loss", ["mae", "gaussian"])
def test_the_target_never_reaches_the_forecast(decoder, loss):
    made = model(decoder=decoder, loss=loss, lags=[2, 5], calendar=1, observed=True)
    given = rows(made)
    other = given._replace(target=torch.full_like(given.target, math.nan))
    wild = given._replace(target=given.target * 1e9)
    for changed in (other, wild):
        for a, b in zip(forecast(made, given), forecast(made, changed), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)
    torch.manual_seed(1)
    first = made.sample(given, 6)
    torch.manual_seed(1)
    assert torch.equal(first, made.sample(wild, 6))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("method", METHODS)
def test_the_first_step_sees_the_very_last_observation(decoder, method):
    made = model(decoder=decoder, normalization=method)
    given = rows(made)
    later = given.context.clone()
    later[:, -1] += 0.5
    point, again = (forecast(made, given._replace(context=c))[0][:, 0] for c in (given.context, later))
    moved = again - point
    if method in ("last", "seasonal"):  # more than by the window's location
        at = [normalise(c, method, 0, HORIZON, SEASON).ahead[:, 0] for c in (given.context, later)]
        moved = moved - (at[1] - at[0])
    assert float(moved.abs().min()) > 1e-5


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("part", ["future", "past", "static", "series"])
def test_each_covariate_reaches_the_forecast(decoder, part):
    made = model(decoder=decoder, known=2, past=1, static=1, series_embedding=2)
    given = rows(made)
    changed = getattr(given, part) + 1 if part != "series" else (given.series + 1) % 3
    assert not torch.allclose(forecast(made, given)[0], forecast(made, given._replace(**{part: changed}))[0])


def test_what_is_known_of_a_step_beyond_the_first_reaches_that_step_of_a_direct_forecast():
    made = model(known=1)
    given = rows(made)
    future = given.future.clone()
    future[:, -1] += 1.0
    assert not torch.allclose(forecast(made, given)[0], forecast(made, given._replace(future=future))[0])


def test_a_series_that_training_never_saw_has_no_vector_of_its_own():
    made = model(series_embedding=2)
    given = rows(made)._replace(series=torch.full((R,), 3))
    assert torch.isfinite(forecast(made, given)[0]).all()
    with torch.no_grad():
        fresh = SeriesModel(made_config(made), made.shape)
    assert not fresh.members[0].series.weight[3].any()


def made_config(made):
    return SeriesConfig.model_validate(
        {
            "data": {"kind": "series", "path": "x.csv", "context_length": L, "horizon": HORIZON},
            "model": made.settings.model_dump(),
            "forecast": made.forecast_settings.model_dump(),
        }
    )


def test_lags_are_the_values_so_many_steps_before_each():
    made = model(lags=[1, 4], observed=True, past=1, calendar=1)
    network, lag = made.members[0], made.lag
    assert lag == 4
    values = torch.arange(R * (lag + L), dtype=torch.float32).view(R, lag + L, 1)
    values[0, lag + 3] = math.nan
    future, past = torch.rand(R, lag + L, 1), torch.rand(R, lag + L, 1)
    found = network._features(values, future, past)
    assert found.shape == (R, L, 6)
    for row in range(R):
        for t in range(L):
            at = lag + t
            value, *lagged = (float(values[row, at - k, 0]) for k in (0, 1, 4))
            missing = math.isnan(value)
            wanted = [0.0 if missing else value, 0.0 if missing else 1.0]
            wanted += [0.0 if math.isnan(v) else v for v in lagged]
            wanted += [float(future[row, at, 0]), float(past[row, at, 0])]
            assert found[row, t].tolist() == pytest.approx(wanted)


def test_lags_alone_reach_further_back_than_the_context():
    given = rows(model(lags=[8]))
    changed = given.context.clone()
    changed[:, 0] += 1.0  # eight steps before the context's first
    for lags, same in ([8], False), ([3], True):
        made = model(lags=lags)
        cut = [c[:, 8 - made.lag :] for c in (given.context, changed)]
        a, b = (forecast(made, rows(made)._replace(context=c))[0] for c in cut)
        assert torch.equal(a, b) == same


# --- recursion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lags", [[], [2, 5]])
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_teacher_forcing_is_the_recursion_that_is_fed_the_truth(patch, lags):
    """Where the truth is what the model itself says, both read the same and so say the same."""
    usable = [lag for lag in lags if lag >= patch]
    made = model(decoder="recursive", patch_length=patch, lags=usable, calendar=2, past=1, loss="mae")
    given = rows(made)._replace(past=torch.zeros(R, made.lag + L, 1, dtype=torch.float64))
    point, _ = forecast(made, given)
    given = given._replace(target=point)
    network = made.members[0]
    with torch.no_grad():
        raw, window, truth = network._teacher_forced(given)
    steps = -(-HORIZON // patch) * patch
    said = window.location + window.scale * raw[:, -steps:, :, 0].double()
    torch.testing.assert_close(said[:, :HORIZON], point, rtol=1e-5, atol=1e-5)
    seen = ~truth[:, -steps:].isnan()
    assert int(seen.sum()) == R * HORIZON
    torch.testing.assert_close(raw[:, -steps:, :, 0][seen], truth[:, -steps:][seen], rtol=1e-4, atol=1e-4)


def test_teacher_forcing_says_each_patch_before_it_is_read():
    made = model(decoder="recursive", loss="mae")
    given, network = rows(made), made.members[0]
    changed = given.target.clone()
    changed[:, 2] += 5.0
    with torch.no_grad():
        raw = [network._teacher_forced(given._replace(target=t))[0] for t in (given.target, changed)]
    place = L - 2 + 4  # the first step behind the patch that was changed; the first patch is not said
    assert torch.equal(raw[0][:, :place], raw[1][:, :place])
    assert not torch.allclose(raw[0][:, place:], raw[1][:, place:])


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("loss", ["mae", "quantile", "gaussian", "student-t", "negative-binomial"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_of_forecasts_and_samples(decoder, loss, channels):
    method = "mean-abs"
    made = model(channels, decoder=decoder, loss=loss, normalization=method, patch_length=4, members=2)
    given = rows(made)
    point, quantiles = forecast(made, given)
    assert point.shape == (R, HORIZON, channels) and point.dtype == torch.float64
    assert (quantiles is not None) == (loss != "mae")
    if quantiles is not None:
        assert quantiles.shape == (R, HORIZON, channels, 3)
        assert (quantiles.diff(dim=-1) >= 0).all()
    for count in (1, 7):
        paths = made.sample(given, count)
        assert paths.shape == (count, R, HORIZON, channels) and torch.isfinite(paths).all()


@pytest.mark.parametrize("decoder", ["direct", "segments"])
@pytest.mark.parametrize("loss", ["quantile", "gaussian", "student-t", "negative-binomial"])
def test_paths_are_spread_as_the_quantiles_say(decoder, loss):
    made = model(decoder=decoder, loss=loss, normalization="mean-abs", quantiles=[0.1, 0.5, 0.9])
    given = rows(made)
    _, quantiles = forecast(made, given, (0.1, 0.5, 0.9))
    paths = made.sample(given, 300)
    found = torch.quantile(paths, paths.new_tensor([0.1, 0.5, 0.9]), dim=0).movedim(0, -1)
    width = (quantiles[..., 2] - quantiles[..., 0]).unsqueeze(-1)
    # Counts have no quantiles but those of draws.
    error, most = (found - quantiles).abs() / width.clamp_min(1.0), 0.35 if "binomial" in loss else 0.02
    assert float(error.max()) < most and float(error.mean()) < most / 2


def test_with_a_point_alone_all_paths_are_that_point():
    made = model(loss="mae")
    given = rows(made)
    torch.testing.assert_close(made.sample(given, 3), forecast(made, given)[0].expand(3, -1, -1, -1))


def test_a_joint_row_lets_channels_see_each_other_and_independent_rows_do_not():
    joint, alone = model(2), model(1)
    given = rows(joint)
    changed = given.context.clone()
    changed[..., 1] += torch.linspace(0, 1, L).view(1, -1)
    first, second = (forecast(joint, given._replace(context=c))[0] for c in (given.context, changed))
    assert not torch.allclose(first[..., 0], second[..., 0])
    single = rows(alone)
    assert forecast(alone, single)[0].shape == (R, HORIZON, 1)


def test_the_forecast_of_members_is_their_mean():
    made = model(members=3, loss="gaussian")
    given = rows(made)
    each = [member.forecast(given, LEVELS) for member in made.members]
    point, quantiles = forecast(made, given)
    torch.testing.assert_close(point, torch.stack([p for p, _ in each]).mean(0))
    torch.testing.assert_close(quantiles, torch.stack([q for _, q in each]).mean(0))
    assert not torch.allclose(each[0][0], each[1][0])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("loss", ["mae", "gaussian"])
def test_the_loss_and_the_forecast_in_one_pass_are_those_of_two(decoder, loss):
    made = model(decoder=decoder, loss=loss, members=2)
    given = rows(made)
    point, quantiles = forecast(made, given)
    torch.manual_seed(3)
    found, same_point, same_quantiles = made.scored(given, LEVELS)
    assert torch.equal(found, made.loss(given).detach()) and torch.equal(point, same_point)
    assert (quantiles is None) == (same_quantiles is None)
    assert quantiles is None or torch.equal(quantiles, same_quantiles)


def test_rows_of_one_channel_are_window_by_window():
    made = model(3, known=1, past=1, static=2)
    given = rows(made)
    split = by_channel(given)
    for window in range(R):
        for channel in range(3):
            k = 3 * window + channel
            assert torch.equal(split.context[k, :, 0], given.context[window, :, channel])
            assert torch.equal(split.target[k, :, 0], given.target[window, :, channel])
            assert int(split.channel[k]) == channel and split.series[k] == given.series[window]
            for part in ("future", "past", "static"):
                assert torch.equal(getattr(split, part)[k], getattr(given, part)[window])


@pytest.mark.parametrize("decoder", ["direct", "segments"])
def test_the_loss_counts_what_is_observed_alone(decoder):
    made = model(decoder=decoder, loss="mae", observed=True)
    given = rows(made)
    given.target[0], given.target[1, 2:] = math.nan, math.nan
    with torch.no_grad():
        point, _ = forecast(made, given)
        loss = float(made.loss(given))
    error = (point - given.target).abs()
    assert loss == pytest.approx(float(error[~error.isnan()].mean()), rel=1e-5)
    nothing = given._replace(target=torch.full_like(given.target, math.nan))
    assert made.loss(nothing).item() == 0.0
