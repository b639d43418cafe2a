"""What `lstm eval` says of a text model, beside what costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.tables import Table
from lstmcli.engine.hardware import Hardware
from lstmcli.kinds.text.dynamic import Dynamics, dynamic_losses
from lstmcli.kinds.text.evaluate import CANDIDATES, Temperatures, evaluate_text, line_losses
from lstmcli.kinds.text.generate import prompt_ids
from lstmcli.kinds.text.mixing import Cache, mix, ngram_losses
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.ngram import NGram, unigram_loss
from lstmcli.kinds.text.vocabulary import Vocabulary

LARGE = 10_000_000
"""Symbols of a text up to which the n-gram model reads all of it."""
STREAMS = 64
"""Rows read side by side."""


@dataclass(frozen=True)
class TextReport:
    protocol: str
    tokens: int
    loss: float  # nats per symbol
    bpc: float
    perplexity: float
    accuracy: float
    unknown: int  # symbols that training never saw; they are scored as the unknown symbol
    precision: str
    baselines: dict[str, dict[str, float]]
    beside: dict[str, dict[str, float]]  # the same model with help, by what helps; see `Beside`

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def tables(self) -> list[Table]:
        """The model above what helps it and what costs nothing."""
        unknown = f", {self.unknown} of them unknown to the model" if self.unknown else ""
        rows = [_row("this model", self.loss, f"{100 * self.accuracy:.1f}%")]
        rows += [_row(f"  {_named(name, figures)}", figures["loss"]) for name, figures in self.beside.items()]
        if "ngram" in self.baselines:
            ngram = self.baselines["ngram"]
            rows.append(_row(f"{ngram['order']}-gram of the training text", ngram["loss"]))
            rows.append(_row("unigram of the training text", self.baselines["unigram"]["loss"]))
        title = f"protocol {self.protocol}, {self.precision}; {self.tokens:,} symbols{unknown}"
        return [Table(title, ["", "nats/symbol", "bits/symbol", "perplexity", "accuracy"], rows)]


@dataclass(frozen=True)
class LinesReport:
    """How likely each line of a text is to the model, or each symbol of it."""

    by: str  # line or symbol
    lines: list[str]
    losses: list[np.ndarray]  # nats of each symbol, (symbols,) each
    unknown: list[int]  # of each line

    def to_json(self) -> dict[str, Any]:
        tokens, total = (
            sum(map(len, self.losses)),
            sum(float(each.sum(dtype=np.float64)) for each in self.losses),
        )
        whole = {"by": self.by, "tokens": tokens} | _figures(total / tokens if tokens else math.nan)
        if self.by == "line":
            return whole | {"lines": [self._line(k) for k in range(len(self.lines))]}
        symbols = [
            {"line": k + 1, "column": column, "symbol": symbol, "loss": float(loss)}
            for k, (line, losses) in enumerate(zip(self.lines, self.losses, strict=True))
            for column, (symbol, loss) in enumerate(zip(_symbols(line, len(losses)), losses, strict=True), 1)
        ]
        return whole | {"symbols": symbols}

    def _line(self, k: int) -> dict[str, Any]:
        losses = self.losses[k]
        mean = float(losses.mean(dtype=np.float64)) if len(losses) else None
        total = float(losses.sum(dtype=np.float64))
        found = {"line": k + 1, "text": self.lines[k], "symbols": len(losses), "unknown": self.unknown[k]}
        return found | {"loss": mean, "total": total}

    def tables(self) -> list[Table]:
        found = self.to_json()
        title = (
            f"each line by itself, after a line break; {found['tokens']:,} symbols, "
            f"{found['loss']:.4f} nats/symbol"
        )
        if self.by == "line":
            rows = [_line_row(each) for each in found["lines"]]
            return [Table(title, ["line", "nats/symbol", "nats", "symbols", "unknown", "text"], rows)]
        rows = [
            [f"{s['line']}:{s['column']}", f"{s['loss']:.4f}", repr(s["symbol"])] for s in found["symbols"]
        ]
        return [Table(title, ["line:column", "nats", "symbol"], rows)]


def _line_row(found: dict[str, Any]) -> list[str]:
    mean = "" if found["loss"] is None else f"{found['loss']:.4f}"
    counts = [str(found["symbols"]), str(found["unknown"])]
    return [str(found["line"]), mean, f"{found['total']:.2f}", *counts, found["text"]]


def _symbols(line: str, count: int) -> list[str]:
    """The symbols of a line: its characters, or else its bytes."""
    if len(line) == count:
        return list(line)
    return [
        f"\\x{byte:02x}" if byte > 0x7E else chr(byte) for byte in line.encode("utf-8", "surrogateescape")
    ]


def report_on_lines(
    model: TextModel, vocabulary: Vocabulary, ids: np.ndarray, by: str, hardware: Hardware
) -> LinesReport:
    """Score each line of a text, its line end left out."""
    lines = split_lines(vocabulary, np.asarray(ids))
    losses = score_lines(model, vocabulary, lines, hardware)
    unknown = [0 if vocabulary.unknown is None else int((line == vocabulary.unknown).sum()) for line in lines]
    return LinesReport(by, [vocabulary.decode(line) for line in lines], losses, unknown)


def score_lines(
    model: TextModel, vocabulary: Vocabulary, lines: Sequence[np.ndarray], hardware: Hardware
) -> list[np.ndarray]:
    """Nats of each symbol of each line, (symbols,) each; see `line_losses`."""
    model.to(hardware.device).product_dtype = hardware.product_dtype
    try:
        return line_losses(model, lines, int(prompt_ids(vocabulary, "")[0]))
    finally:
        model.to("cpu").product_dtype = torch.float32


def split_lines(vocabulary: Vocabulary, ids: np.ndarray) -> list[np.ndarray]:
    """The lines of a text without their ends; the last one need not have any."""
    feed, back = (int(vocabulary.encode(end)[0]) for end in ("\n", "\r"))
    if feed == vocabulary.unknown:
        return [ids]
    ends = np.flatnonzero(ids == feed)
    lines = [part[1:] if k else part for k, part in enumerate(np.split(ids, ends))]
    if len(lines) > 1 and not len(lines[-1]):
        lines.pop()
    returns = back != vocabulary.unknown
    return [line[:-1] if returns and len(line) and line[-1] == back else line for line in lines]


def _named(name: str, figures: dict[str, float]) -> str:
    return f"{name}, {figures['temperature']:g}" if "temperature" in figures else name


def _row(name: str, loss: float, accuracy: str = "") -> list[str]:
    bits, perplexity = loss / math.log(2.0), math.exp(min(loss, 700.0))
    return [name, f"{loss:.4f}", f"{bits:.4f}", f"{perplexity:.2f}", accuracy]


@dataclass(frozen=True)
class Beside:
    """What is reported beside the static figure, never instead of it."""

    dynamic: Dynamics | None = None
    mix: tuple[str, ...] = ()  # ngram: counts of the training text; cache: of the text scored so far
    temperature: float | Literal["best"] | None = None  # best: of those tried on the text that is scored

    def check(self) -> None:
        unknown = [name for name in self.mix if name not in ("ngram", "cache")]
        if unknown:
            raise UsageError(f"no mixture with {unknown[0]!r}", "there are ngram and cache")
        if isinstance(self.temperature, (int, float)) and not 0.0 < self.temperature < math.inf:
            raise UsageError(f"a temperature of {self.temperature} is not above 0")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Those to score at."""
        if self.temperature is None:
            return ()
        return CANDIDATES if self.temperature == "best" else (self.temperature,)


