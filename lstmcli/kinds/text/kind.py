"""Texts, of which the next symbol is learned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lstmcli.core.notices import notice
from lstmcli.kinds.text import verbs
from lstmcli.run.kind import Asked, Charts, Evaluated, Kind, Measurement, Needs, Products, Progress, Reading
from lstmcli.run.options import Chosen

if TYPE_CHECKING:
    from lstmcli.kinds.text.settings import TextConfig
    from lstmcli.kinds.text.task import TextTask
    from lstmcli.kinds.text.trained import Run
    from lstmcli.run.directory import RunDir
    from lstmcli.run.distributed import Ranks
    from lstmcli.run.inherit import Meanings


class TextKind(Kind["TextConfig"]):
    name = "text"
    purpose = "to write text"
    counts = ("Symbols", "tokens")
    charts: ClassVar[Charts] = {
        "Nats per symbol": ["Multiline", ["train/loss", "val/loss"]],
        "Bits per symbol": ["Multiline", ["train/bpc", "val/bpc"]],
    }
    needs: ClassVar[Needs] = {
        "evaluation.sample_temperature": (
            "evaluation.sample_length above 0", lambda c: c.evaluation.sample_length > 0
        ),
    }  # fmt: skip
    space: ClassVar[Mapping[str, Any]] = {
        "train.learning_rate": {"low": 1e-3, "high": 2e-2, "log": True},
        "train.weight_decay": [0.0, 0.03, 0.1, 0.2],
        "model.dropout": {"low": 0.0, "high": 0.5, "step": 0.05},
        "train.state_reset": {"low": 0.0, "high": 0.3, "step": 0.05},
        "train.batch_size": [16, 32, 64],
        "model.weight_drop": {"low": 0.0, "high": 0.5, "step": 0.1},
        "train.average": [None, 0.99, 0.998],
    }

    options: ClassVar = {
        "eval": verbs.EVAL,
        "generate": verbs.GENERATE,
        "report": verbs.REPORT,
        "init": verbs.INIT,
        "inspect gates": verbs.GATES,
        "inspect units": verbs.UNITS,
    }
    measures = ("eval", "gradients")

    makes = "Samples"
    topics: ClassVar = {
        topic: f"lstmcli.inspect.{topic}:{topic}_of_text"
        for topic in ("gates", "units", "gradients", "memory")
    }

    def task(self, config: TextConfig, on_progress: Reading, ranks: Ranks) -> TextTask:
        from lstmcli.kinds.text.task import TextTask

        return TextTask(config, on_progress, ranks)

    def found_again(self, config: TextConfig, folder: str | None) -> TextConfig:
        from lstmcli.kinds.files.sources import with_files_found

        return with_files_found(config, folder)

    def trained(self, directory: RunDir, config: TextConfig, checkpoint: Path) -> Run:
        from lstmcli.kinds.text.trained import Run

        return Run(directory, config, checkpoint)

    def meanings(self, config: TextConfig, files: Mapping[str, str]) -> Meanings:
        from lstmcli.core.files import decode_json
        from lstmcli.kinds.text.meanings import symbol_axis
        from lstmcli.kinds.text.vocabulary import Vocabulary

        document = decode_json(files.get("vocab.json", "").encode(), Path("vocab.json"))
        symbols = Vocabulary.from_json(document)
        rows = symbol_axis(symbols, "fresh")
        return {
            "embedding.weight": (symbol_axis(symbols, "mean"), None),
            "head.weight": (rows, None),
            "head.bias": (rows,),
        }

    def evaluate(self, run: Run, chosen: Chosen, on_progress: Progress) -> Evaluated:
        return verbs.evaluate(run, chosen, on_progress)

    def write(self, run: Run, chosen: Chosen, as_json: bool) -> dict[str, Any]:
        return verbs.write(run, chosen, as_json)

    def export(self, run: Run, path: Path) -> dict[str, Any]:
        return run.export(path)

    def measure(self, what: str, run: Any, asked: Asked) -> Measurement:
        from lstmcli.kinds.text.measure import both_protocols, gradients_by_lag

        if what == "gradients":
            return gradients_by_lag(run.model, run.splits()["val"], asked.lag)
        return both_protocols(run, asked.split or "val")

    def measure_start(self, task: Any, asked: Asked) -> Measurement:
        from lstmcli.kinds.text.measure import gradients_by_lag

        if "gradients" not in asked.measures:
            return Measurement()
        found = gradients_by_lag(task.model, task.data.val, asked.lag)
        return Measurement(*({f"start_{k}": v for k, v in part.items()} for part in vars(found).values()))

    def takes(self, file: Path) -> int:
        return 1

    def propose(self, file: Path, chosen: Chosen) -> str:
        from lstmcli.kinds.text.propose import propose_text

        return propose_text(file, chosen["minutes"])

    def products(self, run: Run) -> Products:
        return verbs.products(run)

    def check_data(self, config: TextConfig) -> dict[str, Any]:
        """All of the text, with a cache that is thrown away."""
        import tempfile

        from lstmcli.kinds.text.batches import StreamBatches
        from lstmcli.kinds.text.source import prepare_text

        with tempfile.TemporaryDirectory() as folder:
            data = prepare_text(config.data.model_copy(update={"cache": folder}))
            for told in data.notices:
                notice(told)
            train = config.train
            StreamBatches(data.train, train.batch_size, train.sequence_length, config.seed)
            return data.summary
