"""The safetensors format: named tensors to bytes and back. PyTorch is imported for its own tensors only.

Written here without a copy, so that large states are written as fast as the disk takes them; read
by the safetensors library, which refuses overlaps, gaps and overflows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from lstmcli.core.errors import RunError
from lstmcli.core.files import Buffer

if TYPE_CHECKING:
    import torch

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
"""Names that NumPy and PyTorch share, to the format's."""
NAMES = {code: name for name, code in DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """One tensor as little-endian bytes in row-major order."""

    dtype: str  # a key of DTYPES
    shape: tuple[int, ...]
    data: Buffer


HEADER_LIMIT = 16 << 20
"""Bytes of the largest header that is given to the parser."""


def entry_of(tensor: Any) -> Entry:
    """The bytes of a NumPy array or a PyTorch tensor, in place where they already lie in order."""
    if not isinstance(tensor, (np.ndarray, np.generic)):
        return _entry_of_torch(tensor)
    array = np.asarray(tensor, order="C")
    if array.dtype.name not in DTYPES:
        raise TypeError(f"a checkpoint cannot hold an array of {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return Entry(array.dtype.name, array.shape, array.reshape(-1).view(np.uint8))


def _entry_of_torch(tensor: torch.Tensor) -> Entry:
    """The bytes of a tensor on any device; shared storage and gradients do not matter."""
    import torch

    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise TypeError(f"a checkpoint cannot hold a tensor of {tensor.dtype}")
    return Entry(name, tuple(tensor.shape), flat.view(torch.uint8).numpy())


def encode(entries: Mapping[str, Entry]) -> list[Buffer]:
    """The parts of a safetensors file: header length (8 bytes), JSON header, then each tensor."""
    # Wide types first keeps every tensor aligned to its own width.
    names = sorted(entries, key=lambda name: (-_width(entries[name]), name))
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        entry = entries[name]
        begin, end = end, end + memoryview(entry.data).nbytes
        code = DTYPES[entry.dtype]
        header[name] = {"dtype": code, "shape": entry.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *(entries[name].data for name in names)]


def _width(entry: Entry) -> int:
    return memoryview(entry.data).nbytes // max(1, math.prod(entry.shape))


def decode(data: bytes, path: Path) -> dict[str, Entry]:
    """The tensors in a safetensors file that was read from `path`; RunError when it is damaged."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8 or length > HEADER_LIMIT:
        raise RunError(
            f"{path} is damaged: a header of {length:,} bytes in a file of {len(data):,}"
            f" (at most {HEADER_LIMIT:,} are read)"
        )
    try:
        tensors = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    return {name: _entry_read(name, value, path) for name, value in tensors}


def _entry_read(name: str, value: dict[str, Any], path: Path) -> Entry:
    if value["dtype"] not in NAMES:
        raise RunError(f"{path}: tensor {name} has the unknown dtype {value['dtype']}")
    return Entry(NAMES[value["dtype"]], tuple(value["shape"]), value["data"])


def to_torch(entry: Entry) -> torch.Tensor:
    """The tensor on the CPU; it owns the entry's bytes."""
    import torch

    dtype: torch.dtype = getattr(torch, entry.dtype)
    if not len(entry.data):
        return torch.empty(entry.shape, dtype=dtype)
    return torch.frombuffer(entry.data, dtype=dtype).reshape(entry.shape)


def to_numpy(entry: Entry) -> np.ndarray[Any, Any]:
    """The tensor as an array, without a copy; TypeError for bfloat16, which NumPy does not have."""
    dtype = np.dtype(entry.dtype).newbyteorder("<")
    return np.frombuffer(entry.data, dtype).reshape(entry.shape)


def count_non_finite(entry: Entry) -> int:
    """How many values are NaN or infinite."""
    if entry.dtype == "bfloat16":  # all bits of the exponent set
        bits = np.frombuffer(entry.data, "<u2")
        return int(np.count_nonzero((bits & 0x7F80) == 0x7F80))
    array = to_numpy(entry)
    return array.size - int(np.count_nonzero(np.isfinite(array))) if array.dtype.kind in "fc" else 0
