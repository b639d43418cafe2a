"""What one checkpoint holds, and whether two sets of tensors agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lstmcli.core.errors import RunError
from lstmcli.run.checkpoint.manifest import FORMAT_VERSION

MODEL_PREFIX = "model."
"""Tensors whose name begins so are the weights; the others are training state."""

Layout = tuple[tuple[int, ...], str]
"""Shape and dtype (`float32`) of a tensor."""


@dataclass
class Snapshot:
    """All that a resume needs, after `step` updates."""

    step: int
    tensors: dict[str, Any]  # NumPy arrays or PyTorch tensors
    document: dict[str, Any]  # JSON: text keys; floats keep every bit, tuples become lists
    files: dict[str, str] = field(default_factory=dict)  # name to text, such as "vocab.json"
    format_version: int = FORMAT_VERSION  # that it was read from; it is always written in the newest


def describe(tensors: Mapping[str, Any]) -> dict[str, Layout]:
    """Shape and dtype of every tensor, named alike for NumPy and PyTorch."""
    return {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors.items()
    }


def check_tensors(expected: Mapping[str, Layout], found: Mapping[str, Layout]) -> None:
    """RunError naming the first tensor that is missing, extra, or of another shape or dtype."""
    hint = "the checkpoint belongs to another model: compare the model section of its config.yaml"
    if missing := _without(expected, found):
        raise RunError(f"the checkpoint has no tensor {missing[0]}{_more(missing)}", hint)
    if extra := _without(found, expected):
        message = f"the checkpoint has a tensor {extra[0]}{_more(extra)} that the model does not"
        raise RunError(message, hint)
    for name, (shape, dtype) in expected.items():
        found_shape, found_dtype = found[name]
        if tuple(found_shape) != tuple(shape):
            found_text, text = list(found_shape), list(shape)
            raise RunError(f"tensor {name} has shape {found_text}, not {text}", hint)
        if found_dtype != dtype:
            raise RunError(f"tensor {name} has dtype {found_dtype}, not {dtype}", hint)


def _without(names: Iterable[str], others: Mapping[str, Layout]) -> list[str]:
    return [name for name in names if name not in others]


def _more(names: list[str]) -> str:
    return f" (nor {len(names) - 1} others)" if len(names) > 1 else ""
