"""What each of PyTorch's operations makes of the values of its operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lstmcli.engine.kernels.functions import FUNCTIONS
from lstmcli.engine.kernels.values import FLOATS, Book, Unsupported, Value, as_wide, part, side_by_side

Record = Callable[..., Any]


def _pointwise(name: str) -> Record:
    """The operation of that name in FUNCTIONS, of its first operands; options must be as usual."""
    count = FUNCTIONS[name].operands

    def record(book: Book, result: Tensor, *args: Any, **options: Any) -> Value:
        args, more = args[:count], args[count:]
        if name in ("add", "sub") and len(more) == 1:  # of a number it is no keyword
            options["alpha"], more = more[0], ()
        scale = options.pop("alpha", 1)
        if len(args) != count or more or any(options.values()):
            raise Unsupported(f"{name} with options")
        if scale != 1:
            scaled = book.make(result, "mul", args[1], scale)
            return Value(name, (book.value(args[0]), scaled), result.dtype, *book.layout(result))
        return book.make(result, name, *args)

    return record


def _same(book: Book, result: Tensor, x: Tensor, *_: Any, **__: Any) -> Value:
    """Another tensor of the same values: a copy, or a view that only adds or drops dimensions of one."""
    value = book.value(x)
    rows, width = book.layout(result)
    if value.width not in (1, width) or (value.rows and not rows):
        raise Unsupported("a view of another shape")
    if width > 1 and value.width == 1 and book.layout(x)[1] not in (1, width):
        raise Unsupported("a view of another shape")
    return book.converted(value, result.dtype)


def _copy(book: Book, _: Tensor, target: Tensor, source: Tensor, *__: Any) -> Value:
    return book.converted(book.value(source), target.dtype)


def _filled(number: float, result: Tensor) -> Value:
    return Value("constant", (number,), result.dtype, False, 1)


def _slice(book: Book, result: Tensor, x: Tensor, dim: int, start: Any, _: Any, step: int) -> Value:
    if result.shape == x.shape:
        return book.value(x)
    book.need_columns(dim, x, result)
    if step != 1:
        raise Unsupported("a slice with steps")
    return part(book.value(x), 0 if start is None else start % x.shape[-1], result.shape[-1])


def _split(book: Book, result: Sequence[Tensor], x: Tensor, _: Any, dim: int = 0) -> list[Value]:
    book.need_columns(dim, x, *result)
    value, parts, first = book.value(x), [], 0
    for tensor in result:
        parts.append(part(value, first, tensor.shape[-1]))
        first += tensor.shape[-1]
    return parts


def _cat(book: Book, result: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    book.need_columns(dim, result, *tensors)
    return side_by_side(*((book.converted(book.value(t), result.dtype), t.shape[-1]) for t in tensors))


def _wide(book: Book, x: Tensor) -> Value:
    return as_wide(book.value(x), book.layout(x)[1])


def _made(op: str, *of: Value) -> Value:
    """The first operand has the width and the dtype of the result."""
    return Value(op, of, of[0].dtype, any(v.rows for v in of), of[0].width)


def _reduced(op: str, value: Value) -> Value:
    """Over the columns that it has; one is what it is."""
    return value if value.width == 1 else Value(op, (value,), value.dtype, value.rows, 1)


def _slice_backward(
    book: Book, result: Tensor, gradient: Tensor, _: Any, dim: int, start: int, __: int, step: int
) -> Value:
    """The gradient in its columns, and nought in the others."""
    book.need_columns(dim, result, gradient)
    if step != 1:
        raise Unsupported("a slice with steps")
    width = result.shape[-1]
    first = start % width if start != width else width
    middle = gradient.shape[-1]
    zero = Value("constant", (0.0,), result.dtype, False, 1)
    return side_by_side((zero, first), (book.value(gradient), middle), (zero, width - first - middle))


def _sum(book: Book, result: Tensor, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> Value:
    if dim is None or len(dim) != 1:
        raise Unsupported("a sum over everything")
    book.need_columns(dim[0], x)
    if x.dtype == torch.bool:  # how many are true: whole numbers, which a float holds
        return _reduced("sum", book.converted(_wide(book, x), torch.float32))
    if x.dtype not in FLOATS or result.dtype != x.dtype:
        raise Unsupported(f"a sum of {x.dtype}")
    return _reduced("sum", _wide(book, x))


def _mean(book: Book, result: Tensor, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> Value:
    total = _sum(book, result, x, dim)
    count = Value("constant", (float(book.layout(x)[1]),), x.dtype, False, 1)
    return _made("div", total, count)


def _largest(book: Book, result: Tensor, x: Tensor, dim: Any = (), keepdim: bool = False) -> Value:
    """The largest of the units passes over what is no number, so that is added to it."""
    if len(dim) != 1 or x.dtype not in FLOATS:
        raise Unsupported("the largest of everything")
    book.need_columns(dim[0], x)
    value = _wide(book, x)
    zero = Value("constant", (0.0,), x.dtype, False, 1)
    is_nan = Value("ne", (value, value), torch.bool, value.rows, value.width)
    nans = Value("where", (is_nan, value, zero), x.dtype, value.rows, value.width)
    return _made("add", _reduced("max", value), _reduced("sum", nans))


def _running_sum(book: Book, result: Tensor, x: Tensor, dim: int, **_: Any) -> Value:
    """From the last column to the first where the columns are turned round before and after."""
    book.need_columns(dim, x)
    if x.dtype not in FLOATS or result.dtype != x.dtype:
        raise Unsupported(f"a running sum of {x.dtype}")
    value = _wide(book, x)
    if value.op == "flip":
        return _made("flip", _made("cumsum_back", value.of[0]))
    return value if value.width == 1 else _made("cumsum", value)


def _flip(book: Book, result: Tensor, x: Tensor, dims: Sequence[int]) -> Value:
    if len(dims) != 1:
        raise Unsupported("rows in reverse order")
    book.need_columns(dims[0], x)
    value = book.value(x)
    if value.op == "flip" or value.width == 1:
        return value.of[0] if value.op == "flip" else value
    return _made("flip", value)


def _select(book: Book, result: Tensor, x: Tensor, dim: int, index: int) -> Value:
    if x.dim() != 2 or dim % 2 != 1:
        raise Unsupported("the operation select along the rows")
    return part(book.value(x), index % x.shape[-1], 1)


def _select_backward(book: Book, result: Tensor, gradient: Tensor, _: Any, dim: int, index: int) -> Value:
    if result.dim() != 2 or dim % 2 != 1:
        raise Unsupported("the operation select along the rows")
    width = result.shape[-1]
    first = index % width
    zero = Value("constant", (0.0,), result.dtype, False, 1)
    return side_by_side((zero, first), (book.value(gradient), 1), (zero, width - first - 1))


def _softmax(book: Book, _: Tensor, x: Tensor, dim: int, __: bool) -> Value:
    powers = _made("exp", _below_largest(book, x, dim))
    return _made("div", powers, _reduced("sum", powers))


def _softmax_backward(book: Book, _: Tensor, gradient: Tensor, y: Tensor, *__: Any) -> Value:
    shares = _wide(book, y)
    product = _made("mul", _wide(book, gradient), shares)
    return _made("sub", product, _made("mul", shares, _reduced("sum", product)))


def _log_softmax(book: Book, _: Tensor, x: Tensor, dim: int, __: bool) -> Value:
    below = _below_largest(book, x, dim)
    return _made("sub", below, _made("log", _reduced("sum", _made("exp", below))))


def _log_softmax_backward(book: Book, _: Tensor, gradient: Tensor, y: Tensor, *__: Any) -> Value:
    slope = _wide(book, gradient)
    shares = _made("exp", _wide(book, y))
    return _made("sub", slope, _made("mul", shares, _reduced("sum", slope)))


def _below_largest(book: Book, x: Tensor, dim: int) -> Value:
    """x less the largest of its row, whose exponential cannot overflow."""
    book.need_columns(dim, x)
    if x.dtype not in FLOATS:
        raise Unsupported(f"a softmax of {x.dtype}")
    value = _wide(book, x)
    return _made("sub", value, _reduced("max", value))


def _power(book: Book, result: Tensor, x: Tensor, exponent: float) -> Value:
    """Whole and half powers, as products of x and its root."""
    value, layout = book.value(x), book.layout(result)
    whole, half = divmod(abs(exponent), 1)
    if whole > 8 or half not in (0.0, 0.5):
        raise Unsupported(f"a power of {exponent}")
    factors = [value] * int(whole)
    if half:
        factors.append(Value("sqrt", (value,), result.dtype, *layout))
    power = factors.pop() if factors else book.value(1.0)
    for factor in factors:
        power = Value("mul", (power, factor), result.dtype, *layout)
    return power if exponent >= 0 else Value("reciprocal", (power,), result.dtype, *layout)


def _clamp(book: Book, result: Tensor, x: Tensor, low: Any = None, high: Any = None) -> Value:
    value, layout = book.value(x), book.layout(result)
    if low is not None:
        value = Value("clamp_min", (value, book.value(low)), result.dtype, *layout)
    if high is not None:
        value = Value("clamp_max", (value, book.value(high)), result.dtype, *layout)
    return value


def _reversed_sub(book: Book, result: Tensor, x: Tensor, other: Any, scale: float = 1) -> Value:
    if scale != 1:
        raise Unsupported("rsub with a scale")
    return book.make(result, "sub", other, x)


def _elu_backward(book: Book, result: Tensor, gradient: Tensor, *others: Any) -> Value:
    *scales, of_result, x = others
    if of_result:
        raise Unsupported("elu in place")
    return book.make(result, "elu_slope", gradient, *scales, x)


def _gelu(book: Book, result: Tensor, x: Tensor, approximate: str = "none") -> Value:
    return book.make(result, "gelu" if approximate == "none" else "gelu_tanh", x)


def _gelu_backward(book: Book, result: Tensor, *operands: Tensor, approximate: str = "none") -> Value:
    return book.make(result, "gelu_slope" if approximate == "none" else "gelu_tanh_slope", *operands)


def _log_sigmoid(book: Book, result: Sequence[Tensor], x: Tensor) -> list[Value]:
    """With a buffer for its backward, which the kernel does not need."""
    return [book.make(result[0], "log_sigmoid", x), book.value(0.0)]


RECORDED: dict[str, Record] = {
    **{name: _pointwise(name) for name in FUNCTIONS},
    **dict.fromkeys(("_to_copy", "clone", "detach", "alias", "lift_fresh", "expand", "view"), _same),
    **dict.fromkeys(("_unsafe_view", "unsqueeze", "squeeze"), _same),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros"), lambda _b, y, *_, **__: _filled(0.0, y)),
    # what was never written is no number, so that nobody mistakes it for one
    **dict.fromkeys(("empty_like", "new_empty"), lambda _b, y, *_, **__: _filled(math.nan, y)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), lambda _b, y, *_, **__: _filled(1.0, y)),
    **dict.fromkeys(("full", "full_like", "new_full"), lambda _b, y, _, n, **__: _filled(n, y)),
    "fill": lambda book, y, _, n: book.converted(book.value(n), y.dtype),
    "zero": lambda _b, y, _: _filled(0.0, y),
    "scalar_tensor": lambda _b, y, n, **_: _filled(n, y),
    "copy": _copy,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "cat": _cat,
    "slice_backward": _slice_backward,
    "sum": _sum,
    "mean": _mean,
    "amax": _largest,
    "cumsum": _running_sum,
    "flip": _flip,
    "select": _select,
    "select_backward": _select_backward,
    "_softmax": _softmax,
    "_softmax_backward_data": _softmax_backward,
    "_log_softmax": _log_softmax,
    "_log_softmax_backward_data": _log_softmax_backward,
    "pow": _power,
    "clamp": _clamp,
    "masked_fill": lambda book, y, x, mask, n: book.make(y, "where", mask, n, x),
    "rsub": _reversed_sub,
    "elu_backward": _elu_backward,
    "celu": lambda book, y, x, alpha: book.make(y, "elu", x, alpha, 1.0, 1.0 / alpha),
    "gelu": _gelu,
    "gelu_backward": _gelu_backward,
    "log_sigmoid_forward": _log_sigmoid,
    "log_sigmoid_backward": lambda book, y, g, x, _: book.make(y, "log_sigmoid_slope", g, x),
}
"""By name of ATen's operation. Called with the book, the result and the operation's own arguments."""
