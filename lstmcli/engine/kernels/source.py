"""A program as C++: one loop over the rows, in it one loop over the columns for each phase.

A phase ends where something has to be gathered from all columns (a sum, the largest, one of them) before the
next value can be computed; most cells have one phase. What a later phase needs again is kept in memory of one
row, which stays in the nearest cache. Everything is read before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import torch

from lstmcli.engine.kernels.cpp import (
    ARITHMETIC,
    HELD,
    REDUCTIONS,
    STORED,
    Reduction,
    convert,
    element,
    literal,
    pointer,
)
from lstmcli.engine.kernels.functions import FUNCTIONS, PRELUDE
from lstmcli.engine.kernels.values import RUNNING, Program, Unsupported, Value, gathers, reachable
from lstmcli.engine.kernels.verify import verify_phases

KEPT = 1 << 18
"""Bytes for what is kept between phases, at most: it lies on the stack of each thread."""
SHORT = 64
"""Columns below which vectors matter little."""
FINEST = 64
"""Parts of a tensor's columns, at most: each has lines of its own."""


class Source(NamedTuple):
    text: str
    loops: int  # that a compiler has to make vectors of, or the kernel is slow


def source(program: Program, summed: frozenset[int] = frozenset()) -> Source:
    """C++ with two functions that divide the rows among `parts` threads: `kernel` is one step, and `window`
    takes the kernel and a product from step to step (`native.NativeKernel` has both).

    The written arguments in `summed` are sums: what the program adds to them is added to row `part` instead
    of to each row's own, so that their columns' totals are as they would be.

    Raises:
        Unsupported: sizes that are too small or too large.
    """
    writer = _Writer(program, summed)
    return Source(writer.text(), writer.loops)


