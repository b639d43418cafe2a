"""Tasks that make their own sequences, by the name that `data.task` gives."""

from __future__ import annotations

from collections.abc import Callable

from lstmcli.kinds.sequence.synthetic.languages import anbn, dyck
from lstmcli.kinds.sequence.synthetic.memory import adding, copying, parity, recall
from lstmcli.kinds.sequence.synthetic.task import SyntheticTask
from lstmcli.kinds.sequence.synthetic.waves import sawtooth, sine

TASKS: dict[str, Callable[[int | None], SyntheticTask]] = {
    "adding": adding,
    "copy": copying,
    "parity": parity,
    "recall": recall,
    "dyck": dyck,
    "anbn": anbn,
    "sine": sine,
    "sawtooth": sawtooth,
}


def find_task(name: str, symbols: int | None) -> SyntheticTask:
    """The task, with an alphabet of `symbols` (None: its own default)."""
    return TASKS[name](symbols)
