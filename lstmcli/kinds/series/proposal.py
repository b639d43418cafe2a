"""`lstm init` for a table: the config that fits it, as YAML with an explanation on each line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstmcli.core.yaml_words import as_json, quoted
from lstmcli.kinds.series.propose import Proposal, propose_series
from lstmcli.kinds.series.signs import Signs, as_words

STEPS_A_MINUTE = 1200
"""Updates that two cores make of members as small as these, with much to spare."""
FEWEST_STEPS, EVALUATIONS = 400, 16
MOST_EPOCHS = 40.0
"""Of each member: more passes over a small table teach nothing."""


def series_config(
    file: Path, horizon: int | None = None, minutes: float | None = None, test: int | None = None
) -> str:
    """A config for the series in the table.

    Args:
        horizon: steps to forecast; None: by the unit of the frequency.
        minutes: what training may take at most; None: by the size of the table.
        test: steps at the end of each series that are the test (0: none); None: as the size allows.

    Raises:
        DataError, UsageError: the table cannot be read, or not as series.
    """
    found = propose_series(file, horizon, test)
    lines = [*_head(file, found), *_data(file, found), *_forecast(found), *_training(found, minutes)]
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Member:
    """A line of the portfolio, and why it is there."""

    settings: dict[str, Any]
    why: str

    def __str__(self) -> str:
        return _said(f"    - {{{', '.join(f'{k}: {v}' for k, v in self.settings.items())}}}", self.why, 68)


def _said(text: str, why: str, width: int = 28) -> str:
    """A line of YAML and its explanation."""
    return f"{text.ljust(width)} # {why}"


def _head(file: Path, found: Proposal) -> list[str]:
    several = f"{found.series:,} series of about" if found.series > 1 else "one series of"
    lines = [
        f"# LSTMs that forecast {quoted(file.name)} ({several} {found.steps:,} steps).",
        "# Written by `lstm init`; every setting is explained by `lstm validate --schema`.",
        "# Look at the columns: `known` are those you know ahead, `past` those you do not.",
        *(f"# {name}: {text}" for name, text in as_words(found.signs).items()),
    ]
    return [*lines, *([f"# Not read: {as_json(found.left_out)}"] if found.left_out else [])]


def _data(file: Path, found: Proposal) -> list[str]:
    lines = [
        "data:",
        "  kind: series",
        f"  path: {quoted(str(file.absolute() if str(file).startswith('~') else file))}",
        *(f"  {name}: {as_json(value)}" for name, value in found.columns.items()),
        _said(f"  context_length: {found.context}", "steps that are read before a forecast"),
        _said(f"  horizon: {found.horizon}", "steps that are forecast"),
    ]
    if found.splits:
        lines.append("  splits: [0.7, 0.1, 0.2]   # shares of each series: training, validation, test")
    else:
        lines.append(_said(f"  val_length: {found.val_length}", "steps that choose among the members"))
        if found.test:
            lines.append(
                _said(f"  test_length: {found.test}", "the last steps of each series, for `lstm eval`")
            )
    if found.calibration:
        why = "training steps that only calibrate intervals"
        lines.append(_said(f"  calibration_length: {found.calibration}", why))
    return lines


def _forecast(found: Proposal) -> list[str]:
    signs = found.signs
    lines = [
        "forecast:",
        _said(f"  transform: {signs.transform}", _why_transform(signs)),
        _said(f"  normalization: {normalization_of(signs)}", _why_normalization(signs)),
        *_season_line(signs),
        _said(f"  patch_length: {found.patch}", "steps that make one input of the recurrence"),
        _said("  loss: quantile", "learns the quantiles themselves"),
        "  quantiles: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]",
        _said("  calendar: true", "hour, weekday, day of year, ...: those that vary at this frequency")
        if found.timed
        else "",
        _said("  whole_numbers: true", "the values are counts, so what is forecast is one")
        if signs.counts
        else "",
        _said("  members: auto", "these take turns; validation stops the poor ones and blends the best"),
        "  portfolio:",
        *(str(member) for member in portfolio_of(found)),
    ]
    return [line for line in lines if line]


def normalization_of(signs: Signs) -> str:
    """What is subtracted or divided by."""
    if signs.counts:
        return "mean-abs"
    return "seasonal" if signs.season is not None else "last"


def _season_line(signs: Signs) -> list[str]:
    if signs.counts or signs.season is None:
        return []
    return [_said(f"  season: {signs.season.steps}", "steps of the season that is subtracted")]


def _why_transform(signs: Signs) -> str:
    if signs.transform == "none":
        return "values of one order of magnitude, or below zero, or counts"
    return f"values span {signs.spread:.1f} orders of magnitude"


def _why_normalization(signs: Signs) -> str:
    if signs.counts:
        return "counts are divided by their mean"
    if signs.season is not None:
        return f"the last season has {signs.season.ratio:.2f} times the error of the last value"
    return "no season beats the last value at the horizon"


def portfolio_of(found: Proposal) -> list[_Member]:
    """Members that differ where it matters: in what is subtracted, how far they look back, the scale, the
    decoder, the width and the cell. The first is what the sections say."""
    if found.signs.counts:
        return _for_counts(found)
    signs, context = found.signs, found.context
    season = signs.season.steps if signs.season else None
    hidden = 2 * _series_sizes(found.cells)[0]
    longer = _whole(min(3 * context, 2 * found.longest // 3), found.patch)
    other = "none" if signs.transform != "none" else "log" if signs.positive else "none"
    members = [
        _Member({"dropout": 0.1}, "as it stands above"),
        _Member({"normalization": "none"}, "nothing is subtracted: a level that comes back"),
    ]
    if longer > context:
        members.append(_Member({"context_length": longer}, "a longer memory"))
        settings = {"normalization": "none", "context_length": longer} | _if_other(signs, other)
        members.append(_Member(settings, "a longer memory, on another scale"))
    for another in signs.seasons:
        if another.steps != season and 2 * another.steps <= found.longest and another.ratio < 1.1:
            long = _whole(max(context, 2 * another.steps), found.patch)
            settings = {"normalization": "seasonal", "season": another.steps, "context_length": long}
            members.append(_Member(settings, "another season is subtracted"))
    settings = {"decoder": "segments", "hidden_size": hidden} | _if_other(signs, other)
    members.append(_Member(settings, "a step for each part of the horizon; wider"))
    if season:
        members.append(_Member({"normalization": "last"}, "the last value is subtracted"))
    members.append(
        _Member({"normalization": "standard", "cell": "gru"}, "zero mean, unit deviation; another cell")
    )
    return members


def _if_other(signs: Signs, transform: str) -> dict[str, Any]:
    return {} if transform == signs.transform else {"transform": transform}


def _for_counts(found: Proposal) -> list[_Member]:
    longer = _whole(2 * found.context, found.patch)
    hidden = 2 * _series_sizes(found.cells)[0]
    counts = {"loss": "negative-binomial"}
    members = [
        _Member({"dropout": 0.2}, "as it stands above"),
        _Member(counts, "a distribution of counts, from the values as they are"),
        _Member(counts | {"cell": "gru"}, "the same with another cell"),
        _Member(counts | {"hidden_size": hidden, "dropout": 0.3}, "the same, wider"),
        _Member(counts | {"patch_length": 1}, "the same, step by step"),
        _Member({"transform": "log1p", "normalization": "standard"}, "large counts less large"),
    ]
    if longer <= found.longest:
        members.append(_Member(counts | {"context_length": longer}, "a longer memory"))
    return members


def _whole(length: int, patch: int) -> int:
    """A whole number of patches."""
    return max(patch, length // patch * patch)


def _training(found: Proposal, minutes: float | None) -> list[str]:
    hidden, batch, usual = _series_sizes(found.cells)
    members = len(portfolio_of(found))
    steps = (minutes or usual) * STEPS_A_MINUTE
    windows = max(1, found.cells - found.series * (found.horizon + found.val_length))
    steps = min(steps, max(FEWEST_STEPS, members * MOST_EPOCHS * windows / batch))
    every = max(10, round(steps / EVALUATIONS / 10) * 10)
    whole = every * math.ceil(steps / every)
    stride = max(1, found.val_windows // 1000)
    return [
        "model:",
        f"  hidden_size: {hidden}",
        "  num_layers: 1",
        "  dropout: 0.1",
        "train:",
        _said(f"  batch_size: {batch}", "windows"),
        _said(f"  max_steps: {whole}", "of all members together"),
        _said(f"  max_minutes: {minutes or usual:g}", "at most; with steps alone a run can be made again"),
        _said("  refit: true", "half of the steps: what was chosen learns from all data"),
        "  learning_rate: 0.002",
        _said("  schedule: constant", "each member's rate falls by its own steps"),
        _said("  average: 0.99", "of the weights, which is better than any of them"),
        "evaluation:",
        f"  every: {every}",
        *([_said(f"  stride: {stride}", "from one origin to the next")] if stride > 1 else []),
        "  max_windows: 2000         # while training; `lstm eval` takes all",
    ]


def _series_sizes(cells: int) -> tuple[int, int, float]:
    """Hidden units, windows per batch and minutes for so many observed values."""
    if cells < 5_000:
        return 64, 32, 2
    if cells < 200_000:
        return 96, 64, 3
    return 128, 128, 4
