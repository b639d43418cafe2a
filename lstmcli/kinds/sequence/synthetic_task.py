"""Learning to answer about whole sequences: a synthetic task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lstmcli.config.schema import Config
from lstmcli.kinds.files.cache import digest_of
from lstmcli.kinds.sequence.batches import SyntheticBatches
from lstmcli.kinds.sequence.model import SequenceShape
from lstmcli.kinds.sequence.report import SEQUENCES, score_length
from lstmcli.kinds.sequence.synthetic import find_task
from lstmcli.kinds.sequence.task import SequenceTask
from lstmcli.kinds.text.task import describe_model
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.task import Score

FORMAT = 1
"""Of the sequences that a seed gives; another one is other data."""


class SyntheticTraining(SequenceTask):
    """Sequences of a task, made for each step anew; none carries anything to the next."""

    has_validation = True

    def __init__(self, config: Config, on_progress: Callable[[str, int, int], None], ranks: Ranks = ALONE):
        self.config = config
        data = config.data
        self.task = find_task(str(data.task), data.symbols)
        self.summary: dict[str, Any] = {"task": data.task, "length": data.length}
        self.fingerprint = digest_of(
            {"format": FORMAT, "task": data.task, "symbols": data.symbols, "train_length": data.train_length,
             "length": data.length}
        )  # fmt: skip
        self.lengths = training_lengths(config)
        ranks.part_of(config.train.batch_size)  # it must be divisible
        self.batches = SyntheticBatches(
            self.task, self.lengths, config.train.batch_size, config.seed, ranks.rank, ranks.size
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        task = self.task
        shape = SequenceShape(task.symbols, task.inputs, task.outputs, task.symbols == 0)
        self._make_model(shape, task.steps(self.lengths[1]), ranks)

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        """At `data.length`, whatever lengths are trained on."""
        count = self.config.evaluation.max_windows or SEQUENCES
        found = score_length(
            self.model, self.task, self.config.data.length, count, self.config.seed, "val", stop
        )
        if found is None:
            return None
        values = {f"val/{name}": value for name, value in found.scores.items()}
        return Score(found.scores["loss"], values | {"val/solved": float(found.solved)})

    def manifest(self) -> dict[str, Any]:
        return {"task": self.config.data.task}

    def plan(self) -> dict[str, Any]:
        return {"task": self.config.data.task, "length": self.config.data.length}

    def describe(self) -> str:
        data, train, (low, high) = self.config.data, self.config.train, self.lengths
        read = f"{low}" if low == high else f"{low} to {high}"
        return (
            f"data   {data.task}, length {read} in training and {data.length} in evaluation; "
            f"solved: {self.task.rule}\n"
            f"model  {describe_model(self.config, self.model)}\n"
            f"train  {train.batch_size} sequences of up to {self.task.steps(high):,} steps a batch"
        )


def training_lengths(config: Config) -> tuple[int, int]:
    """The shortest and the longest that is trained on."""
    data = config.data
    low, high = data.train_length or (data.length, data.length)
    return low, high
