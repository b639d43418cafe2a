"""The config of time series that are forecast."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from lstmcli.config.data import Files, known_encoding
from lstmcli.config.schema import Config, Evaluation, Train
from lstmcli.config.section import PositiveInt, Section

MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NaT", "null", "NULL", "None", "nil", "?",
    "-", "--", "#VALUE!", "#DIV/0!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
)  # fmt: skip
"""What spreadsheets, databases and statistics' programs write where there is no value."""


class SeriesTable(Files):
    """A table of time series, and what its columns mean: give one of `path` or `url`."""

    counts: ClassVar[bool] = True

    kind: Literal["series"] = "series"
    test_path: str | list[str] | None = None
    """A separate table whose rows continue the series of `path`, for the test."""
    encoding: str | None = None
    """The encoding of a CSV, as Python's codecs name it, such as utf-16; null: what it seems to be."""
    layout: Literal["auto", "long", "wide", "rows"] = "auto"
    """`long`: one row per time and group; `wide`: one row per time, a column per series;
    `rows`: one series per row, without times (as in M4); auto: rows if there is no `time`, long if
    there is a `group`, else wide."""
    time: str | list[str] | None = None
    """The column of times (dates, timestamps or whole numbers), or several that make a time,
    such as [year, month, day, hour]. Timestamps with an offset are read as UTC. null with layout wide: there
    are none, and the rows are counted."""
    time_format: str | None = None
    """How the texts of `time` are written, in the codes of strftime, such as %d.%m.%y %H:%M; or excel (days
    since 1899-12-30). null: found from all of them."""
    duplicates: Literal["error", "mean", "sum", "last"] = "error"
    """Several rows of one time and series: an error that names two of them, or their targets are joined (all
    else is of the last one)."""
    dayfirst: bool | None = None
    """Whether 01/02/2020 is the first of February; null: found from all times of the column, and an
    error where both would fit."""
    target: str | list[str] | None = None
    """The columns to forecast; null: every numeric column that has no other part."""
    group: str | list[str] | None = None
    """The column that names the series (layouts long and rows), or several that do so together,
    such as [store, item]."""
    frequency: str | None = None
    """The step between times, such as 15m, 1h, 1d, 1w, 1mo, 1q, 1y or 1i (whole numbers);
    1b is Monday to Friday, `1d mon-sat` or `1h mon-fri 09:00-16:00` other weeks with gaps (the first and the
    last step of a day); null: found from the times. Layout rows: what a step is (1h for M4), if known."""
    season: PositiveInt | None = None
    """Steps of the main season (24 for hours, 12 for months), for the seasonal baselines and
    MASE; null: by the frequency."""
    known: list[str] = Field(default=[])
    """Columns known ahead, such as prices or holidays; the future part of them is needed to
    forecast."""
    past: list[str] = Field(default=[])
    """Further numeric columns that are seen up to the forecast's origin."""
    static: list[str] = Field(default=[])
    """Columns that are constant within a group; numbers, or text taken as categories."""
    header: bool | None = None
    """Whether the first row has names of columns; null: found. Without one they are column1, ..."""
    decimal: Literal[".", ","] | None = None
    """The decimal mark of a CSV; null: found from all numbers, and an error where both would fit."""
    thousands: Literal[".", ",", " ", "'"] | None = None
    """What stands between thousands; null: found, too."""
    missing: list[str] = Field(default=[*MISSING])
    """Texts that stand for a missing value."""
    context_length: PositiveInt = 96
    """Steps that the model reads before a forecast."""
    horizon: PositiveInt = 24
    """Steps that are forecast at once."""
    val_length: PositiveInt | None = None
    """Instead of `splits`: the last so many steps of each series, before the test's, are
    validation."""
    test_length: PositiveInt | None = None
    """Instead of `splits`: the last so many steps of each series are test."""
    calibration_length: PositiveInt | None = None
    """The last so many steps of the training part that nothing is learned from and nothing chosen on: the
    intervals of forecasts are calibrated on them. null: on validation, which also chooses the weights."""

    _known = field_validator("encoding")(known_encoding)


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
    """How windows of values go into the layers, and how forecasts come out."""

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
    lower: float | Literal["none"] | None = None
    """No forecast, quantile or path lies below; null: 0 where the training part of a target is of counts
    (whole numbers, none negative); none: no bound."""
    upper: float | Literal["none"] | None = None
    """The same above; null and none: no bound."""
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
        if isinstance(self.lower, float) and isinstance(self.upper, float) and self.lower >= self.upper:
            raise ValueError("forecast.lower must lie below forecast.upper")
        return self


class SeriesTrain(Train):
    """How the model learns. The first budget that is used up ends the run."""

    refit: bool | Literal["validation"] = False
    """forecast.members auto: with the second half of the steps, what validation chose is trained again on all
    data, for `lstm generate`; validation: on all but the test, for `lstm eval`, too, which else keeps the
    figure of the models before."""


class SeriesEvaluation(Evaluation):
    """Validation while training."""

    protocol: Literal["windows", "gift"] = "windows"
    """What `lstm eval` scores: `windows`, every one of the split; `gift`, GIFT-Eval's: windows one horizon
    apart at the end, MASE of the median and weighted quantile loss."""
    stride: PositiveInt = 1
    """Steps from one forecast's origin to the next."""
    max_windows: PositiveInt | None = None
    """Evaluate on at most so many windows while training, evenly spread; null: all."""


class SeriesConfig(Config):
    """A forecaster."""

    learned = "series"
    called = "series"

    data: SeriesTable
    forecast: Forecast = Forecast()
    train: SeriesTrain = SeriesTrain()
    evaluation: SeriesEvaluation = SeriesEvaluation()

    @property
    def window(self) -> int:
        return self.data.context_length
