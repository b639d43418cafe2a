"""Code of the user's own that the tool is asked to run: a module by its name, or a Python file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from lstmcli.core.errors import ConfigError
from lstmcli.core.notices import notice

KINDS = "LSTM_KINDS"
"""Names modules or files with kinds of data of the user's own, parted as the folders in PATH are. Each makes
its kinds known when it is imported (lstmcli/run/kind.py, `register`)."""
_imported: set[str] = set()


def import_own_kinds() -> None:
    """Import what `LSTM_KINDS` names, each once in a process.

    ConfigError: one of them is missing, or fails.
    """
    for name in filter(None, os.environ.get(KINDS, "").split(os.pathsep)):
        if name in _imported:
            continue
        _imported.add(name)  # what it imports asks for all kinds, too
        notice(f"{KINDS} runs the code of {Path(name).resolve() if is_file(name) else name}")
        try:
            module_from_file(Path(name), KINDS) if is_file(name) else importlib.import_module(name)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # the user's own code may raise anything at all
            raise ConfigError(
                f"{KINDS}: {name} cannot be imported: {type(error).__name__}: {error}",
                "run the file with Python to see the whole error",
            ) from error


def is_file(name: str) -> bool:
    return name.endswith(".py")


def module_from_file(path: Path, what: str) -> ModuleType:
    """The file as a module, under a name that no other file has. ConfigError: `what` names no Python file."""
    if not path.is_file():
        raise ConfigError(f"{what}: there is no file {path}", f"looked in {Path.cwd()}")
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"lstmcli_own_{what.lower().replace('.', '_')}_{key}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{what}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
