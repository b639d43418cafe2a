"""The figure of an experiment: what kind it is, and that it shows every variant."""

from __future__ import annotations

import pytest

from lstmcli.core.pictures import save_figure
from lstmcli.sweep.picture import draw, middle
from lstmcli.sweep.results import Results


def record(variant, seed, at=None, curves=None, **numbers):
    return {
        "variant": variant,
        "at": at,
        "seed": seed,
        "state": "complete",
        "steps": 50,
        "numbers": numbers,
        "curves": {name: {"x": x, "y": y} for name, (x, y) in (curves or {}).items()},
    }


def figure(desk, tmp_path, records, **changes):
    made = draw(Results(desk.plan(**changes), records))
    save_figure(made, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    return made


def texts(made):
    return [text.get_text() for legend in made.legends for text in legend.get_texts()]


def test_losses_by_step_with_a_line_per_variant(desk, tmp_path):
    curves = {"val/loss": ([1, 2, 3], [3.0, 2.0, float("nan")])}
    rows = [record(v, s, curves=curves) for v in ("narrow", "wide") for s in (1, 2)]
    made = figure(desk, tmp_path, rows)
    assert texts(made) == ["narrow", "wide"]
    assert len(made.axes[0].lines) == 6  # two seeds and their middle, twice
    assert list(made.axes[0].lines[0].get_ydata()) == [3.0, 2.0]


def test_a_task_is_drawn_with_its_baseline(desk, tmp_path, task):
    curves = {"val/accuracy": ([1, 2], [0.5, 1.0])}
    rows = [record("narrow", 1, curves=curves, baseline_accuracy=0.5, solved_at=2.0)]
    made = figure(desk, tmp_path, rows, base=task)
    assert texts(made) == ["narrow", "baseline"]


def test_steps_to_solve_by_length_with_crosses_for_what_is_not_solved(desk, tmp_path, task):
    rows = [record("narrow", 1, 10, solved_at=20.0), record("narrow", 1, 20)]
    made = figure(desk, tmp_path, rows, base=task, over={"data.length": [10, 20]})
    marks = [line.get_marker() for line in made.axes[0].lines]
    assert "x" in marks and texts(made) == ["narrow"]


def test_gradients_at_the_start_and_after_training(desk, tmp_path):
    curves = {
        "start_gradient_by_lag": ([0, 1, 2], [1.0, 0.1, 0.0]),
        "gradient_by_lag": ([0, 1, 2], [1.0, 0.5, 0.2]),
    }
    made = figure(desk, tmp_path, [record("narrow", 1, curves=curves)], measure=["gradients"])
    assert [axes.get_yscale() for axes in made.axes] == ["log", "log"]
    assert list(made.axes[0].lines[0].get_ydata()) == [1.0, 0.1]  # no place for nothing on a log scale


def test_waves_beside_the_truth(desk, tmp_path, task):
    curves = {"wave_truth": ([-1, 0, 1], [0.0, 1.0, 0.0]), "wave_made": ([0, 1], [0.9, 0.1])}
    rows = [record("narrow", 1, shape, curves=curves) for shape in ("sine", "sawtooth")]
    made = figure(
        desk, tmp_path, rows, base=task, measure=["generate"], over={"data.task": ["sine", "sawtooth"]}
    )
    assert texts(made) == ["truth", "narrow"]
    assert [axes.get_title(loc="left") for axes in made.axes] == ["sine", "sawtooth"]


def test_dots_for_numbers_of_an_evaluation(desk, tmp_path):
    rows = [record(v, s, windows_loss=1.0 + s) for v in ("narrow", "wide") for s in (1, 2)]
    made = figure(desk, tmp_path, rows, measure=["eval"])
    assert [text.get_text() for text in made.axes[0].get_yticklabels()] == ["narrow", "wide"]


def test_tasks_side_by_side(desk, tmp_path, task):
    rows = [record("narrow", s, name, solved_at=9.0) for name in ("adding", "recall") for s in (1, 2)]
    rows.append(record("wide", 1, "adding"))
    over = {"data.task": ["adding", "recall"]}
    made = figure(desk, tmp_path, rows, base=task, over=over)
    assert [axes.get_title(loc="left") for axes in made.axes] == ["adding", "recall"]
    assert [list(line.get_xdata()) for line in made.axes[0].lines if line.get_marker() == "x"][-1] == [50]


def test_the_middle_of_curves_of_unequal_length():
    xs, ys = middle([([1.0, 2.0], [1.0, 3.0]), ([1.0], [5.0]), ([2.0], [9.0])])
    assert xs == [1.0, 2.0]
    assert ys == pytest.approx([3.0, 5.0])  # a curve that ended stays where it was


def test_trials_without_anything_to_draw_make_a_figure_all_the_same(desk, tmp_path):
    for measure in ("loss", "eval", "gradients"):
        figure(desk, tmp_path, [record("narrow", 1)], measure=[measure])
