"""Learning to tell the classes of whole texts or series apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmcli.config.schema import Config
from lstmcli.kinds.sequence.classes import confusion, cross_entropy, logits_of, macro_f1
from lstmcli.kinds.sequence.labelled import LabelledBatches, prepare_labelled
from lstmcli.kinds.sequence.model import SequenceShape
from lstmcli.kinds.sequence.task import SequenceTask
from lstmcli.kinds.text.task import describe_model
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.task import Score


class LabelledTask(SequenceTask):
    """Labelled sequences in a pseudo-random order; none carries anything to the next."""

    def __init__(self, config: Config, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE):
        self.config = config
        self.data = prepare_labelled(config.data, config.seed, on_progress)
        self.fingerprint, self.summary = self.data.fingerprint, self.data.summary
        self.batches = LabelledBatches(
            self.data.sequences, self.data.splits["train"], ranks.part_of(config.train.batch_size),
            config.seed, ranks.rank, ranks.size,
        )  # fmt: skip
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.has_validation = "val" in self.data.splits
        encoding = self.data.encoding
        symbols = encoding.vocabulary.size if encoding.vocabulary is not None else 0
        shape = SequenceShape(symbols, len(encoding.columns), len(encoding.classes), False)
        self._make_model(shape, int(self.data.sequences.lengths.max()), ranks)

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        chosen = self.data.splits["val"]
        if (most := self.config.evaluation.max_windows) is not None and most < len(chosen):
            chosen = chosen[np.arange(most) * len(chosen) // most]
        logits = logits_of(self.model, self.data.sequences, chosen, stop)
        if logits is None:
            return None
        wanted, guessed = self.data.sequences.labels[chosen], logits.argmax(-1)
        loss = cross_entropy(logits, wanted)
        table = confusion(wanted, guessed, self.shape.outputs)
        right = float((guessed == wanted).mean())
        return Score(loss, {"val/loss": loss, "val/accuracy": right, "val/macro_f1": macro_f1(table)})

    def _learned_from(self) -> dict[str, Any]:
        return {"encoding": self.data.encoding.to_json()}

    def manifest(self) -> dict[str, Any]:
        return {"classes": len(self.data.encoding.classes)}

    def plan(self) -> dict[str, Any]:
        return {"classes": len(self.data.encoding.classes), "sequences": len(self.data.splits["train"])}

    def describe(self) -> str:
        data, train = self.data, self.config.train
        held = f", {len(data.splits['val']):,} for validation" if self.has_validation else ""
        what = "texts" if self.shape.symbols else "series"
        read = f"vocabulary {self.shape.symbols}" if self.shape.symbols else f"{self.shape.inputs} columns"
        return (
            f"data   {len(data.splits['train']):,} {what}{held}; {self.shape.outputs} classes; {read}; "
            f"up to {data.summary['longest']:,} steps\n"
            f"model  {describe_model(self.config, self.model)}\n"
            f"train  {train.batch_size} sequences a step, {self.steps_per_epoch:,} steps an epoch"
        )
