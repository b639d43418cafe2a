"""A text model as a file that runs without this package: one step of it, for any number of texts at once.

    ids (B,), one state (B, H) for each name of each layer  ->  logits (B, V), the states after the step

Whatever the cell is, its step is written once (`Layer.step`) and traced here by `torch.export`: the graph
goes into a `.pt2` file as it is, or into an `.onnx` file by PyTorch's own exporter. Either file is compared
with the model before it gets its name.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmcli.core.errors import ResourceError, RunError, UsageError
from lstmcli.core.files import write_atomic
from lstmcli.core.notices import notice
from lstmcli.version import __version__

if TYPE_CHECKING:
    from lstmcli.kinds.text.model import TextModel
    from lstmcli.kinds.text.trained import Run

TOLERANCE = 1e-5
"""How far a number may be off, as a share of the largest of its kind, or of one if that is smaller."""
STEPS, TEXTS = 200, 3
"""Of the comparison."""
Step = Callable[[np.ndarray, Sequence[np.ndarray]], Sequence[np.ndarray]]
"""ids and states in; logits and states out."""


class TextStep(nn.Module):
    """One step of a text model in evaluation, from its layers' own `step`."""

    def __init__(self, model: TextModel):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, state: list[Tensor]) -> list[Tensor]:
        """ids (B,) and each state (B, H) -> logits (B, V; of a mixture log-probabilities) and each state."""
        given = iter(state)
        layers = self.model.layers.layers
        old = tuple(tuple(next(given) for _ in layer.cell.state) for layer in layers)
        x = functional.embedding(ids, self.model.embedding.weight)
        read, new, _ = self.model.layers.step(x, old)
        return [self.model.logits(read), *(s for layer in new for s in layer)]


def state_names(model: TextModel) -> list[str]:
    """Of each state of each layer, in their order: `layer0.hidden`."""
    layers = enumerate(model.layers.layers)
    return [f"layer{number}.{name}" for number, layer in layers for name in layer.cell.state]


def export(run: Run, path: Path) -> dict[str, Any]:
    """Write the file that `path` names by its ending, `.onnx` or `.pt2`.

    Returns:
        What `lstm export --json` prints.

    Raises:
        UsageError: another ending.
        RunError: the file would not compute what the model does.
        ResourceError: a package is missing, or the file cannot be written.
    """
    writers = {".onnx": _onnx, ".pt2": _pt2, ".html": _html}
    if path.suffix.lower() not in writers:
        raise UsageError(f"{path}: the ending says what is written", "there are .onnx, .pt2 and .html")
    model = copy.deepcopy(run.model).requires_grad_(False)
    about = {
        "vocabulary": json.dumps(run.vocabulary.to_json()),
        "states": json.dumps(state_names(model)),
        "run": run.directory.name,
        "step": str(run.step),
        "cell": run.config.model.cell,
        "written_by": f"lstmcli {__version__}",
    }
    with _quiet():
        data, step = writers[path.suffix.lower()](model, about)
    off = None if step is None else difference(model, step)
    if off is not None and off > TOLERANCE and path.suffix.lower() != ".html":  # which says so instead
        raise RunError(
            f"{path} was not written: its numbers are up to {off:.1e} off the model's, more than {TOLERANCE}",
            "this cell's equations lose too much to the order in which sums are made",
        )
    write_atomic(path, data)
    return {"run": run.directory.name, "step": run.step, "file": str(path), "bytes": len(data), "off": off}


def traced(model: TextModel) -> torch.export.ExportedProgram:
    """The graph of a step, for any number of texts."""
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    state = [s for layer in model.initial_state(2) for s in layer]
    shapes: dict[str, Any] = {"ids": {0: batch}, "state": [{0: batch} for _ in state]}
    ids = torch.zeros(2, dtype=torch.long)
    with torch.no_grad():
        return torch.export.export(TextStep(model), (ids, state), dynamic_shapes=shapes)


def difference(model: TextModel, step: Step) -> float:
    """How far a step is from the model's over a text of random symbols, each from the model's own states."""
    draw = np.random.default_rng(0)
    own, worst = TextStep(model), 0.0
    state = [s for layer in model.initial_state(TEXTS) for s in layer]
    with torch.no_grad():
        for _ in range(STEPS):
            ids = draw.integers(0, model.vocabulary_size, TEXTS)
            found = step(ids, [s.numpy() for s in state])
            wanted = own(torch.from_numpy(ids), state)
            for got, right in zip(found, wanted, strict=True):
                scale = max(1.0, float(right.abs().max()))
                worst = max(worst, float(np.abs(got - right.numpy()).max()) / scale)
            state = wanted[1:]
    return worst


# --- the formats ------------------------------------------------------------------------------


def _pt2(model: TextModel, about: dict[str, str]) -> tuple[bytes, Step]:
    program, file = traced(model), io.BytesIO()
    torch.export.save(program, file, extra_files=dict(about))
    data = file.getvalue()
    module = torch.export.load(io.BytesIO(data)).module()

    def step(ids: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = module(torch.from_numpy(ids), [torch.from_numpy(s.copy()) for s in state])
        return [value.numpy() for value in found]

    return data, step


def _onnx(model: TextModel, about: dict[str, str]) -> tuple[bytes, Step | None]:
    try:
        onnx = import_module("onnx")
        import_module("onnxscript")  # of which PyTorch's exporter makes use
    except ModuleNotFoundError as error:
        hint = "pip install 'lstmcli[onnx]'"
        raise ResourceError(f"an .onnx file needs the package {error.name}", hint) from error
    names = state_names(model)
    program = torch.onnx.export(
        traced(model),
        (),
        dynamo=True,
        verbose=False,
        input_names=["ids", *names],
        output_names=["logits", *(f"next.{name}" for name in names)],
    )
    proto = program.model_proto  # type: ignore[union-attr]
    onnx.helper.set_model_props(proto, about)
    data: bytes = proto.SerializeToString()
    return data, _onnx_step(data, names)


def _onnx_step(data: bytes, names: Sequence[str]) -> Step | None:
    """The file's own step; None where there is nothing to run it."""
    try:
        onnxruntime = import_module("onnxruntime")
    except ModuleNotFoundError:
        notice("the file was not compared with the model: onnxruntime is not installed")
        return None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def step(ids: np.ndarray, state: Sequence[np.ndarray]) -> Any:
        return session.run(None, {"ids": ids, **dict(zip(names, state, strict=True))})

    return step


def _html(model: TextModel, about: dict[str, str]) -> tuple[bytes, Step]:
    """A page; its step is that of the model with the weights that the page has, which may be rounded."""
    from lstmcli.kinds.text.page.write import page

    data, shown = page(model, about, f"{about['run']}: a text model that runs in this page")
    own = TextStep(shown)

    def step(ids: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            found = own(torch.from_numpy(ids), [torch.from_numpy(s.copy()) for s in state])
        return [value.numpy() for value in found]

    return data, step


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What PyTorch's exporter says of itself is no concern of a user's."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
