"""A program as Triton: what `source` writes in C++, for a GPU.

One instance of the kernel has one row, and of its columns a block. Its lines follow one another without a
loop: a value that another part of the program needs again is still in a register, so that nothing is kept
in memory, and phases are only an order of lines. A program that gathers something from all columns (a sum,
the largest) has them all in one block; one that does not has as many blocks as fit. Everything is read before
anything is written. States and sums are fp32; the products are the library's, outside.

Where the C++ adds a vector's gradient to one row for each thread, here every row has its own.
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
import math
import os
import re
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lstmcli.engine.kernels import rational
from lstmcli.engine.kernels.functions import FUNCTIONS
from lstmcli.engine.kernels.source import common_length
from lstmcli.engine.kernels.values import (
    GATHERED,
    RUNNING,
    Fault,
    Program,
    Unsupported,
    Value,
    gathers,
    reachable,
)

TYPES = {
    torch.float32: "tl.float32",
    torch.float64: "tl.float64",
    torch.bfloat16: "tl.bfloat16",
    torch.bool: "tl.int1",
}
BLOCK = 256
"""Columns of an instance, at most, where columns need nothing of one another."""
WIDEST = 1 << 14
"""Columns of an instance that has them all, at most: more would not stay in registers."""


class TritonSource(NamedTuple):
    text: str  # defines `kernel`
    block: int  # columns of an instance, a power of two
    blocks: int  # instances for a row


def _polynomial(x: str, coefficients: tuple[float, ...]) -> str:
    *lower, text = map(repr, coefficients)
    for coefficient in reversed(lower):
        text = f"({text} * {x} + {coefficient})"
    return text


def _ratio(limit: float, above: tuple[float, ...], below: tuple[float, ...]) -> str:
    return f"""x = tl.where(x < {-limit}, {-limit}, tl.where(x > {limit}, {limit}, x))
    s = x * x
    return x * {_polynomial("s", above)} / {_polynomial("s", below)}"""


HELPERS = f"""
@jit
def absolute(x):
    return tl.abs(x)

@jit
def root(x):
    return tl.sqrt(x)

@jit
def hyperbolic(x):
    {_ratio(rational.LIMIT, rational.TANH_ABOVE, rational.TANH_BELOW)}

@jit
def logistic_about_half(x):
    {_ratio(2 * rational.LIMIT, rational.SIGMOID_ABOVE, rational.SIGMOID_BELOW)}

@jit
def logistic(x):
    return 0.5 + logistic_about_half(x)

@jit
def exponential(x):
    return tl.exp(x)

@jit
def logarithm(x):
    return tl.log(x)

@jit
def logarithm_1p(x):
    y = 1.0 + x
    return tl.where(y == 1.0, x, tl.where(y > 3.4e38, y, tl.log(y) * (x / (y - 1.0))))

@jit
def exponential_m1(x):
    t = hyperbolic(0.5 * x)
    return tl.where((x < 0.5) & (x > -0.5), 2.0 * t / (1.0 - t), tl.exp(x) - 1.0)

@jit
def error(x):
    return tl.erf(x)

@jit
def normal(x):
    return (1.0 + error(x * {math.sqrt(0.5)!r})) / 2.0

@jit
def normal_density(x):
    return exponential(-x * x / 2.0) * {1 / math.sqrt(2 * math.pi)!r}

@jit
def gelu_exponent(x):
    return {2 * math.sqrt(2 / math.pi)!r} * (x + 0.044715 * x * x * x)

@jit
def gelu_tanh_slope(x):
    share = 1.0 / (1.0 + exponential(-gelu_exponent(x)))
    slope = {2 * math.sqrt(2 / math.pi)!r} * (1.0 + {3 * 0.044715!r} * x * x)
    return share + x * share * (1.0 - share) * slope

@jit
def silu_slope(x):
    gate = 1.0 / (1.0 + exponential(-x))
    return gate * (1.0 + x * (1.0 - gate))

@jit
def log_logistic(x):
    return tl.where(x < 0.0, x, 0.0) - logarithm_1p(exponential(-absolute(x)))

@jit
def log_logistic_slope(x):
    e = exponential(-absolute(x))
    return tl.where(x < 0.0, 1.0, e) / (1.0 + e)

@jit
def truncated(x):
    return tl.where(x < 0.0, tl.ceil(x), tl.floor(x))

@jit
def rounded(x):
    whole = tl.floor(x)
    rest = x - whole
    odd = whole - 2.0 * tl.floor(whole / 2.0)
    return whole + tl.where((rest > 0.5) | ((rest == 0.5) & (odd == 1.0)), 1.0, 0.0)
