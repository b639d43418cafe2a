"""Values of a program: what is computed from what, and which tensor holds which while it is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)
DTYPES = (*FLOATS, torch.bfloat16, torch.bool)


class Unsupported(Exception):
    """Something that cannot be written as a kernel of this kind."""


@dataclass(frozen=True, eq=False)
class Value:
    """(B, width) if `rows`, else the same for each row. A width of one holds for all columns.

    `op` is "argument" (its number), "constant", "slice" (a value, first column), "cat", "sum" (over the
    columns), "convert" (to another dtype or width), or one of `functions.FUNCTIONS`.
    """

    op: str
    of: tuple[Any, ...]
    dtype: torch.dtype
    rows: bool
    width: int


@dataclass(frozen=True)
class Argument:
    """A tensor (B, width), or (width,) if not `rows`, whose rows are `stride` elements apart."""

    dtype: torch.dtype
    rows: bool
    width: int
    stride: int


@dataclass(frozen=True)
class Program:
    """What to write into which argument, from the arguments as they were."""

    arguments: tuple[Argument, ...]
    written: dict[int, Value]


class Book:
    """Which tensor holds which value."""

    def __init__(self, rows: int):
        self.rows = rows
        # by id, with the tensor, so that its id stays its own
        self._known: dict[int, tuple[Tensor, Value]] = {}
        self._conversions: dict[tuple[Value, torch.dtype], Value] = {}

    def name(self, tensor: Tensor, value: Value) -> None:
        self._known[id(tensor)] = tensor, value

    def value(self, given: Any) -> Value:
        if not isinstance(given, Tensor):
            return Value("constant", (given,), torch.float64, False, 1)
        if id(given) in self._known:
            return self._known[id(given)][1]
        if given.dim() == 0 and given.dtype in DTYPES:  # a number that the function holds
            return Value("constant", (given.item(),), given.dtype, False, 1)
        raise Unsupported("a tensor that is not an argument")

    def converted(self, value: Value, dtype: torch.dtype) -> Value:
        if value.dtype == dtype:
            return value
        if dtype not in DTYPES:
            raise Unsupported(f"values of {dtype}")
        made = Value("convert", (value,), dtype, value.rows, value.width)
        return self._conversions.setdefault((value, dtype), made)

    def layout(self, tensor: Tensor) -> tuple[bool, int]:
        """Whether it has rows, and its width. `rows` is the width of nothing, so shapes tell."""
        shape = tuple(tensor.shape)
        if shape in ((), (1,), (1, 1)):
            return False, 1
        if shape == (self.rows,):
            return True, 1
        if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1):
            return False, shape[-1]
        if len(shape) == 2 and shape[0] == self.rows:
            return True, shape[1]
        raise Unsupported(f"a tensor of shape {shape}")

    def overwrite(self, target: Tensor, value: Value) -> None:
        """`value` is now in the memory of `target`, and so in all other tensors on that memory."""
        before = self.value(target)
        where = target.untyped_storage()._cdata
        for tensor, old in list(self._known.values()):
            if tensor.untyped_storage()._cdata == where:
                if old is before:
                    self.name(tensor, value)
                elif old.op == "slice" and old.of[0] is before:
                    self.name(tensor, part(value, old.of[1], old.width))
                else:
                    raise Unsupported("writing into a part of a tensor")

    def make(self, result: Tensor, op: str, *of: Any) -> Value:
        if result.dtype not in DTYPES:
            raise Unsupported(f"values of {result.dtype}")
        return Value(op, tuple(self.value(a) for a in of), result.dtype, *self.layout(result))


def part(value: Value, first: int, width: int) -> Value:
    """Columns `first` to `first + width` of it."""
    if value.width == 1:  # the same in all columns
        return value
    return Value("slice", (value, first), value.dtype, value.rows, width)
