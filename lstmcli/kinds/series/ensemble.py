"""A portfolio at work: its models as one module with one checkpoint, and its blend as a forecaster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from lstmcli.core.errors import RunError
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import RecurrentModel, Stack
from lstmcli.kinds.series.blend import FREE, free_forecasts, free_points, reach_of
from lstmcli.kinds.series.calibration import Calibration
from lstmcli.kinds.series.forecaster import Floats, Forecaster, Places, Prediction
from lstmcli.kinds.series.heads import find_head
from lstmcli.kinds.series.model import SeriesModel, SeriesShape
from lstmcli.kinds.series.normalise import Rows
from lstmcli.kinds.series.portfolio import member_configs
from lstmcli.kinds.series.scaling import Scaler
from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.kinds.series.table.panel import Panel
from lstmcli.kinds.series.windows import WindowBatch, Windows, gather

BLENDED = ("none", "standard")
"""Transform and scaling of what is blended."""
SPREAD_FROM = 1000
"""Windows of the training part that show how far the free forecasts are off."""


class Portfolio(RecurrentModel):
    """The members as they train, at their best on validation, and as they learn from all data."""

    def __init__(self, config: SeriesConfig, shapes: Sequence[SeriesShape]):
        super().__init__()
        self.configs = member_configs(config)
        self.horizon, self.lag, self.shape = config.data.horizon, 0, shapes[0]
        self.head = find_head("quantile", config.forecast.quantiles)
        made = [SeriesModel(c, s) for c, s in zip(self.configs, shapes, strict=True)]
        again = (
            [SeriesModel(c, s) for c, s in zip(self.configs, shapes, strict=True)]
            if config.train.refit
            else []
        )
        self.trained, self.refit = nn.ModuleList(made), nn.ModuleList(again)
        self.kept = nn.ModuleList([deepcopy(model).requires_grad_(False) for model in made])

    def models(self, part: str) -> list[SeriesModel]:
        """Those of `trained`, `kept` or `refit`, in the order of the members."""
        return list(getattr(self, part))

    def keep(self, member: int) -> None:
        """The member's weights, as they are, are its best."""
        target = self.kept[member].state_dict()
        for name, value in self.trained[member].state_dict().items():
            target[name].copy_(value)

    @property
    def _all(self) -> list[SeriesModel]:
        return [model for part in ("trained", "kept", "refit") for model in self.models(part)]

    @property
    def networks(self) -> list[Any]:
        """Of the first member, which stands for all where one is looked at."""
        return self.models("trained")[0].networks

    @property
    def layers(self) -> Stack:  # type: ignore[override]
        return self.models("trained")[0].layers

    @property
    def stacks(self) -> list[Stack]:
        return [stack for model in self._all for stack in model.stacks]

    @property
    def product_dtype(self) -> torch.dtype:
        return self.models("trained")[0].product_dtype

    @product_dtype.setter
    def product_dtype(self, dtype: torch.dtype) -> None:
        for model in self._all:
            model.product_dtype = dtype

    def observe(self, rows: Rows) -> list[Trace]:
        """Gates and states of the first member."""
        return self.models("trained")[0].observe(rows)


