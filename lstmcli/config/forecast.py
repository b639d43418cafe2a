"""Settings of a forecaster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lstmcli.config.section import PositiveInt, Section

Transform = Literal["none", "log", "log1p", "box-cox"]
Normalization = Literal["none", "last", "seasonal", "mean-abs", "standard"]
Decoder = Literal["direct", "segments", "recursive"]
Loss = Literal["mse", "mae", "huber", "quantile", "gaussian", "student-t", "negative-binomial"]


class Member(Section):
    """One model of a portfolio: what it has otherwise than `forecast`, `model` and `data` say."""

    context_length: PositiveInt | None = None
    """Steps that it reads before a forecast; null: `data.context_length`."""
    transform: Transform | None = None
    """Applied to its values; null: `forecast.transform`."""
    normalization: Normalization | None = None
    """Of each of its windows; null: `forecast.normalization`."""
    season: PositiveInt | None = None
    """Steps of the season that it subtracts; null: `forecast.season`."""
    patch_length: PositiveInt | None = None
    """Steps that make one input of its recurrence; null: `forecast.patch_length`."""
    decoder: Decoder | None = None
    """How its steps are decoded, direct or segments; null: `forecast.decoder`."""
    loss: Loss | None = None
    """What its head is trained for, quantiles or a distribution; null: `forecast.loss`."""
    cell: str | None = None
    """A built-in cell; null: `model.cell`."""
    hidden_size: PositiveInt | None = None
    """Its hidden units; null: `model.hidden_size`."""
    num_layers: PositiveInt | None = None
    """Its layers; null: `model.num_layers`."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Its dropout; null: `model.dropout`."""


class Forecast(Section):
    """Series only: how windows of values go into the layers, and how forecasts come out."""

    transform: Transform = "none"
    """Applied to all target values before anything else, and undone in forecasts; box-cox fits its
    exponent on the training part."""
    scaling: Literal["none", "standard"] = "standard"
    """Z-scores of each series, or of each channel where there is one series, fitted on the training
    part."""
    normalization: Normalization = "last"
    """Of each window by its own context, undone in the forecast: the last value is subtracted; or the
    seasonal shape at the level of the last season; or all is divided by the mean absolute value; or made
    zero-mean with unit deviation."""
    season: PositiveInt | None = None
    """Steps of the shape that `normalization: seasonal` subtracts, such as 168 for the hours of a week;
    null: `data.season`."""
    patch_length: PositiveInt = 1
    """Steps that make one input of the recurrence (segments; the context must be a multiple)."""
    lags: list[PositiveInt] = Field(default=[])
    """Values so many steps earlier that are read beside each value."""
    calendar: bool | list[str] = False
    """Features of the time (hour, weekday, day, month, ...) beside each value; true: those that vary
    at this frequency."""
    channels: Literal["independent", "joint"] = "independent"
    """Several targets: each a series of its own to one model, or all read and forecast together."""
    channel_embedding: Annotated[int, Field(ge=0)] = 0
    """Width of a learned vector per target; 0: none."""
    series_embedding: Annotated[int, Field(ge=0)] = 0
    """Width of a learned vector per series; 0: none. Series that training never saw get zeros."""
    decoder: Decoder = "direct"
    """`direct`: all steps from the final state; `segments`: each segment of `patch_length` steps from
    the final state and a vector for its place, in parallel (SegRNN; Lin et al. 2023); `recursive`: one
    patch after the other, each fed back (DeepAR where the loss is a distribution)."""
    loss: Loss = "mae"
    """What the head is trained for: a point, quantiles (pinball loss), or a distribution's
    likelihood."""
    quantiles: list[Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(default=[0.05, 0.5, 0.95], min_length=1)
    """Levels that a forecast reports, and that the loss `quantile` learns."""
    samples: PositiveInt = 100
    """Paths drawn where a forecast needs them (recursive decoding of distributions)."""
    members: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    """Models that are trained side by side from different starts; the forecast is their mean. `auto`: those
    of `portfolio` take turns, the poorest on validation leave, and the best are blended with forecasts that
    cost nothing, with weights for each part of the horizon that validation chooses (Caruana et al. 2004)."""
    portfolio: list[Member] = Field(default=[], max_length=32)
    """members auto: the models, each by what it has otherwise than this config; none: this one, and others
    that subtract something else."""
    whole_numbers: bool = False
    """The values are counts: what is forecast is rounded to whole numbers from 0 on, as every quantile of a
    count is one."""

    @model_validator(mode="after")
    def _consistent(self) -> Forecast:
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError("quantiles must rise, such as [0.05, 0.5, 0.95]")
        return self
