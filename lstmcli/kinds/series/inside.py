"""How far the gradient of a forecast reaches back into its context."""

from __future__ import annotations

import torch
from torch import Tensor

from lstmcli.engine.measures.gradients import Gradients, norms_by_lag
from lstmcli.engine.measures.unrolled import StackStep, differentiable, unroll
from lstmcli.kinds.series.model import SeriesModel, SeriesNetwork
from lstmcli.kinds.series.normalise import Rows


def series_gradient_norms(model: SeriesModel, rows: Rows, explain: bool = True) -> Gradients:
    """Norms by lag for the first member of a forecaster: the loss of each row's forecast against the states
    of its context, by lag in patches from the context's end. (A recursive decoder's first patch.)"""
    network = model.networks[0]
    with differentiable(network, [network.layers]), torch.enable_grad():
        inputs, _, _ = network.inputs(rows)
        start = network.layers.initial_state(inputs.shape[1])
        steps = unroll(network.layers, inputs, start)
        return norms_by_lag(
            network.layers, steps, lambda last: _forecast_losses(network, rows, last), explain
        )


def _forecast_losses(network: SeriesNetwork, rows: Rows, last: StackStep) -> Tensor:
    """Mean loss (R,) over what is observed of each row's target, from the state at the context's end."""
    _, window, identity = network.inputs(rows)
    truth = ((rows.target - window.ahead) / window.scale).float()
    decoder = network.settings.decoder
    if decoder == "direct":
        raw = network._direct(last.output, rows, identity)
    elif decoder == "segments":
        raw = network._segments(last.new, rows, identity)
    else:
        raw = network.out(last.output).view(len(truth), network.patch, network.shape.channels, -1)
        truth, raw = truth[:, : network.patch], raw[:, : truth.shape[1]]
    seen = ~truth.isnan()
    scale = window.scale.float().expand_as(truth)
    losses = network.head.loss(raw.float(), truth.nan_to_num(), scale) * seen
    return losses.flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)
