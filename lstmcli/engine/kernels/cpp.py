"""How types, numbers, elements and reductions are written in C++."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

HELD = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bf16", torch.bool: "int"}
STORED = HELD | {torch.bool: "unsigned char"}
"""C++ types in a variable and in memory."""
ARITHMETIC = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "float", torch.bool: "float"}


class Reduction(NamedTuple):
    operator: str  # as OpenMP has it
    start: str
    step: str


REDUCTIONS = {
    "sum": Reduction("+", "0", "{0} += {1};"),
    # a NaN is passed over
    "max": Reduction("max", "-__builtin_inf()", "{0} = {0} < {1} ? {1} : {0};"),
    "column": Reduction("+", "0", "{0} += h == {2} ? {1} : 0;"),
}
"""From all columns, one value."""


def pointer(name: str, dtype: torch.dtype, where: str) -> str:
    return f"{STORED[dtype]} *const {name} = ({STORED[dtype]} *){where};"


def element(number: int, column: int, width: int = 2) -> str:
    return f"a{number}[0]" if width == 1 else f"a{number}[{column} + h]"


def convert(text: str, dtype: torch.dtype, to: torch.dtype) -> str:
    if dtype == to:
        return text
    if dtype == torch.bfloat16:
        text = f"widen({text})"
        return text if to == torch.float32 else f"{HELD[to]}({text})"
    if to == torch.bfloat16:
        return f"narrow(float({text}))"
    if to == torch.bool:
        return f"({text} != 0)"
    return f"{HELD[to]}({text})"


def literal(number: float) -> str:
    if isinstance(number, bool):
        return str(int(number))
    if math.isnan(number):
        return '__builtin_nan("")'
    if math.isinf(number):
        return "__builtin_inf()" if number > 0 else "-__builtin_inf()"
    return repr(float(number))
