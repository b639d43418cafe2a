"""The collection: see test_adversarial.py."""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lstmcli.cells import FreeCell, GatedCell, ScanCell


class Coupled(GatedCell):
    gates = ("forget", "candidate")
    state = ("hidden", "cell")

    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), z[1].tanh(), state[1])

    def made(self, f, g, c):
        c = f * c + (1 - f) * g
        return (c.tanh(), c), (f, g)


class Heads(Coupled):
    def pointwise(self, z, state):
        f = z[0].view(len(z[0]), 4, -1).mean(-1, keepdim=True).sigmoid()
        c = f * state[1].view(len(z[0]), 4, -1) + (1 - f) * z[1].view(len(z[0]), 4, -1).tanh()
        c = c.reshape(z[0].shape)
        return (c.tanh(), c), (z[0].sigmoid(), z[1].tanh())


class HeadNorm(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), F.group_norm(z[1], 4).tanh(), state[1])


class HeadSoftmax(Coupled):
    def pointwise(self, z, state):
        f = z[0].unflatten(-1, (4, -1)).softmax(1).flatten(1)
        return self.made(f, z[1].tanh(), state[1])


class MaskOnHidden(Coupled):
    def pointwise(self, z, state):
        f = z[0].sigmoid()
        return self.made(torch.where(state[0] > 0, f, f / 2), z[1].tanh(), state[1])


class MaskOnCell(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].sigmoid().masked_fill(state[1] < 0, 0.25), z[1].tanh(), state[1])


class Mean(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), (z[1] - state[0].mean(-1, keepdim=True)).tanh(), state[1])


class Max(Coupled):
    def pointwise(self, z, state):
        return self.made((z[0] - state[1].amax(-1, keepdim=True)).sigmoid(), z[1].tanh(), state[1])


class Norm(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), z[1] / (1 + z[1].norm(dim=-1, keepdim=True)), state[1])


class Cumulative(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].softmax(-1).cumsum(-1), z[1].tanh(), state[1])


class Softmax(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].softmax(-1), z[1].tanh(), state[1])


class Rounded(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), z[1].round().clamp(-1, 1), state[1])


class Sign(Coupled):
    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), z[1].sign(), state[1])


class Quantized(Coupled):
    def pointwise(self, z, state):
        g = z[1].tanh()
        return self.made(z[0].sigmoid(), g + ((g * 8).round() / 8 - g).detach(), state[1])


class StraightThrough(Coupled):
    def pointwise(self, z, state):
        f = (z[0] > 0).to(z[0].dtype) + z[0].sigmoid() - z[0].sigmoid().detach()
        return self.made(f, z[1].tanh(), state[1])


class ScaledVectors(Coupled):
    vectors: ClassVar = {"scale": 1.0, "bias": 0.0, "again": 0.5}

    def pointwise(self, z, state, scale, bias, again):
        return self.made((scale * z[0] + bias).sigmoid(), (again * z[1]).tanh(), state[1])


class OwnTemporary(Coupled):
    def pointwise(self, z, state):
        total = z[0] * 2
        total += z[1]
        return self.made(total.sigmoid(), z[1].tanh(), state[1])


class Lists(Coupled):
    def pointwise(self, z, state):
        new, gates = super().pointwise(z, state)
        return list(new), list(gates)


class UnusedGate(Coupled):
    gates = ("forget", "unused", "candidate")

    def pointwise(self, z, state):
        new, (f, g) = self.made(z[0].sigmoid(), z[2].tanh(), state[1])
        return new, (f, torch.zeros_like(f), g)


class NotContiguous(Coupled):
    def pointwise(self, z, state):
        (h, c), gates = super().pointwise(z, state)
        return (h.t().contiguous().t(), c.t().contiguous().t()), gates


class SameTwice(Coupled):
    def pointwise(self, z, state):
        (h, _), gates = super().pointwise(z, state)
        return (h, h), gates


