"""The forecaster: windows of values in, a stack of recurrent layers, a forecast of each step out.

Rows are windows of one channel (channels independent) or of all channels at once (joint); C below is
the number of channels that a row holds. A row is normalised by its own context, cut into patches of
`patch_length` steps that make one step of the recurrence each, and forecast by one of three decoders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.cells import find_cell
from lstmcli.core.memory import require
from lstmcli.engine.footprint import FLOAT, layer_parameters
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import RecurrentModel, Stack, StackState
from lstmcli.kinds.series.heads import Head, find_head
from lstmcli.kinds.series.normalise import Rows, Window, normalise
from lstmcli.kinds.series.settings import Forecast, SeriesConfig


@dataclass(frozen=True)
class SeriesShape:
    """What the data make of the model; stored with it."""

    channels: int  # of a row
    channel_ids: int  # different channels, for their embedding
    series_ids: int
    calendar: int  # features of the time, per step
    known: int
    past: int
    static: int
    observed: bool  # whether values can be missing, so that the model is told which are
    season: int = 1  # steps


class SeriesModel(RecurrentModel):
    """`forecast.members` networks of one shape; each learns by itself, the forecast is their mean."""

    def __init__(self, config: SeriesConfig, shape: SeriesShape):
        super().__init__()
        self.settings, self.forecast_settings, self.shape = config.model, config.forecast, shape
        self.context, self.horizon = config.data.context_length, config.data.horizon
        self.lag = max(config.forecast.lags, default=0)
        self.head = find_head(config.forecast.loss, config.forecast.quantiles)
        members = config.forecast.members
        assert members != "auto"  # a portfolio's are apart
        self.networks = [SeriesNetwork(config, shape, self.head) for _ in range(members)]
        self.members = nn.ModuleList(self.networks)

    @property
    def layers(self) -> Stack:  # type: ignore[override]
        """The first member's, which stands for all where one is looked at."""
        return self.networks[0].layers

    @property
    def stacks(self) -> list[Stack]:
        return [member.layers for member in self.networks]

    @property
    def product_dtype(self) -> torch.dtype:
        return self.networks[0].product_dtype

    @product_dtype.setter
    def product_dtype(self, dtype: torch.dtype) -> None:
        for member in self.networks:
            member.product_dtype = dtype

    def loss(self, rows: Rows) -> Tensor:
        """Mean loss per observed value of the target, in normalised units, over the members."""
        return self.objective(rows)[0]

    def objective(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """The loss, and how many values each member's is a mean over."""
        losses, terms = zip(*(member.objective(rows) for member in self.networks), strict=True)
        return torch.stack(losses).mean(), terms[0]

    def forward(self, rows: Rows, levels: tuple[float, ...]) -> tuple[Tensor, Tensor | None]:
        """Point forecasts (R, h, C) and quantiles (R, h, C, Q), in the rows' units, float64; no
        quantiles where the head has no spread."""
        return _together([member.forecast(rows, levels) for member in self.networks])

    @torch.no_grad()
    def scored(self, rows: Rows, levels: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor | None]:
        """`loss` and `forward` in one pass where the decoder makes both from the same outputs."""
        losses, found = zip(*(member.scored(rows, levels) for member in self.networks), strict=True)
        return torch.stack(losses).mean(), *_together(found)

    def sample(self, rows: Rows, count: int) -> Tensor:
        """Sample paths (count, R, h, C) in the rows' units, float64."""
        each = [count // len(self.networks)] * len(self.networks)
        each[0] += count - sum(each)
        return torch.cat([m.sample(rows, n) for m, n in zip(self.networks, each, strict=True) if n])

    def observe(self, rows: Rows) -> list[Trace]:
        """Gates and states of every layer of the first member over the rows' contexts."""
        first = self.networks[0]
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                x, _, _ = first.inputs(rows)
                return first.layers.observe(x.to(first.product_dtype), first.layers.initial_state(x.shape[1]))
        finally:
            self.train(training)


class SeriesNetwork(nn.Module):
    """Patches -> linear, ReLU -> layers -> decoder."""

    def __init__(self, config: SeriesConfig, shape: SeriesShape, head: Head):
        super().__init__()
        settings: Forecast = config.forecast
        self.settings, self.shape, self.head = settings, shape, head
        self.context, self.horizon = config.data.context_length, config.data.horizon
        self.patch, self.lag = settings.patch_length, max(settings.lags, default=0)
        self.product_dtype = torch.float32
        per_step = shape.channels * (1 + shape.observed + len(settings.lags)) + shape.past
        self.future = shape.calendar + shape.known
        self.identity = settings.channel_embedding + settings.series_embedding + shape.static
        width = config.model.embedding_size or config.model.sizes[0]
        steps = self.context // self.patch
        self.embed = nn.Linear(self.patch * (per_step + self.future) + self.identity, width)
        self.layers = Stack(config.model, find_cell(config.model.cell), width, steps)
        if settings.channel_embedding:
            self.channel = nn.Embedding(shape.channel_ids, settings.channel_embedding)
        if settings.series_embedding:
            self.series = nn.Embedding(
                shape.series_ids + 1, settings.series_embedding, padding_idx=shape.series_ids
            )
        hidden, values = config.model.sizes[-1], shape.channels * head.size
        if settings.decoder == "direct":
            ahead = self.horizon * self.future + (self.identity if self.future else 0)
            self.out = nn.Linear(hidden + ahead, self.horizon * values)
        else:
            self.out = nn.Linear(hidden, self.patch * values)
        if settings.decoder == "segments":
            self.segments = -(-self.horizon // self.patch)
            self.place = nn.Parameter(torch.empty(self.segments, width))
            self.place_from = nn.Linear(self.patch * self.future + self.identity, width) if (
                self.future or self.identity
            ) else None  # fmt: skip
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.layers.reset_parameters()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = 1.0 / math.sqrt(module.in_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)
        if self.settings.decoder == "segments":
            nn.init.normal_(self.place, std=1.0)

    def inputs(self, rows: Rows) -> tuple[Tensor, Window, Tensor]:
        """What the recurrence reads, (patches, R, E); the normalisation; each row's identity (R, D)."""
        window = self.normalise(rows)
        values = ((rows.context - window.location) / window.scale).float()
        x = self._features(values, rows.future[:, : rows.context.shape[1]], rows.past)
        identity = self._identity(rows)
        return self._embed(x, identity), window, identity

    def normalise(self, rows: Rows) -> Window:
        """How each row is normalised."""
        method, season = self.settings.normalization, self.shape.season
        return normalise(rows.context, method, self.lag, self.horizon, season)

    def _features(self, values: Tensor, future: Tensor, past: Tensor) -> Tensor:
        """Per step (R, steps, F) what is read, for values (R, lag + steps, C) in normalised units."""
        lag, steps = self.lag, values.shape[1] - self.lag
        known = values.nan_to_num()
        features = [known[:, lag:]]
        if self.shape.observed:
            features.append((~values[:, lag:].isnan()).float())
        features += [known[:, lag - k : lag - k + steps] for k in self.settings.lags]
        features += [future[:, lag:].float(), past[:, lag:].float()]
        return torch.cat(features, dim=-1)

    def _embed(self, x: Tensor, identity: Tensor) -> Tensor:
        """Features (R, steps, F) as patches (patches, R, E)."""
        rows, steps, _ = x.shape
        patches = x.reshape(rows, steps // self.patch, -1)
        if self.identity:
            patches = torch.cat([patches, identity.unsqueeze(1).expand(-1, patches.shape[1], -1)], dim=-1)
        return functional.relu(self.embed(patches)).transpose(0, 1).contiguous()

    def _identity(self, rows: Rows) -> Tensor:
        parts = [rows.static.float()]
        if self.settings.channel_embedding:
            parts.append(self.channel(rows.channel))
        if self.settings.series_embedding:
            parts.append(self.series(rows.series))
        return torch.cat(parts, dim=-1)

    def _run(self, x: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """The layers over inputs (T, R, E), in the products' dtype; outputs (T, R, H) in fp32."""
        x = x.to(self.product_dtype)
        outputs, state = self.layers(lambda layer, start: layer(x, start), state)
        return outputs.float(), state

    def raw(self, rows: Rows) -> tuple[Tensor, Window]:
        """The head's numbers for every step of the horizon (R, h, C, P), without looking at the target."""
        x, window, identity = self.inputs(rows)
        outputs, state = self._run(x, self.layers.initial_state(x.shape[1]))
        if self.settings.decoder == "direct":
            return self._direct(outputs[-1], rows, identity), window
        return self._segments(state, rows, identity), window

    def _direct(self, last: Tensor, rows: Rows, identity: Tensor) -> Tensor:
        """Every step from the final state, which has seen all of the context."""
        if self.future:
            ahead = rows.future[:, -self.horizon :].float().flatten(1)
            last = torch.cat([last, ahead, identity], dim=-1)
        raw: Tensor = self.out(last)
        return raw.view(last.shape[0], self.horizon, self.shape.channels, self.head.size)

    def _segments(self, state: StackState, rows: Rows, identity: Tensor) -> Tensor:
        """Each segment by one step from the final state, all segments at once (SegRNN)."""
        count, places = rows.context.shape[0], self.place.unsqueeze(0).expand(rows.context.shape[0], -1, -1)
        if self.place_from is not None:
            about = identity.unsqueeze(1).expand(-1, self.segments, -1)
            ahead = rows.future[:, -self.horizon :].float()
            missing = self.segments * self.patch - self.horizon
            ahead = functional.pad(ahead, (0, 0, 0, missing)).reshape(count, self.segments, -1)
            places = places + self.place_from(torch.cat([ahead, about], dim=-1))
        many = tuple(tuple(s.repeat_interleave(self.segments, 0) for s in layer) for layer in state)
        outputs, _ = self._run(places.reshape(1, count * self.segments, -1), many)
        raw: Tensor = self.out(outputs[0]).view(
            count, self.segments * self.patch, self.shape.channels, self.head.size
        )
        return raw[:, : self.horizon]

    def loss(self, rows: Rows) -> Tensor:
        """Mean over what is observed of the target; for the recursive decoder, of all that is read."""
        return self.objective(rows)[0]

    def objective(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """The loss, and how many values it is a mean over."""
        if self.settings.decoder == "recursive":
            raw, window, truth = self._teacher_forced(rows)
        else:
            raw, window = self.raw(rows)
            truth = self._truth(rows, window)
        return self._mean(raw, window, truth)

    def _truth(self, rows: Rows, window: Window) -> Tensor:
        """The target in the window's units."""
        return ((rows.target - window.ahead) / window.scale).float()

    def _mean(self, raw: Tensor, window: Window, truth: Tensor) -> tuple[Tensor, Tensor]:
        seen = ~truth.isnan()
        losses = self.head.loss(raw.float(), truth.nan_to_num(), window.scale.float().expand_as(truth))
        return (losses * seen).sum() / seen.sum().clamp_min(1), seen.sum()

    def _teacher_forced(self, rows: Rows) -> tuple[Tensor, Window, Tensor]:
        """Every patch from the true ones before it, over context and horizon."""
        steps = -(-self.horizon // self.patch) * self.patch
        missing = steps - self.horizon
        target = functional.pad(rows.target, (0, 0, 0, missing), value=math.nan)
        future = functional.pad(rows.future, (0, 0, 0, missing))
        past = functional.pad(rows.past, (0, 0, 0, steps))
        window = self.normalise(rows)
        ahead = functional.pad(window.ahead.expand_as(rows.target), (0, 0, 0, missing))
        values = torch.cat([rows.context - window.location, target - ahead], dim=1)
        values = (values / window.scale).float()
        x = self._embed(self._features(values, future, past)[:, : -self.patch], self._identity(rows))
        outputs, _ = self._run(x, self.layers.initial_state(x.shape[1]))
        raw = self.out(outputs).view(*outputs.shape[:2], self.patch, self.shape.channels, self.head.size)
        raw = raw.transpose(0, 1).flatten(1, 2)  # (R, steps, C, P)
        return raw, window, values[:, self.lag + self.patch :]

    @torch.no_grad()
    def forecast(self, rows: Rows, levels: tuple[float, ...]) -> tuple[Tensor, Tensor | None]:
        """Point (R, h, C) and quantiles (R, h, C, Q) in the rows' units, float64."""
        if self.settings.decoder == "recursive" and self.head.sample is not None and self.head.size > 1:
            paths = self.sample(rows, self.settings.samples)
            q = paths.new_tensor(levels)
            return paths.mean(0), torch.quantile(paths, q, dim=0).movedim(0, -1)
        if self.settings.decoder == "recursive":
            return self._recursive(rows, draw=False), None
        return self._read(*self.raw(rows), levels)

    @torch.no_grad()
    def scored(self, rows: Rows, levels: tuple[float, ...]) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
        """`loss` and `forecast`; in one pass unless the decoder is recursive."""
        if self.settings.decoder == "recursive":
            return self.loss(rows), self.forecast(rows, levels)
        raw, window = self.raw(rows)
        return self._mean(raw, window, self._truth(rows, window))[0], self._read(raw, window, levels)

    def _read(self, raw: Tensor, window: Window, levels: tuple[float, ...]) -> tuple[Tensor, Tensor | None]:
        """Point and quantiles from the head's numbers."""
        scale = window.scale.float().expand(raw.shape[:-1])
        point = window.ahead + window.scale * self.head.center(raw, scale).double()
        if self.head.quantiles is None:
            return point, None
        quantiles = self.head.quantiles(raw, scale, levels).double()
        return point, window.ahead.unsqueeze(-1) + window.scale.unsqueeze(-1) * quantiles

    @torch.no_grad()
    def sample(self, rows: Rows, count: int) -> Tensor:
        """Paths (count, R, h, C): drawn one patch after the other where the decoder is recursive; else
        each step by itself, with one rank for a whole path, so that a path stays a path."""
        if self.settings.decoder == "recursive":
            many = Rows(*(t.repeat(count, *[1] * (t.dim() - 1)) for t in rows))
            return self._recursive(many, draw=True).view(count, *rows.target.shape)
        raw, window = self.raw(rows)
        scale = window.scale.float().expand(raw.shape[:-1])
        levels = torch.linspace(0.5 / count, 1.0 - 0.5 / count, count).tolist()
        quantiles = self.head.quantiles
        if quantiles is None:
            values = self.head.center(raw, scale).unsqueeze(-1).expand(*raw.shape[:-1], count)
        elif self.head.name == "quantile":
            learned = self.settings.quantiles
            values = _between(quantiles(raw, scale, learned), learned, levels)
        else:
            values = quantiles(raw, scale, levels)
        values = values[..., torch.randperm(count, device=values.device)].movedim(-1, 0).double()
        return window.ahead + window.scale * values

    def _recursive(self, rows: Rows, draw: bool) -> Tensor:
        """One patch after the other, each read before the next: point forecasts or one draw per row."""
        x, window, identity = self.inputs(rows)
        outputs, state = self._run(x, self.layers.initial_state(x.shape[1]))
        values = ((rows.context - window.location) / window.scale).float()
        scale = window.scale.float()
        count, before = rows.context.shape[0], rows.context.shape[1]
        steps = -(-self.horizon // self.patch) * self.patch
        future = functional.pad(rows.future, (0, 0, 0, steps - self.horizon))
        past = functional.pad(rows.past, (0, 0, 0, steps))
        last = outputs[-1]
        for done in range(0, steps, self.patch):
            raw = self.out(last).view(count, self.patch, self.shape.channels, self.head.size)
            spread = scale.expand(raw.shape[:-1])
            new = (
                self.head.sample(raw, spread) if draw and self.head.sample else self.head.center(raw, spread)
            )
            values = torch.cat([values, new], dim=1)
            if done + self.patch < steps:
                end = before + done + self.patch
                part = slice(end - self.patch - self.lag, end)
                features = self._features(values[:, part], future[:, part], past[:, part])
                outputs, state = self._run(self._embed(features, identity), state)
                last = outputs[-1]
        forecast = values[:, before : before + self.horizon].double()
        return window.ahead + window.scale * forecast


def _together(found: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """The mean over members, of points and of quantiles."""
    spread = [q for _, q in found if q is not None]
    return torch.stack([p for p, _ in found]).mean(0), torch.stack(spread).mean(0) if spread else None


def _between(values: Tensor, levels: list[float], wanted: list[float]) -> Tensor:
    """Quantiles (..., Q) at other levels: straight between those there are, level beyond them."""
    have, want = values.new_tensor(levels), values.new_tensor(wanted).clamp(levels[0], levels[-1])
    if len(levels) == 1:
        return values.expand(*values.shape[:-1], len(wanted))
    right = torch.searchsorted(have, want).clamp(1, len(levels) - 1)
    share = (want - have[right - 1]) / (have[right] - have[right - 1])
    return torch.lerp(values[..., right - 1], values[..., right], share)


def check_series_memory(config: SeriesConfig) -> None:
    """ResourceError if the values of one batch of windows do not fit, their lags included, or the paths that
    one forecast draws."""
    data, settings = config.data, config.forecast
    reach = data.context_length + data.horizon + max(settings.lags, default=0)
    values = config.train.batch_size * reach
    require(
        2 * FLOAT * values,
        f"a batch of windows of {reach:,} steps",
        "choose smaller forecast.lags or windows",
    )
    if settings.decoder == "recursive":
        drawn = settings.samples * data.horizon
        require(FLOAT * drawn, f"a forecast of {settings.samples:,} paths", "choose fewer forecast.samples")


def series_parameters(config: SeriesConfig, shape: SeriesShape) -> int:
    """Layers, embeddings and the two ends, of every member."""
    settings, model = config.forecast, config.model
    identity = settings.channel_embedding + settings.series_embedding + shape.static
    per_step = shape.channels * (1 + len(settings.lags)) + shape.past + shape.calendar + shape.known
    bottom = (settings.patch_length * per_step + identity) * (model.embedding_size or model.sizes[0])
    ahead = config.data.horizon if settings.decoder == "direct" else settings.patch_length
    top = model.sizes[-1] * ahead * shape.channels
    names = shape.channel_ids * settings.channel_embedding + shape.series_ids * settings.series_embedding
    members = settings.members if isinstance(settings.members, int) else 1
    return members * (layer_parameters(model) + bottom + top + names)
