"""The source of a user's cell, kept in each checkpoint, so that a run still works where the cell's own
file is missing or has changed. Whose code that may be stands in `lstmcli.cells.trust`.

A checkpoint of such a run holds two more files: `cell.py`, the source of the module that defines the
class, and `cell.json`, which says where it came from. Like every file of a checkpoint they are read
only after their size and SHA-256 proved right. Where the original is not here, the copy is run if it is
trusted, and that is said; else the run is refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any

from lstmcli.cells.base import Cell, CellClass
from lstmcli.cells.registry import comes_with_the_tool, instead, is_built_in, place_of
from lstmcli.cells.trust import is_allowed, is_remembered, module_files, original_of, remember
from lstmcli.core.errors import RunError
from lstmcli.core.files import decode_json
from lstmcli.run.checkpoint.choose import Notice, resolve
from lstmcli.run.checkpoint.manifest import Manifest, checkpoints, read_manifest, read_text

COPY, RECORD = "cell.py", "cell.json"
_loaded: dict[str, dict[str, str]] = {}  # what a copy that is in use came from, by its module's name


def cell_files(name: str, cell: Any) -> dict[str, str]:
    """`cell.py` and `cell.json` for a checkpoint of a run of `cell`, an instance of the class that
    `model.cell` names; nothing for a cell that comes with the tool, or that comes from no Python file."""
    cell_class = type(cell)
    module = cell_class.__module__
    if is_built_in(name) or module.partition(".")[0] == "lstmcli":
        return {}
    if module in _loaded:
        return dict(_loaded[module])
    file = inspect.getsourcefile(cell_class)
    source = _source(Path(file)) if file else None
    if source is None:
        return {}
    where, _, given = name.rpartition(":")
    named_there = getattr(sys.modules.get(module), given, None) is cell_class
    record = {
        "cell": name,
        "class": given if named_there else cell_class.__qualname__,
        "origin": where if _same_file(where, str(file)) else module,
        "sha256": hashlib.sha256(source.encode()).hexdigest(),
    }
    return {COPY: source, RECORD: json.dumps(record, indent=1)}


def _same_file(where: str, file: str) -> bool:
    return where.endswith(".py") and Path(where).resolve() == Path(file).resolve()


@contextmanager
def cell_of_run(name: str, folder: Path, which: str | None, say: Notice) -> Iterator[None]:
    """`cell_of_checkpoint` for the checkpoint `which` among those in `folder`. A run without any has no
    copy of its cell: the original runs, if it was noted here when the run began."""
    if is_built_in(name):
        yield
        return
    if which in (None, "last") and not checkpoints(folder):
        check_original(name, folder.parent)
        yield
        return
    with cell_of_checkpoint(name, resolve(folder, which, say), say):
        yield


def check_original(name: str, run: Path) -> None:
    """RunError unless the code that `model.cell` names is the tool's own, trusted, or was trained here."""
    if comes_with_the_tool(name) or is_allowed(run):
        return
    record = _record_of_original(name)
    if record is None or not is_remembered(record):
        raise _not_trusted(f"names {name}, and has no checkpoint that holds a copy of it", name)


def note_original(name: str) -> None:
    """Note that the code that `model.cell` names is of the user's own choice. It is not run."""
    record = None if comes_with_the_tool(name) else _record_of_original(name)
    if record is not None:
        remember(record)


def _record_of_original(name: str) -> dict[str, str] | None:
    """Of the file that `model.cell` names, what `cell.json` would say; None if there is no such file."""
    where, _, given = name.rpartition(":")
    files = [Path(where)] if where.endswith(".py") else module_files(where)
    source = _source(files[-1]) if files else None
    if source is None:
        return None
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    return {"cell": name, "class": given, "origin": where, "sha256": sha256}


@contextmanager
def cell_of_checkpoint(name: str, folder: Path, say: Notice) -> Iterator[None]:
    """While this is open, `model.cell` means the class in the checkpoint `folder`, if it holds one and
    the original is missing or differs; `say` gets a sentence about that.

    Raises:
        RunError: what the checkpoint holds of the cell is damaged, is not trusted, or cannot be imported.
    """
    manifest = None if is_built_in(name) else read_manifest(folder)
    if manifest is None:
        yield
        return
    trusted = is_allowed(folder.parent.parent)
    if COPY not in manifest.files or RECORD not in manifest.files:
        if not trusted and not comes_with_the_tool(name):
            raise _not_trusted(f"names {name}, and holds no copy of it to compare", name)
        yield
        return
    files = {key: read_text(folder / key, manifest.files[key]) for key in (COPY, RECORD)}
    record = _record(files[RECORD], folder / RECORD, manifest, name)
    original = original_of(name, record, folder.parent.parent)
    found = None if original is None else _source(original)
    if found == files[COPY]:
        yield
        return
    copy = folder / COPY
    why = f"{record['origin']} is not here" if found is None else f"{original} is not what the run began with"
    if not (trusted or is_remembered(record)):
        raise _not_trusted(f"came with code of its own, class {record['class']} in {copy} ({why})", str(copy))
    say(f"model.cell: {why}; this runs code that came with the run: class {record['class']} in {copy}")
    with instead(name, _import(files, record, copy)):
        yield


def _not_trusted(what: str, where: str) -> RunError:
    return RunError(
        f"this run {what}; it was not trained here, and a stranger's code can do anything that you can",
        f"read {where}; if you trust it, say --trust (in Python: lstmcli.load(run, trust=True))",
    )


def note_own_cell(files: Mapping[str, str]) -> None:
    """A run whose checkpoints hold these files is trained here: its cell may run here again."""
    if RECORD in files:
        remember(json.loads(files[RECORD]))


def _record(text: str, path: Path, manifest: Manifest, name: str) -> dict[str, str]:
    """`cell.json`: where the copy came from. RunError unless it belongs to the copy and to `model.cell`."""
    record = decode_json(text.encode(), path)
    wrong = [key for key in ("cell", "class", "origin", "sha256") if not isinstance(record.get(key), str)]
    if wrong:
        raise RunError(f"{path} is damaged: no {wrong[0]}")
    if record["sha256"] != manifest.files[COPY].sha256:
        raise RunError(f"{path} is damaged: it belongs to another {COPY}")
    if record["cell"] != name:
        raise RunError(f"{path} is of the cell {record['cell']}, but the run's model.cell is {name}")
    return record


def _source(path: Path) -> str | None:
    """The text of a Python file as Python reads it, or None."""
    try:
        return decode_source(path.read_bytes()) if path.is_file() else None
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _import(files: dict[str, str], record: dict[str, str], path: Path) -> CellClass:
    """The class in a copy. It is compiled from the text that proved sound: the file is not read again,
    and Python leaves no cache in the checkpoint."""
    module = _module(record, path)
    try:
        exec(compile(files[COPY], str(path), "exec"), module.__dict__)
        found: Any = module
        for part in record["class"].split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything at all
        raise RunError(
            f"the run's own copy of its cell cannot be imported: {place_of(error)}",
            f"put {record['origin']} back as it was, and what it imports",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Cell)):
        raise RunError(f"{path}: the class {record['class']} is no cell")
    _loaded[module.__name__] = files
    return found


def _module(record: dict[str, str], path: Path) -> ModuleType:
    """A new module, in the package of the original so that its relative imports still work."""
    origin = record["origin"]
    package = "" if origin.endswith(".py") else origin.rpartition(".")[0]
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"{package}.lstmcli_cell_of_run_{key}".removeprefix(".")
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    if spec is None:
        raise RunError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module
    return module
