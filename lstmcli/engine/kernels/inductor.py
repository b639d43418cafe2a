"""A function compiled by TorchInductor: on GPUs, and on CPUs for what `trace` does not know."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lstmcli.core.memory import uncollected
from lstmcli.engine.kernels.build import inductor_folder
from lstmcli.engine.kernels.values import Fault, Unsupported

LESS_FUSED = 16
"""Operations that it joins at most, where joining all of them fails."""


@uncollected()
def inductor_kernel(function: Callable[..., None], arguments: Sequence[Tensor]) -> Callable[..., None]:
    """The function for tensors like these, with any number of rows above one.

    Raises:
        Unsupported: it cannot be traced, such as one that looks at its data.
        Fault: the compiler fails at what it should know. It is no code of this package, so it may raise
            anything, and all of it is caught here.
    """
    try:
        return _compiled(function, arguments, {})
    except Unsupported:
        raise
    except Exception:
        try:
            return _compiled(function, arguments, {"max_fusion_size": LESS_FUSED})
        except Exception as error:
            raise Fault(f"TorchInductor fails: {error}") from error


def _compiled(
    function: Callable[..., None], arguments: Sequence[Tensor], settings: dict[str, Any]
) -> Callable[..., None]:
    """It is traced and handed to TorchInductor directly: TorchDynamo, in front of it, would guard each of the
    thousands of calls of a window, at the price of a small kernel."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(inductor_folder()))
    import torch._inductor
    import torch._inductor.config as inductor
    from torch._guards import TracingContext, tracing
    from torch.fx.experimental.proxy_tensor import make_fx

    inductor.compile_threads = 1  # two small kernels: a pool of workers would cost more to start
    # The flags of the CPU are believed: trying each instruction set takes seconds. A compiler too old for
    # one of them fails, and that is told.
    inductor.cpp.vec_isa_ok = True
    mode, like = _with_any_rows(arguments)
    with mode:
        try:
            graph = make_fx(function)(*like)
        except Exception as error:  # the function's own, or what torch makes of a look at data
            raise Unsupported(str(error) or type(error).__name__) from error
    with tracing(TracingContext(mode)), inductor.patch(settings):
        kernel: Callable[..., None] = torch._inductor.compile(graph, like)
    if all(a.shape[0] > 1 for a in arguments if a.dim() > 1):
        kernel(*(torch.zeros_like(a) for a in arguments))  # others of this layout: it writes
    return kernel


def _with_any_rows(arguments: Sequence[Tensor]) -> tuple[Any, list[Any]]:
    """Stand-ins for tensors whose number of rows, if they have rows, is a symbol: one kernel then serves
    every batch size, so that a last short batch compiles nothing."""
    from torch._dynamo.source import ConstantSource
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    like = []
    for number, argument in enumerate(arguments):
        sizes = [DimDynamic.STATIC] * argument.dim()
        if argument.dim() > 1:
            sizes[0] = DimDynamic.DUCK  # equal sizes are one symbol
        context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
        source = ConstantSource(f"argument{number}")
        like.append(mode.from_tensor(argument, symbolic_context=context, source=source))
    return mode, like