class Ensemble(Forecaster):
    """The blend of members and of forecasts that cost nothing. Each member forecasts in its own way of
    scaling; what they say is put together in this forecaster's."""

    def __init__(
        self,
        config: SeriesConfig,
        model: Portfolio,
        panel: Panel,
        scaler: Scaler,
        names: Sequence[str],
        device: torch.device | None = None,
        *,
        scalers: Sequence[Scaler],
        spread: Floats | None = None,
        weights: Floats | None = None,
        part: str = "kept",
    ):
        self.members: list[Forecaster] = []
        super().__init__(config, model, panel, scaler, names, device)  # type: ignore[arg-type]
        self.portfolio, self.weights, self.spread = model, weights, spread
        for own, of, how in zip(model.configs, model.models("kept"), scalers, strict=True):
            self.members.append(Forecaster(own, of, panel, how, names, device))
        self.use(part)

    @property
    def device(self) -> torch.device:
        return self._device

    @device.setter
    def device(self, device: torch.device) -> None:
        self._device = device
        for member in self.members:
            member.device = device

    @property
    def scalers(self) -> list[Scaler]:
        return [member.scaler for member in self.members]

    @property
    def titles(self) -> int:
        """How many forecasts are blended."""
        return len(self.members) + len(FREE)

    def use(self, part: str) -> None:
        """Let the members forecast as they are in this part of the portfolio."""
        self.part = part
        for member, model in zip(self.members, self.portfolio.models(part), strict=True):
            member.model = model

    def over(self, panel: Panel, series: Places, origins: Places) -> Ensemble:
        made = Ensemble(
            self.config, self.portfolio, panel, self.scaler.at(series, origins), self.names, self.device,
            scalers=[scaler.at(series, origins) for scaler in self.scalers], spread=self.spread,
            weights=self.weights, part=self.part,
        )  # fmt: skip
        made.calibration = self.calibration
        return made

    def rows(self, batch: WindowBatch) -> Rows:
        """Those of the first member."""
        first = self.members[0]
        return first.rows(first.batch(batch.series, batch.origins))

    def predict(self, batch: WindowBatch) -> Prediction:
        """The blend; before any was chosen the mean of all members."""
        weights = self.weights
        if weights is None:
            weights = np.zeros((self.horizon, self.titles))
            weights[:, : len(self.members)] = 1.0 / len(self.members)
        total: Floats = np.zeros((*batch.target.shape, len(self.levels)))
        for k in range(len(self.members)):
            if weights[:, k].any():
                total += weights[None, :, k, None, None] * self.quantiles_of(k, batch)
        if weights[:, len(self.members) :].any():
            free = self.free_quantiles(batch)
            total += np.einsum("hm,mbhcq->bhcq", weights[:, len(self.members) :], free)
        total.sort(axis=-1)
        middle = min(range(len(self.levels)), key=lambda k: abs(self.levels[k] - 0.5))
        return Prediction(total[..., middle], total, batch.target)

    def scored(self, batch: WindowBatch) -> tuple[float, Prediction]:
        raise NotImplementedError("a blend is scored by its task")

    def quantiles_of(self, member: int, batch: WindowBatch) -> Floats:
        """(B, h, C, Q) of one member, in this forecaster's scale."""
        own = self.members[member]
        scaled = own.batch(batch.series, batch.origins)
        found = own.restored(scaled, own.predict(scaled)).quantiles
        assert found is not None
        return self.scaler.at(batch.series, batch.origins).standard(found)

    def free_quantiles(self, batch: WindowBatch) -> Floats:
        """(F, B, h, C, Q) of the free forecasts, in this forecaster's scale."""
        history = self._history(batch.series, batch.origins)
        spread = self.spread if self.spread is not None else np.zeros((4, self.horizon, len(self.levels)))
        found = [
            free_forecasts(history[:, :, c], self.horizon, self.panel.season, self.levels, spread)
            for c in range(history.shape[2])
        ]
        return np.stack(found, axis=3)

    def fit_spread(self, windows: Windows) -> None:
        """How far the free forecasts are off, by step and level, on windows that are learned from."""
        chosen = np.linspace(0, len(windows) - 1, min(SPREAD_FROM, len(windows))).round().astype(np.int64)
        series, origins = windows.locate(chosen)
        truth = self.batch(series, origins).target
        history = self._history(series, origins)
        offsets = []
        for k in range(4):
            points = [
                free_points(history[:, :, c], self.horizon, self.panel.season)[k]
                for c in range(truth.shape[2])
            ]
            residuals = truth - np.stack(points, axis=2)
            repeated = np.repeat(residuals[..., None], len(self.levels), -1)
            offsets.append(Calibration.fit(repeated, self.levels).offsets)
        self.spread = np.stack(offsets)

    def _history(self, series: Places, origins: Places) -> Floats:
        """(B, L, C): what lies before the origins, in this forecaster's scale."""
        found = gather(self.scaled, series, origins, reach_of(self.panel.season), 1).context
        if self.scaler.local is None:
            return found
        own = self.scaler.at(series, origins)
        return np.asarray((found - own.center[:, None]) / own.scale[:, None])

    def sample(self, series: Places, origins: Places, count: int) -> Floats:
        """Paths (count, B, h, C): each of one rank of the quantiles, so that a path stays a path."""
        quantiles = self.forecast(series, origins).quantiles
        assert quantiles is not None
        ranks = (torch.randperm(count).numpy() + 0.5) / count
        place = np.interp(ranks, self.levels, np.arange(len(self.levels)))
        low = np.minimum(place.astype(np.int64), len(self.levels) - 1)
        high = np.minimum(low + 1, len(self.levels) - 1)
        paths = quantiles[..., low] + (quantiles[..., high] - quantiles[..., low]) * (place - low)
        return np.moveaxis(paths, -1, 0)


def member_shapes(document: Any) -> list[SeriesShape]:
    """Of the members, as a checkpoint has them. RunError: they are not there."""
    try:
        return [SeriesShape(**shape) for shape in document["shapes"]]
    except (TypeError, KeyError) as error:
        raise RunError(f"the portfolio in the checkpoint is damaged: {error}") from error


def member_scalers(
    document: Any, configs: Sequence[SeriesConfig], fit: Callable[[Scaler, SeriesConfig], Scaler]
) -> list[Scaler]:
    """Of the members, from `scalers` by transform; `fit` makes one ready for the panel at hand."""
    try:
        return [fit(Scaler.from_json(document["scalers"][_way(config)]), config) for config in configs]
    except (TypeError, KeyError) as error:
        raise RunError(f"the portfolio in the checkpoint is damaged: {error}") from error


def scalers_to_json(configs: Sequence[SeriesConfig], scalers: Sequence[Scaler]) -> dict[str, Any]:
    """One for each way of scaling, not one for each member."""
    return {_way(config): scaler.to_json() for config, scaler in zip(configs, scalers, strict=True)}


def _way(config: SeriesConfig) -> str:
    return f"{config.forecast.transform} {config.forecast.scaling}"
