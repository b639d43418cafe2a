"""Values as the model sees them: transformed, then z-scored by figures of the training part alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import DataError, RunError
from lstmcli.core.notices import notice
from lstmcli.kinds.series.figures import Figures, Flags, Floats, Typical, figures, outliers
from lstmcli.kinds.series.table.panel import Panel, SeriesData

TRANSFORMS = ("none", "log", "log1p", "box-cox")
LARGEST = 1e150  # whose square is still a number
EDGE = 10.0
"""Deviations below the mean at which a logarithm is cut off."""
NAMED = 3
"""Outliers and series that a notice names."""
Bound = float | Literal["none"] | None
Outlier = tuple[int, int, float]
"""Series, channel, value."""


class Local(NamedTuple):
    """Series of a panel whose figures are measured at each origin: training never saw them, or its part of
    them has no scale."""

    panel: Panel
    where: Flags  # (S, C)
    scaling: str
    window: int | None  # steps before an origin that are asked first; None: all


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
    deviation: Floats  # (S, C); of windows (`at`) NaN where there is none
    own: Flags  # (S, C): whether the scale is the series' own, not one that it borrows
    lower: Floats  # (C,): no forecast lies below; -inf: it may
    upper: Floats  # (C,)
    outliers: tuple[Outlier, ...] = ()  # values that are taken as missing
    typical: Typical | None = None  # of the training series
    local: Local | None = None  # of the panel at hand
    places: dict[str, int] = field(default_factory=dict)  # of the panel's series that `outliers` speak of

    def at(self, series: npt.NDArray[np.int64], origins: npt.NDArray[np.int64]) -> Scaler:
        """The figures of windows, a row for each: a series without a scale from training is measured by what
        lies before the window's origin, so that nothing of its target can reach its forecast."""
        rows = {k: getattr(self, k)[series] for k in ("center", "scale", "deviation", "own")}
        if self.local is not None:
            for k in np.flatnonzero(self.local.where[series].any(axis=1)):
                which = self.local.where[series[k]]
                for name, figure in self._measured(int(series[k]), int(origins[k])).items():
                    rows[name][k, which] = figure[which]
        return Scaler(self.transform, self.exponent, **rows, lower=self.lower, upper=self.upper)

    def _measured(self, series: int, origin: int) -> dict[str, Floats | Flags]:
        """Figures of one series by what lies before an origin, each (C,): the last steps, then all of it."""
        assert self.local is not None
        panel, _, scaling, window = self.local
        begin = int(panel.offsets[series])
        before = panel.values[begin : begin + origin]
        found = self._figures([before if window is None else before[-window:]], scaling)
        if window is not None and window < origin and not found["own"].all():
            longer = self._figures([before], scaling)
            found = {k: np.where(found["own"], found[k], longer[k]) for k in found}
        return {k: v[0] for k, v in found.items()}

    def _figures(self, parts: list[Floats], scaling: str) -> dict[str, Any]:
        """Center, scale, deviation and own of these parts of series, each (S, C); what is borrowed has no
        deviation."""
        raw = figures(parts)
        seen = raw
        if self.transform != "none":
            parts = [_apply(v, self.transform, self.exponent) for v in parts]
            seen = figures(parts)
        typical = self.typical or Typical.of(seen)
        center, scale, own = typical.borrowed(seen, parts, self.transform.startswith("log"))
        if scaling != "standard":
            center, scale = np.zeros_like(center), np.ones_like(scale)
        deviation = np.where(raw.own, raw.scale, np.nan)
        return {"center": center, "scale": scale, "deviation": deviation, "own": own}

    @classmethod
    def fit(
        cls,
        data: SeriesData,
        transform: str,
        scaling: str,
        window: int | None = None,
        lower: Bound = None,
        upper: Bound = None,
    ) -> Scaler:
        """Figures of the training part. DataError where a transform or a bound does not fit the values.

        Args:
            window: steps of a window's context, by which a series is measured that has no scale there.
            lower, upper: bounds of forecasts; None: 0 below a channel of counts; "none": there is none.
        """
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
        nothing = np.zeros((0, channels))
        bounds = _bounds(panel, train, lower, upper)
        empty = cls(transform, exponent, nothing, nothing, nothing, nothing.astype(bool), *bounds)
        found = empty._figures(train, scaling)
        found["deviation"] = np.where(np.isnan(found["deviation"]), 1.0, found["deviation"])
        made = replace(empty, **found, outliers=_strange(panel, train))
        made = replace(made, typical=made._typical(), places={name: k for k, name in enumerate(panel.names)})
        made._tell_borrowed(panel)
        return made._local(panel, ~made.own, scaling, window)

    def _typical(self) -> Typical:
        return Typical.of(Figures(self.center, self.scale, self.own))

    def _local(self, panel: Panel, where: Flags, scaling: str, window: int | None) -> Scaler:
        return replace(self, local=Local(panel, where, scaling, window) if where.any() else None)

    def _tell_borrowed(self, panel: Panel) -> None:
        lacking = np.argwhere(~self.own).tolist()
        if lacking:
            named = [_name(panel, s, c) for s, c in lacking[:NAMED]]
            notice(
                f"{len(lacking):,} of {self.own.size:,} series have no scale of their own in the training "
                f"part (constant, or fewer than 5 values): {_listed(named, len(lacking))}; each is scaled by "
                "what lies before a forecast, until that has a scale by its size or like the others"
            )

    def for_panel(self, panel: Panel, names: list[str], scaling: str, window: int | None = None) -> Scaler:
        """The figures for the series of another table: a known name keeps its own; a new series gets
        those of its values there, and each of its windows those before its origin (`at`)."""
        _check_range(panel, self.transform)
        _check_size(panel)
        place = {name: k for k, name in enumerate(names)}
        each = [panel.values[b:e] for b, e in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)]
        typical = self.typical or self._typical()
        found = replace(self, typical=typical)._figures(each, scaling)
        where = np.ones(found["own"].shape, dtype=bool)
        for s, name in enumerate(panel.names):
            if name in place:
                for figure in found:
                    found[figure][s] = getattr(self, figure)[place[name]]
                where[s] = ~self.own[place[name]]
        made = replace(self, **found, typical=typical, places=place)
        return made._local(panel, where, scaling, window)

    def cleaned(self, panel: Panel) -> Floats:
        """The panel's values, (N, C), with NaN for what training found to be an outlier in a series."""
        if not self.outliers:
            return panel.values
        values = panel.values.copy()
        at = {name: s for s, name in enumerate(panel.names)}
        names = {k: name for name, k in self.places.items()}
        for k, c, value in self.outliers:
            if (s := at.get(names[k], -1)) >= 0:
                part = values[panel.offsets[s] : panel.offsets[s + 1], c]
                part[part == value] = np.nan
        return values

    def scaled(self, panel: Panel) -> Panel:
        """The panel with the values that the model sees; transformed alone where a series is measured at
        each origin."""
        lengths = panel.lengths
        values = _apply(self.cleaned(panel), self.transform, self.exponent)
        if self.local is not None:  # which figures hold depends on the window
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

    def within(self, values: Floats) -> Floats:
        """Forecasts (B, h, C) or (B, h, C, Q) in the table's units, none beyond the bounds."""
        if np.isinf(self.lower).all() and np.isinf(self.upper).all():
            return values
        shape = (1, 1, -1, *(1,) * (values.ndim - 3))
        return np.clip(values, self.lower.reshape(shape), self.upper.reshape(shape))

    def standard(self, values: Floats) -> Floats:
        """What `restore` undoes: values (B, h, C, Q) in the table's own units, a row for each of these
        figures, as a model sees them. What lies beyond a transform's reach goes to its edge."""
        exponent = self.exponent.reshape(1, 1, -1, 1)
        if self.transform == "log1p":
            values = np.maximum(values, -1.0 + 1e-9)
        elif self.transform != "none":  # far below what is typical, but a number
            least = _undo(self.center - EDGE * self.scale, self.transform, self.exponent)
            values = np.maximum(values, np.maximum(least, 1e-300)[:, None, :, None])
        values = _apply(values, self.transform, exponent)
        return (values - self.center[:, None, :, None]) / self.scale[:, None, :, None]

    def to_json(self) -> dict[str, Any]:
        names = ("transform", "exponent", "center", "scale", "deviation", "own", "outliers")
        values = {name: getattr(self, name) for name in names}
        bounds = [[v if np.isfinite(v) else None for v in ends.tolist()] for ends in (self.lower, self.upper)]
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()} | {
            "bounds": bounds
        }

    @classmethod
    def from_json(cls, document: Any) -> Scaler:
        try:
            names = ("exponent", "center", "scale", "deviation")
            more = set(document) - {"transform", *names}
            if not {"transform", *names} <= set(document) or not more <= {"own", "outliers", "bounds"}:
                raise ValueError(f"it holds {', '.join(map(str, document))}")
            arrays = {name: np.asarray(document[name], dtype=np.float64) for name in names}
            own = np.asarray(document.get("own", np.ones(arrays["center"].shape).tolist()), dtype=bool)
            strange = tuple((int(s), int(c), float(v)) for s, c, v in document.get("outliers", ()))
            exponent, center, scale, deviation = arrays.values()
            bounds = _read_bounds(document.get("bounds"), len(exponent))
            found = cls(str(document["transform"]), exponent, center, scale, deviation, own, *bounds, strange)
            shapes = {a.shape for a in (found.center, found.scale, found.deviation, own)}
            series, channels = found.center.shape
            sound = len(shapes) == 1
            sound &= all(0 <= s < series and 0 <= c < channels and np.isfinite(v) for s, c, v in strange)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"the scaling in the checkpoint is damaged: {error}") from error
        sound = sound and all(bool(np.isfinite(values).all()) for values in arrays.values())
        sound = sound and found.transform in TRANSFORMS and bool((found.scale > 0.0).all())
        if not sound or found.exponent.shape != (found.center.shape[1],):
            raise RunError("the scaling in the checkpoint is damaged: its parts do not fit each other")
        return found


