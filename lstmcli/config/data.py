"""Settings of the data that more than one kind has: what kind they are, and where their files lie."""

from __future__ import annotations

import codecs
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from lstmcli.config.section import Section


class Data(Section):
    """Where the data come from: a text and how it becomes symbols, or a table of time series and what
    its columns mean (give one of `path`, `url` or `source`), or a task that makes its own sequences."""

    kind: str = "text"
    """What the data are: a text, time series in a table (CSV or Parquet), or sequences made by `task`.
    With a `label` whole texts or series are classified."""


class Files(Data):
    """Data that lie in files."""

    counts: ClassVar[bool] = False
    """Whether `splits` may count steps, not only give shares."""

    path: str | list[str] | None = None
    """A file, a glob pattern, or a list of either; several are joined in order."""
    url: str | None = None
    """An https address, downloaded once into `cache`; needs `sha256`."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Checksum of what `url` gives (of `path`, too, if there is one)."""
    cache: str = "data/cache"
    """Folder for downloads and prepared ids."""
    splits: list[Annotated[float, Field(ge=0.0)]] = Field(default=[0.9, 0.1], min_length=1, max_length=3)
    """Shares of training, validation and test: contiguous, in file order; of series the steps of each
    series; whole numbers above 1 are counts of steps, such as [8640, 2880, 2880]."""

    @model_validator(mode="after")
    def _one_place(self) -> Files:
        origins = [name for name in ("path", "url", "source") if name in type(self).model_fields]
        given = [name for name in origins if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(
                f"give exactly one of {', '.join(origins[:-1])} and {origins[-1]}; found {found}"
            )
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of the file it points to")
        if self.url is not None and (problem := _url_problem(self.url)):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _parts(self) -> Files:
        counts = self.counts and max(self.splits) > 1.0
        if counts and any(not share.is_integer() for share in self.splits):
            raise ValueError("splits must be shares that add up to 1, or whole numbers of steps")
        if self.splits[0] <= 0.0 or not (counts or sum(self.splits) <= 1.0 + 1e-9):
            raise ValueError("splits must begin above 0 and add up to at most 1, such as [0.9, 0.1]")
        return self


def _url_problem(url: str) -> str | None:
    """Why an address cannot be downloaded from, or None."""
    if not url.startswith("https://"):
        return "the url must begin with https://"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"the url is no address: {error}"
    if not parts.hostname or not (url.isascii() and url.isprintable()) or " " in url:
        return "the url needs a host, and what is not ASCII in it written as %C3%A9"
    return None


def known_encoding(name: str | None) -> str | None:
    """The name of a text encoding, or none. ValueError: Python has no such encoding."""
    if name is not None:
        try:
            " ".encode(name)
            codecs.getincrementaldecoder(name)
        except (LookupError, ValueError):
            raise ValueError("there is no such text encoding; such as utf-16, gb18030, cp1252") from None
    return name
