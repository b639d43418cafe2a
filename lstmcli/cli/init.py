"""lstm init: a config that fits a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from lstmcli.core.errors import ConfigError, DataError, LstmError, ResourceError, UsageError
from lstmcli.core.output import print_line
from lstmcli.core.yaml_words import quoted

if TYPE_CHECKING:
    from lstmcli.kinds.files.reading import Form

TABLES = (".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
SHEETS = (".xlsx", ".xls", ".ods")
REHEARSED = 50_000_000
"""Bytes of a text up to which all of it is prepared as training would."""
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
    horizon: Annotated[
        int | None, typer.Option("--horizon", min=1, help="Tables: steps to forecast; default by the unit.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.05, help="What training may take; default by size.")
    ] = None,
) -> None:
    """Write a config that fits a text, or a table of time series (CSV, TSV, Parquet).

    \b
    Examples:
      lstm init novel.txt
      lstm init novel.txt -o configs/novel.yaml
      lstm init sales.csv --horizon 28 --minutes 5
      lstm init --recipe co2
    """
    if (file is None) == (recipe is None):
        raise UsageError("give a FILE to write a config for, or --recipe NAME", "lstm init sales.csv")
    if file is None:
        if horizon is not None or minutes is not None:
            raise UsageError("--horizon and --minutes go with a FILE: a recipe is copied as it is")
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
    if _is_table(file):
        from lstmcli.kinds.series.proposal import series_config

        _write(target, series_config(file, horizon, minutes))
        return
    if horizon is not None:
        raise UsageError(f"--horizon is for tables, and {file} is read as text")
    _write(target, propose(file, minutes))


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
    print_line(f"wrote {target}\nnext: lstm train {quote(str(target))}")


def _is_table(file: Path) -> bool:
    """By its name; a packed table (.csv.gz) is a table, and its reader says what to do with it."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return bool(suffixes) and (
        suffixes[-1] in TABLES
        or (suffixes[-1] in PACKED and suffixes[-2:-1] != [] and suffixes[-2] in TABLES)
    )


def propose(file: Path, minutes: float | None = None) -> str:
    """A config for the text, sized by how much there is to learn from."""
    size = file.stat().st_size
    found = _look(file)
    symbols, vocabulary = found.symbols, found.distinct
    for said in found.told:
        print_line(said)
    embedding, hidden, layers, dropout = _sizes(symbols, vocabulary)
    streams, window = _window(symbols)
    minutes = minutes or (2 if symbols < 200_000 else 10)
    proposed = f"""\
# A character-level LSTM for {quoted(file.name)} ({size:,} bytes, {symbols:,} symbols).
# Written by `lstm init`; every setting is explained by `lstm validate --schema`.
data:
  path: {quoted(str(file.absolute() if str(file).startswith("~") else file))}
{found.setting}  splits: [0.9, 0.1]        # the last tenth measures how good the model is
model:
  cell: lstm
  embedding_size: {embedding}
  hidden_size: {hidden}
  num_layers: {layers}
  dropout: {dropout}             # more for a small text, less for a large one
train:
  batch_size: {streams}            # streams read side by side
  sequence_length: {window}       # symbols that a gradient reaches back
  max_minutes: {minutes:g}            # or max_epochs, max_steps
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
    if size < REHEARSED:
        _rehearse(proposed, file)
    return proposed


def _rehearse(proposed: str, file: Path) -> None:
    """See that `lstm train` takes what is proposed. DataError: nothing can be learned from the text."""
    import tempfile

    from lstmcli.config.load import parse_config
    from lstmcli.config.yaml_reader import read_yaml
    from lstmcli.kinds.text.batches import StreamBatches
    from lstmcli.kinds.text.settings import TextConfig
    from lstmcli.kinds.text.source import prepare_text

    document = read_yaml(proposed).value
    document["data"]["path"] = str(file.absolute())
    with tempfile.TemporaryDirectory() as folder:
        config = parse_config(document, "the proposal")
        assert isinstance(config, TextConfig)
        train = config.train
        try:
            data = prepare_text(config.data.model_copy(update={"cache": folder}))
            StreamBatches(data.train, train.batch_size, train.sequence_length, config.seed)
        except LstmError as error:
            raise DataError(
                f"{file}: no model can learn from this text: {error.message}", error.hint
            ) from None


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
    return streams, max(1, min(window, int(0.9 * size) // streams - 1))


@dataclass(frozen=True)
class _Look:
    """What a text is."""

    symbols: int
    distinct: int  # in its beginning
    setting: str  # of `data`, as lines of the config
    told: list[str]


def _look(file: Path) -> _Look:
    """Read the text through: as UTF-8, then in the encoding it seems to have, then as bytes.

    DataError: it is empty, or compressed.
    """
    from lstmcli.kinds.files.encodings import SAMPLE_BYTES, compression, recognise
    from lstmcli.kinds.files.reading import Form

    with file.open("rb") as opened:
        beginning = opened.read(SAMPLE_BYTES)
    if packed := compression(beginning):
        raise DataError(
            f"{file} is compressed by {packed[0]}, no text",
            f"unpack it first: {packed[1]} {quote(str(file))}",
        )
    try:
        return _read(file, Form(), "", [])
    except DataError as error:
        problem = error
    likely = recognise(beginning)
    if likely is not None:
        said = [
            f"{file} is not UTF-8; it seems to be {likely.encoding.upper()}, where it begins "
            f"{likely.beginning!r}: if that is wrong, change data.encoding"
        ]
        setting = f"  encoding: {likely.encoding:<17} # what it seems to be; null is UTF-8\n"
        try:
            return _read(file, Form(encoding=likely.encoding), setting, said)
        except DataError as error:
            problem = error
    said = [
        str(problem),
        f"it is proposed to be learned byte by byte (level: bytes): {file} as it is, undecoded",
    ]
    setting = "  level: bytes              # the file is no text in an encoding that was recognised\n"
    return _Look(file.stat().st_size, 256, setting, said)


def _read(file: Path, form: Form, setting: str, told: list[str]) -> _Look:
    from lstmcli.kinds.files.reading import Seen, read_pieces
    from lstmcli.kinds.text.source import line_ends

    seen = Seen()
    symbols, distinct = 0, set[str]()
    for piece in read_pieces(file, form, seen=seen):
        if symbols < BEGINNING:
            distinct.update(str(piece))
        symbols += len(piece)
    if seen.crlf or seen.cr:
        told = [*told, f"{file} has {line_ends(seen.crlf, seen.cr)}: data.newlines makes each one line feed"]
        setting += (
            "  newlines: unix            # each line end is one line feed; keep leaves them as they are\n"
        )
    return _Look(symbols, len(distinct), setting, told)
