"""The configs of whole sequences: classes of texts or of series, and tasks that make their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lstmcli.config.data import Data, Files
from lstmcli.config.schema import Config, Evaluation, Model
from lstmcli.config.section import PositiveInt
from lstmcli.kinds.series.settings import MISSING

TASKS_WITH_SYMBOLS = ("copy", "recall", "dyck")


class LabelledTable(Files):
    """A table of sequences, each with a class. `splits` are random shares of each class."""

    label: str
    """The column of classes. Each row's text, or each group's series, is a sequence, and its class is
    learned; `splits` are then random shares of each class."""
    max_length: PositiveInt | None = None
    """Only the last so many symbols or steps of a sequence are read; null: all."""


class LabelledTexts(LabelledTable):
    """Texts with a class each: give one of `path`, `url` or `source`."""

    kind: Literal["text"] = "text"
    val_path: str | list[str] | None = None
    """A separate table for validation; `splits` then leaves the training table whole."""
    test_path: str | list[str] | None = None
    """A separate table for the test."""
    source: Literal["python-packages", "python-stdlib"] | None = None
    """A built-in table: lines of the running Python's standard library and the package that each comes
    from."""
    text: str = "text"
    """The column of texts."""
    min_count: PositiveInt = 1
    """Characters rarer than this in the training text become the unknown symbol, which then learns
    what an unseen character is like."""

    @model_validator(mode="after")
    def _labelled_source(self) -> LabelledTexts:
        if self.source == "python-stdlib":
            raise ValueError("source: python-stdlib has no label; python-packages has")
        return self


class LabelledSeries(LabelledTable):
    """Series with a class each, one under the other in a table: give one of `path` or `url`."""

    kind: Literal["series"] = "series"
    group: str | list[str] | None = None
    """The column that names the series."""
    time: str | list[str] | None = None
    """The column of times, by which a series is put in order; null: the order of the table."""
    target: str | list[str] | None = None
    """The columns to read; null: every numeric column that has no other part."""
    missing: list[str] = Field(default=[*MISSING])
    """Texts that stand for a missing value."""

    @model_validator(mode="after")
    def _grouped(self) -> LabelledSeries:
        if self.group is None:
            raise ValueError("a label of series needs a group, the column that names the series")
        return self


class SyntheticData(Data):
    """A task that makes its own sequences."""

    kind: Literal["synthetic"] = "synthetic"
    task: Literal["adding", "copy", "parity", "recall", "dyck", "anbn", "sine", "sawtooth"] | None = None
    """What is to be learned (docs/sequences.md has each task, its source and when it is
    solved)."""
    length: PositiveInt = 100
    """How hard it is. adding, parity, dyck, sine, sawtooth: steps of a sequence; copy: blanks
    to wait for; recall: symbols between the key and the question; anbn: n is at most this."""
    symbols: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Symbols to copy or recall, kinds of brackets; null: 8 for copy and recall, 2 for dyck."""
    train_length: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    """Train on lengths from this range, one drawn per batch; null: `length`.
    Evaluation is at `length`."""

    @model_validator(mode="after")
    def _complete(self) -> SyntheticData:
        if self.task is None:
            raise ValueError("kind: synthetic needs a task, such as task: adding")
        if self.symbols is not None and self.task not in TASKS_WITH_SYMBOLS:
            raise ValueError(
                f"symbols belongs to task: {' or '.join(TASKS_WITH_SYMBOLS)}, but the task is {self.task}"
            )
        if self.train_length is not None and self.train_length[0] > self.train_length[1]:
            raise ValueError("train_length must rise, such as [10, 50]")
        return self


class Classifier(Model):
    """Embedding, a stack of recurrent layers, and a head that tells the class."""

    pooling: Literal["last", "mean", "max"] = "last"
    """What the class is told from: the last step's output, or the mean or the largest of all steps."""


class LabelledEvaluation(Evaluation):
    """Validation while training."""

    max_windows: PositiveInt | None = None
    """Evaluate on at most so many sequences while training, evenly spread; null: all."""


class SyntheticEvaluation(Evaluation):
    """Validation while training."""

    max_windows: PositiveInt | None = None
    """How many sequences are made for an evaluation; null: 1,000."""


class LabelledConfig(Config):
    """A classifier."""

    learned = "labelled"
    marks = ("label",)

    data: LabelledTable
    model: Classifier = Classifier()
    evaluation: LabelledEvaluation = LabelledEvaluation()

    @property
    def window(self) -> int:
        return self.data.max_length or 128


class LabelledTextConfig(LabelledConfig):
    """A classifier of texts."""

    called = "text with a label"
    data: LabelledTexts


class LabelledSeriesConfig(LabelledConfig):
    """A classifier of series."""

    called = "series with a label"
    data: LabelledSeries


class SyntheticConfig(Config):
    """A model of a synthetic task."""

    learned = "synthetic"
    called = "synthetic"

    data: SyntheticData
    evaluation: SyntheticEvaluation = SyntheticEvaluation()

    @property
    def window(self) -> int:
        return self.data.length
