"""A portfolio's parts against the same by hand: the greedy weights, the forecasts that cost nothing, whose
turn a step is, and which settings make a member."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lstmcli.config.load import parse_config
from lstmcli.core.errors import ConfigError, RunError
from lstmcli.kinds.series.blend import (
    FREE,
    blend_weights,
    free_forecasts,
    mean_loss,
    pinball,
)
from lstmcli.kinds.series.portfolio import Course, check_portfolio, member_configs, selection_steps

LEVELS = (0.1, 0.5, 0.9)


def config(**forecast):
    document = {
        "data": {"kind": "series", "path": "t.csv", "time": "t", "context_length": 24, "horizon": 6},
        "forecast": {"members": "auto", "loss": "quantile", "patch_length": 6} | forecast,
        "train": {"max_steps": 100, "schedule": "constant"},
        "evaluation": {"every": 10},
    }
    return parse_config(document, "test")


# --- the blend ------------------------------------------------------------------------------------


def test_the_loss_is_the_pinball_loss_of_what_is_observed():
    truth = np.array([[1.0, np.nan], [4.0, 2.0]])
    quantiles = np.array([[[0.0, 1.0, 3.0]] * 2, [[1.0, 2.0, 3.0]] * 2])
    each = [
        2 * np.mean([max(q * (y - f), (q - 1) * (y - f)) for q, f in zip(LEVELS, row, strict=True)])
        for y, row in ((1.0, (0, 1, 3)), (4.0, (1, 2, 3)), (2.0, (1, 2, 3)))
    ]
    assert np.allclose(pinball(truth, quantiles, LEVELS)[~np.isnan(truth)], each)
    scale = np.array([2.0, 4.0])
    found = mean_loss(truth, quantiles, LEVELS, scale)
    assert found == pytest.approx(np.mean([each[0] / 2, each[1] / 4, each[2] / 4]))


def test_the_weights_find_the_mixture_that_made_the_truth():
    draw = np.random.default_rng(1)
    members = draw.normal(size=(3, 400, 4, 1)).repeat(3, axis=-1)
    truth = 0.5 * members[0, ..., 0] + 0.5 * members[2, ..., 0]
    weights = blend_weights(members, truth, LEVELS, np.ones(400))
    assert weights.shape == (4, 3)
    assert np.allclose(weights.sum(1), 1.0)
    assert np.allclose(weights, [[0.5, 0.0, 0.5]] * 4)


def test_each_part_of_the_horizon_has_its_own_weights():
    draw = np.random.default_rng(2)
    truth = draw.normal(size=(300, 8))
    noise = draw.normal(size=(2, 300, 8))
    noise[0, :, 4:], noise[1, :, :4] = 0.0, 0.0
    members = (truth + 3 * noise)[..., None].repeat(3, axis=-1)
    weights = blend_weights(members, truth, LEVELS, np.ones(300))
    assert weights[:4, 1].min() == 1.0 and weights[4:, 0].min() == 1.0


def test_the_same_windows_give_the_same_weights_and_a_forecast_that_is_none_gets_none():
    draw = np.random.default_rng(3)
    members, truth = draw.normal(size=(3, 20, 4, 3)), draw.normal(size=(20, 4))
    members[1, 3] = np.nan
    first, again = (blend_weights(members, truth, LEVELS, np.ones(20)) for _ in range(2))
    assert np.array_equal(first, again) and not first[:, 1].any()


def test_free_forecasts_by_hand():
    history = np.array([[1.0, 2.0, 3.0, 5.0, 8.0, 13.0]])
    spread = np.arange(24.0).reshape(4, 2, 3) / 100
    found = dict(zip(FREE, free_forecasts(history, 2, 2, LEVELS, spread), strict=True))
    assert np.allclose(found["last value"][0], 13.0 + spread[0])
    assert np.allclose(found["last season"][0], np.array([[8.0], [13.0]]) + spread[1])
    assert np.allclose(found["drift"][0], np.array([[15.4], [17.8]]) + spread[2])
    assert np.allclose(found["mean of seasons"][0], np.array([[4.0], [20 / 3]]) + spread[3])
    seasons = [np.quantile(part, LEVELS) for part in ([1.0, 3.0, 8.0], [2.0, 5.0, 13.0])]
    assert np.allclose(found["quantiles of seasons"][0], seasons)
    assert np.allclose(found["quantiles of history"][0], np.quantile(history[0], LEVELS))


def test_free_forecasts_of_gaps_are_numbers():
    history = np.array([[np.nan, np.nan, np.nan, 4.0], [1.0, np.nan, 2.0, np.nan]])
    assert np.isfinite(free_forecasts(history, 3, 2, LEVELS, np.zeros((4, 3, 3)))).all()


# --- the course -----------------------------------------------------------------------------------


def test_members_take_turns_and_count_their_own_steps():
    course, own = Course.of(4), [0] * 4
    for step in range(30):
        if step == 10:
            course.thin_out(0.3, [0.4, 0.0, 0.6, 0.0])
            assert len(course.alive) == 3 and {0, 2} < set(course.alive)
        member, number = course.turn(step)
        assert member in course.alive and number == own[member]
        own[member] += 1
        course.step = step + 1
    course.settle()
    assert course.taken == own and sum(own) == 30


def test_the_poorest_leave_by_weight_and_then_by_loss():
    course = Course.of(8)
    course.losses = [0.5, 0.1, 0.9, 0.2, 0.3, 0.4, 0.6, None]
    course.step = 10
    course.thin_out(0.1, [0.0] * 8)
    assert course.alive == list(range(8))  # all had too few steps to tell
    course.thin_out(0.6, [0.0, 0.0, 0.7, 0.0, 0.0, 0.0, 0.3, 0.0])
    assert course.alive == [1, 2, 3, 6]


def test_a_course_goes_through_json_and_a_damaged_one_is_refused():
    course = Course.of(3)
    course.step, course.weights = 7, [[0.5, 0.5, 0.0]]
    course.settle()
    assert Course.from_json(course.to_json(), 3) == course
    for damage in ({"alive": []}, {"alive": [5]}, {"stage": "elsewhere"}, {"other": 1}):
        with pytest.raises(RunError, match="damaged"):
            Course.from_json(course.to_json() | damage, 3)
    with pytest.raises(RunError):
        Course.from_json(course.to_json(), 4)


# --- members --------------------------------------------------------------------------------------


def test_a_member_is_the_config_with_what_it_has_otherwise():
    made = config(
        season=12,
        normalization="seasonal",
        portfolio=[{}, {"context_length": 48, "normalization": "last", "cell": "gru", "hidden_size": 7}],
    )
    first, second = member_configs(made)
    assert first.forecast.season == 12 and first.forecast.members == 1
    assert (second.data.context_length, second.model.cell, second.model.hidden_size) == (48, "gru", 7)
    assert second.forecast.season is None and second.forecast.normalization == "last"
    (counts,) = member_configs(config(transform="log", portfolio=[{"loss": "negative-binomial"}]))
    assert (counts.forecast.transform, counts.forecast.scaling) == ("none", "none")


def test_a_portfolio_that_is_not_named_differs_in_what_is_subtracted():
    names = [c.forecast.normalization for c in member_configs(config())]
    assert names == ["last", "seasonal", "standard"]


@pytest.mark.parametrize(
    ("section", "settings", "words"),
    [
        ("train", {"max_steps": None, "max_minutes": 1.0}, "max_steps"),
        ("train", {"schedule": "linear"}, "schedule: constant"),
        ("train", {"early_stopping": 3}, "early_stopping"),
        ("forecast", {"loss": "mae"}, "quantile"),
        ("forecast", {"channels": "joint"}, "independent"),
        ("forecast", {"members": 1, "portfolio": [{"season": 3}]}, "portfolio goes with"),
        ("forecast", {"portfolio": [{"decoder": "recursive"}]}, "recursive"),
    ],
)
def test_what_does_not_go_with_a_portfolio_is_refused(section, settings, words):
    made = config()
    document = made.model_dump()
    document[section] |= settings
    with pytest.raises(ConfigError) as refused:
        check_portfolio(parse_config(document, "test"))
    assert words in str(refused.value)


def test_refitting_takes_half_of_the_steps_in_whole_evaluations():
    made = config()
    assert selection_steps(made) == 100
    for steps, every in itertools.product((100, 130, 40), (10, 30)):
        document = made.model_dump()
        document["train"] |= {"refit": True, "max_steps": steps}
        document["evaluation"]["every"] = every
        found = selection_steps(parse_config(document, "test"))
        assert found % every == 0 and 0 < found < steps
