"""Settings of the data: a text, time series, labelled sequences, or a synthetic task."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lstmcli.config.kinds import incomplete_synthetic, misplaced, misplaced_label
from lstmcli.config.section import PositiveInt, Section

MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NaT", "null", "NULL", "None", "nil", "?",
    "-", "--", "#VALUE!", "#DIV/0!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
)  # fmt: skip
"""What spreadsheets, databases and statistics' programs write where there is no value."""


class Data(Section):
    """Where the data come from: a text and how it becomes symbols, or a table of time series and what
    its columns mean (give one of `path`, `url` or `source`), or a task that makes its own sequences."""

    kind: Literal["text", "series", "synthetic"] = "text"
    """What the data are: a text, time series in a table (CSV or Parquet), or sequences made by `task`.
    With a `label` whole texts or series are classified."""
    path: str | list[str] | None = None
    """A file, a glob pattern, or a list of either; several are joined in order."""
    val_path: str | list[str] | None = None
    """text: separate validation text; `splits` then leaves the training text whole."""
    test_path: str | list[str] | None = None
    """Separate test text; series: a table whose rows continue the series of `path`."""
    url: str | None = None
    """An https address, downloaded once into `cache`; needs `sha256`."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Checksum of what `url` gives (of `path`, too, if there is one)."""
    source: Literal["python-stdlib", "python-packages"] | None = None
    """A built-in text: the source of the running Python's standard library, in a fixed order; or a built-in
    table with a label: lines of that source and the package that each comes from."""
    cache: str = "data/cache"
    """Folder for downloads and prepared ids."""
    splits: list[Annotated[float, Field(ge=0.0)]] = Field(default=[0.9, 0.1], min_length=1, max_length=3)
    """Shares of training, validation and test: contiguous, in file order. series: of the steps of each
    series; whole numbers above 1 are counts of steps, such as [8640, 2880, 2880]."""
    level: Literal["characters", "bytes"] = "characters"
    """What a symbol is: a Unicode character, or a raw byte (then anything at all can be read)."""
    encoding: str | None = None
    """text, series: the encoding of the files, as Python's codecs name it, such as utf-16; null: UTF-8, and
    of tables what they seem to be."""
    newlines: Literal["keep", "unix"] = "keep"
    """text: line ends as they are (CRLF is two symbols), or each one line feed."""
    normalize: Literal["none", "NFC", "NFD", "NFKC", "NFKD"] = "none"
    """text: Unicode's normal form that the text (and every prompt) is brought into."""
    separator: str | None = None
    """text: what stands between two files; null: a line feed where the first does not end with a line end."""
    min_count: PositiveInt = 1
    """Characters rarer than this in the training text become the unknown symbol, which then learns
    what an unseen character is like."""
    layout: Literal["auto", "long", "wide", "rows"] = "auto"
    """series: `long`: one row per time and group; `wide`: one row per time, a column per series;
    `rows`: one series per row, without times (as in M4); auto: rows if there is no `time`, long if
    there is a `group`, else wide."""
    time: str | list[str] | None = None
    """series: the column of times (dates, timestamps or whole numbers), or several that make a time,
    such as [year, month, day, hour]. Timestamps with an offset are read as UTC."""
    dayfirst: bool | None = None
    """series: whether 01/02/2020 is the first of February; null: found from all times of the column, and an
    error where both would fit."""
    target: str | list[str] | None = None
    """series: the columns to forecast; null: every numeric column that has no other part."""
    group: str | list[str] | None = None
    """series: the column that names the series (layouts long and rows), or several that do so together,
    such as [store, item]."""
    frequency: str | None = None
    """series: the step between times, such as 15m, 1h, 1d, 1w, 1mo, 1q, 1y or 1i (whole numbers);
    1b is Monday to Friday, `1d mon-sat` or `1h mon-fri 09:00-16:00` other weeks with gaps (the first and the
    last step of a day); null: found from the times. Layout rows: what a step is (1h for M4), if known."""
    season: PositiveInt | None = None
    """series: steps of the main season (24 for hours, 12 for months), for the seasonal baselines and
    MASE; null: by the frequency."""
    known: list[str] = Field(default=[])
    """series: columns known ahead, such as prices or holidays; the future part of them is needed to
    forecast."""
    past: list[str] = Field(default=[])
    """series: further numeric columns that are seen up to the forecast's origin."""
    static: list[str] = Field(default=[])
    """series: columns that are constant within a group; numbers, or text taken as categories."""
    header: bool | None = None
    """series: whether the first row has names of columns; null: found. Without one they are column1, ..."""
    decimal: Literal[".", ","] | None = None
    """series: the decimal mark of a CSV; null: found from all numbers, and an error where both would fit."""
    thousands: Literal[".", ",", " ", "'"] | None = None
    """series: what stands between thousands; null: found, too."""
    missing: list[str] = Field(default=[*MISSING])
    """series: texts that stand for a missing value."""
    context_length: PositiveInt = 96
    """series: steps that the model reads before a forecast."""
    horizon: PositiveInt = 24
    """series: steps that are forecast at once."""
    val_length: PositiveInt | None = None
    """series: instead of `splits`: the last so many steps of each series, before the test's, are
    validation."""
    test_length: PositiveInt | None = None
    """series: instead of `splits`: the last so many steps of each series are test."""
    calibration_length: PositiveInt | None = None
    """series: the last so many steps of the training part that nothing is learned from and nothing chosen
    on: the intervals of forecasts are calibrated on them. null: on validation, which also chooses the
    weights."""
    task: Literal["adding", "copy", "parity", "recall", "dyck", "anbn", "sine", "sawtooth"] | None = None
    """synthetic: what is to be learned (docs/sequences.md has each task, its source and when it is
    solved)."""
    length: PositiveInt = 100
    """synthetic: how hard it is. adding, parity, dyck, sine, sawtooth: steps of a sequence; copy: blanks
    to wait for; recall: symbols between the key and the question; anbn: n is at most this."""
    symbols: Annotated[int, Field(ge=2, le=1000)] | None = None
    """synthetic: symbols to copy or recall, kinds of brackets; null: 8 for copy and recall, 2 for dyck."""
    train_length: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    """synthetic: train on lengths from this range, one drawn per batch; null: `length`.
    Evaluation is at `length`."""
    label: str | None = None
    """text, series: the column of classes. Each row's text, or each group's series, is a sequence, and
    its class is learned; `splits` are then random shares of each class."""
    text: str = "text"
    """text with a label: the column of texts."""
    max_length: PositiveInt | None = None
    """With a label: only the last so many symbols or steps of a sequence are read; null: all."""

    @property
    def learned(self) -> Literal["text", "series", "synthetic", "labelled"]:
        """What is learned from the data: the next symbol, forecasts, a task, or the classes of a column."""
        return "labelled" if self.label is not None else self.kind

    @model_validator(mode="after")
    def _fits_kind(self) -> Data:
        fields = type(self).model_fields
        given = [n for n, f in fields.items() if getattr(self, n) != f.get_default(call_default_factory=True)]
        wrong = misplaced(self.kind, given, list(fields)) or misplaced_label(
            self.kind, {name: getattr(self, name) for name in (*given, "label", "level", "source", "group")}
        )
        if wrong is None and self.kind == "synthetic":
            wrong = incomplete_synthetic(self.task, given)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                " ".encode(name)
                codecs.getincrementaldecoder(name)
            except (LookupError, ValueError):
                raise ValueError("there is no such text encoding; such as utf-16, gb18030, cp1252") from None
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        if self.train_length is not None and self.train_length[0] > self.train_length[1]:
            raise ValueError("train_length must rise, such as [10, 50]")
        given = [name for name in ("path", "url", "source") if getattr(self, name) is not None]
        if len(given) != 1 and self.kind != "synthetic":
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give exactly one of path, url and source; found {found}")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of the file it points to")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("the url must begin with https://")
        counts = self.kind == "series" and self.label is None and max(self.splits) > 1.0
        if counts and any(not share.is_integer() for share in self.splits):
            raise ValueError("splits must be shares that add up to 1, or whole numbers of steps")
        if self.splits[0] <= 0.0 or not (counts or sum(self.splits) <= 1.0 + 1e-9):
            raise ValueError("splits must begin above 0 and add up to at most 1, such as [0.9, 0.1]")
        return self
