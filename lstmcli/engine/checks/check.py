"""Whether a cell keeps to the contract and computes the same wherever it runs; and how fast it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lstmcli.cells.base import CellClass
from lstmcli.cells.registry import place_of
from lstmcli.engine.checks import check_layer, check_step
from lstmcli.engine.checks.check_layer import Check
from lstmcli.engine.checks.checking import Failed, Subject

FIRST: dict[str, Check] = {
    "contract and shapes": check_step.contract,
    "inputs unchanged": check_step.inputs_kept,
    "control flow": check_step.no_data_in_control_flow,
    "determinism": check_step.deterministic,
}
"""What all others rest on: where one of these fails, the others would only say so again."""
OTHERS: dict[str, Check] = {
    "finite": check_step.finite,
    "gradients": check_step.gradients,
    "carried state": check_layer.carried_state,
    "streams apart": check_layer.streams_apart,
    "state reset": check_layer.state_reset,
    "gates": check_layer.gate_names,
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
    for name, check in FIRST.items():
        if not sound:
            yield Verdict(name, "not tried")
            continue
        verdict = _verdict(name, check, subject)
        sound = verdict.result != "FAILED"
        yield verdict
    if not sound:
        yield Verdict("all others", "not tried", "until this is mended")
        return
    for name, check in (OTHERS | check_layer.paths(subject)).items():
        yield _verdict(name, check, subject)


def _verdict(name: str, check: Check, subject: Subject) -> Verdict:
    try:
        detail, warning = check(subject)
    except Failed as failed:
        return Verdict(name, "FAILED", failed.what, failed.hint)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything at all
        said = place_of(error, inspect.getsourcefile(subject.cell_class))
        return Verdict(name, "FAILED", f"it raises {said}", "the check runs this code as training would")
    return Verdict(name, "warning" if warning else "ok", detail)
