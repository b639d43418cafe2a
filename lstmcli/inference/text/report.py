"""What `lstm eval` says of a text model, beside what costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lstmcli.data.vocabulary import Vocabulary
from lstmcli.errors import DataError, UsageError
from lstmcli.inference.text.evaluate import evaluate_text
from lstmcli.inference.text.ngram import NGram, unigram_loss
from lstmcli.model.hardware import Hardware
from lstmcli.model.text import TextModel

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

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def report_on(
    model: TextModel,
    vocabulary: Vocabulary,
    ids: np.ndarray,
    train: np.ndarray | None,
    protocol: str,
    hardware: Hardware,
    on_progress: Callable[[int, int], None] | None = None,
) -> TextReport:
    """Evaluate a model on ids, and baselines of the training text (None: no baselines) on the same."""
    if protocol not in ("stateful", "windows"):
        raise UsageError(f"no protocol {protocol!r}", "there are stateful and windows")
    model.to(hardware.device).products = hardware.products
    try:
        score = evaluate_text(model, ids, protocol, STREAMS, on_progress=on_progress)
    finally:  # the model is its owner's: what is generated next must not depend on this
        model.to("cpu").products = torch.float32
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
    )


def _baselines(train: np.ndarray | None, ids: np.ndarray, size: int) -> dict[str, dict[str, float]]:
    if train is None:
        return {}
    part = ids[:LARGE]
    ngram = NGram(train, size)
    losses = {"unigram": unigram_loss(train, part, size), "ngram": ngram.loss(part)}
    found = {k: {"loss": v, "bpc": v / math.log(2.0)} for k, v in losses.items()}
    found["ngram"]["order"] = ngram.order
    return found
