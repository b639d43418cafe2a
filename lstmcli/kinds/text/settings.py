"""The config of a text whose next symbol is learned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lstmcli.config.data import Files, known_encoding
from lstmcli.config.schema import Config, Evaluation, Model, Train
from lstmcli.config.section import PositiveInt, Probability

READING = ("encoding", "newlines", "normalize")
"""How bytes become characters."""


class TextSource(Files):
    """A text, and how it becomes symbols: give one of `path`, `url` or `source`."""

    kind: Literal["text"] = "text"
    val_path: str | list[str] | None = None
    """Separate validation text; `splits` then leaves the training text whole."""
    test_path: str | list[str] | None = None
    """Separate test text."""
    source: Literal["python-stdlib", "python-packages"] | None = None
    """A built-in text: the source of the running Python's standard library, in a fixed order; or a built-in
    table with a label: lines of that source and the package that each comes from."""
    level: Literal["characters", "bytes"] = "characters"
    """What a symbol is: a Unicode character, or a raw byte (then anything at all can be read)."""
    encoding: str | None = None
    """The encoding of the files, as Python's codecs name it, such as utf-16; null: UTF-8."""
    newlines: Literal["keep", "unix"] = "keep"
    """Line ends as they are (CRLF is two symbols), or each one line feed."""
    normalize: Literal["none", "NFC", "NFD", "NFKC", "NFKD"] = "none"
    """Unicode's normal form that the text (and every prompt) is brought into."""
    separator: str | None = None
    """What stands between two files; null: a line feed where the first does not end with a line end."""
    min_count: PositiveInt = 1
    """Characters rarer than this in the training text become the unknown symbol, which then learns
    what an unseen character is like."""

    _known = field_validator("encoding")(known_encoding)

    @model_validator(mode="after")
    def _consistent(self) -> TextSource:
        if self.source == "python-packages":
            raise ValueError("source: python-packages needs a label, such as label: package")
        defaults = {name: type(self).model_fields[name].default for name in READING}
        given = [name for name in READING if getattr(self, name) != defaults[name]]
        if given and self.level == "bytes":
            raise ValueError(f"{given[0]} has no place beside level: bytes, which reads files as they are")
        return self


class LanguageModel(Model):
    """Embedding, a stack of recurrent layers, and a head that tells the next symbol."""

    input_dropout: Probability = 0.0
    """`dropout` for what the first layer reads."""
    embedding_dropout: Probability = 0.0
    """Share of the vocabulary's symbols whose embedding is zeroed for a window (Gal and Ghahramani
    2016)."""
    mixtures: Annotated[int, Field(ge=1, le=64)] = 1
    """Softmaxes that the head mixes (mixture of softmaxes; Yang et al. 2018); 1: a plain head."""
    tie_weights: bool = False
    """Let the head share the embedding's matrix; needs `embedding_size` equal to `hidden_size`."""

    @model_validator(mode="after")
    def _tied(self) -> LanguageModel:
        width = self.embedding_size or self.sizes[0]
        if self.tie_weights and self.mixtures == 1 and width != self.sizes[-1]:
            raise ValueError("tie_weights needs embedding_size equal to hidden_size (or null)")
        return self


class TextTrain(Train):
    """How the model learns. The first budget that is used up ends the run."""

    sequence_length: PositiveInt = 128
    """The truncated-BPTT window: symbols per stream and step."""
    state_reset: Probability = 0.0
    """Chance, per stream and window, that the carried state starts again from zero: prepares a model
    for text without context."""
    sequence_jitter: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    """How far a window's length may stray from `sequence_length`, as a share of it, so that other
    symbols lie at the borders of backpropagation each time; the learning rate of a step is scaled with its
    length (Merity et al. 2018)."""
    activation_penalty: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the mean square of the last layer's outputs (activation regularisation; Merity et
    al. 2017)."""
    temporal_penalty: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the mean square of their change from step to step (temporal activation
    regularisation; likewise)."""
    label_smoothing: Probability = 0.0
    """Share of the target that is spread over all symbols (Szegedy et al. 2016)."""


class TextEvaluation(Evaluation):
    """Validation while training."""

    protocol: Literal["stateful", "windows"] = "windows"
    """`windows`: zero state at the start of each window of 256; `stateful`: state carried through."""
    max_tokens: PositiveInt | None = None
    """Evaluate on the first so many symbols of the split; null: all of it."""
    sample_length: Annotated[int, Field(ge=0)] = 200
    """Symbols of sample text written at each evaluation; 0: none."""
    sample_temperature: Annotated[float, Field(ge=0.0)] = 0.8
    """Temperature of that sample."""


class TextConfig(Config):
    """A language model of symbols."""

    learned = "text"
    called = "text"

    data: TextSource
    model: LanguageModel = LanguageModel()
    train: TextTrain = TextTrain()
    evaluation: TextEvaluation = TextEvaluation()

    @property
    def window(self) -> int:
        return self.train.sequence_length
