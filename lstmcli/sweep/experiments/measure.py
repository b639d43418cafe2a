"""The numbers of one run: what it was at the start, how it learned, what the trained model can do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lstmcli.core.errors import ConfigError
from lstmcli.kinds.sequence.batches import generator_of
from lstmcli.kinds.sequence.trained import SyntheticRun
from lstmcli.kinds.text.trained import Run
from lstmcli.run.directory import RunDir
from lstmcli.run.trained import load
from lstmcli.sweep.experiments.history import Found, History, Numbers
from lstmcli.sweep.experiments.schema import Experiment

if TYPE_CHECKING:
    import numpy as np

    from lstmcli.kinds.sequence.model import SequenceModel
    from lstmcli.run.task import Task

WAVES = 9
"""Tells the wave of a picture from those that a run trains and evaluates on."""
FIGURES = ("scaled_mse", "scaled_mae", "smape", "mase", "loss", "accuracy", "macro_f1")
"""Of what `lstm eval` says of series and of classes, as far as it does."""


def measure_start(task: Task, experiment: Experiment) -> Found:
    """What is measured of an untrained model, under names of their own."""
    if "gradients" not in experiment.measure:
        return {}, {}
    from lstmcli.sweep.experiments.measure_gradients import of_task

    numbers, curves = of_task(task, experiment.lag)
    start = {f"start_{name}": value for name, value in numbers.items()}
    return start, {f"start_{name}": xy for name, xy in curves.items()}


def measure_run(path: Path, experiment: Experiment) -> Found:
    """All that an experiment asks of the run at `path`. A run without a checkpoint has only its log."""
    history = History(RunDir(path))
    numbers, curves = history.numbers(), dict(history.curves)
    if not any((path / "checkpoints").glob("step_*")):
        return numbers, curves
    for kind in experiment.measure:
        more, drawn = MEASURES[kind](path, experiment)
        numbers |= more
        curves |= drawn
    return numbers, curves


def _nothing(path: Path, experiment: Experiment) -> Found:
    """The validation loss is always there."""
    return {}, {}


def _eval(path: Path, experiment: Experiment) -> Found:
    """As `lstm eval`, of the best weights, whatever the run has learned."""
    run = load(path)
    if isinstance(run, SyntheticRun):
        return _eval_task(run, experiment), {}
    split = experiment.split or "val"
    if isinstance(run, Run):
        return _eval_text(run, split, "windows") | _eval_text(run, split, "stateful"), {}
    figures = run.evaluate(split=split).to_json()
    return {name: float(figures[name]) for name in FIGURES if name in figures}, {}


def _eval_text(run: Run, split: str, protocol: str) -> Numbers:
    """The loss, and that of a model as sure as it is right, with the temperature that makes it so."""
    from lstmcli.kinds.text.report import Beside

    report = run.evaluate(split=split, protocol=protocol, beside=Beside(temperature="best"))
    best = report.beside["best temperature"]
    found = {"loss": report.loss, "tempered": best["loss"], "temperature": best["temperature"]}
    return {f"{protocol}_{name}": value for name, value in found.items()}


def _eval_task(run: SyntheticRun, experiment: Experiment) -> Numbers:
    """Scores at the length of the task, and the longest length that is solved without further training."""
    own = run.config.data.length
    report = run.evaluate(list(dict.fromkeys([own, *experiment.lengths])), experiment.split or "test")
    at_own = report.lengths[0]
    found = {name: v for name, v in at_own.scores.items() if name not in ("loss",)}
    for scores in at_own.baselines.values():
        for name in ("accuracy", "mse"):
            if name in scores:
                best = max if name == "accuracy" else min
                found[f"baseline_{name}"] = best(found.get(f"baseline_{name}", scores[name]), scores[name])
    if experiment.lengths or report.longest_string is not None:
        found["solved_length"] = float(report.longest_solved or 0)
    return found


def _gradients(path: Path, experiment: Experiment) -> Found:
    from lstmcli.sweep.experiments.measure_gradients import of_run

    return of_run(load(path), experiment.lag)


def _generate(path: Path, experiment: Experiment) -> Found:
    """A wave that was not trained on, and how the model goes on with it from what it reads of it."""
    run = load(path)
    if not isinstance(run, SyntheticRun) or run.task.free_from is None:
        raise ConfigError("measure: generate is for waves (data.task: sine or sawtooth)")
    length = run.config.data.length
    batch = run.task.draw(generator_of(run.config.seed, WAVES), length, 1)
    truth, begin = batch.inputs[:, 0, 0].astype(float), run.task.free_from(length)
    made = continue_wave(run.model, truth, begin)
    steps = [float(step - begin) for step in range(len(truth))]
    curves = {"wave_truth": {"x": steps, "y": truth.tolist()}}
    return {}, curves | {"wave_made": {"x": steps[begin:], "y": made}}


def continue_wave(model: SequenceModel, truth: np.ndarray, begin: int) -> list[float]:
    """The model's values for the steps from `begin` on: it reads the truth before that, then itself."""
    import torch

    with torch.no_grad():
        shown = torch.as_tensor(truth[:begin], dtype=torch.float32).view(-1, 1, 1)
        outputs, state = model.outputs(shown, model.initial_state(1))
        values = [model.answer(outputs[-1:])]
        while len(values) < len(truth) - begin:
            outputs, state = model.outputs(values[-1], state)
            values.append(model.answer(outputs))
    return [float(value) for value in values]


MEASURES: dict[str, Callable[[Path, Experiment], Found]] = {
    "loss": _nothing,
    "eval": _eval,
    "gradients": _gradients,
    "generate": _generate,
}
