"""What `lstm eval` says of a text model, beside what costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcli.data.text import encode_file
from lstmcli.errors import DataError, UsageError
from lstmcli.inference.evaluate import evaluate_text
from lstmcli.inference.ngram import NGram, unigram_loss

if TYPE_CHECKING:
    from lstmcli.api import Run

LARGE = 10_000_000
"""Symbols of a text up to which the n-gram model reads all of it."""


@dataclass(frozen=True)
class TextReport:
    run: str
    step: int
    split: str
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
    run: Run,
    data: str | Path | None,
    split: str,
    protocol: str,
    on_progress: Callable[[int, int], None] | None,
) -> TextReport:
    """Evaluate a run's model and the baselines on the same symbols."""
    from lstmcli.training.hardware import choose_hardware

    if protocol not in ("stateful", "windows"):
        raise UsageError(f"no protocol {protocol!r}", "there are stateful and windows")
    ids, train = _texts(run, data, split)
    hardware = choose_hardware(run.config.train.device, run.config.train.precision, elsewhere=True)
    model = run.model.to(hardware.device)
    model.products = hardware.products
    score = evaluate_text(model, ids, protocol, 64, on_progress=on_progress)
    if score is None:
        raise DataError("nothing was evaluated")
    unknown = run.vocabulary.unknown
    return TextReport(
        run=run.directory.name,
        step=run.step,
        split=str(data) if data is not None else split,
        protocol=protocol,
        tokens=score.tokens,
        loss=score.loss,
        bpc=score.bpc,
        perplexity=score.perplexity,
        accuracy=score.accuracy,
        unknown=0 if unknown is None else int(np.count_nonzero(np.asarray(ids[1:]) == unknown)),
        precision=hardware.precision,
        baselines=_baselines(train, ids, run.vocabulary.size),
    )


def _texts(run: Run, data: str | Path | None, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """What is evaluated, and the training text for the baselines (None if it is not to be had)."""
    if data is not None:
        ids = encode_file(Path(data), run.vocabulary)
        try:
            return ids, run.splits()["train"]
        except DataError:
            return ids, None
    if split not in ("train", "val", "test"):
        raise UsageError(f"no split {split!r}", "there are train, val and test")
    splits = run.splits()
    found = splits[split]
    if found is None:
        held = ", ".join(k for k, v in splits.items() if v is not None)
        raise DataError(f"this run's data have no {split} split", f"they have: {held}")
    return found, splits["train"]


def _baselines(train: np.ndarray | None, ids: np.ndarray, size: int) -> dict[str, dict[str, float]]:
    if train is None:
        return {}
    part = ids[:LARGE]
    ngram = NGram(train, size)
    losses = {"unigram": unigram_loss(train, part, size), "ngram": ngram.loss(part)}
    found = {k: {"loss": v, "bpc": v / math.log(2.0)} for k, v in losses.items()}
    found["ngram"]["order"] = ngram.order
    return found
