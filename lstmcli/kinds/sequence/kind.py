"""Whole sequences: classes of texts or series, and tasks that make their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lstmcli.kinds.sequence import verbs
from lstmcli.run.kind import Asked, C, Charts, Evaluated, Kind, Measurement, Progress, Reading
from lstmcli.run.options import Chosen

if TYPE_CHECKING:
    from lstmcli.kinds.sequence.settings import LabelledConfig, SyntheticConfig
    from lstmcli.kinds.sequence.task import LabelledTask, SyntheticTraining
    from lstmcli.kinds.sequence.trained import ClassifierRun, SyntheticRun
    from lstmcli.run.directory import RunDir
    from lstmcli.run.distributed import Ranks
    from lstmcli.run.inherit import Meanings


class SequenceKind(Kind[C]):
    """What both have in common."""

    counts = ("Sequences", "sequences")
    charts: ClassVar[Charts] = {
        "Loss": ["Multiline", ["train/loss", "val/loss"]],
        "Share of right answers; of sequences without an error; macro F1 of classes": [
            "Multiline",
            ["val/accuracy", "val/exact", "val/macro_f1"],
        ],
        "Squared error of numbers; of a wave that goes on by itself": [
            "Multiline",
            ["val/mse", "val/free_mse"],
        ],
        "Solved (0 or 1)": ["Multiline", ["val/solved"]],
    }
    space: ClassVar[Mapping[str, Any]] = {
        "train.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
        "model.hidden_size": [64, 128, 256, 512],
        "train.weight_decay": [0.0, 0.01, 0.1],
        "train.average": [None, 0.99, 0.998],
    }


class LabelledKind(SequenceKind["LabelledConfig"]):
    name = "labelled"
    purpose = "to classify"
    options: ClassVar = {"eval": verbs.EVAL_LABELLED, "generate": verbs.GENERATE}

    def task(self, config: LabelledConfig, on_progress: Reading, ranks: Ranks) -> LabelledTask:
        from lstmcli.kinds.sequence.task import LabelledTask

        return LabelledTask(config, on_progress, ranks)

    def found_again(self, config: LabelledConfig, folder: str | None) -> LabelledConfig:
        from lstmcli.kinds.files.sources import with_files_found

        return with_files_found(config, folder)

    def trained(self, directory: RunDir, config: LabelledConfig, checkpoint: Path) -> ClassifierRun:
        from lstmcli.kinds.sequence.trained import ClassifierRun

        return ClassifierRun(directory, config, checkpoint)

    def meanings(self, config: LabelledConfig, files: Mapping[str, str]) -> Meanings:
        from lstmcli.core.files import decode_json
        from lstmcli.kinds.sequence.encoding import Encoding
        from lstmcli.kinds.text.meanings import symbol_axis
        from lstmcli.run.inherit import Axis

        found = decode_json(files.get("sequence.json", "").encode(), Path("sequence.json"))
        encoding = Encoding.from_json(found.get("encoding") or {})
        classes = Axis([("class", name) for name in encoding.classes], "classes")
        ends: dict[str, tuple[Axis | None, ...]] = {"head.weight": (classes, None), "head.bias": (classes,)}
        if encoding.vocabulary is not None:
            return ends | {"embedding.weight": (symbol_axis(encoding.vocabulary, "mean"), None)}
        columns = Axis([("column", name) for name in encoding.columns], "columns")
        return ends | {"layers.0.weight_ih": (None, columns)}

    def evaluate(self, run: ClassifierRun, chosen: Chosen, on_progress: Progress) -> Evaluated:
        return verbs.evaluate_classes(run, chosen, on_progress)

    def write(self, run: ClassifierRun, chosen: Chosen, as_json: bool) -> dict[str, Any]:
        return verbs.write_classes(run, chosen, as_json)

    def check_data(self, config: LabelledConfig) -> dict[str, Any]:
        from lstmcli.kinds.sequence.labelled import LabelledBatches, prepare_labelled

        data = prepare_labelled(config.data, config.seed)
        LabelledBatches(data.sequences, data.splits["train"], config.train.batch_size, config.seed)
        return data.summary


class SyntheticKind(SequenceKind["SyntheticConfig"]):
    name = "synthetic"
    purpose = "a synthetic task"
    options: ClassVar = {"eval": verbs.EVAL_SYNTHETIC}
    solves = True
    measures = ("eval", "generate")

    def task(self, config: SyntheticConfig, on_progress: Reading, ranks: Ranks) -> SyntheticTraining:
        from lstmcli.kinds.sequence.task import SyntheticTraining

        return SyntheticTraining(config, on_progress, ranks)

    def trained(self, directory: RunDir, config: SyntheticConfig, checkpoint: Path) -> SyntheticRun:
        from lstmcli.kinds.sequence.trained import SyntheticRun

        return SyntheticRun(directory, config, checkpoint)

    def evaluate(self, run: SyntheticRun, chosen: Chosen, on_progress: Progress) -> Evaluated:
        return verbs.evaluate_task(run, chosen, on_progress)

    def measure(self, what: str, run: Any, asked: Asked) -> Measurement:
        from lstmcli.kinds.sequence.measure import scores_by_length, wave_that_goes_on

        return wave_that_goes_on(run) if what == "generate" else scores_by_length(run, asked)

    def check_data(self, config: SyntheticConfig) -> dict[str, Any]:
        return {"task": config.data.task, "length": config.data.length}