class OldState(Coupled):
    state = ("hidden", "cell", "kept")

    def pointwise(self, z, state):
        (h, c), gates = super().pointwise(z, state)
        return (h + 0.5 * state[2], c, state[2]), gates


class Constant(Coupled):
    def pointwise(self, z, state):
        return self.made(torch.tensor(0.5) * z[0].sigmoid(), z[1].tanh(), state[1])


class Made(Coupled):
    def pointwise(self, z, state):
        scale = torch.linspace(0.1, 0.9, z[0].shape[-1], dtype=z[0].dtype, device=z[0].device)
        return self.made(scale * z[0].sigmoid(), z[1].tanh(), state[1])


class BooleanGate(Coupled):
    def pointwise(self, z, state):
        new, (_, g) = super().pointwise(z, state)
        return new, (z[0] > 0, g)


class Clamped(Coupled):
    def pointwise(self, z, state):
        return self.made(F.hardsigmoid(z[0]), F.hardtanh(z[1]), state[1])


class Peculiar(Coupled):
    separate = ("candidate",)

    def pointwise(self, z, state):
        return self.made(z[0].sigmoid(), (z[1] * z[2].cos()).tanh(), state[1].abs().sqrt())


class Scan(ScanCell):
    gates = ("update", "candidate")

    def coefficients(self, z):
        u = z[0].sigmoid()
        return 1 - u, u * z[1], (u, z[1])


class ScanMask(Scan):
    def coefficients(self, z):
        a, b, gates = super().coefficients(z)
        return torch.where(z[1] > 0, a, a / 2), b, gates


class ScanOverTime(Scan):
    def coefficients(self, z):
        a, b, gates = super().coefficients(z)
        return a, b.cumsum(0), gates


class Free(FreeCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size + hidden_size, hidden_size)

    def step(self, x_t, state):
        h = torch.tanh(self.w(torch.cat([x_t, state[0].to(x_t.dtype)], -1))).to(state[0].dtype)
        return h, (h,), {"candidate": h}


class FreeBuffer(Free):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.register_buffer("decay", torch.linspace(0.1, 0.9, hidden_size))

    def step(self, x_t, state):
        return super().step(x_t, (self.decay * state[0],))


class FreeParameter(Free):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def step(self, x_t, state):
        return super().step(x_t, (self.scale * state[0],))


class FreeControl(Free):
    def step(self, x_t, state):
        return super().step(x_t * (2 if x_t.shape[-1] > 3 else 1), state)


class FreeDropout(Free):
    def step(self, x_t, state):
        return super().step(F.dropout(x_t, 0.5, self.training), state)


LEARNED = nn.Parameter(torch.tensor(0.5))


class Parameter(Coupled):
    def __init__(self):
        self.scale = nn.Parameter(torch.tensor(0.5))

    def pointwise(self, z, state):
        return super().pointwise((self.scale * z[0], z[1]), state)


class GlobalParameter(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((LEARNED * z[0], z[1]), state)


class Module(Coupled):
    def __init__(self):
        self.inner = nn.PReLU()

    def pointwise(self, z, state):
        return super().pointwise((self.inner(z[0]), z[1]), state)


class Buffer(Coupled):
    def __init__(self):
        self.scale = torch.rand(())

    def pointwise(self, z, state):
        return super().pointwise((self.scale * z[0], z[1]), state)


class AddsInPlace(Coupled):
    def pointwise(self, z, state):
        c, f, g = state[1], z[0].sigmoid(), z[1].tanh()
        c += f * g
        return (c.tanh(), c), (f, g)


class MulInPlace(Coupled):
    def pointwise(self, z, state):
        state[0].mul_(0.5)
        return super().pointwise(z, state)


class IndexInPlace(Coupled):
    def pointwise(self, z, state):
        z[0][:, 0] = 0
        return super().pointwise(z, state)


class Dropout(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0], F.dropout(z[1], 0.5)), state)


class Noise(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0], z[1] + torch.randn_like(z[1])), state)


class PythonNoise(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0], z[1] * random.random()), state)