"""
"""The functions that the C++ has under these names (`functions.PRELUDE`)."""
HELPER = {match[1]: match[0] for match in re.finditer(r"@jit\ndef (\w+)\(.*?(?=\n\n@jit|\Z)", HELPERS, re.S)}
BUILT_IN = {"floor": "tl.floor", "ceil": "tl.ceil", "trunc": "truncated", "rint": "rounded"}


def triton_source(program: Program) -> TritonSource:
    """Python with the kernel, for `jit` and `tl` of Triton.

    Raises:
        Unsupported: double precision, which GPUs for this have little of; sizes that are too small or large.
    """
    return _Writer(program).source()


class _Writer:
    def __init__(self, program: Program):
        self.program = program
        if any(a.dtype == torch.float64 for a in program.arguments):
            raise Unsupported("double precision")
        if any(not program.arguments[n].rows for n in program.written):
            raise Unsupported("a vector that every row would write")
        self.length = common_length(program)
        everything = reachable(program.written.values())
        self.whole = any(gathers(v) for v in everything)
        self.names = count()
        self.lines: list[str] = []
        self.made: dict[tuple[Value, int], str] = {}

    def source(self) -> TritonSource:
        block = 1 << (self.length - 1).bit_length()
        if self.whole and block > WIDEST:
            raise Unsupported("more columns than registers")
        block = block if self.whole else min(block, BLOCK)
        stores = []
        for number, value in self.program.written.items():
            argument = self.program.arguments[number]
            for column in range(0, argument.width, self.length):
                text = self._converted(value, self._at(value, column), argument.dtype)
                stores.append(f"tl.store({self._place(number, column)}, {text}, mask=here)")
        arguments = ", ".join(f"a{n}" for n in range(len(self.program.arguments)))
        body = "\n    ".join(
            [
                "row = tl.program_id(0).to(tl.int64)",
                "h = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)",
                f"here = h < {self.length}",
                *self.lines,
                *stores,
            ]
        )
        kernel = f"@jit\ndef kernel({arguments}, BLOCK: tl.constexpr):\n    {body}\n"
        return TritonSource(_helpers(kernel) + kernel, block, -(-self.length // block))

    def _place(self, number: int, column: int) -> str:
        argument = self.program.arguments[number]
        row = f" + row * {argument.stride}" if argument.rows else ""
        return f"a{number}{row} + {column} + h"

    def _at(self, value: Value, column: int) -> str:
        """The value at `column + h`: a name, or a number."""
        if value.op == "constant":
            return _literal(value.of[0])
        if value.op == "slice":
            return self._at(value.of[0], column + value.of[1])
        if value.op == "convert" and value.of[0].dtype == value.dtype:  # only another width
            return self._at(value.of[0], column)
        key = (value, column if value.width > 1 else 0)
        if key not in self.made:
            text = self._text(value, key[1])
            name = f"v{next(self.names)}"
            self.lines.append(f"{name} = {text}")
            self.made[key] = name
        return self.made[key]

    def _text(self, value: Value, column: int) -> str:
        if value.op == "cat":
            return self._side_by_side(value, column)
        if value.op in GATHERED:
            return self._reduced(value)
        if value.op in RUNNING:
            return self._running(value, column)
        if value.op == "argument":
            return self._loaded(value, column)
        if value.op == "convert":
            return self._converted(value.of[0], self._at(value.of[0], column), value.dtype)
        return self._computed(value, column)

    def _loaded(self, value: Value, column: int) -> str:
        number = value.of[0]
        if value.width > 1:
            return f"tl.load({self._place(number, column)}, mask=here, other=0)"
        argument = self.program.arguments[number]
        return f"tl.load(a{number}{f' + row * {argument.stride}' if argument.rows else ''})"

    def _side_by_side(self, value: Value, column: int) -> str:
        choices, end = [], 0
        for part in value.of:
            start, end = end, end + part.width
            if start < column + self.length and column < end:
                text = self._at(part, column - start)
                choices.append((text, end - column))
        *others, (text, _) = choices
        for other, end in reversed(others):
            text = f"tl.where(h < {end}, {other}, {text})"
        return text

    def _reduced(self, value: Value) -> str:
        x, *column = value.of
        if column:
            start = column[0] - column[0] % self.length
            text = self._filled(x, start, f"h == {column[0] - start}", "0.0")
            return self._held(f"tl.sum({text}, axis=0)", value.dtype)
        function, start_, join = ("tl.sum", "0.0", "{0} + {1}")
        if value.op == "max":
            function, start_, join = "tl.max", 'float("-inf")', "tl.maximum({0}, {1})"
        total = ""
        for start in range(0, x.width, self.length):
            text = f"{function}({self._filled(x, start, 'here', start_)}, axis=0)"
            total = join.format(total, text) if total else text
        return self._held(total, value.dtype)

    def _running(self, value: Value, column: int) -> str:
        """Running sums within the block, and all of the blocks before it."""
        (x,) = value.of
        back = value.op == "cumsum_back"
        others = range(column + self.length, x.width, self.length) if back else range(0, column, self.length)
        text = f"tl.cumsum({self._filled(x, column, 'here', '0.0')}, axis=0, reverse={back})"
        for start in others:
            text += f" + tl.sum({self._filled(x, start, 'here', '0.0')}, axis=0)"
        return self._held(text, value.dtype)

    def _filled(self, x: Value, start: int, where: str, other: str) -> str:
        text = self._converted(x, self._at(x, start), torch.float32)
        return f"tl.where({where}, {text}, {other})"

    def _held(self, text: str, dtype: torch.dtype) -> str:
        if dtype == torch.bool:
            return f"({text}) != 0"
        return text if dtype == torch.float32 else f"({text}).to({TYPES[dtype]})"

    def _converted(self, value: Value, text: str, to: torch.dtype) -> str:
        if value.dtype == to or (value.op == "constant" and to != torch.bool):
            return text
        return f"{text} != 0" if to == torch.bool else f"{text}.to({TYPES[to]})"

    def _computed(self, value: Value, column: int) -> str:
        compares = value.dtype == torch.bool
        floats = any(v.dtype.is_floating_point for v in value.of)
        texts = []
        for number, v in enumerate(value.of):
            text = self._at(v, column if v.width > 1 else 0)
            if v.dtype == torch.bool and ((value.op == "where" and number == 0) or (compares and not floats)):
                texts.append(f"({text} != 0)")
            else:
                text = self._converted(v, text, torch.float32)
                texts.append(text if text.isidentifier() else f"({text})")
        if all(v.op == "constant" for v in value.of):
            texts = [f"tl.full((1,), {text}, tl.float32)" for text in texts]
        text = in_python(FUNCTIONS[value.op].expression).format(*texts)
        return f"({text}).to(tl.bfloat16)" if value.dtype == torch.bfloat16 else text


def _literal(number: float) -> str:
    if isinstance(number, bool):
        return repr(float(number))
    return repr(float(number)) if math.isfinite(number) else f'float("{number}")'


def in_python(expression: str) -> str:
    """An expression of `functions.FUNCTIONS` for `tl`: choices become `tl.where`."""
    expression = re.sub(
        r"\{T\}\(__builtin_(\w+)\((.*?)\)\)", lambda m: f"{BUILT_IN[m[1]]}({m[2]})", expression
    )
    expression = re.sub(r"\{T\}(\(\{0\} [<>] 0\))", r"\1.to(tl.float32)", expression)
    return _chosen(re.sub(r"!(?!=)(\{\d\})", r"(\1 == 0)", expression))


def _chosen(text: str) -> str:
    """`condition ? a : b`, also within parentheses."""
    depth, question = 0, -1
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "?" and depth == 0:
            question = place
            break
    if question < 0:
        return _inside(text)
    depth, colon, open_ = 0, -1, 0
    for place in range(question + 1, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        open_ += text[place] == "?" and depth == 0
        if text[place] == ":" and depth == 0:
            if not open_:
                colon = place
                break
            open_ -= 1
    condition, first, second = text[:question], text[question + 1 : colon], text[colon + 1 :]
    return f"tl.where({_inside(condition.strip())}, {_chosen(first.strip())}, {_chosen(second.strip())})"


def _inside(text: str) -> str:
    """The same for what stands in its outermost parentheses."""
    found, depth, start = "", 0, 0
    for place, letter in enumerate(text):
        if letter == "(" and (depth := depth + 1) == 1:
            found, start = found + text[start : place + 1], place + 1
        elif letter == ")" and (depth := depth - 1) == 0:
            found, start = found + _chosen(text[start:place]), place
    return found + text[start:]


def _helpers(text: str) -> str:
    """Those functions that the text calls, and that these call, each behind what it calls."""
    needed: dict[str, None] = {}

    def visit(body: str) -> None:
        for name in re.findall(r"\b([a-z]\w*)\(", body):
            if name in HELPER and name not in needed:
                visit(HELPER[name].split(":\n", 1)[1])
                needed[name] = None

    visit(text)
    return "".join(f"{HELPER[name]}\n\n" for name in needed)


def defined(source: TritonSource, tl: Any, jit: Callable[..., Any]) -> Any:
    """`kernel` of the text. Triton reads the text of its functions again, and finds it under this name."""
    name = f"<lstmcli {hashlib.sha256(source.text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source.text), None, source.text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"tl": tl, "jit": jit, "__name__": name}
    exec(compile(source.text, name, "exec"), space)
    return space["kernel"]


class TritonKernel:
    """A kernel for tensors laid out like those that it was written for, with any number of rows."""

    def __init__(self, program: Program):
        # Products and sums in one instruction, as on the CPU; said, for else Triton warns.
        os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
        try:
            triton = importlib.import_module("triton")
            tl = importlib.import_module("triton.language")
        except ImportError as error:
            raise Unsupported("no Triton here") from error
        self.source = triton_source(program)
        self.written = frozenset(program.written)
        try:
            self._kernel = defined(self.source, tl, triton.jit)
        except Exception as error:  # a compiler that is not of this package may raise anything
            raise Fault(f"Triton refuses the kernel: {error}") from error

    def __call__(self, *tensors: Tensor) -> None:
        grid = tensors[0].shape[0], self.source.blocks
        self._kernel[grid](*tensors, BLOCK=self.source.block)