def _read_bounds(found: Any, channels: int) -> tuple[Floats, Floats]:
    """Lower and upper bounds, each (C,), from lists with null for none."""
    ends = found or [[None] * channels] * 2
    lower, upper = (np.array([np.nan if v is None else float(v) for v in end]) for end in ends)
    if lower.shape != (channels,) or upper.shape != (channels,):
        raise ValueError("its bounds do not fit")
    return np.nan_to_num(lower, nan=-np.inf), np.nan_to_num(upper, nan=np.inf)


def _bounds(panel: Panel, train: list[Floats], lower: Bound, upper: Bound) -> tuple[Floats, Floats]:
    """Of each channel, as stated; else 0 below whole numbers none of which is negative."""
    channels = panel.values.shape[1]
    ends = np.full(channels, -np.inf), np.full(channels, np.inf)
    for end, stated, sign, word in zip(ends, (lower, upper), (1.0, -1.0), ("lower", "upper"), strict=True):
        if isinstance(stated, (int, float)):
            end[:] = stated
            beyond = np.argwhere(sign * panel.values < sign * stated)
            if len(beyond):
                position, channel = (int(k) for k in beyond[0])
                raise DataError(
                    f"{panel.targets[channel]} has {panel.values[position, channel]:g} "
                    f"({_place(panel, position)}), beyond forecast.{word} {stated:g}",
                    f"correct the value there, or forecast.{word}",
                )
    if lower is None:
        counts = [all(are_counts(values[:, c]) for values in train) for c in range(channels)]
        ends[0][np.array(counts)] = 0.0
    return ends


