"""One tensor of a checkpoint as bytes, and the names of its dtypes."""

from __future__ import annotations

from dataclasses import dataclass

from lstmcli.core.files import Buffer

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
