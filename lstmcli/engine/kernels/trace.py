"""What a function does to its arguments, as a graph of values, recorded while it runs.

It runs on real tensors of few rows and is watched below autograd, so that gradients which it takes are
recorded like everything else. Only what works row by row, with tensors (B, n) and vectors (n,), can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lstmcli.engine.kernels.composed import BELOW, Composed
from lstmcli.engine.kernels.operations import RECORDED
from lstmcli.engine.kernels.stacked import STRUCTURE, is_stacked
from lstmcli.engine.kernels.stacked import record as record_stacked
from lstmcli.engine.kernels.values import DTYPES, Argument, Book, Fault, Program, Stack, Unsupported, Value
from lstmcli.engine.kernels.verify import verify
from lstmcli.engine.untraced import UntracedMode

ROWS = (61, 67, 71, 73)
"""How many rows to run it on: the first that divides no tensor's width, for shapes tell rows from columns."""


def trace(function: Callable[..., None], arguments: Sequence[Tensor]) -> Program:
    """The program of a function that writes into its arguments.

    Raises:
        Unsupported: it does something that the kernels do not know, or fails on a few rows of zeros.
        Fault: the rule for one of its operations fails.
    """
    known = tuple(_argument(a) for a in arguments)
    rows = next(n for n in ROWS if all(a.width % n for a in known))
    like = [_sample(a, rows) for a in known]
    book = Book(rows)
    given = [Value("argument", (n,), a.dtype, a.rows, a.width) for n, a in enumerate(known)]
    for tensor, value in zip(like, given, strict=True):
        book.name(tensor, value)
    try:
        with Composed(rows), _Recorder(book):
            function(*like)
    except Unsupported:
        raise
    except Exception as error:  # whoever wrote the function may raise anything
        raise Unsupported(f"on {rows} rows it raises {type(error).__name__}: {error}") from error
    now = [book.value(tensor) for tensor in like]
    program = Program(known, {n: v for n, v in enumerate(now) if v is not given[n]})
    verify(program)
    return program


def _argument(tensor: Tensor) -> Argument:
    if tensor.dtype not in DTYPES or tensor.dim() not in (1, 2) or tensor.stride(-1) != 1:
        raise Unsupported(f"a tensor of {tensor.dim()} dimensions of {tensor.dtype}")
    rows = tensor.dim() == 2
    return Argument(tensor.dtype, rows, tensor.shape[-1], tensor.stride(0) if rows else 0)


def _sample(argument: Argument, rows: int) -> Tensor:
    shape = (rows, argument.width) if argument.rows else (argument.width,)
    return torch.zeros(shape, dtype=argument.dtype)


class _Recorder(UntracedMode):
    """Sees each operation, with its result."""

    def __init__(self, book: Book):
        super().__init__()
        self.book = book

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, options = func.overloadpacket.__name__, dict(kwargs or {})
        in_place = name.endswith("_") and not name.endswith("__")
        plain = name.removesuffix("_") if in_place else name
        composed = BELOW.get(f"{plain}.{func._overloadname}") or BELOW.get(plain)
        if composed is not None:
            with self:
                result = composed(*args, **options)
                return args[0].copy_(result) if in_place else result
        record = RECORDED.get(plain) or STRUCTURE.get(plain)
        if record is None:
            with self:  # what torch takes apart above autograd comes here whole from a composed operation
                result = func.decompose(*args, **options)
            if result is not NotImplemented:
                return result
            raise Unsupported(f"the operation {name}")
        result = func(*args, **options)
        others = [a for a in func._schema.arguments[len(args) :] if not a.kwarg_only]
        rest = [options.pop(a.name, a.default_value) for a in others]
        try:
            if is_stacked(self.book, plain, result, args):
                value = record_stacked(self.book, record, plain, result, (*args, *rest), options)
            else:
                value = record(self.book, result, *args, *rest, **options)
        except Unsupported:
            raise
        except Exception as error:
            raise Fault(f"the rule for the operation {name} fails: {error}") from error
        self._keep(result, value, args[0] if in_place else None)
        return result

    def _keep(self, result: Any, value: Any, written: Tensor | None) -> None:
        if written is not None:
            if isinstance(value, Stack):
                self.book.overwrite_stack(written, value)
            else:
                self.book.overwrite(written, value)
        elif isinstance(result, (list, tuple)):
            for tensor, each in zip(result, value, strict=True):
                self.book.name(tensor, each)
        else:
            self.book.name(result, value)
