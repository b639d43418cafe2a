"""A program as JavaScript, for one row: what a cell does, in a browser.

The same recorded values that become C++ become one typed array each here, filled by one loop over its
columns; numbers are rounded to fp32 wherever a value is stored. Only what a step forward needs is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from lstmcli.engine.kernels.values import Program, Unsupported, Value

EXPRESSIONS: Mapping[str, str] = {
    **{name: f"{{0}} {sign} {{1}}" for name, sign in (
        ("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"), ("gt", ">"), ("lt", "<"), ("ge", ">="),
        ("le", "<="), ("eq", "=="), ("ne", "!="), ("logical_and", "&&"), ("bitwise_and", "&"),
        ("logical_or", "||"), ("bitwise_or", "|"),
    )},
    **{name: f"Math.{call}({{0}})" for name, call in (
        ("abs", "abs"), ("sgn", "sign"), ("sign", "sign"), ("floor", "floor"), ("ceil", "ceil"),
        ("trunc", "trunc"), ("sqrt", "sqrt"), ("exp", "exp"), ("expm1", "expm1"), ("log", "log"),
        ("log1p", "log1p"), ("tanh", "tanh"),
    )},
    "neg": "-{0}",
    "reciprocal": "1 / {0}",
    "rsqrt": "1 / Math.sqrt({0})",
    "sigmoid": "1 / (1 + Math.exp(-{0}))",
    "silu": "{0} / (1 + Math.exp(-{0}))",
    "softplus": "{0} * {1} > {2} ? {0} : Math.log1p(Math.exp({0} * {1})) / {1}",
    "log_sigmoid": "Math.min({0}, 0) - Math.log1p(Math.exp(-Math.abs({0})))",
    "relu": "{0} < 0 ? 0 : {0}",
    "leaky_relu": "{0} > 0 ? {0} : {0} * {1}",
    "elu": "{0} > 0 ? {0} * {2} : Math.expm1({0} * {3}) * {1} * {2}",
    "gelu_tanh": "{0} / (1 + Math.exp(-1.5957691216057308 * ({0} + 0.044715 * {0} * {0} * {0})))",
    "hardtanh": "Math.min(Math.max({0}, {1}), {2})",
    "hardsigmoid": "Math.min(Math.max(({0} + 3) / 6, 0), 1)",
    "maximum": "Math.max({0}, {1})",
    "minimum": "Math.min({0}, {1})",
    "clamp_min": "Math.max({0}, {1})",
    "clamp_max": "Math.min({0}, {1})",
    "where": "{0} ? {1} : {2}",
    "logical_not": "!{0}",
    "bitwise_not": "!{0}",
}  # fmt: skip
"""By operation, of its operands {0}, {1}, ...; conditions are 0 and 1, or false and true."""


def javascript(program: Program, name: str) -> str:
    """A function `name(a0, a1, ...)` that takes each argument as a Float32Array and writes into those that
    the program writes.

    Raises:
        Unsupported: an operation that no step forward was known to need.
    """
    return _Writer(program).text(name)


class _Writer:
    def __init__(self, program: Program):
        self.program = program
        self.names: dict[Value, str] = {}
        self.arrays: list[str] = []
        self.lines: list[str] = []

    def text(self, name: str) -> str:
        given = ", ".join(f"a{number}" for number in range(len(self.program.arguments)))
        ends = []
        for number, value in self.program.written.items():
            width = self.program.arguments[number].width
            self._make(value)
            # Everything is read before anything is written.
            ends.append(_loop(width, f"a{number}[h] = {self._at(value, 'h')};"))
        kept = [self._kept(number, value) for number, value in self.program.written.items()]
        body = "\n".join(f"    {line}" for line in [*self.lines, *filter(None, kept), *ends])
        arrays = "\n".join(f"  {line}" for line in self.arrays)
        return f"const {name} = (() => {{\n{arrays}\n  return ({given}) => {{\n{body}\n  }};\n}})();\n"

    def _kept(self, number: int, value: Value) -> str | None:
        """What is written from another argument is copied first."""
        if value.op != "argument":
            return None
        raise Unsupported(f"argument {value.of[0]} is handed on as it is")

    def _make(self, value: Value) -> None:
        """Write the lines for a value and all that it is made of, each once."""
        if value in self.names or value.op in ("constant", "argument"):
            return
        for part in _parts(value):
            self._make(part)
        if value.op in ("slice", "column"):
            return
        place = f"v{len(self.names)}"
        self.names[value] = place
        self.arrays.append(f"const {place} = new Float32Array({value.width});")
        self.lines += self._fill(value, place)

    def _fill(self, value: Value, place: str) -> Iterator[str]:
        if value.op in ("sum", "max"):
            yield self._reduction(value, place)
        elif value.op == "cat":
            first = 0
            for part in value.of:
                yield _loop(part.width, f"{place}[{first} + h] = {self._at(part, 'h')};")
                first += part.width
        elif value.op == "cumsum":
            step = f"{place}[h] = t += {self._at(value.of[0], 'h')};"
            yield f"{{ let t = 0; {_loop(value.width, step)} }}"
        elif value.op == "flip":
            at = self._at(value.of[0], f"{value.width - 1} - h")
            yield _loop(value.width, f"{place}[h] = {at};")
        else:
            yield _loop(value.width, f"{place}[h] = {self._expression(value)};")

    def _reduction(self, value: Value, place: str) -> str:
        x: Value = value.of[0]
        each = self._at(x, "h")
        start, step = (
            ("0", f"t += {each};") if value.op == "sum" else ("-Infinity", f"t = Math.max(t, {each});")
        )
        return f"{{ let t = {start}; {_loop(x.width, step)} {place}[0] = t; }}"

    def _expression(self, value: Value) -> str:
        operands = [f"({self._at(v, 'h')})" for v in value.of]
        if value.op == "convert":
            return f"{operands[0]} != 0" if value.dtype == torch.bool else operands[0]
        if value.op not in EXPRESSIONS:
            raise Unsupported(f"the operation {value.op} in a browser")
        return EXPRESSIONS[value.op].format(*operands)

    def _at(self, value: Value, index: str) -> str:
        """The value in a column."""
        if value.op == "constant":
            return _literal(value.of[0])
        if value.op == "slice":
            return self._at(value.of[0], f"{index} + {value.of[1]}")
        if value.op == "column":
            return self._at(value.of[0], str(value.of[1]))
        name = f"a{value.of[0]}" if value.op == "argument" else self.names[value]
        return f"{name}[0]" if value.width == 1 else f"{name}[{index}]"


def _parts(value: Value) -> Iterator[Value]:
    yield from (each for each in value.of if isinstance(each, Value))


def _loop(width: int, body: str) -> str:
    return f"for (let h = 0; h < {width}; h++) {body}"


def _literal(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return repr(float(number))
