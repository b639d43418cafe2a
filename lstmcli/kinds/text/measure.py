"""What an experiment measures of a run of a text: its loss in both protocols, and how the gradient of one
symbol's loss fades with the lag.

That loss is of the last symbol of a passage; the curve is the norm of its gradient with respect to the
memory of the first layer (the cell state, or the hidden state where there is none) so many steps earlier,
divided by the norm at lag 0, as the geometric mean over passages spread evenly over the validation text.
Everything is computed in float64: at a lag of 100 the norm of a plain recurrent network may be 1e-30.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstmcli.core.errors import DataError
from lstmcli.engine.measures.gradients import Gradients
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.report import Beside
from lstmcli.kinds.text.trained import Run
from lstmcli.run.kind import Measurement

PASSAGES = 32
BEFORE = 100
"""Symbols that the state is warmed up by: the longest lag is not the text's first symbol."""
FLOOR = 1e-300
"""Stands for a gradient that is nothing at all, whose logarithm is still a number."""


def both_protocols(run: Run, split: str) -> Measurement:
    """The loss in both protocols, and that of a model as sure as it is right, with the temperature that makes
    it so."""
    found: dict[str, float] = {}
    for protocol in ("windows", "stateful"):
        report = run.evaluate(split=split, protocol=protocol, beside=Beside(temperature="best"))
        best = report.beside["best temperature"]
        figures = {"loss": report.loss, "tempered": best["loss"], "temperature": best["temperature"]}
        found |= {f"{protocol}_{name}": value for name, value in figures.items()}
    return Measurement(found)


def gradients_by_lag(model: TextModel, text: Any, lag: int) -> Measurement:
    """The curve, and its decades at some lags, of a model on a validation text."""
    if text is None:
        raise DataError("gradients are measured on the validation text, and there is none")
    exact = copy.deepcopy(model).to("cpu").double()
    exact.product_dtype = torch.float64
    ids = passages(text, lag)
    with torch.no_grad():
        _, state = exact(ids[:BEFORE], exact.initial_state(PASSAGES))
    gradients = gradient_norms(exact, ids[BEFORE:], state, explain=False)
    curve = relative_norms(gradients)
    decades = np.log10(curve)
    # A straight line through the origin would be one factor per step: its least-squares slope.
    lags = np.arange(len(decades))
    slope = float((lags * decades).sum() / (lags**2).sum())
    marks = [k for k in (1, 10, 20, 50, 100, 200) if k <= lag]
    numbers = {f"gradient_{k}": float(decades[k]) for k in marks} | {"gradient_factor": 10.0**slope}
    drawn = {"x": [float(k) for k in lags], "y": curve.tolist()}
    return Measurement(numbers, {"gradient_by_lag": drawn})


def passages(text: Any, lag: int) -> Tensor:
    """Evenly spread passages of a text, (BEFORE + lag + 2, PASSAGES)."""
    length = BEFORE + lag + 2
    if len(text) < length:
        raise DataError(f"the validation text has {len(text)} symbols; {length} are needed")
    starts = np.linspace(0, len(text) - length, PASSAGES).astype(np.int64)
    return torch.from_numpy(np.asarray(text[starts + np.arange(length)[:, None]], dtype=np.int64))


def relative_norms(gradients: Gradients) -> np.ndarray:
    """(lags + 1,): the memory's norm by lag over the norm at lag 0, geometric mean over passages."""
    layer = gradients.layers[0]
    norms = np.maximum(layer.states[layer.memory].numpy(), FLOOR)
    return np.asarray(np.exp(np.log(norms / norms[0]).mean(1)))
