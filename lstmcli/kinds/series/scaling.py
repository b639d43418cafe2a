"""Values as the model sees them: transformed, then z-scored by figures of the training part alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError, RunError
from lstmcli.kinds.series.table.panel import Panel, SeriesData

Floats = npt.NDArray[np.float64]
TRANSFORMS = ("none", "log", "log1p", "box-cox")
LARGEST = 1e150  # whose square is still a number
RELATIVE = 1e-8
"""A deviation below this share of the values' size is that of a constant series."""


class Unseen(NamedTuple):
    """Series of a panel that training never saw."""

    panel: Panel
    series: npt.NDArray[np.bool_]  # (S,), which they are
    scaling: str


@dataclass(frozen=True)
class Scaler:
    """value -> (transform(value) - center) / scale, per series and channel.

    `deviation` is the standard deviation (ddof 0) of the training part in the table's own units, by which
    the scaled errors of published tables are made, whatever the model itself sees.
    """

    transform: str  # none, log, log1p, box-cox
    exponent: Floats  # (C,), of box-cox
    center: Floats  # (S, C)
    scale: Floats  # (S, C)
    deviation: Floats  # (S, C)
    unseen: Unseen | None = None  # of the panel at hand, where it has such series

    def at(self, series: npt.NDArray[np.int64], origins: npt.NDArray[np.int64]) -> Scaler:
        """The figures of windows, a row for each: a series that training never saw is measured by what
        lies before the window's origin, so that nothing of its target can reach its forecast."""
        rows = {k: getattr(self, k)[series] for k in ("center", "scale", "deviation")}
        if self.unseen is not None:
            panel, unseen, scaling = self.unseen
            for k in np.flatnonzero(unseen[series]):
                begin = int(panel.offsets[series[k]])
                before = panel.values[begin : begin + int(origins[k])]
                found = _figures([before], self.transform, self.exponent, scaling)
                for name, figure in zip(rows, found, strict=True):
                    rows[name][k] = figure[0]
        center, scale, deviation = rows.values()
        return Scaler(self.transform, self.exponent, center, scale, deviation)

    @classmethod
    def fit(cls, data: SeriesData, transform: str, scaling: str) -> Scaler:
        """Figures of the training part. DataError where a transform does not fit the values."""
        panel = data.panel
        _check_range(panel, transform)
        _check_size(panel)
        train = [
            panel.values[begin : begin + end]
            for begin, end in zip(panel.offsets[:-1], data.train_end, strict=True)
        ]
        channels = panel.values.shape[1]
        exponent = np.ones(channels)
        if transform == "box-cox":
            joined = np.concatenate(train)
            exponent = np.array([best_exponent(joined[:, c]) for c in range(channels)])
        return cls(transform, exponent, *_figures(train, transform, exponent, scaling))

    def for_panel(self, panel: Panel, names: list[str], scaling: str) -> Scaler:
        """The figures for the series of another table: a known name keeps its own; a new series gets
        those of its values there, and each of its windows those before its origin (`at`)."""
        _check_range(panel, self.transform)
        _check_size(panel)
        place = {name: k for k, name in enumerate(names)}
        each = [panel.values[b:e] for b, e in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)]
        center, scale, deviation = _figures(each, self.transform, self.exponent, scaling)
        for s, name in enumerate(panel.names):
            if name in place:
                k = place[name]
                center[s], scale[s], deviation[s] = self.center[k], self.scale[k], self.deviation[k]
        unseen = np.array([name not in place for name in panel.names])
        found = Unseen(panel, unseen, scaling) if unseen.any() else None
        return Scaler(self.transform, self.exponent, center, scale, deviation, found)

    def scaled(self, panel: Panel) -> Panel:
        """The panel with the values that the model sees; transformed alone where a series is new."""
        lengths = panel.lengths
        values = _apply(panel.values, self.transform, self.exponent)
        if self.unseen is not None:  # which figures hold depends on the window
            return replace(panel, values=values)
        values = (values - np.repeat(self.center, lengths, 0)) / np.repeat(self.scale, lengths, 0)
        return replace(panel, values=values)

    def restore(self, values: Floats, series: npt.NDArray[np.int64]) -> Floats:
        """Forecasts (B, h, C) or (B, h, C, Q) of the given series in the table's own units."""
        more = (1,) * (values.ndim - 3)
        center = self.center[series].reshape(len(series), 1, -1, *more)
        scale = self.scale[series].reshape(len(series), 1, -1, *more)
        exponent = self.exponent.reshape(1, 1, -1, *more)
        return _undo(values * scale + center, self.transform, exponent)

    def to_json(self) -> dict[str, Any]:
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in vars(self).items()
            if key != "unseen"
        }

    @classmethod
    def from_json(cls, document: Any) -> Scaler:
        try:
            names = ("exponent", "center", "scale", "deviation")
            if set(document) != {"transform", *names}:
                raise ValueError(f"it holds {', '.join(map(str, document))}")
            arrays = {name: np.asarray(document[name], dtype=np.float64) for name in names}
            exponent, center, scale, deviation = arrays.values()
            found = cls(str(document["transform"]), exponent, center, scale, deviation)
            sound = (
                found.center.shape == found.scale.shape == found.deviation.shape and found.center.ndim == 2
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"the scaling in the checkpoint is damaged: {error}") from error
        sound = sound and all(bool(np.isfinite(values).all()) for values in arrays.values())
        sound = sound and found.transform in TRANSFORMS and bool((found.scale > 0.0).all())
        if not sound or found.exponent.shape != (found.center.shape[1],):
            raise RunError("the scaling in the checkpoint is damaged: its parts do not fit each other")
        return found


