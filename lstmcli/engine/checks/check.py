"""Whether a cell keeps to the contract and computes the same wherever it runs.

What takes a moment is checked before a cell of the user's own is trained; all of it by `lstm cells check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lstmcli.cells.base import CellClass
from lstmcli.cells.registry import find_cell, is_built_in, place_of
from lstmcli.config.schema import Model
from lstmcli.core.errors import ConfigError
from lstmcli.core.notices import notice
from lstmcli.engine.checks import check_layer, check_step
from lstmcli.engine.checks.check_step import Check
from lstmcli.engine.checks.subject import Failed, Subject
from lstmcli.engine.footprint import check_memory, layer_parameters

OF_A_LAYER: dict[str, Check] = {
    "finite": check_layer.finite,
    "training twice": check_layer.trained_twice,
    "carried state": check_layer.carried_state,
    "bf16 products": check_layer.bf16,
    "save and load": check_layer.saved_and_loaded,
}


@dataclass(frozen=True)
class Verdict:
    """One check of a cell."""

    check: str
    result: str  # "ok", "warning", "FAILED" or "not tried"
    detail: str = ""
    hint: str | None = None

    def __str__(self) -> str:
        said = f"{self.check:24}{self.result}" + (f": {self.detail}" if self.detail else "")
        return said if self.hint is None else f"{said}\n{'':24}  {self.hint}"


def check_before_training(settings: Model) -> None:
    """Check a step of `model.cell`, unless it is built in, in the sizes of each layer of the model.

    Raises:
        ResourceError: layers of these sizes do not fit into memory.
        ConfigError: the step does not keep to the contract; with the place in the cell's file.
    """
    check_memory(layer_parameters(settings))
    if is_built_in(settings.cell):
        return
    cell_class = find_cell(settings.cell)
    sizes = settings.sizes
    below = [settings.embedding_size or sizes[0], *sizes]
    for input_size, hidden_size in dict.fromkeys(zip(below, sizes, strict=False)):
        subject = Subject(cell_class, hidden_size, input_size)
        for name, check in (check_step.FIRST | check_step.OTHERS).items():
            verdict = _verdict(name, check, subject)
            if verdict.result == "FAILED":
                raise ConfigError(f"model.cell: {settings.cell}: {verdict.detail}", verdict.hint)
            if name == "gradients" and verdict.result == "warning":
                notice(f"model.cell {settings.cell}: {verdict.detail}")


def check_cell(cell_class: CellClass, hidden_size: int = 8) -> Iterator[Verdict]:
    """Each check as it is made. What the cell raises is a failed check, with the place in its file."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are tiny
    try:
        yield from _verdicts(Subject(cell_class, hidden_size, input_size=max(1, hidden_size - 2)))
    finally:
        torch.set_num_threads(threads)


def _verdicts(subject: Subject) -> Iterator[Verdict]:
    sound = True
    for name, check in check_step.FIRST.items():
        if not sound:
            yield Verdict(name, "not tried")
            continue
        verdict = _verdict(name, check, subject)
        sound = verdict.result != "FAILED"
        yield verdict
    if not sound:
        yield Verdict("all others", "not tried", "until this is mended")
        return
    for name, check in (check_step.OTHERS | OF_A_LAYER | check_layer.paths(subject)).items():
        yield _verdict(name, check, subject)


def _verdict(name: str, check: Check, subject: Subject) -> Verdict:
    try:
        detail, warning = check(subject)
    except Failed as failed:
        return Verdict(name, "FAILED", _with_place(failed.what, subject), failed.hint)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything at all
        said = _with_place(f"it raises {place_of(error, subject.file)}", subject)
        return Verdict(name, "FAILED", said, "the check runs this code as training would")
    return Verdict(name, "warning" if warning else "ok", detail)


def _with_place(said: str, subject: Subject) -> str:
    """What is said of a cell, with the place of its step in its file, unless a place is named already."""
    return said if subject.file is None or f"{subject.file}:" in said else f"{said} ({subject.place})"
