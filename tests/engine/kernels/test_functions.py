"""What kernels compute, function by function, against the library, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lstmcli.engine.kernels import functions
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.kernels.native import NativeKernel
from lstmcli.engine.kernels.source import source
from lstmcli.engine.kernels.trace import trace

pytestmark = pytest.mark.skipif(not compiler_available(), reason="needs a C++ compiler")
ONE = {
    "neg": lambda x: -x,
    "abs": torch.abs,
    "sign": torch.sign,
    "reciprocal": torch.reciprocal,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "softplus, sharper": lambda x: F.softplus(x, beta=2.0, threshold=10.0),
    "logsigmoid": F.logsigmoid,
    "expm1": lambda x: torch.expm1(x.clamp(max=5.0)),
    "log1p of a square": lambda x: torch.log1p(x * x),
    "erf": torch.erf,
    "elu": F.elu,
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.7),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "square": torch.square,
    "cube": lambda x: x**3,
    "clamp": lambda x: x.clamp(-0.5, 2.0),
    "log of a square": lambda x: (x * x + 0.1).log(),
    "sqrt of a square": lambda x: (x * x + 0.1).sqrt(),
    "rsqrt of a square": lambda x: (x * x + 0.1).rsqrt(),
    "to the power of -1": lambda x: (x * x + 1.0) ** -1,
    "to the power of 1.5": lambda x: (x * x + 1.0) ** 1.5,
    "to the power of 0": lambda x: x + x**0,
    "log1p of exp": lambda x: -F.logsigmoid(-x),
    "floor": lambda x: x * x.floor(),
    "ceil": lambda x: x * x.ceil(),
    "trunc": lambda x: x * x.trunc(),
    "round": lambda x: x * x.round(),
    "1 - x": lambda x: 1.0 - x,
    "where": lambda x: torch.where((x > -1.0) & ~(x >= 1.0), x * 3.0, 0.25),
    "masked": lambda x: x.masked_fill((x < 0.0) | (x == 0.0), -2.0),
    "not": lambda x: x * torch.logical_not(x > 0.5) + (x <= 0.0).to(x.dtype) * (x != 0.1),
}
TWO = {
    "add": lambda x, y: torch.add(x, y, alpha=2.0),
    "sub": lambda x, y: torch.sub(x, y, alpha=0.5),
    "mul": torch.mul,
    "div": lambda x, y: x / (y.abs() + 0.5),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}
BOUND = {torch.float32: 2e-6, torch.float64: 1e-13}


def kernel(function, *like):
    program = trace(function, like)
    return NativeKernel(source(program), len(like))


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("operands", [1, 2])
def test_values_and_derivatives_are_the_librarys(dtype, operands):
    table = ONE if operands == 1 else TWO
    torch.manual_seed(1)
    given = [3.0 * torch.randn(7, 64, dtype=dtype) for _ in range(operands)]
    given[0][0, :4] = torch.tensor([-40.0, 40.0, 15.0, -15.0])

    def all_of_them(*tensors):
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in tensors[:operands]]
            results = [f(*inputs) for f in table.values()]
        room = iter(tensors[operands:])
        for result in results:
            with torch.enable_grad():
                total = Summed.apply(result)
            next(room).copy_(result)
            for d in torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True):
                next(room).copy_(d)

    room = [torch.full((7, 64), 9.0, dtype=dtype) for _ in range(len(table) * (1 + operands))]
    wide = [torch.zeros(7, 64, dtype=torch.float64) for _ in room]
    kernel(all_of_them, *given, *room)(*given, *room)
    all_of_them(*(x.double() for x in given), *wide)
    parts = ("value", *(f"slope {k}" for k in range(operands)))
    names = [f"{name} {what}" for name in table for what in parts]
    for name, ours, exact in zip(names, room, wide, strict=True):
        off = ((ours - exact).abs() / (1.0 + exact.abs())).max()
        bound = max(BOUND[dtype], 1e-8) if "hardsigmoid" in name else BOUND[dtype]  # torch's 1/6 is fp32
        assert off < bound, name


class Summed(torch.autograd.Function):
    """The sum over all elements, whose gradient is one everywhere; kernels know no sum over rows."""

    @staticmethod
    def forward(ctx, x):
        ctx.like = x.detach()
        return x.new_zeros(())

    @staticmethod
    def backward(ctx, _):
        return torch.ones_like(ctx.like)


def test_the_ends_of_the_numbers_are_the_librarys():
    inf, nan = float("inf"), float("nan")
    edges = [0.0, -0.0, inf, -inf, nan, 1e-40, -1e-40, 3e38, -3e38, 1e-7, 1.0]
    edges += [88.7, 88.8, -87.5, -103.0, -104.5]  # where exp overflows, is denormal, is nought
    x = torch.tensor(edges * 5).expand(3, -1).contiguous()
    table = {
        "exp": torch.exp,
        "expm1": torch.expm1,
        "log": torch.log,
        "log1p": torch.log1p,
        "erf": torch.erf,
        "elu": F.elu,
        "sqrt": torch.sqrt,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
        "logsigmoid": F.logsigmoid,
        "relu": torch.relu,
        "maximum": lambda x: torch.maximum(x, torch.ones_like(x)),
        "minimum": lambda x: torch.minimum(torch.ones_like(x), x),
        "clamp": lambda x: x.clamp(-1.0, 1.0),
        "sign": torch.sign,
    }

    def all_of_them(x, *room):
        for f, into in zip(table.values(), room, strict=True):
            into.copy_(f(x))

    room = [torch.empty_like(x) for _ in table]
    kernel(all_of_them, x, *room)(x, *room)
    for (name, f), ours in zip(table.items(), room, strict=True):
        exact = f(x)
        assert torch.equal(ours.isnan(), exact.isnan()), name
        assert torch.equal(ours.isinf(), exact.isinf()), name
        fine = exact.isfinite()
        assert torch.allclose(ours[fine], exact[fine], rtol=2e-6, atol=5e-7), name


def test_bf16_is_rounded_as_the_library_rounds():
    bits = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).reshape(64, 1024)
    x = bits.float() * (1.0 + torch.rand(64, 1024) * 2**-7)
    x[0, :3] = torch.tensor([1.00390625, 1.01171875, float("nan")])  # two in the middle between neighbours
    found = torch.empty(64, 1024, dtype=torch.bfloat16)

    def rounded(x, into):
        into.copy_(x)

    kernel(rounded, x, found)(x, found)
    wanted = x.bfloat16()
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found.nan_to_num(7.0), wanted.nan_to_num(7.0))


def test_every_function_is_tried_here():
    seen = set()

    def watch(table, operands):
        def function(*tensors):
            with torch.enable_grad():
                inputs = [x.detach().requires_grad_() for x in tensors]
                for f in table.values():
                    torch.autograd.grad(Summed.apply(f(*inputs)), inputs, allow_unused=True)

        with Names(seen):
            function(*(torch.rand(3, 4) for _ in range(operands)))

    watch(ONE, 1), watch(TWO, 2)
    aliases = {"log_sigmoid_forward": "log_sigmoid", "log_sigmoid_backward": "log_sigmoid_slope"}
    aliases |= {"elu_backward": "elu_slope", "gelu_backward": "gelu_slope"}
    tried = {aliases.get(name, name) for name in seen}
    also = {"clamp_min", "clamp_max", "sgn", "bitwise_not", "bitwise_or", "bitwise_and"}  # same expressions
    also |= {"gelu_tanh", "gelu_tanh_slope"}  # gelu with an option
    assert set(functions.FUNCTIONS) - tried - also <= {"logical_and", "logical_or"}


class Names(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))
