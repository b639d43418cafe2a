"""A trained text model as an object: generate, evaluate, look inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import DataError, ResourceError, RunError, UsageError
from lstmcli.core.notices import notice
from lstmcli.kinds.text.decoder import (
    NumpyDecoder,
    TorchDecoder,
    has_numpy_decoder,
    numpy_decoder,
    numpy_tensors,
)
from lstmcli.kinds.text.generate import GenerateOptions, Sample, generate
from lstmcli.kinds.text.sampling import Clamp, ClampedDecoder
from lstmcli.kinds.text.vocabulary import Vocabulary
from lstmcli.run.checkpoint.store import check_tensors, describe
from lstmcli.run.trained import TrainedRun

if TYPE_CHECKING:
    import numpy as np

    from lstmcli.engine.hardware import Hardware
    from lstmcli.kinds.text.model import TextModel
    from lstmcli.kinds.text.report import Beside, LinesReport, TextReport
    from lstmcli.kinds.text.settings import TextConfig


@dataclass(frozen=True, repr=False)
class Run(TrainedRun):
    """A trained text model with its vocabulary."""

    config: TextConfig

    tensors_of = "numpy"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.from_json(self.file("vocab.json"))

    @cached_property
    def model(self) -> TextModel:
        """The torch module, on the CPU in fp32, ready to evaluate."""
        import torch

        from lstmcli.engine.footprint import check_memory
        from lstmcli.engine.hardware import path_for_one_use, set_path
        from lstmcli.kinds.text.model import TextModel, text_parameters
        from lstmcli.run.own_cell import cell_of_checkpoint
        from lstmcli.run.state import load_model, tensors_of

        check_memory(text_parameters(self.config.model, self.vocabulary.size))
        with cell_of_checkpoint(self.config.model.cell, self.checkpoint, notice):
            model = TextModel(self.config.model, self.vocabulary.size)
        arrays = tensors_of(self._snapshot, model)
        load_model(model, {name: torch.from_numpy(value) for name, value in arrays.items()})
        set_path(model.layers, path_for_one_use(model.layers))
        return model.eval()

    @cached_property
    def decoder(self) -> NumpyDecoder | TorchDecoder:
        if not has_numpy_decoder(self.config.model):
            return TorchDecoder(self.model)
        arrays = self._snapshot.tensors
        tensors = {k.removeprefix("model."): v for k, v in arrays.items()}
        check_tensors(numpy_tensors(self.config.model, self.vocabulary.size), describe(tensors))
        return numpy_decoder(self.config.model, tensors)

    def understood(self, text: str) -> str:
        """The text as the training text has it: its line ends and its normal form, by the settings of `data`
        or by the characters that training saw."""
        from lstmcli.kinds.files.reading import Form

        return self.vocabulary.in_its_form("".join(Form.of(self.config.data).shape([text])))

    def generate(
        self,
        prompt: str = "",
        *,
        on_text: Callable[[int, str], None] | None = None,
        clamps: Sequence[Clamp] = (),
        **options: Any,
    ) -> list[Sample]:
        """Samples that continue the prompt; the options are those of `GenerateOptions`. `clamps`: units
        that are held at a value."""
        decoder = ClampedDecoder(self.decoder, clamps) if clamps else self.decoder
        prompt = self.understood(prompt)
        return generate(decoder, self.vocabulary, prompt, GenerateOptions(**options), on_text=on_text)

    def evaluate(
        self,
        data: str | Path | Sequence[str] | None = None,
        split: str = "val",
        protocol: str = "windows",
        on_progress: Callable[[int, int], None] | None = None,
        beside: Beside | None = None,
    ) -> TextReport:
        """Loss, bits, perplexity and accuracy beside unigram and n-gram models of the training text.

        Args:
            data: another text than the run's own split: a path, a pattern, or a list of them.
            beside: dynamic evaluation, mixtures and another temperature, reported as well.
        """
        from lstmcli.kinds.text.report import NOTHING_BESIDE, report_on

        ids, train = self._texts(data, split)
        hardware = self._hardware()
        return report_on(
            self.model, self.vocabulary, ids, train, protocol, hardware, on_progress, beside or NOTHING_BESIDE
        )

    def evaluate_lines(
        self, data: str | Path | Sequence[str] | None = None, split: str = "val", by: str = "line"
    ) -> LinesReport:
        """The loss of each line of a text (or, `by="symbol"`, of each symbol), every line by itself."""
        from lstmcli.kinds.text.report import report_on_lines

        ids = self._own(split)[0] if data is None else self._encoded(data, by_line=True)
        return report_on_lines(self.model, self.vocabulary, ids, by, self._hardware())

    def score(self, lines: Sequence[str]) -> list[np.ndarray]:
        """Nats of each symbol of each text, (symbols,) each, every one by itself after a line break."""
        from lstmcli.kinds.text.report import score_lines

        ids = [self.vocabulary.encode(line) for line in lines]
        return score_lines(self.model, self.vocabulary, ids, self._hardware())

    def export(self, path: str | Path) -> dict[str, Any]:
        """The model as a file that runs without this package, `.onnx` or `.pt2`; see `lstm export`."""
        from lstmcli.kinds.text.export import export

        return export(self, Path(path))

    def _hardware(self) -> Hardware:
        from lstmcli.engine.hardware import choose_hardware

        return choose_hardware(self.config.train.device, self.config.train.precision, elsewhere=True)

    def _encoded(self, data: str | Path | Sequence[str], by_line: bool = False) -> np.ndarray:
        """Another text, read as the training text was; what should be told of it is."""
        from lstmcli.kinds.files.reading import Form
        from lstmcli.kinds.files.sources import find_files
        from lstmcli.kinds.text.source import encode_files

        paths = find_files(str(data) if isinstance(data, (str, Path)) else list(data), "--data")
        form = Form.of(self.config.data)
        if by_line and form.level == "characters":
            form = replace(form, newlines="unix")  # what ends a line is no symbol of it
        ids, told = encode_files(paths, self.vocabulary, form)
        for each in told:
            notice(each)
        return ids

    def _texts(
        self, data: str | Path | Sequence[str] | None, split: str
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What is evaluated, and the training text for the baselines (None if it is not to be had)."""
        if data is not None:
            ids = self._encoded(data)
            try:
                return ids, self.splits()["train"]
            except (DataError, RunError, ResourceError) as error:
                notice(f"no baselines beside the model: {error.message}")
                return ids, None
        return self._own(split)

    def _own(self, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        """A split of the run's own text, and the training text."""
        if split not in ("train", "val", "test"):
            raise UsageError(f"no split {split!r}", "there are train, val and test")
        splits = self.splits()
        found = splits[split]
        if found is None:
            held = ", ".join(k for k, v in splits.items() if v is not None)
            raise DataError(f"this run's data have no {split} split", f"they have: {held}")
        return found, splits["train"]

    def splits(self) -> dict[str, np.ndarray | None]:
        """The run's own data, prepared again if need be, and checked to be the same."""
        from lstmcli.kinds.files.sources import found_again
        from lstmcli.kinds.text.source import prepare_text

        try:
            data = prepare_text(found_again(self.config.data, self.began_in, ""))
        except DataError as error:
            raise DataError(error.message, "give the text with --data FILE") from error
        if self.record["data_fingerprint"] != data.fingerprint:
            notice("the data have changed since this run was trained")
            if data.vocabulary.to_json() != self.vocabulary.to_json():
                raise RunError(
                    "the run's data have changed, and with them the vocabulary",
                    "evaluate on a file of your choice with --data FILE",
                )
        return {"train": data.train, "val": data.val, "test": data.test}