class _Writer:
    def __init__(self, program: Program, summed: frozenset[int]):
        self.program, self.summed = program, summed
        self.names = count()
        self.length = common_length(program)
        self.roots = dict(program.written)
        for number in summed & self.roots.keys():
            self.roots[number] = _addend(self.roots[number], number)
        self.levels: dict[Value, int] = {}
        self.reduced: dict[Value, str] = {}
        self.running: dict[Value, str] = {}  # memory of their columns
        self.row_values: dict[Value, str] = {}
        self.made: dict[tuple[Value, int], _Line] = {}  # by value and column, in whichever phase
        self.phases: list[_Phase] = []

    def text(self) -> str:
        last = max((self.level(v) for v in self.roots.values()), default=0)
        gathered = [v for v in reachable(self.roots.values()) if gathers(v)]
        for level in range(last + 1):
            phase = _Phase()
            self.phases.append(phase)
            for value in gathered:
                if self.level(value) == level + 1:
                    (self._reduce if value.op in REDUCTIONS else self._run)(value, phase)
            if level == last:
                self._write(phase)
        verify_phases(self.phases)
        kept = [line for line in self.made.values() if line.kept]
        memory = [(line.type, self.length) for line in kept]
        memory += [(HELD[v.dtype], v.width) for v in self.running]
        if sum(length * (8 if type_ == "double" else 4) for type_, length in memory) > KEPT:
            raise Unsupported("more to keep of a row than fits")
        return self._assemble(kept)

    @property
    def loops(self) -> int:
        doubles = any(a.dtype == torch.float64 for a in self.program.arguments)  # they call the library
        return 0 if doubles or self.length < SHORT else len(self.phases)

    def level(self, value: Value) -> int:
        """The phase in which the value can be computed, or, reduced, after which it is there."""
        if value not in self.levels:
            before = max((self.level(v) for v in value.of if isinstance(v, Value)), default=0)
            self.levels[value] = before + gathers(value)
        return self.levels[value]

    def _reduce(self, value: Value, phase: _Phase) -> None:
        x, *column = value.of
        name = f"{value.op}{next(self.names)}"
        phase.reductions.append((REDUCTIONS[value.op], STORED[value.dtype], name))
        first, last = (column[0], column[0] + 1) if column else (0, x.width)
        for start in range(first - first % self.length, last, self.length):
            text = REDUCTIONS[value.op].step.format(name, self._at(x, start, phase), first - start)
            phase.ends.append(text)
        self.reduced[value] = name

    def _run(self, value: Value, phase: _Phase) -> None:
        """Its columns are put into memory by the phase's loop and added up behind it, one after the other."""
        name = self.running[value] = f"running{next(self.names)}"
        for column in range(0, value.width, self.length):
            phase.ends.append(f"{name}[{column} + h] = {self._at(value.of[0], column, phase)};")
        last = value.width - 1
        place = "h" if value.op == "cumsum" else f"{last} - h"
        phase.behind.append(
            f"for (long h = 0; h <= {last}; ++h) {{ total += {name}[{place}]; {name}[{place}] = total; }}"
        )

    def _write(self, phase: _Phase) -> None:
        for number, value in self.roots.items():
            argument = self.program.arguments[number]
            for column in range(0, argument.width, self.length):
                text = self._at(value, column, phase)
                if number in self.summed:
                    phase.ends.append(f"total{number}[{column} + h] += {text};")
                else:
                    phase.ends.append(f"{element(number, column)} = {text};")

    def _at(self, value: Value, column: int, phase: _Phase) -> str:
        """C++ for the value at `column + h`, in the phase's loop."""
        if value.op == "constant":
            return literal(value.of[0])
        if value.op == "slice":
            return self._at(value.of[0], column + value.of[1], phase)
        if value.op == "cat":
            return self._side_by_side(value, column, phase)
        if value.op == "convert" and value.of[0].dtype == value.dtype:  # only another width
            return self._at(value.of[0], column, phase)
        if value.width == 1:
            return self._of_row(value, phase)
        key = (value, column)
        if key in phase.here:
            return phase.here[key]
        before = self.made.get(key)
        if before is not None and not _cheap(value):
            before.kept = True
            line = _Line(HELD[value.dtype], f"{before.name}_", f"keep_{before.name}[h]")
        else:
            line = _Line(HELD[value.dtype], f"v{next(self.names)}", self._expression(value, column, phase))
            self.made[key] = line
        phase.lines.append(line)
        phase.here[key] = line.name
        return line.name

    def _side_by_side(self, value: Value, column: int, phase: _Phase) -> str:
        """The part that is there; of parts that are the same in all their columns, there may be several."""
        choices, end = [], 0
        for part in value.of:
            start, end = end, end + part.width
            if start < column + self.length and column < end:
                choices.append((self._at(part, column - start, phase), end - column))
        *others, (text, _) = choices
        return f"({''.join(f'h < {end} ? {other} : ' for other, end in others)}{text})" if others else text

    def _of_row(self, value: Value, phase: _Phase) -> str:
        """C++ for a value that is the same in all columns, computed before the phase's loop."""
        if value.op in REDUCTIONS:
            return self.reduced[value]
        if value not in self.row_values:
            name = f"row{next(self.names)}"
            phase.rows.append(f"const {HELD[value.dtype]} {name} = {self._expression(value, 0, phase)};")
            self.row_values[value] = name
        return self.row_values[value]

    def _expression(self, value: Value, column: int, phase: _Phase) -> str:
        if value.op == "argument":
            return element(value.of[0], column, value.width)
        if value.op in RUNNING:
            return f"{self.running[value]}[{column} + h]"
        operands = [(self._at(v, column if v.width > 1 else 0, phase), v.dtype) for v in value.of]
        if value.op == "convert":
            return convert(*operands[0], value.dtype)
        floats = [v.dtype for v in value.of if v.dtype.is_floating_point and v.op != "constant"]
        compare = value.dtype == torch.bool
        arithmetic = ARITHMETIC[(floats or [torch.float32])[0] if compare else value.dtype]
        if compare and torch.float64 in floats:
            arithmetic = "double"
        wide = torch.float64 if arithmetic == "double" else torch.float32
        condition = value.op in ("where", "logical_not", "bitwise_not") or (compare and not floats)
        texts = []
        for number, ((text, dtype), v) in enumerate(zip(operands, value.of, strict=True)):
            if dtype == torch.bool and condition and (number == 0 or compare):
                texts.append(text)
            elif v.op == "constant":
                texts.append(f"{arithmetic}({text})")
            else:
                texts.append(convert(text, dtype, wide))
        result = f"({FUNCTIONS[value.op].expression.format(*texts, T=arithmetic)})"
        return f"narrow{result}" if value.dtype == torch.bfloat16 else result

    def _assemble(self, kept: list[_Line]) -> str:
        arguments = self.program.arguments
        opening = []
        for number, a in enumerate(arguments):
            row = f" + row * {a.stride}" if a.rows else ""
            opening.append(pointer(f"a{number}", a.dtype, f"pointers[{number}]{row}"))
        totals = []
        for number in sorted(self.summed & self.roots.keys()):
            a = arguments[number]
            totals.append(pointer(f"total{number}", a.dtype, f"pointers[{number}] + part * {a.stride}"))
        keeps = [f"alignas(64) {line.type} keep_{line.name}[{self.length}];" for line in kept]
        keeps += [f"alignas(64) {HELD[v.dtype]} {name}[{v.width}];" for v, name in self.running.items()]
        body = "\n".join(f"        {text}" for phase in self.phases for text in phase.text(self.length))
        return f"""{PRELUDE}
static __attribute__((noinline)) void some_rows(long first, long last, long part, char *const *pointers) {{
    {_lines(keeps + totals, 4)}
    for (long row = first; row < last; ++row) {{
        {_lines(opening, 8)}
{body}
    }}
}}

extern "C" void kernel(long rows, long parts, char *const *pointers) {{
    if (parts == 1) return some_rows(0, rows, 0, pointers);
    #pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (long part = 0; part < parts; ++part)
        some_rows(rows * part / parts, rows * (part + 1) / parts, part, pointers);
}}

typedef void product(
    long rows, const char *x, long x_stride, const void *weights, long inputs,
    char *y, long y_stride, long outputs);

extern "C" void window(
    long rows, long parts, long steps, char *const *pointers, const long *strides, long product_first,
    product *multiply, const void *weights, long inputs, long outputs, long size,
    char *x, long x_step, long x_stride, char *y, long y_step, long y_stride
) {{
    #pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
    for (long part = 0; part < parts; ++part) {{
        const long first = rows * part / parts, last = rows * (part + 1) / parts;
        char *now[{len(arguments)}];
        for (long step = 0; step < steps; ++step) {{
            for (long n = 0; n < {len(arguments)}; ++n) now[n] = pointers[n] + step * strides[n];
            const char *from = x + step * x_step + first * x_stride * size;
            char *to = y + step * y_step + first * y_stride * size;
            if (!product_first) some_rows(first, last, part, now);
            multiply(last - first, from, x_stride, weights, inputs, to, y_stride, outputs);
            if (product_first) some_rows(first, last, part, now);
        }}
    }}
}}
"""


