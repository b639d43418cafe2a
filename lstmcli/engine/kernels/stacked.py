"""Tensors of three dimensions: heads, groups, and what `torch.stack` makes.

Kernels know rows and columns only. A tensor with a dimension more is a stack of values along that dimension,
each of them rows and columns as ever: what is computed of the stack is computed of each, and a sum along the
stack is one value plus the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from lstmcli.engine.kernels.values import Book, Stack, Unsupported, Value, part, side_by_side

Record = Callable[..., Any]
MOST = 64
"""Values of a stack, at most: each has lines of its own."""
ANYWHERE = 0
"""The axis of a stack that is the same along every dimension."""
UNITS = {
    **dict.fromkeys(("sum", "mean", "amax", "flip", "cumsum", "cat", "slice", "select"), 1),
    **dict.fromkeys(("_softmax", "_log_softmax"), 1),
    **dict.fromkeys(("_softmax_backward_data", "_log_softmax_backward_data"), 2),
    **dict.fromkeys(("slice_backward", "select_backward"), 2),
}
"""Operations along a dimension, and which of their arguments says along which."""
FILLS = (
    "zeros",
    "ones",
    "full",
    "new_zeros",
    "new_ones",
    "new_full",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "new_empty",
)
VIEWS = ("view", "_unsafe_view", "unsqueeze", "squeeze")


def is_stacked(book: Book, name: str, result: Any, args: Sequence[Any]) -> bool:
    """Whether the operation reads or makes a stack."""
    if name == "stack" or any(book.stack(x) is not None for x in _tensors(args)):
        return True
    first = result[0] if isinstance(result, (list, tuple)) and result else result
    if not isinstance(first, Tensor):
        return False
    return first.dim() > 2 or (first.dim() == 2 and first.shape[0] not in (1, book.rows))


def record(book: Book, rule: Record, name: str, result: Any, args: Sequence[Any], options: Any) -> Any:
    """What the operation makes: a stack, a value, or a list of them. `rule` is its rule for values."""
    if name in FILLS:
        value = rule(book, result, *args, **options)
        return Stack(ANYWHERE, (value,))
    if name in STRUCTURE:
        return STRUCTURE[name](book, result, *args, **options)
    if name in UNITS:
        return _along(book, rule, name, result, args, options)
    axis = _common_axis(book, args, result)
    if axis == ANYWHERE:
        return Stack(ANYWHERE, _of_each(book, rule, -2, -2, result[..., :1, :], args, options).parts)
    return _of_each(book, rule, axis, axis, result, args, options)


def _tensors(args: Sequence[Any]) -> list[Tensor]:
    flat = [x for a in args for x in (a if isinstance(a, (list, tuple)) else (a,))]
    return [x for x in flat if isinstance(x, Tensor)]


def _common_axis(book: Book, args: Sequence[Any], result: Tensor) -> int:
    """The one along which all operands are stacks, or do not change."""
    known = [s for x in _tensors(args) if (s := book.stack(x)) is not None]
    stacks = [s for s in known if s.axis != ANYWHERE]
    if known and not stacks:
        return ANYWHERE
    axes = {s.axis for s in stacks if len(s.parts) > 1} or {s.axis for s in stacks}
    if len(axes) > 1:
        axes = {a for a in axes if -a <= result.dim() and result.shape[a] == 1}
    if not axes:
        raise Unsupported("stacks along different dimensions")
    return min(axes)


def _of_each(
    book: Book, rule: Record, axis: int, into: int, result: Tensor, args: Sequence[Any], options: Any
) -> Stack:
    """The operation on each value of the stacks: those of the result lie along `into`."""
    count = result.shape[into]
    if count > MOST:
        raise Unsupported(f"a stack of {count}")
    parts = []
    for number in range(count):
        here: list[Tensor] = []
        given = [_element(book, x, axis, number, here) for x in args]
        parts.append(rule(book, result.select(into, number), *given, **options))
        for tensor in here:
            book.forget(tensor)
    return Stack(into, tuple(parts))


def _element(book: Book, x: Any, axis: int, number: int, here: list[Tensor]) -> Any:
    """Of a tensor, what lies at that place of the axis, with a name in the book."""
    if isinstance(x, (list, tuple)):
        return [_element(book, each, axis, number, here) for each in x]
    if not isinstance(x, Tensor) or x.dim() < -axis:
        return x
    stack = book.stack(x)
    if stack is None and x.shape[axis] != 1:
        raise Unsupported("a tensor of two dimensions beside one of three")
    if stack is not None and stack.axis not in (axis, ANYWHERE) and x.shape[axis] != 1:
        raise Unsupported("stacks along different dimensions")
    tensor = x.select(axis, number if x.shape[axis] > 1 else 0)
    if stack is None:
        value = book.value(x)
    else:
        value = stack.parts[number if len(stack.parts) > 1 and stack.axis == axis else 0]
    book.name(tensor, value)
    here.append(tensor)
    return tensor


def _along(book: Book, rule: Record, name: str, result: Tensor, args: Sequence[Any], options: Any) -> Any:
    """Along the stack itself, along the units of each of its values, or both."""
    place = UNITS[name]
    x = _tensors(args)[0]
    dims = args[place] if len(args) > place else options.get("dim", 0)
    wanted = dims if isinstance(dims, (list, tuple)) else [dims]
    whole = result.dim() if name.endswith("_backward") else x.dim()
    if not wanted:
        raise Unsupported(f"{name} over everything")
    turned = {d % whole - whole for d in wanted}
    if name == "select_backward" and book.stack(x) is None:
        return _stack_along(book, name, turned.pop(), result, args)
    axis = _common_axis(book, args, result)
    if name in ("select", "select_backward", "slice", "slice_backward", "cat") and turned == {axis}:
        return _stack_along(book, name, axis, result, args)
    if axis in turned:
        if len(turned) > 1:
            raise Unsupported(f"{name} over two dimensions at once")
        return _folded(book, name, axis, result, args)
    units = -2 if axis == -1 else -1
    if turned != {units} or whole < 2:
        raise Unsupported("an operation along the rows")
    given = list(args)
    given[place] = [-1] if isinstance(dims, (list, tuple)) else -1
    into = axis
    if result.dim() < x.dim() and units > axis:
        into = axis + 1
    if name == "select_backward" and units > axis:
        axis, into = axis + 1, axis
    return _of_each(book, rule, axis, into, result, given, options)


def _stack_along(book: Book, name: str, axis: int, result: Tensor, args: Sequence[Any]) -> Any:
    """Values of the stack taken out, put back among zeros, or put behind those of another."""
    if name == "cat":
        found = [p for x in args[0] for p in _parts(book, x, axis)]
        return Stack(axis, tuple(found))
    x = args[0]
    if name == "select":
        return _parts(book, x, axis)[args[2]]
    if name == "slice":
        start, stop, step = (*args[2:], None, None, 1)[:3]
        return _stack_or_value(result, axis, _parts(book, x, axis)[start:stop:step])
    zero = Value("constant", (0.0,), result.dtype, False, 1)
    places: list[Value] = [zero] * result.shape[axis]
    if name == "select_backward":
        places[args[3]] = book.value(x)
    else:
        places[args[3] : args[4] : args[5]] = _parts(book, x, axis)
    return Stack(axis, tuple(places))


def _parts(book: Book, x: Tensor, axis: int) -> tuple[Value, ...]:
    stack = book.stack(x)
    if stack is None or stack.axis not in (axis, ANYWHERE):
        raise Unsupported("stacks along different dimensions")
    return stack.parts * x.shape[axis] if stack.axis == ANYWHERE else stack.parts


def _folded(book: Book, name: str, axis: int, result: Tensor, args: Sequence[Any]) -> Any:
    parts = _parts(book, args[0], axis)
    if args[0].dtype == torch.bool:  # how many are true
        parts = tuple(book.converted(p, torch.float32) for p in parts)
    if name in ("sum", "mean", "amax"):
        total = reduce(lambda a, b: _joined("maximum" if name == "amax" else "add", a, b), parts)
        if name == "mean":
            count = Value("constant", (float(len(parts)),), total.dtype, False, 1)
            total = Value("div", (total, count), total.dtype, total.rows, total.width)
        return _stack_or_value(result, axis, (total,))
    if name == "cumsum":
        sums = [parts[0]]
        for value in parts[1:]:
            sums.append(_joined("add", sums[-1], value))
        return Stack(axis, tuple(sums))
    if name == "flip":
        return Stack(axis, parts[::-1])
    if name in ("_softmax", "_log_softmax"):
        largest = reduce(lambda a, b: _joined("maximum", a, b), parts)
        below = [_joined("sub", p, largest) for p in parts]
        powers = [_one("exp", p) for p in below]
        total = reduce(lambda a, b: _joined("add", a, b), powers)
        if name == "_softmax":
            return Stack(axis, tuple(_joined("div", p, total) for p in powers))
        return Stack(axis, tuple(_joined("sub", p, _one("log", total)) for p in below))
    shares = _parts(book, args[1], axis)
    if name == "_softmax_backward_data":
        products = [_joined("mul", p, s) for p, s in zip(parts, shares, strict=True)]
        total = reduce(lambda a, b: _joined("add", a, b), products)
        found = [_joined("sub", p, _joined("mul", s, total)) for p, s in zip(products, shares, strict=True)]
    else:
        total = reduce(lambda a, b: _joined("add", a, b), parts)
        found = [
            _joined("sub", p, _joined("mul", _one("exp", s), total))
            for p, s in zip(parts, shares, strict=True)
        ]
    return Stack(axis, tuple(found))


def _joined(op: str, a: Value, b: Value) -> Value:
    return Value(op, (a, b), a.dtype, a.rows or b.rows, max(a.width, b.width))


def _one(op: str, x: Value) -> Value:
    return Value(op, (x,), x.dtype, x.rows, x.width)


def _stack_or_value(result: Tensor, axis: int, parts: tuple[Value, ...]) -> Any:
    """Of one value, a stack is only what has a dimension too many."""
    return parts[0] if len(parts) == 1 and result.dim() <= 2 else Stack(axis, parts)


def _stack(book: Book, result: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Any:
    return Stack(dim % result.dim() - result.dim(), tuple(book.value(x) for x in tensors))


def _unbind(book: Book, result: Sequence[Tensor], x: Tensor, dim: int = 0) -> Any:
    return list(_parts(book, x, dim % x.dim() - x.dim()))


def _split(book: Book, result: Sequence[Tensor], x: Tensor, _: Any, dim: int = 0) -> Any:
    stack, along, found, first = book.stack(x), dim % x.dim() - x.dim(), [], 0
    if stack is None:
        raise Unsupported("a part of the rows")
    for tensor in result:
        width = tensor.shape[along]
        if along == stack.axis:
            found.append(_stack_or_value(tensor, along, stack.parts[first : first + width]))
        elif along == (-2 if stack.axis == -1 else -1):
            found.append(Stack(stack.axis, tuple(part(p, first, width) for p in stack.parts)))
        else:
            raise Unsupported("an operation along the rows")
        first += width
    return found


def _view(book: Book, result: Tensor, x: Tensor, *_: Any) -> Any:
    """The units cut into groups, the groups put side by side again, or a dimension of one more or less."""
    before, after, stack = tuple(x.shape), tuple(result.shape), book.stack(x)
    if _without_ones(before) == _without_ones(after):
        return _dimension_of_one(book, result, x)
    if stack is None and after[:-2] == before[:-1]:
        groups, width = after[-2:]
        if groups > MOST:
            raise Unsupported(f"a stack of {groups}")
        value = book.value(x)
        return Stack(-2, tuple(part(value, k * width, width) for k in range(groups)))
    if stack is not None and stack.axis in (-2, ANYWHERE) and before[:-2] == after[:-1]:
        return side_by_side(*((p, before[-1]) for p in _parts(book, x, -2)))
    raise Unsupported(f"a view of {before} as {after}")


def _dimension_of_one(book: Book, result: Tensor, x: Tensor) -> Any:
    stack = book.stack(x)
    parts = (book.value(x),) if stack is None else stack.parts
    if result.dim() > 3:
        raise Unsupported(f"a tensor of shape {tuple(result.shape)}")
    if stack is not None and stack.axis == ANYWHERE:
        return stack if result.dim() > 2 else parts[0]
    if stack is not None and len(parts) > 1:  # the same one among the dimensions that are more than one
        position = len(_without_ones(tuple(x.shape[: stack.axis])))
        places = [k for k, n in enumerate(result.shape) if n > 1]
        return Stack(places[position] - result.dim(), parts)
    if result.dim() <= 2:
        return parts[0]
    axis = next(k for k, n in enumerate(result.shape) if n == 1)
    return Stack(axis - result.dim(), parts)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n > 1)


def _expand(book: Book, result: Tensor, x: Tensor, *_: Any, **__: Any) -> Any:
    stack = book.stack(x)
    if stack is None:  # in front of all that it has
        value = book.value(x)
        if result.dim() != 3 or x.dim() > 2:
            raise Unsupported("a tensor of three dimensions")
        axis = -3 if result.shape[-2] in (x.shape[-2] if x.dim() > 1 else 1, book.rows) else -2
        return Stack(axis, (value,) * result.shape[axis])
    if stack.axis == ANYWHERE:
        return stack
    axis = stack.axis
    if len(stack.parts) == 1 and result.shape[axis] == 1:
        axis = next((a for a in (-2, -1) if x.shape[a] == 1 and result.shape[a] > 1), axis)
    parts = stack.parts if len(stack.parts) > 1 else stack.parts * result.shape[axis]
    return Stack(axis, parts)


def _permute(book: Book, result: Tensor, x: Tensor, dims: Sequence[int]) -> Any:
    stack, count = book.stack(x), x.dim()
    order = [d % count for d in dims]
    if stack is None or stack.axis == ANYWHERE:
        if stack is None and [d for d in order if x.shape[d] > 1] != sorted(
            d for d in order if x.shape[d] > 1
        ):
            raise Unsupported("rows and columns that change places")
        return book.value(x) if stack is None else stack
    mine = stack.axis + count
    rest = [d for d in order if d != mine]
    if rest != sorted(rest):
        raise Unsupported("rows and columns that change places")
    return Stack(order.index(mine) - count, stack.parts)


def _transpose(book: Book, result: Tensor, x: Tensor, first: int, second: int) -> Any:
    order = list(range(x.dim()))
    order[first], order[second] = order[second], order[first]
    return _permute(book, result, x, order)


STRUCTURE: dict[str, Record] = {
    "stack": _stack,
    "unbind": _unbind,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    **dict.fromkeys(VIEWS, _view),
    "expand": _expand,
    "permute": _permute,
    "transpose": _transpose,
}
"""What only arranges. Called as rules for values are."""
