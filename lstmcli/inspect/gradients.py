"""How far back gradients reach in a trained model, what explains it, and the recurrence as a dynamical
system; beside the same model before training, if asked.

A run's model as it was before its first update: the same weights, drawn again from the run's seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, quantile

from lstmcli.core.errors import UsageError
from lstmcli.engine.measures.gradients import Gradients, half_life, lag_holding, share_within
from lstmcli.inspect.finding import look
from lstmcli.inspect.gradient_views import Passages, Spectrum, View, series_view, text_view
from lstmcli.inspect.source import Reading, about, text_of, windows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstmcli.core.tables import Table
    from lstmcli.kinds.series.model import SeriesModel
    from lstmcli.kinds.series.trained import SeriesRun
    from lstmcli.kinds.text.model import TextModel
    from lstmcli.kinds.text.trained import Run
    from lstmcli.run.trained import TrainedRun


LAGS, STREAMS = 200, 128
"""As many as there are by default; for a longer window of training there are twice its lags."""


@dataclass(frozen=True)
class GradientsFinding:
    about: dict[str, Any]
    window: int  # steps over which training carries gradients
    views: dict[str, View]  # `trained`, and `initial` if asked for

    @property
    def lags(self) -> int:
        return len(next(iter(self.first.layers[0].states.values()))) - 1

    @property
    def first(self) -> Gradients:
        return self.views["trained"].gradients

    @property
    def truncated(self) -> bool:
        """Whether training cuts gradients off at its window; a forecaster's go through all of its context."""
        return bool(self.about["unit"] == "symbols")

    def document(self) -> dict[str, Any]:
        found = {name: self._view(view) for name, view in self.views.items()}
        return self.about | {"lags": self.lags, "bptt_window": self.window} | found

    def _view(self, view: View) -> dict[str, Any]:
        window = self.window if self.truncated else None
        layers = [
            {
                "layer": number,
                "memory": layer.memory,
                "states": {name: curve(norms, window) for name, norms in layer.states.items()},
                "chain": None if layer.chain is None else curve(layer.chain, window),
                "forget_gates": None if layer.forget_gates is None else curve(layer.forget_gates, window),
            }
            for number, layer in enumerate(view.gradients.layers)
        ]
        loss = float(view.gradients.loss.mean())
        return {"loss": loss, "layers": layers} | spectrum_values(view.spectrum)

    def tables(self) -> list[Table]:
        from lstmcli.inspect.gradient_views import tables

        return tables(self)

    def figures(self) -> dict[str, Figure]:
        from lstmcli.inspect.gradient_views import gradients_figure

        return {"gradients": gradients_figure(self)}


def curve(norms: Tensor, window: int | None) -> dict[str, Any]:
    """What is told of norms by lag (lags + 1, positions); `window`: of truncated BPTT, if there is one."""
    mean = norms.mean(1)
    low, median, high = quantile(norms, norms.new_tensor([0.1, 0.5, 0.9]), dim=1)
    at_end, average = share_within(mean.tolist(), window) if window else (None, None)
    return {
        "half_life": half_life(mean.tolist()),
        "lag_of_99_percent": lag_holding(mean.tolist()),
        "in_window_at_its_end": at_end,
        "in_window_on_average": average,
        "mean": mean.tolist(),
        "median": median.tolist(),
        "p10": low.tolist(),
        "p90": high.tolist(),
    }


def spectrum_values(spectrum: Spectrum) -> dict[str, Any]:
    """Exponents and singular values as plain JSON."""
    found: dict[str, Any] = {"state_size": spectrum.size, "lyapunov": None, "singular_values": None}
    if (exponents := spectrum.exponents) is not None:
        count = len(exponents.by_stream)
        error = exponents.by_stream.std(0) / count**0.5 if count > 1 else None
        found["lyapunov"] = {
            "steps": exponents.steps,
            "exponents": exponents.mean.tolist(),
            "drift": exponents.drift.tolist(),
            "standard_errors": None if error is None else error.tolist(),
        }
    if (values := spectrum.singular) is not None:
        low, median, high = quantile(values, values.new_tensor([0.1, 0.5, 0.9]), dim=0)
        found["singular_values"] = {
            "positions": len(values),
            "above_1": float((values > 1.0).double().mean()),
            "median": median.tolist(),
            "p10": low.tolist(),
            "p90": high.tolist(),
        }
    return found


def inspect_gradients(
    run: TrainedRun,
    reading: Reading,
    lags: int | None = None,
    streams: int = STREAMS,
    initial: bool = False,
) -> GradientsFinding:
    """Measure the run's model, and the same one at the run's start (`initial`) in the same places.

    Args:
        lags: default 200, or twice the window of training where that is more.
    """
    if (lags is not None and lags < 1) or streams < 1:
        raise UsageError(f"--{'streams' if streams < 1 else 'lags'}: at least 1 is needed")
    found: GradientsFinding = look("gradients", run, reading, lags, streams, initial)
    return found


def gradients_of_text(
    run: Run, reading: Reading, lags: int | None, streams: int, initial: bool
) -> GradientsFinding:
    ids, where = text_of(run, reading)
    window = run.config.train.sequence_length
    passages = Passages.of(ids, lags or max(LAGS, 2 * window), streams)
    heard = _Progress(reading, len(passages.starts) * (1 + initial))
    models = {"trained": run.model} | ({"initial": initial_text_model(run)} if initial else {})
    views = {name: text_view(model, run.config, passages, heard) for name, model in models.items()}
    what = about(run, where) | {"positions": len(passages.starts), "unit": "symbols"}
    return GradientsFinding(what | {"warm_up": passages.warm_up}, window, views)


class _Progress:
    """Counts streams."""

    def __init__(self, reading: Reading, total: int):
        self.reading, self.done, self.total = reading, 0, total

    def __call__(self, streams: int) -> None:
        self.done += streams
        if self.reading.on_progress is not None:
            self.reading.on_progress(self.done, self.total)


def gradients_of_series(
    run: SeriesRun, reading: Reading, lags: int | None, streams: int, initial: bool
) -> GradientsFinding:

    steps = run.config.data.context_length // run.config.forecast.patch_length
    windows = windows_of(run, replace(reading, tokens=max(2, streams * steps)))
    made = windows.forecaster
    rows = made.rows(made.batch(windows.series, windows.origins))
    heard = _Progress(reading, len(rows.context) * (1 + initial))
    models = {"trained": run.model} | ({"initial": initial_series_model(run)} if initial else {})
    views = {name: series_view(model, rows, lags or steps, heard) for name, model in models.items()}
    unit = "steps" if run.config.forecast.patch_length == 1 else "patches"
    what = about(run, windows.name) | {"positions": len(rows.context), "unit": unit, "warm_up": 0}
    return GradientsFinding(what, steps, views)


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
    from lstmcli.kinds.series.portfolio import member_configs
    from lstmcli.run.own_cell import cell_of_checkpoint

    shape, config = run.model.shape, run.config
    if run.is_portfolio:  # the first member stands for all, and is drawn first
        config = member_configs(config)[0]
    with cell_of_checkpoint(config.model.cell, run.checkpoint, notice), _weights_drawn(config.seed):
        model = SeriesModel(config, shape)
    return model.eval()


@contextmanager
def _weights_drawn(seed: int) -> Iterator[None]:
    """While this is open, weights are drawn as at the start of a run with this seed."""
    from lstmcli.run.state import seed_step

    with torch.random.fork_rng(devices=[]):
        seed_step(seed, WEIGHTS)
        yield
