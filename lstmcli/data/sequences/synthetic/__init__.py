"""Tasks that make their own sequences, by the name that `data.task` gives."""

from __future__ import annotations

from collections.abc import Callable

from lstmcli.data.sequences.synthetic.adding import adding
from lstmcli.data.sequences.synthetic.anbn import anbn
from lstmcli.data.sequences.synthetic.copying import copying
from lstmcli.data.sequences.synthetic.dyck import dyck
from lstmcli.data.sequences.synthetic.parity import parity
from lstmcli.data.sequences.synthetic.recall import recall
from lstmcli.data.sequences.synthetic.task import SyntheticTask
from lstmcli.data.sequences.synthetic.waves import sawtooth, sine

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