NOTHING_BESIDE = Beside()


def report_on(
    model: TextModel,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    train: np.ndarray | None,
    protocol: str,
    hardware: Hardware,
    on_progress: Callable[[int, int], None] | None = None,
    beside: Beside = NOTHING_BESIDE,
) -> TextReport:
    """Evaluate a model on ids, and baselines of the training text (None: no baselines) on the same."""
    beside.check()
    if protocol not in ("stateful", "windows"):
        raise UsageError(f"no protocol {protocol!r}", "there are stateful and windows")
    model.to(hardware.device).product_dtype = hardware.product_dtype
    try:
        losses = np.empty(len(ids) - 1, dtype=np.float32) if beside.mix else None
        tried = Temperatures(beside.temperatures)
        score = evaluate_text(
            model, ids, protocol, STREAMS, on_progress=on_progress, losses=losses, on_logits=tried.add
        )
        helped = _tempered(beside, tried)
        helped |= _helped(model, vocabulary, ids, train, protocol, beside, losses, on_progress)
    finally:  # the model is its owner's: what is generated next must not depend on this
        model.to("cpu").product_dtype = torch.float32
    if score is None:
        raise DataError("nothing was evaluated")
    unknown = vocabulary.unknown
    return TextReport(
        protocol=protocol,
        tokens=score.tokens,
        loss=score.loss,
        bpc=score.bpc,
        perplexity=score.perplexity,
        accuracy=score.accuracy,
        unknown=0 if unknown is None else int(np.count_nonzero(np.asarray(ids[1:]) == unknown)),
        precision=hardware.precision,
        baselines=_baselines(train, ids, vocabulary.size),
        beside=helped,
    )


def _tempered(beside: Beside, tried: Temperatures) -> dict[str, dict[str, float]]:
    """The figures of the model at another temperature."""
    if beside.temperature is None:
        return {}
    value, loss = tried.best()
    if beside.temperature == "best":
        return {"best temperature": {"temperature": value} | _figures(loss)}
    return {f"temperature {value:g}": _figures(loss)}


def _helped(
    model: TextModel,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    train: np.ndarray | None,
    protocol: str,
    beside: Beside,
    losses: np.ndarray | None,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, dict[str, float]]:
    """The figures of the model learning as it reads, or mixed with counts."""
    found: dict[str, dict[str, float]] = {}
    known = {"static": losses} if losses is not None else {}
    if (beside.dynamic or "ngram" in beside.mix) and train is None:
        raise DataError("dynamic evaluation and n-grams need the training text, which is not to be had")
    if beside.dynamic is not None:
        assert train is not None
        known["dynamic"] = dynamic_losses(model, ids, train, protocol, beside.dynamic, on_progress)
        found["dynamic"] = _figures(float(known["dynamic"].mean(dtype=np.float64)))
    others = {}
    if "ngram" in beside.mix:
        assert train is not None
        others["ngram"] = ngram_losses(NGram(train, vocabulary.size), ids, protocol)
    if "cache" in beside.mix:
        others["cache"] = Cache(vocabulary.size).losses(ids)
    for ours, nats in known.items():
        for theirs, counts in others.items():
            mixed, weight = mix(nats, counts)
            found[f"{ours} + {theirs}"] = _figures(float(mixed.mean())) | {"weight": weight}
    return found


def _figures(loss: float) -> dict[str, float]:
    return {"loss": loss, "bpc": loss / math.log(2.0), "perplexity": math.exp(min(loss, 700.0))}


def _baselines(train: np.ndarray | None, ids: np.ndarray, size: int) -> dict[str, dict[str, float]]:
    if train is None:
        return {}
    part = ids[:LARGE]
    ngram = NGram(train, size)
    losses = {"unigram": unigram_loss(train, part, size), "ngram": ngram.loss(part)}
    found = {k: {"loss": v, "bpc": v / math.log(2.0)} for k, v in losses.items()}
    found["ngram"]["order"] = ngram.order
    return found
