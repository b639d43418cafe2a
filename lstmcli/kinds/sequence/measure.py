"""What an experiment measures of a run of a synthetic task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lstmcli.core.errors import ConfigError
from lstmcli.kinds.sequence.batches import generator_of
from lstmcli.run.kind import Asked, Measurement

if TYPE_CHECKING:
    import numpy as np

    from lstmcli.kinds.sequence.model import SequenceModel
    from lstmcli.kinds.sequence.trained import SyntheticRun

WAVES = 9
"""Tells the wave of a picture from those that a run trains and evaluates on."""


def scores_by_length(run: SyntheticRun, asked: Asked) -> Measurement:
    """Scores at the length of the task, and the longest length that is solved without further training."""
    own = run.config.data.length
    report = run.evaluate(list(dict.fromkeys([own, *asked.lengths])), asked.split or "test")
    at_own = report.lengths[0]
    found = {name: v for name, v in at_own.scores.items() if name not in ("loss",)}
    for scores in at_own.baselines.values():
        for name in ("accuracy", "mse"):
            if name in scores:
                best = max if name == "accuracy" else min
                found[f"baseline_{name}"] = best(found.get(f"baseline_{name}", scores[name]), scores[name])
    if asked.lengths or report.longest_string is not None:
        found["solved_length"] = float(report.longest_solved or 0)
    return Measurement(found)


def wave_that_goes_on(run: SyntheticRun) -> Measurement:
    """A wave that was not trained on, and how the model goes on with it from what it reads of it."""
    if run.task.free_from is None:
        raise ConfigError("measure: generate is for waves (data.task: sine or sawtooth)")
    length = run.config.data.length
    batch = run.task.draw(generator_of(run.config.seed, WAVES), length, 1)
    truth, begin = batch.inputs[:, 0, 0].astype(float), run.task.free_from(length)
    made = continue_wave(run.model, truth, begin)
    steps = [float(step - begin) for step in range(len(truth))]
    truly = {"x": steps, "y": truth.tolist()}
    return Measurement(curves={"wave_truth": truly, "wave_made": {"x": steps[begin:], "y": made}})


def continue_wave(model: SequenceModel, truth: np.ndarray, begin: int) -> list[float]:
    """The model's values for the steps from `begin` on: it reads the truth before that, then itself."""
    with torch.no_grad():
        shown = torch.as_tensor(truth[:begin], dtype=torch.float32).view(-1, 1, 1)
        outputs, state = model.outputs(shown, model.initial_state(1))
        values = [model.answer(outputs[-1:])]
        while len(values) < len(truth) - begin:
            outputs, state = model.outputs(values[-1], state)
            values.append(model.answer(outputs))
    return [float(value) for value in values]
