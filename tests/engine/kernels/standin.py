"""Triton's language by PyTorch: the text of a kernel for the GPU, run on the CPU for all rows at once.

A block of columns is (rows, columns) here and a value of a row (rows, 1), so that `axis=0` of an instance is
the last dimension. Numbers are float64 or float32, as asked.
"""

from __future__ import annotations

import torch

from lstmcli.engine.kernels.gpu import defined, triton_source


class Pointer:
    """Elements of a tensor's memory, counted from its first."""

    def __init__(self, tensor, offset=0):
        self.tensor, self.offset = tensor, offset

    def __add__(self, more):
        return Pointer(self.tensor, self.offset + more)

    def place(self, mask):
        """The places in memory, and of those behind the mask the first; never outside of the tensor."""
        flat = torch.as_strided(self.tensor, (self.reach(),), (1,))
        place = torch.as_tensor(self.offset).reshape(-1, 1) if isinstance(self.offset, int) else self.offset
        if mask is not None:
            place = torch.where(mask, place, 0)
        assert int(place.max()) < len(flat) and int(place.min()) >= 0, "outside of the tensor"
        return flat, place

    def reach(self):
        return 1 + sum((n - 1) * s for n, s in zip(self.tensor.shape, self.tensor.stride(), strict=True))


class Language:
    """What kernels use of `triton.language`."""

    constexpr = None
    int64, int1, bfloat16 = torch.int64, torch.bool, torch.bfloat16

    def __init__(self, rows, block, number, blocks):
        self.rows, self.block, self.now, self.float32, self.blocks = rows, block, 0, number, blocks
        self.written = []

    def program_id(self, axis):
        return torch.arange(self.rows)[:, None] if axis == 0 else self.now

    def arange(self, start, stop):
        assert stop & (stop - 1) == 0, "Triton's blocks are powers of two"
        return torch.arange(start, stop)[None]

    def load(self, pointer, mask=None, other=None):
        assert not self.written, "all is read before anything is written"
        flat, place = pointer.place(mask)
        got = flat[place]
        got = got if mask is None else torch.where(mask, got, torch.zeros((), dtype=got.dtype))
        return got.to(self.float32) if got.dtype in (torch.float32, torch.float64) else got

    def store(self, pointer, value, mask):
        self.written.append((pointer, value, mask))

    def flush(self):
        for pointer, value, mask in self.written:
            flat, place = pointer.place(mask)
            place, mask = torch.broadcast_tensors(place, mask)
            value = torch.as_tensor(value).to(flat.dtype).expand(place.shape)
            flat[place[mask]] = value[mask]
        self.written = []

    def full(self, shape, number, dtype):
        return torch.full((1, 1), number, dtype=dtype)

    def where(self, condition, a, b):
        a, b = (x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=self.float32) for x in (a, b))
        return torch.where(condition, a, b)

    def sum(self, x, axis):
        return x.sum(-1, keepdim=True)

    def max(self, x, axis):
        return x.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).amax(-1, keepdim=True)

    def cumsum(self, x, axis, reverse):
        return x.flip(-1).cumsum(-1).flip(-1) if reverse else x.cumsum(-1)

    maximum = staticmethod(torch.maximum)
    exp, log, sqrt, abs = torch.exp, torch.log, torch.sqrt, torch.abs
    floor, ceil, erf = torch.floor, torch.ceil, torch.erf


EXACT = {"hyperbolic": torch.tanh, "logistic_about_half": lambda x: x.sigmoid() - 0.5}
"""In place of the ratios that are good to fp32."""


def emulated(program, tensors, number=torch.float64, exact=False):
    """Run the program's text for Triton on tensors of its layout, in place."""
    source = triton_source(program)
    for now in range(source.blocks):
        language = Language(tensors[0].shape[0], source.block, number, source.blocks)
        language.now = now
        kernel = defined(source, language, lambda function: function)
        kernel.__globals__.update(EXACT if exact else {})
        kernel(*(Pointer(t) for t in tensors), BLOCK=source.block)
        language.flush()


def kernel(program, number=torch.float64, exact=False):
    """A kernel that runs so, as `lstmcli.engine.kernels.compiled.Kernel`."""
    return lambda *tensors: emulated(program, tensors, number, exact)
