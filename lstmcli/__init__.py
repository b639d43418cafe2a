"""Train recurrent sequence models from the command line; see inside them; use them from Python.

import lstmcli
run = lstmcli.train("configs/quickstart.yaml", train__max_steps=200)
run = lstmcli.load("runs/x")
run.generate("ROMEO:", length=200)
run.evaluate()
run.model            # the torch module
lstmcli.nn.Recurrent("gru", 64, 256)  # the engine, called like torch.nn.LSTM, with any cell
"""

import os
import sys

if sys.argv[:1] == ["-m"] and "lstmcli" in sys.orig_argv and not getattr(sys.flags, "safe_path", False):
    # `python -m lstmcli`: Python looks for modules in the current folder first, which may be somebody's data
    # with a `yaml.py` among them. It is taken out before anything else is imported.
    sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lstmcli.version import __version__

if TYPE_CHECKING:
    from lstmcli import nn
    from lstmcli.api import Run, load, train

SPIN = "1000"
"""Turns of a thread's loop before it sleeps. GNU's OpenMP, on which torch computes, lets a thread that has
done its part spin for milliseconds; where others want the cores, that is time taken from those it waits
for, and two threads are a twentieth as fast as one. It is read once, when torch is loaded; what a user has
set stays."""
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)

__all__ = ["Run", "__version__", "load", "nn", "train"]


def __getattr__(name: str) -> Any:
    """Import on use, so that `lstm --help` stays quick."""
    if name in ("Run", "load", "train"):
        from lstmcli import api

        return getattr(api, name)
    if name == "nn":
        return import_module("lstmcli.nn")
    raise AttributeError(f"module 'lstmcli' has no attribute {name!r}")
