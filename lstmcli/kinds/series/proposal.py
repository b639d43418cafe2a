"""`lstm init` for a table: the config that fits it, as YAML with an explanation on each line."""

from __future__ import annotations

from pathlib import Path

from lstmcli.core.yaml_words import as_json, quoted
from lstmcli.kinds.series.propose import propose_series


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
    several = f"{found.series:,} series of about" if found.series > 1 else "one series of"
    hidden, batch, usual = _series_sizes(found.cells)
    normalization = "mean-abs" if found.positive and found.series > 1 else "last"
    columns = "".join(f"  {name}: {as_json(v)}\n" for name, v in found.columns.items())
    left = f"# Not read: {as_json(found.left_out)}\n" if found.left_out else ""
    split = "  splits: [0.7, 0.1, 0.2]   # shares of each series: training, validation, test\n"
    if not found.splits:
        held = found.horizon if test is None else test
        split = f"  val_length: {found.horizon:<12} # the steps of each series before the last ...\n"
        if held:
            split += f"  test_length: {held:<11} # ... which are the test\n"
    if found.calibration:
        split += (
            f"  calibration_length: {found.calibration:<4} # training steps that only calibrate intervals\n"
        )
    return f"""\
# An LSTM that forecasts {quoted(file.name)} ({several} {found.steps:,} steps).
# Written by `lstm init`; every setting is explained by `lstm validate --schema`.
# Look at the columns: `known` are those you know ahead, `past` those you do not.
{left}data:
  kind: series
  path: {quoted(str(file.absolute() if str(file).startswith("~") else file))}
{columns}  context_length: {found.context:<8} # steps that are read before a forecast
  horizon: {found.horizon:<15} # steps that are forecast
{split}forecast:
  normalization: {normalization:<9} # each window by its own context
  patch_length: {found.patch:<10} # steps that make one input of the recurrence
  loss: quantile
  quantiles: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
model:
  hidden_size: {hidden}
  num_layers: 1
  dropout: 0.1
train:
  batch_size: {batch}           # windows
  max_minutes: {minutes or usual:g}            # or max_epochs, max_steps
  learning_rate: 0.002
evaluation:
  every: 250
  max_windows: 2000         # while training; `lstm eval` takes all
checkpoint:
  every: 250
"""


def _series_sizes(cells: int) -> tuple[int, int, int]:
    """Hidden units, windows per batch and minutes for so many observed values."""
    if cells < 5_000:
        return 64, 32, 1
    if cells < 200_000:
        return 128, 64, 3
    return 256, 256, 10
