"""Operations that are others in a row: what the recorder sees in their place.

Those of `BELOW` are replaced below autograd, under ATen's names, so that they are also known where the
derivative of something else calls them. Those of `ABOVE` are replaced where the cell calls them, and autograd
takes the derivative of what stands here: they look at the shape of a learned vector, which has a row for each
row of the batch while the derivative is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lstmcli.engine.kernels.values import Unsupported

# atan(x) = x + x·s·P(s)/Q(s), s = x², for |x| <= 0.66 (S. L. Moshier's Cephes, atan.c), within 2e-16.
ATAN_ABOVE = (
    -64.85021904942025,
    -122.88666844901361,
    -75.00855792314705,
    -16.157537187333652,
    -0.8750608600031904,
)
ATAN_BELOW = (
    194.5506571482614,
    485.3903996359137,
    432.88106049129027,
    165.02700983169885,
    24.858464901423062,
)


def _arctangent(x: Tensor) -> Tensor:
    """A large argument is turned by a half or a quarter of a right angle, to where the ratio holds."""
    size, zero = x.abs(), torch.zeros_like(x)
    large, middle = size > 1 + math.sqrt(2), size > 0.66
    near = torch.where(large, -1 / size, torch.where(middle, (size - 1) / (size + 1), size))
    turned = torch.where(large, zero + math.pi / 2, torch.where(middle, zero + math.pi / 4, zero))
    s = near * near
    angle = near + near * s * _polynomial(s, ATAN_ABOVE) / _polynomial(s, (*ATAN_BELOW, 1.0)) + turned
    return torch.where(x < 0, -angle, angle)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Any:
    total: Any = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def _remainder(x: Any, y: Any) -> Tensor:
    """With the sign of y. A quotient that was rounded up to a whole number is put right."""
    rest: Tensor = x - (x / y).floor() * y
    if isinstance(y, Tensor):
        other_sign = ((rest < 0) & (y > 0)) | ((rest > 0) & (y < 0))
    else:
        other_sign = rest < 0 if y > 0 else rest > 0
    return torch.where(other_sign, rest + y, rest)


def _divided(x: Any, y: Any, rounding_mode: str | None = None) -> Tensor:
    quotient: Tensor = x / y
    if rounding_mode is None:
        return quotient
    return quotient.floor() if rounding_mode == "floor" else quotient.trunc()


def _power_of_number(base: float, x: Tensor) -> Tensor:
    if base <= 0:
        raise Unsupported(f"powers of {base}")
    power: Tensor = (x * math.log(base)).exp()
    return power


def _mish_slope(gradient: Tensor, x: Tensor) -> Tensor:
    bent = torch.nn.functional.softplus(x).tanh()
    return gradient * (bent + x * x.sigmoid() * (1 - bent * bent))


def _variance(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    if dim is None or len(dim) != 1:
        raise Unsupported("a variance over everything")
    centred = x - x.mean(dim, keepdim=True)
    count = x.shape[dim[0]] - (1 if correction is None else correction)
    variance: Tensor = (centred * centred).sum(dim, keepdim=keepdim) / count
    return variance


def _length(x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    if order != 2 or dim is None or dtype is not None:
        raise Unsupported("a norm that is not Euclid's of the units")
    length: Tensor = (x * x).sum(dim, keepdim=keepdim).sqrt()
    return length


def _add_product(x: Tensor, first: Tensor, second: Tensor, value: float = 1) -> Tensor:
    return x + value * (first * second)


def _add_quotient(x: Tensor, first: Tensor, second: Tensor, value: float = 1) -> Tensor:
    return x + value * (first / second)


BELOW: dict[str, Callable[..., Any]] = {
    "lerp": lambda start, end, weight: start + weight * (end - start),
    "addcmul": _add_product,
    "addcdiv": _add_quotient,
    "atan": _arctangent,
    "remainder": _remainder,
    "div.Tensor_mode": _divided,
    "div.Scalar_mode": _divided,
    "pow.Scalar": _power_of_number,
    "exp2": lambda x: _power_of_number(2.0, x),
    "mish": lambda x: x * torch.nn.functional.softplus(x).tanh(),
    "mish_backward": _mish_slope,
    "amin": lambda x, dim=(), keepdim=False: -(-x).amax(dim, keepdim),
    "var.correction": _variance,
    "std.correction": lambda *args, **options: _variance(*args, **options).sqrt(),
    "linalg_vector_norm": _length,
}
"""By name of ATen's operation, or of one of its overloads."""


def _of_units(rows: int, x: Tensor, shape: Sequence[int], *learned: Tensor | None) -> None:
    """A normalization of the last dimension alone. Of learned vectors the last dimension is meant, too."""
    per_row = any(v is not None and tuple(v.shape) == tuple(shape) and v.dim() == 2 for v in learned)
    if len(shape) > 1 and not (per_row and tuple(shape) == (rows, x.shape[-1])):
        raise Unsupported("a normalization over several dimensions")


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _standardized(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * ((centred * centred).mean(-1, keepdim=True) + eps).rsqrt()


def _layer_norm(
    rows: int,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    _of_units(rows, x, normalized_shape, weight, bias)
    return _scaled(_standardized(x, eps), weight, bias)


def _rms_norm(
    rows: int, x: Tensor, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Tensor:
    _of_units(rows, x, normalized_shape, weight)
    floor = torch.finfo(x.dtype).eps if eps is None else eps
    return _scaled(x * ((x * x).mean(-1, keepdim=True) + floor).rsqrt(), weight, None)


def _group_norm(
    rows: int, x: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    groups = x.reshape(*x.shape[:-1], num_groups, -1)
    return _scaled(_standardized(groups, eps).flatten(-2), weight, bias)


def _einsum(rows: int, equation: str, *operands: Any) -> Tensor:
    """A product of its operands summed over units, where it is one: written out, dimension by dimension."""
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    labels = inputs.split(",")
    if not arrow or "." in equation or any(len(set(given)) < len(given) for given in labels):
        raise Unsupported(f"the sum {equation}")
    # The derivative's recording gives a learned vector a row for each row of the batch.
    labels = [
        output[0] + given if x.dim() == len(given) + 1 and x.shape[0] == rows and output else given
        for given, x in zip(labels, tensors, strict=True)
    ]
    summed = "".join(dict.fromkeys(k for given in labels for k in given if k not in output))
    order = output + summed
    product: Any = 1
    for given, x in zip(labels, tensors, strict=True):
        x = x.permute([given.index(k) for k in order if k in given])
        for place, k in enumerate(order):
            x = x if k in given else x.unsqueeze(place)
        product = x if isinstance(product, int) else product * x
    for _ in summed:
        product = product.sum(-1)
    result: Tensor = product
    return result


ABOVE: dict[str, Callable[..., Tensor]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "einsum": _einsum,
}
"""By name of torch's function; called with the number of rows first."""


class Composed(TorchFunctionMode):
    """Under it, the functions of `ABOVE` are what stands here."""

    def __init__(self, rows: int):
        super().__init__()
        self.rows = rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = ABOVE.get(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {})) if rule is None else rule(self.rows, *args, **(kwargs or {}))
