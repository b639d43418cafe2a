"""What the axes of a forecaster's tensors stand for, so that its weights find their place in a model of
another table: channels, series, categories and covariates by name, steps by their number.

The order of the labels is that in which `SeriesNetwork` reads and writes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from lstmcli.kinds.series.settings import SeriesConfig
from lstmcli.run.inherit import UNKNOWN, Axis, Meanings

Labels = list[Hashable]


def series_meanings(config: SeriesConfig, document: dict[str, Any]) -> Meanings:
    """By tensor, for every member; `document` is a checkpoint's series.json."""
    members = config.forecast.members
    if not isinstance(members, int):  # a portfolio, whose members differ
        return {}
    found = _of_network(config, document)
    return {f"members.{k}.{name}": axes for k in range(members) for name, axes in found.items()}


def _of_network(config: SeriesConfig, document: dict[str, Any]) -> dict[str, tuple[Axis | None, ...]]:
    settings, meta, shape = config.forecast, document["meta"], document["shape"]
    joint = settings.channels == "joint"
    channels: Labels = list(meta["targets"]) if joint else ["value"]
    identity = _identity(config, meta)
    future: Labels = [*_calendar(config, meta, shape), *(("known", c["name"]) for c in meta["known"])]
    read = _read_per_step(config, meta, shape, channels, future)
    steps = range(settings.patch_length)
    found: dict[str, tuple[Axis | None, ...]] = {
        "embed.weight": (None, Axis([*((s, *_flat(f)) for s in steps for f in read), *identity])),
        "channel.weight": (Axis([("channel", c) for c in meta["targets"]], "channels", "mean"), None),
        "series.weight": (_series(meta), None),
    }
    written = range(config.data.horizon if settings.decoder == "direct" else settings.patch_length)
    numbers = _numbers(config)
    out = Axis([(s, "channel", c, *n) for s in written for c in channels for n in numbers])
    hidden: Labels = [("unit", k) for k in range(config.model.sizes[-1])]
    if settings.decoder == "direct":
        ahead: Labels = [(s, *_flat(f)) for s in written for f in future]
        hidden += [*ahead, *(identity if future else [])]
        found["out.weight"] = (out, Axis(hidden))
    else:
        found["out.weight"] = (out, None)
    found["out.bias"] = (out,)
    if settings.decoder == "segments":
        segments = -(-config.data.horizon // settings.patch_length)
        found["place"] = (Axis([("segment", k) for k in range(segments)]), None)
        found["place_from.weight"] = (
            None,
            Axis([*((s, *_flat(f)) for s in steps for f in future), *identity]),
        )
    return found


def _series(meta: dict[str, Any]) -> Axis:
    labels: Labels = [("series", name) for name in meta["names"]]
    return Axis([*labels, ("series", UNKNOWN)], "series", "mean")


def _flat(label: Hashable) -> tuple[Hashable, ...]:
    return label if isinstance(label, tuple) else (label,)


def _read_per_step(
    config: SeriesConfig, meta: dict[str, Any], shape: dict[str, Any], channels: Labels, future: Labels
) -> Labels:
    """What is read of one step, in the order of `SeriesNetwork._features`."""
    read: Labels = [("value", c) for c in channels]
    if shape["observed"]:
        read += [("observed", c) for c in channels]
    read += [("lag", lag, c) for lag in config.forecast.lags for c in channels]
    return [*read, *future, *(("past", column["name"]) for column in meta["past"])]


def _identity(config: SeriesConfig, meta: dict[str, Any]) -> Labels:
    """What tells a row from others, in the order of `SeriesNetwork._identity`."""
    settings = config.forecast
    found: Labels = []
    for column in meta["static"]:
        if column["kind"] == "number":
            found.append(("static", column["name"]))
        else:
            found += [("static", column["name"], category) for category in column["categories"]]
    found += [("of channel", k) for k in range(settings.channel_embedding)]
    return [*found, *(("of series", k) for k in range(settings.series_embedding))]


def _calendar(config: SeriesConfig, meta: dict[str, Any], shape: dict[str, Any]) -> Labels:
    """Features of the time: by name where they were named, else as this frequency has them."""
    wanted = config.forecast.calendar
    if isinstance(wanted, list):
        return [("calendar", name, part) for name in wanted for part in ("sine", "cosine")]
    return [("calendar", meta["frequency"], k) for k in range(shape["calendar"])]


def _numbers(config: SeriesConfig) -> list[tuple[Hashable, ...]]:
    """What the head's numbers for one value are."""
    from lstmcli.kinds.series.heads import find_head

    settings = config.forecast
    if settings.loss == "quantile":
        return [("quantile", level) for level in settings.quantiles]
    size = find_head(settings.loss, settings.quantiles).size
    return [("center" if k == 0 else settings.loss, k) for k in range(size)]