class Counts(Coupled):
    count = 0

    def pointwise(self, z, state):
        self.count += 1
        return super().pointwise((z[0] if self.count < 1000 else z[1], z[1]), state)


class Remembers(Coupled):
    last = None

    def pointwise(self, z, state):
        before, self.last = self.last, z[0].detach().clone()
        return super().pointwise((z[0] if before is None else z[0] + before.mean().new_ones(()), z[1]), state)


class Appends(Coupled):
    def __init__(self):
        self.seen = []

    def pointwise(self, z, state):
        self.seen.append(len(self.seen))
        return super().pointwise(z, state)


class Branches(Coupled):
    def pointwise(self, z, state):
        if z[0].sum() > 0:
            z = (z[1], z[0])
        return super().pointwise(z, state)


class Items(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0] * z[1].max().item(), z[1]), state)


class Numpy(Coupled):
    def pointwise(self, z, state):
        f = torch.from_numpy(np.sign(z[0].detach().numpy()))
        return self.made(f, z[1].tanh(), state[1])


class Selects(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0] + z[1][z[1] > 0].sum(), z[1]), state)


class MeanOverBatch(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0] - z[0].mean(0), z[1]), state)


class BatchNorm(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((F.batch_norm(z[0], None, None, training=True), z[1]), state)


class Flipped(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0], z[1].flip(0)), state)


class WrongShape(Coupled):
    def pointwise(self, z, state):
        return (z[0][:, :2], state[1]), z


class Column(Coupled):
    def pointwise(self, z, state):
        return (z[0], state[1].mean(-1, keepdim=True)), z


class Double(Coupled):
    def pointwise(self, z, state):
        (h, c), gates = super().pointwise(z, state)
        return (h, c.float()), gates


class Integers(Coupled):
    def pointwise(self, z, state):
        (h, c), gates = super().pointwise(z, state)
        return (h, (c * 10).long()), gates


class Complex(Coupled):
    def pointwise(self, z, state):
        (h, c), gates = super().pointwise(z, state)
        return (h, c + 1j * h), gates


class OneGateTooFew(Coupled):
    def pointwise(self, z, state):
        new, gates = super().pointwise(z, state)
        return new, gates[:1]


class OneStateTooFew(Coupled):
    def pointwise(self, z, state):
        new, gates = super().pointwise(z, state)
        return new[:1], gates


class NotANumber(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((0 * z[0] / (z[0] - z[0]), z[1]), state)


class Logarithm(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((z[0], z[1].log()), state)


class Text(Coupled):
    def pointwise(self, z, state):
        new, gates = super().pointwise(z, state)
        return ("h", new[1]), gates


class Raises(Coupled):
    def pointwise(self, z, state):
        raise ValueError("not today")


class NoGradient(Coupled):
    def pointwise(self, z, state):
        with torch.no_grad():
            f = z[0].sigmoid()
        return self.made(f, z[1].tanh(), state[1])


class DetachedState(Coupled):
    def pointwise(self, z, state):
        return super().pointwise(z, (state[0], state[1].detach()))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class WrongBackward(Coupled):
    def pointwise(self, z, state):
        return super().pointwise((Doubled.apply(z[0]), z[1]), state)


class FreeComplex(Free):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.register_buffer("phase", torch.ones(hidden_size, dtype=torch.complex128))

    def step(self, x_t, state):
        return super().step(x_t, (state[0] * self.phase.real.to(x_t.dtype),))


class FreeCounts(Free):
    count = 0

    def step(self, x_t, state):
        self.count += 1
        return super().step(x_t, state)


class FreeStray(Free):
    def step(self, x_t, state):
        return super().step(LEARNED * x_t, state)


class FreeMixes(Free):
    def step(self, x_t, state):
        return super().step(x_t - x_t.mean(0), state)


class FreeAlwaysDrops(Free):
    def step(self, x_t, state):
        return super().step(F.dropout(x_t, 0.5), state)


class FreeStart(Free):
    def initial_state(self, batch_size):
        return (super().initial_state(batch_size)[0] + 0.5,)