def _figures(
    parts: list[Floats], transform: str, exponent: Floats, scaling: str
) -> tuple[Floats, Floats, Floats]:
    """Center, scale and deviation, each (S, C), of these parts of the series."""
    center, scale = moments = _moments(parts)
    if scaling != "standard":
        center, scale = np.zeros_like(center), np.ones_like(scale)
    elif transform != "none":
        center, scale = _moments([_apply(v, transform, exponent) for v in parts])
    return center, scale, moments[1].copy()


def _moments(parts: list[Floats]) -> tuple[Floats, Floats]:
    """Mean and deviation (ddof 0) of each series and channel over what is observed; 0 and 1 where there
    is nothing, and a constant's deviation is 1: safe to divide by."""
    center = np.zeros((len(parts), parts[0].shape[1]))
    scale = np.ones_like(center)
    for s, values in enumerate(parts):
        seen = ~np.isnan(values)
        count = seen.sum(0)
        some = count > 0
        filled = np.where(seen, values, 0.0)
        mean = filled.sum(0) / np.maximum(count, 1)
        deviation = np.sqrt((np.where(seen, values - mean, 0.0) ** 2).sum(0) / np.maximum(count, 1))
        center[s] = np.where(some, mean, 0.0)
        scale[s] = np.where(some & (deviation > RELATIVE * np.abs(mean)), deviation, 1.0)
    return center, scale


def _check_size(panel: Panel) -> None:
    bad = np.argwhere(np.abs(panel.values) > LARGEST)
    if len(bad):
        position, channel = (int(k) for k in bad[0])
        where = _place(panel, position)
        raise DataError(
            f"{panel.targets[channel]} has {panel.values[position, channel]:g} ({where}), "
            "whose square is beyond all numbers",
            "correct it there, or leave the cell empty if the value is missing",
        )


def _place(panel: Panel, position: int) -> str:
    """Where a value is, in words."""
    series = int(np.searchsorted(panel.offsets, position, side="right")) - 1
    where = f"step {position - int(panel.offsets[series]) + 1}"
    return f"series {panel.names[series]}, {where}" if panel.names[series] else where


def _check_range(panel: Panel, transform: str) -> None:
    limits = {"log": 0.0, "box-cox": 0.0, "log1p": -1.0}
    if transform not in limits:
        return
    bad = np.argwhere(panel.values <= limits[transform])
    if not len(bad):
        return
    position, channel = (int(k) for k in bad[0])
    where = _place(panel, position)
    raise DataError(
        f"forecast.transform {transform} needs values above {limits[transform]:g}; "
        f"{panel.targets[channel]} has {panel.values[position, channel]:g} ({where})",
        "use forecast.transform: log1p for counts with zeros, or none",
    )


def _apply(values: Floats, transform: str, exponent: Floats) -> Floats:
    if transform == "none":
        return values
    if transform == "log":
        return np.log(values)
    if transform == "log1p":
        return np.log1p(values)
    small = np.abs(exponent) < 1e-6
    power = (np.power(values, np.where(small, 1.0, exponent)) - 1.0) / np.where(small, 1.0, exponent)
    return np.where(small, np.log(values), power)


def _undo(values: Floats, transform: str, exponent: Floats) -> Floats:
    if transform == "none":
        return values
    with np.errstate(over="ignore", divide="ignore"):  # beyond what a transform reaches lies infinity
        if transform == "log":
            return np.exp(values)
        if transform == "log1p":
            return np.expm1(values)
        small = np.abs(exponent) < 1e-6
        safe = np.where(small, 1.0, exponent)
        base = np.maximum(safe * values + 1.0, 0.0)
        return np.where(small, np.exp(values), np.power(base, 1.0 / safe))


def best_exponent(values: Floats) -> float:
    """The exponent from 0 to 2 in steps of 0.1 under which the values are most like a Gaussian: the
    profile likelihood of Box and Cox (1964). Below 0 a forecast could lie beyond what can be undone."""
    values = values[~np.isnan(values)]
    if len(values) < 3 or np.ptp(values) == 0.0:
        return 1.0
    logs = np.log(values)
    best, found = -np.inf, 1.0
    for tenth in range(21):
        exponent = tenth / 10.0
        transformed = _apply(values, "box-cox", np.array(exponent))
        variance = float(transformed.var())
        likelihood = -0.5 * len(values) * np.log(max(variance, 1e-300)) + (exponent - 1.0) * float(logs.sum())
        if likelihood > best:
            best, found = likelihood, exponent
    return found
