"""Checkpoints: all that other packages use.

A training process holds the run's lock, and then, at each checkpoint:

    path = save_checkpoint(run.checkpoints, snapshot)
    discard_after(...)          # only at the first commit after a resume from an older step
    prune(run.checkpoints, keep, protect={snapshot.step, best_step, resumed_step}, notice)

Everybody else: `read_checkpoint(resolve(run.checkpoints, which, notice))`. Only
framework="torch", or saving a PyTorch tensor, imports PyTorch.
"""

from __future__ import annotations

from lstmcli.run.checkpoint.choose import Notice, latest_valid, resolve
from lstmcli.run.checkpoint.manifest import checkpoints, read_document, step_name, step_of
from lstmcli.run.checkpoint.prune import discard_after, prune
from lstmcli.run.checkpoint.read import read_checkpoint, verify
from lstmcli.run.checkpoint.snapshot import Layout, Snapshot, check_tensors, describe
from lstmcli.run.checkpoint.write import save_checkpoint

__all__ = [
    "Layout",
    "Notice",
    "Snapshot",
    "check_tensors",
    "checkpoints",
    "describe",
    "discard_after",
    "latest_valid",
    "prune",
    "read_checkpoint",
    "read_document",
    "resolve",
    "save_checkpoint",
    "step_name",
    "step_of",
    "verify",
]