class _Line:
    """A variable of a phase's loop."""

    def __init__(self, type_: str, name: str, expression: str):
        self.type, self.name, self.expression = type_, name, expression
        self.kept = False  # for a later phase

    def text(self) -> str:
        keep = f" keep_{self.name}[h] = {self.name};" if self.kept else ""
        return f"const {self.type} {self.name} = {self.expression};{keep}"


class _Phase:
    def __init__(self) -> None:
        self.rows: list[str] = []
        self.reductions: list[tuple[Reduction, str, str]] = []
        self.lines: list[_Line] = []
        self.ends: list[str] = []
        self.behind: list[str] = []
        self.here: dict[tuple[Value, int], str] = {}

    def text(self, length: int) -> Iterator[str]:
        yield from self.rows
        yield from (f"{type_} {name} = {reduction.start};" for reduction, type_, name in self.reductions)
        clauses = (f" reduction({reduction.operator}: {name})" for reduction, _, name in self.reductions)
        yield f"#pragma omp simd{''.join(clauses)}"
        yield f"for (long h = 0; h < {length}; ++h) {{"
        yield from (f"    {line.text()}" for line in self.lines)
        yield from (f"    {text}" for text in self.ends)
        yield "}"
        for text in self.behind:  # sums in double, as the library's
            yield f"{{ double total = 0; {text} }}"


def common_length(program: Program) -> int:
    """Columns of the loops: what all widths, and the places where tensors are cut, are multiples of."""
    found = [a.width for a in program.arguments]
    cuts: list[int] = []  # where tensors are cut
    seen: set[Value] = set()

    def visit(value: Value) -> None:
        if value in seen:
            return
        seen.add(value)
        found.append(value.width)
        if value.op == "flip":
            raise Unsupported("columns in reverse order")
        if value.op == "slice":
            cuts.append(value.of[1])
        anywhere = value.op == "cat" and all(map(_uniform, value.of))
        if value.op == "cat" and not anywhere:
            cuts.extend(v.width for v in value.of)
        for v in value.of:
            if isinstance(v, Value):
                visit(v.of[0] if anywhere and v.width > 1 else v)

    for value in program.written.values():
        visit(value)
    length = math.gcd(*(n for n in found if n > 1), *cuts)
    if length < 2 or any(a.width == 1 for n, a in enumerate(program.arguments) if n in program.written):
        raise Unsupported("one column")
    if max(found) > FINEST * length:
        raise Unsupported("columns cut too finely")
    return length


def _uniform(value: Value) -> bool:
    """Whether it is the same in all its columns."""
    return value.width == 1 or (value.op == "convert" and value.of[0].width == 1)


def _addend(value: Value, number: int) -> Value:
    """What the program adds to the argument that it writes this value into."""
    if value.op == "add":
        mine: Value
        other: Value
        for mine, other in (value.of, value.of[::-1]):
            if mine.op == "argument" and mine.of == (number,):
                same = other.dtype == value.dtype
                return other if same else Value("convert", (other,), value.dtype, other.rows, other.width)
    raise Unsupported("a sum that is not added to")


def _cheap(value: Value) -> bool:
    """Whether reading the argument again costs no more than keeping the value."""
    if value.op == "convert":
        return _cheap(value.of[0])
    return value.op in ("argument", "constant", "slice", "cat", *RUNNING)


def _lines(texts: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(texts)
