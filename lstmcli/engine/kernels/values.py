"""Values of a program: what is computed from what, and which tensor holds which while it is recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

GATHERED = ("sum", "max", "column")
"""Operations that make one value of all columns."""
RUNNING = ("cumsum", "cumsum_back")
"""From all columns up to each, a value of that."""
FLOATS = (torch.float32, torch.float64)
DTYPES = (*FLOATS, torch.bfloat16, torch.bool)


class Unsupported(Exception):
    """Something that cannot be written as a kernel of this kind; a slower way computes it."""


class Fault(Unsupported):
    """A kernel that should have been made was not, by a mistake in this package or in a compiler."""


@dataclass(frozen=True, eq=False)
class Value:
    """(B, width) if `rows`, else the same for each row. A width of one holds for all columns.

    `op` is "argument" (its number), "constant", "slice" (a value, first column), "column" (likewise, one for
    all), "cat", "sum" or "max" (over the columns), "cumsum" or "cumsum_back" (up to each column, from the
    first or from the last), "flip" (columns in reverse order), "convert" (to another dtype or width), or one
    of `functions.FUNCTIONS`.
    """

    op: str
    of: tuple[Any, ...]
    dtype: torch.dtype
    rows: bool
    width: int


class Stack(NamedTuple):
    """A tensor of three dimensions: values along its dimension `axis`, counted from the last, -1."""

    axis: int
    parts: tuple[Value, ...]


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


def reachable(values: Iterable[Value]) -> list[Value]:
    """The values and all that they are computed from, each behind what it is made of."""
    found: dict[Value, None] = {}

    def visit(value: Value) -> None:
        if value not in found:
            for v in value.of:
                if isinstance(v, Value):
                    visit(v)
            found[value] = None

    for value in values:
        visit(value)
    return list(found)


def gathers(value: Value) -> bool:
    """Whether it needs all columns of what it is made of."""
    return value.op in GATHERED or value.op in RUNNING


def described(program: Program) -> str:
    """The program as lines: its arguments, what is computed of them, and what is written where."""
    names: dict[Value, str] = {}
    lines = [f"a{n}: {_shape(a)}" for n, a in enumerate(program.arguments)]
    for value in reachable(program.written.values()):
        if value.op == "argument":
            names[value] = f"a{value.of[0]}"
        elif value.op == "constant":
            names[value] = repr(value.of[0])
        else:
            operands = ", ".join(names[v] if isinstance(v, Value) else str(v) for v in value.of)
            names[value] = f"v{sum(line.startswith('v') for line in lines)}"
            lines.append(f"{names[value]} = {value.op}({operands}): {_shape(value)}")
    lines += [f"a{n} <- {names[value]}" for n, value in sorted(program.written.items())]
    return "\n".join(lines)


def _shape(what: Value | Argument) -> str:
    return f"{str(what.dtype).removeprefix('torch.')} ({'B, ' if what.rows else ''}{what.width})"


class Book:
    """Which tensor holds which value."""

    def __init__(self, rows: int):
        self.rows = rows
        # by id, with the tensor, so that its id stays its own
        self._known: dict[int, tuple[Tensor, Value]] = {}
        self._stacks: dict[int, tuple[Tensor, Stack]] = {}
        self._conversions: dict[tuple[Value, torch.dtype], Value] = {}

    def name(self, tensor: Tensor, value: Value | Stack) -> None:
        if isinstance(value, Stack):
            self._stacks[id(tensor)] = tensor, value
        else:
            self._known[id(tensor)] = tensor, value

    def forget(self, tensor: Tensor) -> None:
        self._known.pop(id(tensor), None)

    def stack(self, tensor: Tensor) -> Stack | None:
        return self._stacks[id(tensor)][1] if id(tensor) in self._stacks else None

    def value(self, given: Any) -> Value:
        if not isinstance(given, Tensor):
            return Value("constant", (given,), torch.float64, False, 1)
        if id(given) in self._known:
            return self._known[id(given)][1]
        if (stack := self.stack(given)) is not None:
            if given.dim() == 2 and stack.axis == -1:
                return side_by_side(*((value, 1) for value in stack.parts))
            raise Unsupported("a tensor of three dimensions")
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
        if len(shape) == 2 and shape[0] == self.rows != shape[1]:
            return True, shape[1]
        raise Unsupported(f"a tensor of shape {shape}")

    def need_columns(self, dim: int, *tensors: Tensor) -> None:
        """What works along this dimension of them works along the columns: the last, and not that of (B,).

        Raises:
            Unsupported: it does not.
        """
        for tensor in tensors:
            if not tensor.dim() or dim % tensor.dim() != tensor.dim() - 1 or tensor.shape == (self.rows,):
                raise Unsupported("an operation along the rows")

    def overwrite(self, target: Tensor, value: Value) -> None:
        """`value` is now in the memory of `target`, and so in all other tensors on that memory."""
        where = target.untyped_storage()._cdata
        for tensor, _ in list(self._stacks.values()):
            if tensor.untyped_storage()._cdata == where:  # it is not followed there
                self._stacks.pop(id(tensor))
        start, stride, width = self._place(target)
        for tensor, old in list(self._known.values()):
            if tensor.untyped_storage()._cdata != where:
                continue
            its_start, its_stride, its_width = self._place(tensor)
            if its_stride != stride:
                raise Unsupported("writing into what other tensors see otherwise")
            offset = its_start - start
            first, last = max(offset, 0), min(offset + its_width, width)
            if first < last:
                left, middle, right = first - offset, last - first, offset + its_width - last
                pieces = part(old, 0, left), part(value, first, middle), part(old, its_width - right, right)
                self.name(tensor, side_by_side(*zip(pieces, (left, middle, right), strict=True)))

    def overwrite_stack(self, target: Tensor, stack: Stack) -> None:
        """Likewise, of three dimensions: only what no other tensor sees."""
        where = target.untyped_storage()._cdata
        others = (t for t, _ in (*self._known.values(), *self._stacks.values()) if t is not target)
        if any(t.untyped_storage()._cdata == where for t in others):
            raise Unsupported("writing into a tensor of three dimensions that others see, too")
        self.name(target, stack)

    def _place(self, tensor: Tensor) -> tuple[int, int, int]:
        """Where it lies in its memory: its first element, the elements from row to row, the columns."""
        rows, width = self.layout(tensor)
        if width > 1 and tensor.stride(-1) != 1:
            raise Unsupported("writing into a tensor whose columns lie apart")
        return int(tensor.storage_offset()), tensor.stride(0) if rows else 0, width

    def make(self, result: Tensor, op: str, *of: Any) -> Value:
        if result.dtype not in DTYPES:
            raise Unsupported(f"values of {result.dtype}")
        return Value(op, tuple(self.value(a) for a in of), result.dtype, *self.layout(result))


def part(value: Value, first: int, width: int) -> Value:
    """Columns `first` to `first + width` of it."""
    if value.width in (1, width):  # the same in all columns, or all of them
        return value
    return Value("column" if width == 1 else "slice", (value, first), value.dtype, value.rows, width)


def as_wide(value: Value, width: int) -> Value:
    return value if value.width == width else Value("convert", (value,), value.dtype, value.rows, width)


def side_by_side(*parts: tuple[Value, int]) -> Value:
    """Values with their widths, for one column is written as many; those without any are left out."""
    values = tuple(as_wide(value, width) for value, width in parts if width)
    if len(values) == 1:
        return values[0]
    return Value("cat", values, values[0].dtype, any(v.rows for v in values), sum(v.width for v in values))
