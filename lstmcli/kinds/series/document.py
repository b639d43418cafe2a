"""What a checkpoint says of the series that its model learned, checked before anything of it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lstmcli.core.errors import RunError
from lstmcli.run.records import checked


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Column(_Part):
    """A column's z-scores."""

    name: str
    mean: float
    std: float = Field(gt=0.0)


class _Number(_Column):
    kind: Literal["number"]


class _Text(_Part):
    name: str
    kind: Literal["text"]
    categories: list[str]


class _Meta(_Part):
    layout: Literal["long", "wide", "rows"]
    targets: list[str] = Field(min_length=1)
    names: list[str] = Field(min_length=1)
    frequency: str | None
    month_day: int | None = Field(ge=1, le=31)
    season: int = Field(ge=1)
    known: list[_Column]
    past: list[_Column]
    static: list[_Number | _Text]


class _Shape(_Part):
    """The counts that size the model's tensors."""

    channels: int = Field(ge=1)
    channel_ids: int = Field(ge=1)
    series_ids: int = Field(ge=1)
    calendar: int = Field(ge=0)
    known: int = Field(ge=0)
    past: int = Field(ge=0)
    static: int = Field(ge=0)
    observed: bool
    season: int = Field(ge=1)


class _Basis(_Part):
    """What a calibration rests on."""

    part: Literal["calibration", "val"]
    origins: int = Field(ge=0)
    values: int = Field(ge=0)


class _Document(_Part):
    meta: _Meta
    shape: _Shape
    scaler: dict[str, Any]  # Scaler.from_json checks it
    calibration: list[list[float]] | None = None
    calibrated_on: _Basis | None = None
    portfolio: dict[str, Any] | None = None  # its own readers check it


def check_document(found: dict[str, Any], path: Path, horizon: int, levels: int) -> dict[str, Any]:
    """`found`, read from `path`; RunError if it is not what a forecaster of `horizon` steps and so many
    quantiles (`levels`) writes."""
    checked(_Document, found, path)
    if found["scaler"].get("center") is None or len(found["scaler"]["center"]) != len(found["meta"]["names"]):
        raise RunError(f"{path} is damaged: it does not scale each of its series")
    rows = found.get("calibration")
    if rows is not None and [len(row) for row in rows] != [levels] * horizon:
        raise RunError(f"{path} is damaged: its calibration is not of {horizon} steps and {levels} quantiles")
    return found
