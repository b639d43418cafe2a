"""From the name of a cell to its class: built in, in an installed package, or in a file."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lstmcli.cells.base import Cell, CellClass
from lstmcli.core.errors import ConfigError
from lstmcli.core.notices import notice
from lstmcli.core.own_code import is_file, module_from_file

BUILT_IN = {
    "lstm": "lstmcli.cells.zoo.lstm:LSTM",
    "lstm-readable": "lstmcli.cells.zoo.lstm:ReadableLSTM",
    "lstm-peephole": "lstmcli.cells.zoo.variants:PeepholeLSTM",
    "lstm-no-input-gate": "lstmcli.cells.zoo.variants:NoInputGateLSTM",
    "lstm-no-forget-gate": "lstmcli.cells.zoo.variants:NoForgetGateLSTM",
    "lstm-no-output-gate": "lstmcli.cells.zoo.variants:NoOutputGateLSTM",
    "lstm-no-input-activation": "lstmcli.cells.zoo.variants:NoInputActivationLSTM",
    "lstm-no-output-activation": "lstmcli.cells.zoo.variants:NoOutputActivationLSTM",
    "lstm-coupled": "lstmcli.cells.zoo.variants:CoupledLSTM",
    "lstm-full-gate-recurrence": "lstmcli.cells.zoo.variants:FullGateRecurrenceLSTM",
    "lstm-layer-norm": "lstmcli.cells.zoo.lstm:LayerNormLSTM",
    "gru": "lstmcli.cells.zoo.gru:GRU",
    "gru-reset-before": "lstmcli.cells.zoo.gru:ResetBeforeGRU",
    "rnn": "lstmcli.cells.zoo.gru:RNN",
    "rnn-relu": "lstmcli.cells.zoo.gru:ReluRNN",
    "janet": "lstmcli.cells.zoo.gru:JANET",
    "slstm": "lstmcli.cells.zoo.xlstm:SLSTM",
    "minlstm": "lstmcli.cells.zoo.scan:MinLSTM",
    "mingru": "lstmcli.cells.zoo.scan:MinGRU",
    "multiplicative-lstm": "lstmcli.cells.zoo.multiplicative:MultiplicativeLSTM",
    "mogrifier-lstm": "lstmcli.cells.zoo.multiplicative:MogrifierLSTM",
    "projection-lstm": "lstmcli.cells.zoo.multiplicative:ProjectionLSTM",
}
"""Every cell that comes with the tool. A further one is a class and a line here."""
_instead: dict[str, CellClass] = {}


def find_cell(name: str) -> CellClass:
    """The class that `model.cell` names. Naming a file or a package runs its code.

    Raises:
        ConfigError: there is no such cell, it cannot be imported, or it is no cell.
    """
    if name in _instead:
        return _instead[name]
    where, colon, class_name = BUILT_IN.get(name, name).rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(BUILT_IN)}"
        raise ConfigError(f"model.cell: there is no cell {name!r}", f"{hint}; or give FILE.py:Class")
    _announce(name, where)
    try:
        module = module_from_file(Path(where), "model.cell") if is_file(where) else _module(where)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code may raise anything at all
        raise ConfigError(
            f"model.cell: {where} cannot be imported: {place_of(error)}",
            "run the file with Python to see the whole error",
        ) from error
    return _checked(name, getattr(module, class_name, None), module, class_name)


def _announce(name: str, where: str) -> None:
    """Say whose code is about to run, unless it is the tool's own."""
    if not comes_with_the_tool(name):
        notice(f"model.cell {name} runs the code of {Path(where).resolve() if is_file(where) else where}")


@contextmanager
def instead(name: str, cell_class: CellClass) -> Iterator[None]:
    """While this is open, `name` means `cell_class`, and what it names is not imported."""
    before = dict(_instead)
    _instead[name] = cell_class
    try:
        yield
    finally:
        _instead.clear()
        _instead.update(before)


def is_built_in(name: str) -> bool:
    return name in BUILT_IN


def comes_with_the_tool(name: str) -> bool:
    """Whether the code that `model.cell: name` runs is this package's own. That follows what is loaded: a
    module inside of the package, which is imported already, and never a file, whatever it is called."""
    where = BUILT_IN.get(name, name).rpartition(":")[0]
    return not is_file(where) and where.partition(".")[0] == __name__.partition(".")[0]


def _module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _checked(name: str, named: object, module: ModuleType, class_name: str) -> CellClass:
    if isinstance(named, type) and issubclass(named, Cell):
        return named
    here = [k for k, v in vars(module).items() if isinstance(v, type) and _is_own_cell(v, module)]
    problem = "is not a GatedCell, ScanCell or FreeCell" if named is not None else "is not there"
    raise ConfigError(
        f"model.cell: {name}: the class {class_name} {problem}",
        f"cells in that module: {', '.join(here) or 'none'}",
    )


def _is_own_cell(cell: type, module: ModuleType) -> bool:
    return issubclass(cell, Cell) and cell.__module__ == module.__name__


def place_of(error: BaseException, file: str | None = None) -> str:
    """The error in words, with the last place in the user's code: in `file`, if it is known."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if "importlib" not in filename and not filename.startswith("<") and file in (None, filename):
            place = f" ({filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"
