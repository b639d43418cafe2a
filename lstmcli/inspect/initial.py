"""A run's model as it was before its first update: the same weights, drawn again from the run's seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lstmcli.kinds.series.model import SeriesModel
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.model import TextModel
    from lstmcli.kinds.text.trained import Run

WEIGHTS = -1 + 2**31
"""The step whose generators draw the weights of a run."""


def initial_text_model(run: Run) -> TextModel:
    from lstmcli.kinds.text.model import TextModel

    cell, config = type(run.model.layers.layers[0].cell), run.config
    with _weights_drawn(config.seed):
        model = TextModel(config.model, run.vocabulary.size, cell, config.train.sequence_length)
    return model.eval()


def initial_series_model(run: SeriesRun) -> SeriesModel:
    from lstmcli.core.notices import notice
    from lstmcli.kinds.series.model import SeriesModel
    from lstmcli.run.own_cell import cell_of_checkpoint

    shape = run.model.shape
    with cell_of_checkpoint(run.config.model.cell, run.checkpoint, notice), _weights_drawn(run.config.seed):
        model = SeriesModel(run.config, shape)
    return model.eval()


@contextmanager
def _weights_drawn(seed: int) -> Iterator[None]:
    """While this is open, weights are drawn as at the start of a run with this seed."""
    from lstmcli.run.state import seed_step

    with torch.random.fork_rng(devices=[]):
        seed_step(seed, WEIGHTS)
        yield
