"""A trained text model as an object: generate, evaluate, look inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.core.errors import DataError, ResourceError, RunError, UsageError
from lstmcli.core.notices import notice
from lstmcli.kinds.text.clamp import Clamp, ClampedDecoder
from lstmcli.kinds.text.decoder import LSTMDecoder, TorchDecoder
from lstmcli.kinds.text.decoders import has_numpy_decoder, numpy_decoder
from lstmcli.kinds.text.generate import GenerateOptions, Sample, generate
from lstmcli.kinds.text.vocabulary import Vocabulary
from lstmcli.run.directory import read_json
from lstmcli.run.trained import TrainedRun

if TYPE_CHECKING:
    import numpy as np

    from lstmcli.kinds.text.model import TextModel
    from lstmcli.kinds.text.report import Beside, TextReport


@dataclass(frozen=True)
class Run(TrainedRun):
    """A trained text model with its vocabulary."""

    tensors_of = "numpy"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        document = read_json(self.checkpoint / "vocab.json")
        return Vocabulary.from_json(document)

    @cached_property
    def model(self) -> TextModel:
        """The torch module, on the CPU in fp32, ready to evaluate."""
        import torch

        from lstmcli.engine.footprint import check_room, text_parameters
        from lstmcli.engine.hardware import path_for_one_use, set_path
        from lstmcli.kinds.text.model import TextModel
        from lstmcli.run.own_cell import cell_of_checkpoint
        from lstmcli.run.state import load_model, tensors_of

        check_room(text_parameters(self.config.model, self.vocabulary.size))
        with cell_of_checkpoint(self.config.model.cell, self.checkpoint, notice):
            model = TextModel(self.config.model, self.vocabulary.size)
        arrays = tensors_of(self._snapshot, model)
        load_model(model, {name: torch.from_numpy(value) for name, value in arrays.items()})
        set_path(model.layers, path_for_one_use(model.layers))
        return model.eval()

    @cached_property
    def decoder(self) -> LSTMDecoder | TorchDecoder:
        if not has_numpy_decoder(self.config.model):
            return TorchDecoder(self.model)
        arrays = self._snapshot.tensors
        tensors = {k.removeprefix("model."): v for k, v in arrays.items()}
        decoder = numpy_decoder(self.config.model, tensors)
        if decoder.symbols != self.vocabulary.size:
            raise RunError(
                f"{self.checkpoint}: the vocabulary has {self.vocabulary.size} symbols, "
                f"the model {decoder.symbols}",
                "the checkpoint is damaged: use another one, RUN@STEP",
            )
        return decoder

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
        return generate(decoder, self.vocabulary, prompt, GenerateOptions(**options), on_text=on_text)

    def evaluate(
        self,
        data: str | Path | None = None,
        split: str = "val",
        protocol: str = "windows",
        on_progress: Callable[[int, int], None] | None = None,
        beside: Beside | None = None,
    ) -> TextReport:
        """Loss, bits, perplexity and accuracy beside unigram and n-gram models of the training text.

        Args:
            data: another text than the run's own split.
            beside: dynamic evaluation, mixtures and another temperature, reported as well.
        """
        from lstmcli.engine.hardware import choose_hardware
        from lstmcli.kinds.text.report import NOTHING_BESIDE, report_on

        ids, train = self._texts(data, split)
        settings = self.config.train
        hardware = choose_hardware(settings.device, settings.precision, elsewhere=True)
        return report_on(
            self.model, self.vocabulary, ids, train, protocol, hardware, on_progress, beside or NOTHING_BESIDE
        )

    def _texts(self, data: str | Path | None, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        """What is evaluated, and the training text for the baselines (None if it is not to be had)."""
        if data is not None:
            from lstmcli.kinds.text.source import encode_file

            ids = encode_file(Path(data), self.vocabulary)
            try:
                return ids, self.splits()["train"]
            except (DataError, RunError, ResourceError) as error:
                notice(f"no baselines beside the model: {error.message}")
                return ids, None
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
        from lstmcli.kinds.text.source import prepare_text

        try:
            data = prepare_text(self.config.data)
        except DataError as error:
            raise DataError(error.message, "give the text with --data FILE") from error
        manifest = read_json(self.directory.manifest_path)
        if manifest.get("data_fingerprint") != data.fingerprint:
            notice("the data have changed since this run was trained")
            if data.vocabulary.to_json() != self.vocabulary.to_json():
                raise RunError(
                    "the run's data have changed, and with them the vocabulary",
                    "evaluate on a file of your choice with --data FILE",
                )
        return {"train": data.train, "val": data.val, "test": data.test}
