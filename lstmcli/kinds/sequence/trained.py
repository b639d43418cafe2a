"""Trained models of whole sequences as objects, without the command line: of a synthetic task, and
classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import DataError, ResourceError, RunError, UsageError
from lstmcli.core.notices import notice
from lstmcli.run.trained import TrainedRun

if TYPE_CHECKING:
    from lstmcli.kinds.sequence.classes import ClassReport
    from lstmcli.kinds.sequence.encoding import Encoding, Sequences
    from lstmcli.kinds.sequence.labelled import LabelledData
    from lstmcli.kinds.sequence.model import SequenceModel
    from lstmcli.kinds.sequence.report import SyntheticReport
    from lstmcli.kinds.sequence.rows import SeriesRows
    from lstmcli.kinds.sequence.settings import LabelledConfig, SyntheticConfig
    from lstmcli.kinds.sequence.synthetic.task import SyntheticTask


@dataclass(frozen=True, repr=False)
class SequenceRun(TrainedRun):
    """What both have in common."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """The checkpoint's `sequence.json`."""
        return self.file("sequence.json")

    @cached_property
    def model(self) -> SequenceModel:
        """The torch module, on the CPU in fp32, ready to evaluate. RunError: the checkpoint is damaged."""
        from lstmcli.engine.footprint import check_memory
        from lstmcli.engine.hardware import path_for_one_use, set_path
        from lstmcli.kinds.sequence.model import SequenceModel, SequenceShape
        from lstmcli.run.own_cell import cell_of_checkpoint
        from lstmcli.run.state import load_model, tensors_of

        settings, shape = self.config.model, SequenceShape.from_json(self.document.get("shape"))
        check_memory(shape.parameters(settings))
        with cell_of_checkpoint(settings.cell, self.checkpoint, notice):
            model = SequenceModel(settings, shape)
        load_model(model, tensors_of(self._snapshot, model))
        set_path(model.layers, path_for_one_use(model.layers))
        return model.eval()


@dataclass(frozen=True, repr=False)
class SyntheticRun(SequenceRun):
    """A trained model of a task."""

    config: SyntheticConfig

    @cached_property
    def task(self) -> SyntheticTask:
        from lstmcli.kinds.sequence.synthetic import find_task

        return find_task(str(self.config.data.task), self.config.data.symbols)

    def evaluate(
        self,
        lengths: Sequence[int] | None = None,
        split: str = "test",
        sequences: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> SyntheticReport:
        """Scores on sequences that training has not seen, at each of `lengths` (default: `data.length`).

        Args:
            split: val (what training evaluated on) or test.
            sequences: how many at each length; default as in training.
        """
        from lstmcli.kinds.sequence.report import SEQUENCES, report_on_task

        if split not in ("val", "test"):
            raise UsageError(f"no split {split!r}", "a synthetic task has val and test")
        wanted = list(lengths or [self.config.data.length])
        if min(wanted) < 1:
            raise UsageError(f"a length of {min(wanted)}: it must be at least 1")
        count = sequences or self.config.evaluation.max_windows or SEQUENCES
        seed = self.config.seed
        return report_on_task(self.model, self.task, wanted, count, seed, split, on_progress)


@dataclass(frozen=True, repr=False)
class Prediction:
    """The class of one sequence."""

    name: str  # of the sequence: its row from 1, or its group
    label: str
    probabilities: dict[str, float]  # by class


@dataclass(frozen=True, repr=False)
class ClassifierRun(SequenceRun):
    """A trained classifier with its classes."""

    config: LabelledConfig

    @cached_property
    def encoding(self) -> Encoding:
        from lstmcli.kinds.sequence.encoding import Encoding
        from lstmcli.kinds.sequence.model import SequenceShape

        found = Encoding.from_json(self.document.get("encoding") or {})
        shape = SequenceShape.from_json(self.document.get("shape"))
        if not found.fits(shape.symbols, shape.inputs, shape.outputs):
            raise RunError("the checkpoint's sequence.json is damaged: its parts do not fit each other")
        return found

    def data(self) -> LabelledData:
        """The run's own table, read again, and checked to be the same."""
        from lstmcli.kinds.sequence.labelled import prepare_labelled

        _ = self.began_in
        try:
            data = prepare_labelled(self.config.data, self.config.seed)
        except DataError as error:
            raise DataError(error.message, "give the table with --data FILE") from error
        if self.record["data_fingerprint"] != data.fingerprint:
            notice("the data have changed since this run was trained")
            if data.encoding != self.encoding:
                raise RunError(
                    "the run's data have changed, and with them classes, vocabulary or scaling",
                    "evaluate on a file of your choice with --data FILE",
                )
        return data

    def evaluate(
        self,
        data: str | Path | None = None,
        split: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> ClassReport:
        """Accuracy, F1 and confusions on a split (default: test, else val), beside baselines; `data`: all
        rows of another labelled table."""
        import numpy as np

        from lstmcli.kinds.sequence.classes import report_on_classes

        names = self.encoding.classes
        if data is not None:
            sequences, _ = self._encoded(Path(data), labelled=True)
            chosen, train, split = np.arange(len(sequences.lengths)), None, str(data)
            try:
                own = self.data()
                train = own.sequences, own.splits["train"]
            except (DataError, RunError, ResourceError) as error:
                notice(f"no baselines beside the model: {error.message}")
            return report_on_classes(self.model, sequences, chosen, names, train, split, on_progress)
        own = self.data()
        split = split or ("test" if "test" in own.splits else "val")
        if split not in own.splits:
            raise UsageError(f"this run's data have no {split} split", f"they have: {', '.join(own.splits)}")
        train = own.sequences, own.splits["train"]
        return report_on_classes(
            self.model, own.sequences, own.splits[split], names, train, split, on_progress
        )

    def classify(self, data: str | Path | list[str]) -> list[Prediction]:
        """The class of each text of a list, or of each row (or group) of a table, which needs no labels."""
        import numpy as np

        from lstmcli.kinds.sequence.classes import logits_of, probabilities

        if isinstance(data, list):
            sequences, names = self._texts(data), [str(k) for k in range(1, len(data) + 1)]
        else:
            sequences, names = self._encoded(Path(data), labelled=False)
        logits = logits_of(self.model, sequences, np.arange(len(names)))
        assert logits is not None  # nobody asked to stop
        classes = self.encoding.classes
        return [
            Prediction(name, classes[int(row.argmax())], dict(zip(classes, row.tolist(), strict=True)))
            for name, row in zip(names, probabilities(logits), strict=True)
        ]

    def _texts(self, texts: list[str]) -> Sequences:
        if self.encoding.vocabulary is None:
            raise UsageError("this run classifies series", "give a table with --input")
        if not all(texts):
            raise UsageError("an empty text has no class")
        return self.encoding.texts(texts, None)

    def _encoded(self, path: Path, labelled: bool) -> tuple[Sequences, list[str]]:
        """The sequences of another table, and their names."""
        from lstmcli.kinds.sequence.rows import TextRows, read_groups, read_texts
        from lstmcli.kinds.sequence.settings import LabelledSeries, LabelledTexts

        data, encoding = self.config.data, self.encoding
        rows: TextRows | SeriesRows
        if isinstance(data, LabelledSeries):
            rows = read_groups(path, data, _quiet, labelled, encoding.columns)
            return encoding.series(rows), rows.names
        assert isinstance(data, LabelledTexts)
        rows = read_texts(path, data, _quiet, labelled)
        return encoding.texts(rows.texts, rows.labels), [str(k) for k in range(1, len(rows.texts) + 1)]


def _quiet(label: str, done: int, total: int) -> None:
    """Nobody waits."""
