"""Rows, spreads and tables from records."""

from __future__ import annotations

import math

import pytest

from lstmcli.core.tables import to_text
from lstmcli.sweep.results import Results, describe, show, spread_of


def record(variant, seed, at=None, state="complete", **numbers):
    return {
        "trial": f"{variant}-{seed}",
        "variant": variant,
        "at": at,
        "seed": seed,
        "state": state,
        "steps": 10,
        "numbers": numbers,
        "curves": {},
    }


def results(desk, records, **changes):
    return Results(desk.plan(**changes), records)


def test_a_spread_is_the_mean_and_the_deviation_of_a_sample():
    found = spread_of([1.0, 2.0, 6.0])
    assert (found.mean, found.median, found.low, found.high) == (3.0, 2.0, 1.0, 6.0)
    assert found.sd == pytest.approx(math.sqrt(7.0))
    assert spread_of([4.0]).sd is None


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.2345], "1.234"),
        ([1.0, 1.2], "1.10 ± 0.14"),
        ([812.0, 1200.0], "1006 ± 274"),
        ([-14.24, -14.31], "-14.275 ± 0.049"),
        ([2e-7, 4e-7], "3.0e-07 ± 1e-07"),
        ([-0.0032, 0.0020], "-0.0006 ± 0.0037"),
        ([3.0, 3.0], "3 ± 0"),
        ([0.0, 0.0], "0 ± 0"),
        ([2e7], "2.0e+07"),
    ],
)
def test_numbers_are_shown_to_the_digits_that_their_spread_leaves(values, shown):
    assert show(spread_of(values)) == shown


def test_a_table_of_losses(desk):
    rows = [
        record("narrow", 1, best_loss=2.0),
        record("narrow", 2, best_loss=2.2),
        record("wide", 1, best_loss=1.5),
        record("wide", 2, state="diverged"),
    ]
    found = results(desk, rows, measure=["loss"])
    (table,) = found.tables()
    assert list(table.columns) == ["variant", "trials", "best val loss"]
    assert table.rows == [["narrow", "2", "2.10 ± 0.14"], ["wide", "2 (1 diverged)", "1.5"]]
    document = found.document()
    assert document["rows"][0]["numbers"]["best_loss"]["values"] == [2.0, 2.2]
    assert document["rows"][1]["states"] == {"complete": 1, "diverged": 1}
    assert [t["trial"] for t in document["trials"]] == ["narrow-1", "narrow-2", "wide-1", "wide-2"]


def test_the_difference_is_taken_seed_by_seed(desk):
    rows = [record("narrow", s, best_loss=v) for s, v in ((1, 2.0), (2, 4.0), (3, 3.0))]
    rows += [record("wide", s, best_loss=v) for s, v in ((1, 1.5), (2, 3.6))]
    found = results(desk, rows, against="narrow")
    spread = found.differences("narrow", "best_loss")["wide", None]
    assert spread.values == pytest.approx([-0.5, -0.4])
    assert found.tables()[1].rows == [["wide", "-0.450 ± 0.071"]]
    assert found.document()["against"][0]["numbers"]["best_loss"]["values"] == pytest.approx([-0.5, -0.4])


def test_the_longest_length_that_is_solved(desk, task):
    rows = [
        record("narrow", 1, 10, solved_at=100.0, accuracy=1.0),
        record("narrow", 2, 10, accuracy=0.6),
        record("narrow", 1, 20, accuracy=0.5),
        record("narrow", 2, 20, state="out of time", accuracy=0.5),
        record("wide", 1, 10, solved_at=50.0, accuracy=1.0),
        record("wide", 2, 10, solved_at=70.0, accuracy=1.0),
        record("wide", 1, 20, solved_at=300.0, accuracy=1.0),
        record("wide", 2, 20, accuracy=0.9),
    ]
    found = results(desk, rows, base=task, over={"data.length": [10, 20]})
    main, longest = found.tables()
    assert list(main.columns) == ["variant", "data.length", "trials", "solved", "steps to solve", "accuracy"]
    assert main.rows[1] == ["narrow", "20", "2 (1 out of time)", "0/2", "-", "0.5 ± 0"]
    assert main.rows[2][3:5] == ["2/2", "60 ± 14"]
    assert longest.rows == [["narrow", "none", "10"], ["wide", "10", "20"]]
    assert found.document()["longest_solved"]["wide"] == {"every_seed": 10, "some_seed": 20}


def test_only_what_is_asked_for_is_shown(desk):
    rows = [record("narrow", 1, best_loss=2.0, windows_loss=1.0, gradient_100=-3.5)]
    table = results(desk, rows, show=["gradient_100", "windows_loss"], note="In decades.").tables()[0]
    assert list(table.columns)[2:] == ["lag 100, trained", "val loss, windows"]
    assert table.note.startswith("In decades. Mean ±")
    assert "In decades." in to_text(table)


def test_lengths_are_shown_as_what_the_seeds_lie_between(desk, task):
    rows = [record("narrow", s, solved_length=v) for s, v in ((1, 10.0), (2, 1000.0))]
    rows += [record("wide", 1, solved_length=20.0)]
    table = results(desk, rows, base=task).tables()[0]
    assert [row[-1] for row in table.rows] == ["10 to 1000", "20"]
    assert table.columns[-1] == "solved up to"


def test_numbers_that_are_not_finite_do_not_count(desk):
    rows = [record("narrow", 1, best_loss=2.0), record("narrow", 2, best_loss=math.nan)]
    assert results(desk, rows).rows[0].spread("best_loss").values == [2.0]


def test_how_a_trial_ended_in_words():
    assert describe(record("a", 1, best_loss=2.0) | {"seconds": 3.2}) == (
        "complete at step 10 in 3 s, best val loss 2"
    )
    assert describe(record("a", 1, solved_at=40.0)).startswith("solved at step 40 in")
    assert describe(record("a", 1, state="diverged")).startswith("diverged at step 10")
    assert describe(record("a", 1, state="failed") | {"message": "no data"}) == "failed: no data"
