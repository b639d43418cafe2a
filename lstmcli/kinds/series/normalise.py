"""Windows of values as the forecaster takes them, and how each is normalised by its own context."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-8
"""Least scale of a window relative to its values' size."""


class Rows(NamedTuple):
    """A batch for the model. R rows, L steps of context (and the longest lag before it), h of horizon."""

    context: Tensor  # (R, lag + L, C), NaN where missing
    target: Tensor  # (R, h, C), NaN where missing
    channel: Tensor  # (R,) int
    series: Tensor  # (R,) int; a series that training never saw is series_ids
    future: Tensor  # (R, lag + L + h, F): what is known ahead, calendar and known covariates
    past: Tensor  # (R, lag + L, P)
    static: Tensor  # (R, S)


class Window(NamedTuple):
    """How each row was normalised: value = location + scale · normalised."""

    location: Tensor  # of the context: (R, 1, C), or (R, lag + L, C) where it changes from step to step
    ahead: Tensor  # of the horizon: (R, 1, C), or (R, h, C)
    scale: Tensor  # (R, 1, C)


def normalise(context: Tensor, method: str, lag: int = 0, horizon: int = 1, season: int = 1) -> Window:
    """Each row's location and scale by its context (R, lag + L, C), over what is observed of the L."""
    read = context[:, lag:]
    seen = ~read.isnan()
    values = read.nan_to_num()
    count = seen.sum(1, keepdim=True).clamp_min(1)
    size = values.abs().sum(1, keepdim=True) / count  # mean absolute value
    location, scale = torch.zeros_like(size), torch.ones_like(size)
    if method == "last" or (method == "seasonal" and (season == 1 or read.shape[1] < season)):
        place = torch.arange(1, read.shape[1] + 1, device=read.device).view(1, -1, 1)
        last = (seen * place).amax(1, keepdim=True).clamp_min(1) - 1
        location = values.gather(1, last)
    elif method == "seasonal":
        profile = seasonal_profile(read, season)
        steps = torch.arange(-context.shape[1], horizon, device=context.device) % season
        location = profile[:, steps]
        before = context.shape[1]
        return Window(location[:, :before], location[:, before:], scale)
    elif method == "mean-abs":
        scale = size
    elif method == "standard":
        location = values.sum(1, keepdim=True) / count
        squares = ((values - location) * seen).square().sum(1, keepdim=True) / count
        scale = squares.sqrt()
    floor = TINY * size
    scale = torch.where(scale > floor, scale, torch.where(size > 0, size, 1.0))
    return Window(location, location, scale)


def seasonal_profile(context: Tensor, season: int) -> Tensor:
    """The shape of a season (R, season, C), by steps after the context's end: the mean over the whole
    seasons of the context (R, L, C) of how each step differs from its season's mean, at the level of the
    last season. One season in the context is that season itself."""
    seasons = context.shape[1] // season
    last = context[:, context.shape[1] - seasons * season :]
    by_season = last.view(last.shape[0], seasons, season, last.shape[2])  # (R, K, m, C)
    level = by_season.nanmean(2, keepdim=True)
    shape = (by_season - level).nanmean(1)  # (R, m, C)
    known = ~level[:, :, 0].isnan()  # (R, K, C): the last season with any value has the say
    place = torch.arange(1, seasons + 1, device=context.device).view(1, -1, 1)
    newest = (known * place).amax(1, keepdim=True).clamp_min(1) - 1
    profile: Tensor = shape.nan_to_num() + level[:, :, 0].nan_to_num().gather(1, newest)
    return profile
