"""PyTorch tensors to bytes and back: the only module of checkpoints that imports PyTorch."""

from __future__ import annotations

import torch

from lstmcli.run.checkpoint.entry import DTYPES, Entry


def entry_of_torch(tensor: torch.Tensor) -> Entry:
    """The bytes of a tensor on any device; shared storage and gradients do not matter."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise TypeError(f"a checkpoint cannot hold a tensor of {tensor.dtype}")
    return Entry(name, tuple(tensor.shape), flat.view(torch.uint8).numpy())


def to_torch(entry: Entry) -> torch.Tensor:
    """The tensor on the CPU; it owns the entry's bytes."""
    dtype: torch.dtype = getattr(torch, entry.dtype)
    if not len(entry.data):
        return torch.empty(entry.shape, dtype=dtype)
    return torch.frombuffer(entry.data, dtype=dtype).reshape(entry.shape)
