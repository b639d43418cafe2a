"""lstm init: a config that fits a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from lstmcli.cli.output import print_line
from lstmcli.core.errors import ConfigError, DataError, ResourceError, UsageError

TABLES = (".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
SHEETS = (".xlsx", ".xls", ".ods")
BEGINNING = 20_000_000
"""Symbols in which a text shows how many distinct ones it has."""


def command(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The text or table to learn.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; default NAME.yaml here.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Copy a shipped recipe instead, with its small series."
        ),
    ] = None,
) -> None:
    """Write a config that fits a text, or a table of time series (CSV, TSV, Parquet).

    \b
    Examples:
      lstm init novel.txt
      lstm init novel.txt -o configs/novel.yaml
      lstm init sales.csv
      lstm init --recipe co2
    """
    if (file is None) == (recipe is None):
        raise UsageError("give a FILE to write a config for, or --recipe NAME", "lstm init sales.csv")
    if file is None:
        _copy_recipe(str(recipe), output)
        return
    if file.suffix.lower() in SHEETS:
        raise UsageError(f"{file} is a spreadsheet", "export it as CSV (UTF-8)")
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty")
    target = output or Path(f"{file.stem}.yaml")
    _refuse_existing(target)
    _write(target, propose_table(file) if _is_table(file) else propose(file))


def _copy_recipe(name: str, output: Path | None) -> None:
    """The recipe as it is, and the small series that it names, where none is here of that name."""
    from lstmcli.config.recipes import recipe_names, shipped, suggestion

    if name not in recipe_names():
        raise ConfigError(f"there is no recipe {name!r}", suggestion(name))
    target = output or Path(f"{name}.yaml")
    _refuse_existing(target)
    text = (shipped() / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    for series in sorted((shipped() / "data").glob("*.csv")):
        place = Path("data", series.name)
        if re.search(rf"path: {re.escape(place.as_posix())}$", text, re.MULTILINE) and not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(series.read_bytes())
            print_line(f"wrote {place}")
    _write(target, text)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise UsageError(f"{target} is already there", "choose another name with --output")


def _write(target: Path, proposed: str) -> None:
    try:
        with target.open("x", encoding="utf-8") as opened:
            opened.write(proposed)
    except FileExistsError:
        raise UsageError(f"{target} is already there", "choose another name with --output") from None
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror}") from error
    print_line(f"wrote {target}\nnext: lstm train {target}")


def _is_table(file: Path) -> bool:
    """By its name; a packed table (.csv.gz) is a table, and its reader says what to do with it."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return bool(suffixes) and (
        suffixes[-1] in TABLES
        or (suffixes[-1] in PACKED and suffixes[-2:-1] != [] and suffixes[-2] in TABLES)
    )


def propose(file: Path) -> str:
    """A config for the text, sized by how much there is to learn from."""
    size = file.stat().st_size
    counted = _count(file)
    symbols, vocabulary = counted or (size, 256)
    embedding, hidden, layers, dropout = _sizes(symbols, vocabulary)
    streams, window = _window(symbols)
    level = "" if counted else "  level: bytes              # the file is not UTF-8 text\n"
    minutes = 2 if symbols < 200_000 else 10
    return f"""\
# A character-level LSTM for {_quoted(file.name)} ({size:,} bytes, {symbols:,} symbols).
# Written by `lstm init`; every setting is explained by `lstm validate --schema`.
data:
  path: {_quoted(str(file.absolute() if str(file).startswith("~") else file))}
{level}  splits: [0.9, 0.1]        # the last tenth measures how good the model is
model:
  cell: lstm
  embedding_size: {embedding}
  hidden_size: {hidden}
  num_layers: {layers}
  dropout: {dropout}             # more for a small text, less for a large one
train:
  batch_size: {streams}            # streams read side by side
  sequence_length: {window}       # symbols that a gradient reaches back
  max_minutes: {minutes}            # or max_epochs, max_steps
  optimizer: Muon           # AdamW takes less time for a step and needs many more
  optimizer_options: {{ns_steps: 3, betas: [0.9, 0.99]}}
  learning_rate: 0.01       # for AdamW 0.004
  weight_decay: 0.1
  state_reset: 0.2          # often begin without context, as in evaluation
evaluation:
  every: 250
checkpoint:
  every: 250
"""


