"""From a trained run to the page: the cell's equations as JavaScript, its weights as base64, and the two
scripts that lie beside this file, `model.js` (the model) and `page.js` (what a person sees).
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lstmcli.core.errors import UsageError
from lstmcli.engine.kernels.javascript import javascript
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Unsupported
from lstmcli.engine.layers.gated import GatedLayer
from lstmcli.engine.pointwise import Drops, pointwise_pair

if TYPE_CHECKING:
    from lstmcli.kinds.text.model import TextModel

EXACT = 1_100_000
"""Numbers of a model up to which they are written as they are (fp32), about six megabytes; else as bf16."""


def page(model: TextModel, about: dict[str, str], title: str) -> tuple[bytes, TextModel]:
    """The page, and the model as the page has it, with its weights rounded to bf16 if they are.

    Raises:
        UsageError: the cell or an option is none that a page can run.
    """
    _check(model)
    rounded = sum(value.numel() for value in _tensors(model).values()) > EXACT
    shown = copy.deepcopy(model)
    if rounded:
        for parameter in shown.parameters():
            parameter.data = parameter.data.bfloat16().float()
    places, data = _packed(_tensors(shown), rounded)
    layers = [layer for layer in shown.layers.layers if isinstance(layer, GatedLayer)]
    document = {
        "bf16": rounded,
        "places": places,
        "vocabulary": json.loads(about["vocabulary"]),
        "layers": [
            {
                "units": layer.hidden_size,
                "gates": list(layer.cell.gates),
                "state": list(layer.cell.state),
                "vectors": list(layer.cell.vectors),
            }
            for layer in layers
        ],
        "residual": shown.settings.residual,
        "sum": shown.settings.sum_outputs,
        "cell": about["cell"],
        "run": about["run"],
        "step": int(about["step"]),
    }
    equations = "".join(_equations(layer, f"layer{number}") for number, layer in enumerate(layers))
    names = ", ".join(f"layer{number}" for number in range(len(layers)))
    scripts = {
        name: (files(__package__) / name).read_text("utf-8") for name in ("model.js", "page.js", "page.html")
    }
    core = (
        f'const MODEL = {_json(document)};\nconst WEIGHTS = "{data}";\n'
        f"{equations}const EQUATIONS = [{names}];\n{scripts['model.js']}"
    )
    text = scripts["page.html"].replace("{{title}}", escape(title))
    text = text.replace("{{model}}", core).replace("{{page}}", scripts["page.js"])
    return text.encode(), shown


def _check(model: TextModel) -> None:
    if model.mixture is not None:
        raise UsageError("a page has no mixture of softmaxes", "export it as .onnx")
    kinds = {layer.kind for layer in model.layers.layers if not isinstance(layer, GatedLayer)}
    if kinds:
        raise UsageError(f"a page runs gated cells; this one is a {min(kinds)} cell", "export it as .onnx")


def _json(value: Any) -> str:
    """For inside a script, which `</` would end."""
    return json.dumps(value).replace("</", "<\\/").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _tensors(model: TextModel) -> dict[str, Tensor]:
    found = {k: v for k, v in model.state_dict().items() if k not in model.shared}
    return {name: value.detach().float().contiguous() for name, value in found.items()}


def _packed(tensors: dict[str, Tensor], rounded: bool) -> tuple[dict[str, Sequence[int]], str]:
    """Where each tensor begins, with its shape, and all numbers one after the other in base64."""
    places: dict[str, Sequence[int]] = {}
    first = 0
    for name, value in tensors.items():
        places[name] = [first, *value.shape]
        first += value.numel()
    together = torch.cat([value.flatten() for value in tensors.values()])
    numbers = together.bfloat16().view(torch.int16) if rounded else together
    return places, base64.b64encode(numbers.numpy().tobytes()).decode()


def _equations(layer: GatedLayer, name: str) -> str:
    """The pointwise part of a step: from both products, states and vectors to new states and gates."""
    cell, size = layer.cell, layer.hidden_size
    pair = pointwise_pair(cell, False, Drops(layer.drops.zoneout))
    gates, states, vectors = len(cell.gates), len(cell.state), len(cell.vectors)

    def step(z: Tensor, recurrent: Tensor, *rest: Tensor) -> None:
        old, given, out = rest[:states], rest[states : states + vectors], rest[states + vectors :]
        new, activations = pair.equations(*pair.join(z, recurrent), old, given, [])
        for room, value in zip(out, (*new, *activations), strict=True):
            room.copy_(value * 1.0)  # a value of its own, also where a state is handed on as it is

    wide, row, vector = torch.zeros(2, gates * size), torch.zeros(2, size), torch.zeros(size)
    arguments = [wide, wide, *([row] * states), *([vector] * vectors), *([row] * (states + gates))]
    try:
        return javascript(trace(step, arguments), name)
    except Unsupported as error:
        raise UsageError(f"a page cannot run this cell: {error}", "export it as .onnx") from error
