"""Training a portfolio: members take turns, validation chooses among them, and what it chose learns from all
data in the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lstmcli.core.errors import ConfigError
from lstmcli.core.notices import notice
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import StackState
from lstmcli.kinds.series.blend import FREE, blend_weights, mean_loss
from lstmcli.kinds.series.ensemble import BLENDED, Ensemble, Portfolio, scalers_to_json
from lstmcli.kinds.series.evaluate import evaluate_series, in_batches, spread
from lstmcli.kinds.series.forecaster import Places, series_shape
from lstmcli.kinds.series.metrics import mase_scale
from lstmcli.kinds.series.normalise import Rows
from lstmcli.kinds.series.portfolio import Course, member_configs, name_of, selection_steps
from lstmcli.kinds.series.scaling import Scaler
from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.kinds.series.task import ROWS, SeriesTask
from lstmcli.kinds.series.windows import SeriesBatches
from lstmcli.run.directory import read_json
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.task import Measured, Score

Single = npt.NDArray[np.float32]
CHOSEN_FROM = 1000
"""Most windows that weights are chosen on."""
WARM_UP = 20
"""Steps over which a member's learning rate rises when it begins anew."""
NEGLIGIBLE = 0.02
"""A member with so little weight is not trained again."""


class PortfolioTask(SeriesTask):
    """One member a step. What has become of them is `course`."""

    model: Portfolio  # type: ignore[assignment]
    forecaster: Ensemble

    def __init__(
        self, config: SeriesConfig, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE
    ):
        if ranks.many:
            raise ConfigError("forecast.members: auto trains in one process", "leave torchrun out")
        self.configs = member_configs(config)
        self.selection = selection_steps(config)
        super().__init__(config, on_progress, ranks)
        if not self.has_validation:
            raise ConfigError(
                "forecast.members: auto chooses by validation, of which there is none",
                "give it steps: data.val_length or data.splits",
            )
        self.course = Course.of(len(self.configs))
        self._kept: dict[int, Single] = {}  # forecasts of members at their best
        self._free: Single | None = None

    @property
    def _way(self) -> tuple[str, str]:
        """Members are compared and blended in the table's own units, z-scored, whatever each of them sees."""
        return BLENDED

    def _make(self, missing: bool) -> None:
        panel, train_end = self.data.panel, self.data.train_end
        shapes = [series_shape(config, panel, missing) for config in self.configs]
        self.shape = shapes[0]
        self.model = Portfolio(self.config, shapes)
        scalers: dict[tuple[str, str], Scaler] = {}
        for config in self.configs:
            way = (config.forecast.transform, config.forecast.scaling)
            if way not in scalers:
                scalers[way] = Scaler.fit(self.data, *way, self.config.data.context_length)
        self.forecaster = Ensemble(
            self.config, self.model, panel, self.scaler, panel.names,
            scalers=[scalers[c.forecast.transform, c.forecast.scaling] for c in self.configs],
        )  # fmt: skip
        self.member_batches = [self._batches(config, train_end) for config in self.configs]
        self.forecaster.fit_spread(self.batches.windows)

    @cached_property
    def _refit_batches(self) -> list[SeriesBatches]:
        """Windows up to the last row, or up to the test."""
        ends = self.data.test_end if self.config.train.refit is True else self.data.val_end
        return [self._batches(config, ends) for config in self.configs]

    @property
    def refits(self) -> bool:
        return self.course.stage != "selection"

    def rows_of(self, step: int) -> Rows:
        """The batch of the member whose step this is."""
        member, own = self.course.turn(step)
        batches = (self._refit_batches if self.refits else self.member_batches)[member]
        forecaster = self.forecaster.members[member]
        return forecaster.rows(forecaster.batch(*batches.windows.locate(batches.indices(own))))

    def loss(self, step: int, carried: StackState) -> Measured:
        member, _ = self.course.turn(step)
        rows = self.rows_of(step)
        model = self.model.models("refit" if self.refits else "trained")[member]
        loss, terms = model.objective(rows)
        self.course.step = step + 1
        return Measured(loss, carried, self.config.train.batch_size, pace=self._pace_of(step), terms=terms)

    def _pace_of(self, step: int) -> float:
        """The share of the learning rate: it falls by the end of the selection, and again after it."""
        if not self.refits:
            return 1.0 - step / max(1, self.selection)
        within, whole = step - self.course.since, (self.config.train.max_steps or 0) - self.selection
        return min(1.0, (within + 1) / (WARM_UP * len(self.course.alive))) * (1.0 - within / max(1, whole))

    def traces(self) -> list[Trace]:
        """Of the first member, in a few fixed windows: a batch is another member's most of the time."""
        if self._rows is None:
            places = self.val.locate(spread(self.val, ROWS))
            self._rows = self.forecaster.rows(self.forecaster.batch(*places))
        return self.model.observe(self._rows)

    def warm_up(self) -> None:
        for member, model in enumerate(self.model.models("trained")):
            forecaster, batches = self.forecaster.members[member], self.member_batches[member]
            rows = forecaster.rows(forecaster.batch(*batches.windows.locate(batches.indices(0))))
            model.loss(rows).backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)

    def place(self, device: torch.device) -> None:
        super().place(device)
        self.forecaster.device = device

    # --- choosing -----------------------------------------------------------------------------

    @cached_property
    def _chosen(self) -> Places:
        """Validation windows that members and weights are chosen on."""
        most = min(CHOSEN_FROM, self.config.evaluation.max_windows or CHOSEN_FROM)
        return spread(self.val, most)

    @cached_property
    def _truth(self) -> tuple[Single, Single]:
        """(N · C, h) values in the forecaster's scale, and (N · C,) what errors are divided by."""
        series, origins = self.val.locate(self._chosen)
        batch = self.forecaster.batch(series, origins)
        panel = self.forecaster.scaled
        each = []
        for s, begin in enumerate(panel.offsets[:-1]):
            part = panel.values[begin : begin + self.data.train_end[s]]
            each.append([mase_scale(part[:, c], panel.season) for c in range(part.shape[1])])
        scale = np.array(each)[series]
        usual = np.nanmedian(np.where(scale > 0, scale, np.nan)) if np.isfinite(scale).any() else 1.0
        scale = np.where(np.isfinite(scale) & (scale > 0.05 * usual), scale, usual)
        return _by_channel(batch.target), scale.reshape(-1).astype(np.float32)

    def _forecasts(
        self, make: Callable[[Any], npt.NDArray[np.float64]], stop: Callable[[], bool]
    ) -> Single | None:
        """(..., N · C, h, Q) of the chosen windows; None: asked to stop."""
        parts = []
        for numbers in in_batches(self.forecaster, self._chosen):
            if stop():
                return None
            found = make(self.forecaster.batch(*self.val.locate(numbers)))
            parts.append(_by_channel(found, 1 if found.ndim == 5 else 0))
        return np.concatenate(parts, axis=-3)

    def _loss_of(self, forecast: Single) -> float:
        truth, scale = self._truth
        return mean_loss(truth, forecast, self.forecaster.levels, scale)

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        if self.refits:
            return self._end_of_refit()
        found = self._members_now(stop)
        if found is None:
            return None
        trained, kept, free = found
        course, truth = self.course, self._truth
        every = np.concatenate([np.stack(kept), free])
        weights = blend_weights(every, truth[0], self.forecaster.levels, truth[1], self.config.seed)
        self.forecaster.use("kept")
        self.forecaster.weights = weights
        # What is calibrated is the blend as it will be kept.
        best = {k: loss for k, loss in enumerate(course.losses) if loss is not None}
        improved = {k: loss for k, loss in trained.items() if loss < best.get(k, math.inf)}
        before = {k: [p.clone() for p in self.model.kept[k].parameters()] for k in improved}
        for k in improved:
            self.model.keep(k)
        board = evaluate_series(
            self.forecaster, self.val, self.scales, self.config.evaluation.max_windows, stop, calibrate="val"
        )
        calibrated = board if not len(self.apart) else self._calibrated(stop)
        if board is None or calibrated is None:  # as if nothing had been looked at
            self._undo(before)
            return None
        for k, loss in improved.items():
            course.losses[k], self._kept[k] = loss, kept[k]
        self._last, self.forecaster.calibration = board, calibrated.calibration
        blended = np.einsum("hm,mnhq->nhq", weights, every)
        course.loss, course.weights = self._loss_of(blended.astype(np.float32)), weights.tolist()
        self._go_on(weights)
        return self._score(board.board.summary(), weights)

    def _undo(self, before: dict[int, list[torch.Tensor]]) -> None:
        for k, values in before.items():
            for parameter, value in zip(self.model.kept[k].parameters(), values, strict=True):
                parameter.data.copy_(value)
        self.forecaster.weights = np.asarray(self.course.weights) if self.course.weights else None

    def _members_now(self, stop: Callable[[], bool]) -> tuple[dict[int, float], list[Single], Single] | None:
        """Losses of those who train, the best forecasts of each member, and the free ones."""
        course, losses, best = self.course, {}, []
        for k in range(len(self.configs)):
            now = None
            if k in course.alive:
                self.forecaster.use("trained")
                now = self._forecasts(lambda batch, k=k: self.forecaster.quantiles_of(k, batch), stop)  # type: ignore[misc]
                if now is None:
                    return None
                losses[k] = self._loss_of(now)
            old = course.losses[k]
            if now is not None and (old is None or losses[k] < old):
                best.append(now)
                continue
            if k not in self._kept:  # after a resume
                self.forecaster.use("kept")
                again = self._forecasts(lambda batch, k=k: self.forecaster.quantiles_of(k, batch), stop)  # type: ignore[misc]
                if again is None:
                    return None
                self._kept[k] = again
            best.append(self._kept[k])
        if self._free is None:
            self._free = self._forecasts(self.forecaster.free_quantiles, stop)
        return None if self._free is None else (losses, best, self._free)

    def _go_on(self, weights: npt.NDArray[np.float64]) -> None:
        """Who trains from here."""
        course, mean = self.course, weights.mean(0).tolist()
        if course.step < self.selection:
            course.thin_out(course.step / self.selection, mean)
            return
        notice(f"chosen: {self._shares(mean)}")
        if self.config.train.refit and course.step < (self.config.train.max_steps or 0):
            chosen = [k for k in range(len(self.configs)) if mean[k] > NEGLIGIBLE]
            course.begin_refit(chosen or course.alive[:1])

    def _shares(self, mean: list[float]) -> str:
        names = [*(name_of(config) for config in self.configs), *FREE]
        order = sorted(range(len(mean)), key=lambda k: -mean[k])
        return "; ".join(f"{100 * mean[k]:.0f}% {names[k]}" for k in order if mean[k] > 0.005)

    def _score(self, summary: dict[str, float], weights: npt.NDArray[np.float64]) -> Score:
        names = ("scaled_mse", "scaled_mae", "smape", "mase", "coverage")
        assert self.course.loss is not None
        values = {"val/loss": self.course.loss} | {f"val/{k}": summary[k] for k in names if k in summary}
        for k, loss in enumerate(self.course.losses):
            if loss is not None:
                values[f"portfolio/member{k}/loss"] = loss
        for k, weight in enumerate(weights.mean(0).tolist()):
            name = f"member{k}" if k < len(self.configs) else f"free{k - len(self.configs)}"
            values[f"portfolio/{name}/weight"] = weight
        ended = self.course.step >= (self.config.train.max_steps or 0)
        return Score(self.course.loss, values, final=ended)

    def _end_of_refit(self) -> Score:
        """While they learn from all data nothing can be measured; the end of it is what the run offers."""
        course = self.course
        assert course.loss is not None
        if course.step >= (self.config.train.max_steps or 0):
            # At the end the weights are in place that will be kept: those, or their average.
            course.stage = "refitted"
        return Score(course.loss, {"val/loss": course.loss}, final=course.stage == "refitted")

    # --- what a checkpoint holds ----------------------------------------------------------------

    @cached_property
    def _document(self) -> dict[str, Any]:
        spread_of = self.forecaster.spread
        assert spread_of is not None
        return {
            "meta": self.data.meta(),
            "shape": vars(self.shape),
            "scaler": self.scaler.to_json(),
            "portfolio": {
                "shapes": [vars(model.shape) for model in self.model.models("trained")],
                "scalers": scalers_to_json(self.configs, self.forecaster.scalers),
                "spread": spread_of.tolist(),
            },
        }

    def files(self) -> dict[str, str]:
        document = self._document
        document["portfolio"]["course"] = self.course.to_json()
        return super().files()

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        path = folder / "series.json"
        found = read_json(path).get("portfolio") or {}
        self.course = Course.from_json(found.get("course"), len(self.configs))
        self._kept = {}
        self.forecaster.weights = np.asarray(self.course.weights) if self.course.weights else None

    def describe(self) -> str:
        names = "\n".join(f"       {k}: {name_of(config)}" for k, config in enumerate(self.configs))
        again = ""
        if self.config.train.refit:
            again = f"; from step {self.selection:,} on what was chosen learns from all data"
        return f"{super().describe()}\n       {len(self.configs)} members take turns{again}\n{names}"


def _by_channel(values: npt.NDArray[np.float64], first: int = 0) -> Single:
    """(..., B, h, C, ...) as (..., B · C, h, ...); `first`: the place of B."""
    moved = np.moveaxis(values, first + 2, first + 1)
    shape = moved.shape
    return moved.reshape(*shape[:first], shape[first] * shape[first + 1], *shape[first + 2 :]).astype(
        np.float32
    )