def propose_table(file: Path) -> str:
    """A config for the series in the table. DataError, UsageError: it cannot be read, or not as series."""
    from lstmcli.kinds.series.propose import propose_series

    found = propose_series(file)
    several = f"{found.series:,} series of about" if found.series > 1 else "one series of"
    hidden, batch, minutes = _series_sizes(found.cells)
    normalization = "mean-abs" if found.positive and found.series > 1 else "last"
    columns = "".join(
        f"  {name}: {_escaped(json.dumps(v, ensure_ascii=False))}\n" for name, v in found.columns.items()
    )
    left = (
        f"# Not read: {_escaped(json.dumps(found.left_out, ensure_ascii=False))}\n" if found.left_out else ""
    )
    split = "  splits: [0.7, 0.1, 0.2]   # shares of each series: training, validation, test\n"
    if not found.splits:
        split = f"  val_length: {found.horizon:<12} # the steps of each series before the last ...\n"
        split += f"  test_length: {found.horizon:<11} # ... which are the test\n"
    return f"""\
# An LSTM that forecasts {_quoted(file.name)} ({several} {found.steps:,} steps).
# Written by `lstm init`; every setting is explained by `lstm validate --schema`.
# Look at the columns: `known` are those you know ahead, `past` those you do not.
{left}data:
  kind: series
  path: {_quoted(str(file.absolute() if str(file).startswith("~") else file))}
{columns}  context_length: {found.context:<8} # steps that are read before a forecast
  horizon: {found.horizon:<15} # steps that are forecast
{split}forecast:
  normalization: {normalization:<9} # each window by its own context
  patch_length: {found.patch:<10} # steps that make one input of the recurrence
  loss: quantile
  quantiles: [0.05, 0.5, 0.95]
model:
  hidden_size: {hidden}
  num_layers: 1
  dropout: 0.1
train:
  batch_size: {batch}           # windows
  max_minutes: {minutes}            # or max_epochs, max_steps
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


def _sizes(symbols: int, vocabulary: int) -> tuple[int, int, int, float]:
    """Embedding, hidden units, layers and dropout: a text of 1 MB bears about a million parameters.

    Counted in symbols, not in bytes: a Chinese text has a third as many. Its thousands of distinct ones want
    a wider embedding, and each is seen less often.
    """
    embedding = 64 if vocabulary < 1000 else 128
    if symbols < 100_000:
        return embedding, 128, 1, 0.2
    if symbols < 1_000_000:
        return embedding, 256, 1, 0.25
    return embedding, 512, 2, 0.2 if symbols < 20_000_000 else 0.1


def _window(size: int) -> tuple[int, int]:
    """Streams and window such that a pass over the text takes some 100 steps or more."""
    streams, window = 64, 64
    while streams > 1 and 0.9 * size < 100 * streams * window:
        if window > 32:
            window //= 2
        else:
            streams //= 2
    return streams, window


def _count(file: Path) -> tuple[int, int] | None:
    """Symbols of a UTF-8 text, and how many distinct ones its beginning has; None if it is no such text."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    symbols, distinct = 0, set[str]()
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                if b"\0" in chunk:
                    return None
                text = decoder.decode(chunk)
                if symbols < BEGINNING:
                    distinct.update(text)
                symbols += len(text)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return None
    return symbols, len(distinct)


def _quoted(text: str) -> str:
    """Text as YAML reads it back: plain where that is safe (`null` and `.5` are not text)."""
    if re.fullmatch(r"[A-Za-z_/][\w./-]*\.[A-Za-z]+", text):
        return text
    return _escaped(json.dumps(text, ensure_ascii=False))


def _escaped(text: str) -> str:
    """JSON as YAML may hold it: what is not printable, such as U+2028, would end the line there."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
