"""Whether a recorded program says what can be computed: types, shapes, and nothing used that is not there.

The rules of `operations` are many, and a mistake in one would be a kernel that computes something else. So
every program is read once more before anything is made of it, and what one phase of the C++ keeps for a later
one is looked up where that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch

from lstmcli.engine.kernels.functions import FUNCTIONS
from lstmcli.engine.kernels.values import (
    DTYPES,
    GATHERED,
    RUNNING,
    Argument,
    Fault,
    Program,
    Value,
    reachable,
)

COMPARISONS = ("gt", "lt", "ge", "le", "eq", "ne")
CONNECTIVES = ("logical_not", "bitwise_not", "logical_and", "bitwise_and", "logical_or", "bitwise_or")
TRUTHS = frozenset((*COMPARISONS, *CONNECTIVES))
"""Functions whose result is true or false."""


def verify(program: Program) -> None:
    """Fault: a value of the program cannot be what it says it is, with the first that is wrong."""
    for value in reachable(program.written.values()):
        if wrong := _wrong(value, program.arguments):
            raise Fault(f"the recorded program is wrong: {value.op} of width {value.width} {wrong}")
    for number, value in program.written.items():
        into = program.arguments[number]
        if value.dtype != into.dtype or value.width not in (1, into.width) or (value.rows and not into.rows):
            raise Fault(
                f"the recorded program is wrong: what is written into argument {number} is another shape"
            )


def _wrong(value: Value, arguments: Sequence[Argument]) -> str | None:
    if value.dtype not in DTYPES or value.width < 1:
        return f"is {value.dtype}"
    if value.op in ("argument", "constant"):
        return _wrong_leaf(value, arguments)
    operands = [v for v in value.of if isinstance(v, Value)]
    if not operands or (any(v.rows for v in operands) and not value.rows):
        return "is the same in all rows, and what it is made of is not"
    if value.op in FUNCTIONS:
        return _wrong_function(value, operands)
    return _wrong_piece(value, operands)


def _wrong_leaf(value: Value, arguments: Sequence[Argument]) -> str | None:
    (what,) = value.of
    if value.op == "constant":
        return (
            None if isinstance(what, (int, float)) and not value.rows and value.width == 1 else "is no number"
        )
    if not 0 <= what < len(arguments):
        return f"is argument {what}, which is not there"
    given = arguments[what]
    same = (value.dtype, value.rows, value.width) == (given.dtype, given.rows, given.width)
    return None if same else f"is not what argument {what} is"


def _wrong_function(value: Value, operands: Sequence[Value]) -> str | None:
    if not len(operands) == len(value.of) == FUNCTIONS[value.op].operands:
        return f"has {len(operands)} operands"
    if any(v.width not in (1, value.width) for v in operands):
        return f"is made of widths {[v.width for v in operands]}"
    if (value.op in TRUTHS) != (value.dtype == torch.bool) and value.op != "where":
        return f"is {value.dtype}"
    if value.op == "where" and operands[0].dtype != torch.bool:
        return "chooses by what is no truth"
    return None


def _wrong_piece(value: Value, operands: Sequence[Value]) -> str | None:
    first = operands[0]
    if value.op == "convert":
        return None if first.width in (1, value.width) else f"is made of width {first.width}"
    if any(v.dtype != value.dtype for v in operands):
        return f"is {value.dtype}, and made of another type"
    if value.op == "cat":
        return None if sum(v.width for v in operands) == value.width else "is not as wide as its parts"
    if value.op in ("slice", "column") and len(value.of) == 2:
        start = value.of[1]
        inside = start >= 0 and start + value.width <= first.width
        return (
            None if inside and (value.op == "slice" or value.width == 1) else f"lies outside of {first.width}"
        )
    if value.op in GATHERED:
        return None if value.width == 1 < first.width else f"is gathered from {first.width}"
    if value.op in RUNNING or value.op == "flip":
        return None if value.width == first.width else f"is as wide as {first.width}"
    return "is no operation"


NAME = re.compile(r"\b(?:keep_v\d+_?|v\d+_?|(?:row|sum|max|column|running)\d+)\b")


class Phase(Protocol):
    """What `source` writes of a phase."""

    rows: list[str]  # before the loop, one variable each
    reductions: list[tuple[Any, str, str]]  # with its type and name
    lines: list[Any]  # variables of the loop: `name`, `expression`, and whether it is `kept`
    ends: list[str]  # what the loop does with them


def verify_phases(phases: Iterable[Phase]) -> None:
    """Fault: a phase reads a variable that nothing has set: before it in the phase, or, of an earlier one, a
    sum, a value of the row or a variable that was kept."""
    there: set[str] = set()
    for phase in phases:
        for text in phase.rows:
            name, _, expression = text.partition(" = ")
            _need(expression, there)
            there.add(name.split()[-1])
        here: set[str] = set()
        for line in phase.lines:
            _need(line.expression, there | here)
            here.add(line.name)
        gathered = {name for _, _, name in phase.reductions}
        gathered |= {name for text in phase.ends for name in NAME.findall(text.partition("[")[0])}
        for text in phase.ends:
            _need(text, there | here | gathered)
        there |= gathered | {f"keep_{line.name}" for line in phase.lines if line.kept}


def _need(text: str, known: set[str]) -> None:
    if missing := set(NAME.findall(text)) - known:
        raise Fault(f"the kernel reads {', '.join(sorted(missing))} before it is there: {text}")