def are_counts(values: Floats) -> bool:
    """Whether all that is observed are whole numbers, none below 0."""
    seen = values[~np.isnan(values)]
    return bool((seen >= 0.0).all() and (seen == np.round(seen)).all())


def check_counts(panel: Panel) -> None:
    """DataError: a value has no likelihood under a distribution of counts."""
    with np.errstate(invalid="ignore"):
        bad = np.argwhere(
            (panel.values < 0.0) | (panel.values != np.round(panel.values)) & ~np.isnan(panel.values)
        )
    if len(bad):
        position, channel = (int(k) for k in bad[0])
        raise DataError(
            f"forecast.loss negative-binomial is for counts; {panel.targets[channel]} has "
            f"{panel.values[position, channel]:g} ({_place(panel, position)})",
            "use forecast.loss: quantile or student-t, or correct the value",
        )


def _strange(panel: Panel, train: list[Floats]) -> tuple[Outlier, ...]:
    """The outliers of the training part, with a notice that names the first."""
    found: list[Outlier] = []
    named = []
    for s, values in enumerate(train):
        for step, c in np.argwhere(outliers(values)).tolist():
            found.append((s, c, float(values[step, c])))
            where = _place(panel, int(panel.offsets[s]) + step)
            middle = float(np.nanmedian(values[:, c]))
            named.append(f"{panel.targets[c]} has {values[step, c]:g} ({where}; its median is {middle:g})")
    if found:
        notice(
            f"{_listed(named[:NAMED], len(named))}: 30 times as far from the median as 99% of the series is, "
            "so it sets no scale, and is read as missing"
        )
    return tuple(dict.fromkeys(found))


def _listed(named: list[str], count: int) -> str:
    return "; ".join(named) + (f" and {count - len(named):,} more" if count > len(named) else "")


def _name(panel: Panel, series: int, channel: int) -> str:
    parts = (panel.names[series], panel.targets[channel] if len(panel.targets) > 1 else "")
    return " ".join(part for part in parts if part) or panel.targets[channel]


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
    step = position - int(panel.offsets[series])
    where = f"step {step + 1}"
    if panel.grid is not None and panel.grid.timed:
        where += f", {panel.grid.labels([int(panel.starts[series]) + step])[0]}"
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
