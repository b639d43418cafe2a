"""`lstm init` for a text: the config that fits it, by how much there is to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from lstmcli.core.errors import DataError, LstmError
from lstmcli.core.output import print_line
from lstmcli.core.yaml_words import quoted

if TYPE_CHECKING:
    from lstmcli.kinds.files.reading import Form

REHEARSED = 50_000_000
"""Bytes of a text up to which all of it is prepared as training would."""
SHORT = 4.0
"""Minutes below which one layer learns more than two."""
BEGINNING = 20_000_000
"""Symbols in which a text shows how many distinct ones it has."""


def propose_text(file: Path, minutes: float | None = None) -> str:
    """A config for the text, sized by how much there is to learn from."""
    size = file.stat().st_size
    found = _look(file)
    symbols, vocabulary = found.symbols, found.distinct
    for said in found.told:
        print_line(said)
    minutes = minutes or (2 if symbols < 200_000 else 10)
    embedding, hidden, layers, dropout = _sizes(symbols, vocabulary, minutes)
    streams, window = _window(symbols, minutes)
    passes, every = _passes(symbols), _every(symbols, streams * window)
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
  max_minutes: {minutes:g}            # at most
  max_epochs: {passes}            # more passes over so much text would learn it by heart
  early_stopping: 8         # evaluations in a row without a better one
  optimizer: Muon           # AdamW takes less time for a step and needs many more
  optimizer_options: {{ns_steps: 3, betas: [0.9, 0.99]}}
  learning_rate: 0.01       # for AdamW 0.004
  weight_decay: 0.1
  state_reset: 0.2          # often begin without context, as in evaluation
evaluation:
  every: {every}
checkpoint:
  every: {every}
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


def _sizes(symbols: int, vocabulary: int, minutes: float) -> tuple[int, int, int, float]:
    """Embedding, hidden units, layers and dropout: a text of 1 MB bears about a million parameters, and few
    minutes can train one layer of them.

    Counted in symbols, not in bytes: a Chinese text has a third as many. Its thousands of distinct ones want
    a wider embedding, and each is seen less often.
    """
    embedding = 64 if vocabulary < 1000 else 128
    if symbols < 60_000:
        return embedding, 128, 1, 0.3
    if symbols < 1_000_000:
        return embedding, 256, 1, 0.4 if symbols < 300_000 else 0.3
    if minutes < SHORT:
        return embedding, 512, 1, 0.1
    return embedding, 512, 2, 0.2 if symbols < 20_000_000 else 0.1


def _window(size: int, minutes: float) -> tuple[int, int]:
    """Streams and window such that a pass over the text takes some 100 steps or more; few streams where there
    is time for few passes, so that there are more steps."""
    streams, window = 64 if minutes >= SHORT else 32, 64
    while streams > 1 and 0.9 * size < 100 * streams * window:
        if window > 32:
            window //= 2
        else:
            streams //= 2
    return streams, max(1, min(window, int(0.9 * size) // streams - 1))


def _passes(symbols: int) -> int:
    """How often a text is read at most, the learning rate falling to nought by then."""
    return 15 if symbols < 300_000 else 20 if symbols < 1_000_000 else 30


def _every(symbols: int, at_once: int) -> int:
    """Steps between evaluations: about a pass, so that the best moment is not missed, and 250 at most."""
    return max(50, min(250, round(0.9 * symbols / at_once / 50) * 50))


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
