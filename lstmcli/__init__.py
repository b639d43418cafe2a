"""Train recurrent sequence models from the command line; see inside them; use them from Python.

import lstmcli
run = lstmcli.train("configs/quickstart.yaml", train__max_steps=200)
run = lstmcli.load("runs/x")
run.generate("ROMEO:", length=200)
run.evaluate()
run.model            # the torch module
"""

import os
import sys

if sys.argv[:1] == ["-m"] and "lstmcli" in sys.orig_argv and not getattr(sys.flags, "safe_path", False):
    # `python -m lstmcli`: Python looks for modules in the current folder first, which may be somebody's data
    # with a `yaml.py` among them. It is taken out before anything else is imported.
    sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]

from typing import TYPE_CHECKING, Any

from lstmcli.version import __version__

if TYPE_CHECKING:
    from lstmcli.api import Run, load, train

__all__ = ["Run", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import on use, so that `lstm --help` stays quick."""
    if name in ("Run", "load", "train"):
        from lstmcli import api

        return getattr(api, name)
    raise AttributeError(f"module 'lstmcli' has no attribute {name!r}")
