"""How the gradient of one step's loss fades towards the steps before it.

For a loss L_T of the last step T and the state s of a layer, the exact gradient at lag k is the total
derivative dL_T/ds_{T-k}: along every path from s_{T-k} to the loss, those through the gates, through
the layer's other states and through other layers included. It is what backpropagation through time
sends back to that step; for the cell state of an LSTM it includes the path c_{T-k} -> h_{T-k}.

Two usual explanations stand beside it. Both begin, at lag 0, with the exact gradient of the layer's
memory m (its cell state; in a layer without one its hidden state), and follow one path alone:

    chain           dL_T/dm_T · J_T · J_{T-1} ... J_{T-k+1},      J_t = dm_t/dm_{t-1}
                    the textbook's chain: the one-step derivative is complete within a step, through the
                    gates that read h_{t-1} as well as directly; what leaves the memory for longer than
                    a step (h_{t-1} -> output gate -> h_t -> ...), or goes through another layer, is
                    not in it. Exact for a single layer whose hidden state is its only state.
    forget_gates    dL_T/dm_T * f_T * f_{T-1} * ... * f_{T-k+1}
                    the constant error carousel alone: no path but the memory's own.

Norms are Euclidean over the units, per stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lstmcli.engine.measures.unrolled import StackStep, flatten, pull_back
from lstmcli.engine.stack import Stack

LAGS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lags of which rows are shown."""
Losses = Callable[[StackStep], Tensor]
"""From the last step the loss of each stream (B,), as a function of its output or new states."""


@dataclass(frozen=True)
class LayerGradients:
    """Norms by lag, each (lags + 1, B), float64 on the CPU."""

    memory: str  # the state that `chain` and `forget_gates` follow
    states: dict[str, Tensor]  # exact, by the state's name
    chain: Tensor | None
    forget_gates: Tensor | None  # None: the layer has no forget gate that multiplies its memory


@dataclass(frozen=True)
class Gradients:
    loss: Tensor  # (B,), L_T of each stream
    layers: list[LayerGradients]


def norms_by_lag(stack: Stack, steps: list[StackStep], losses: Losses, explain: bool = True) -> Gradients:
    """Walk back from the loss of the last step; `steps` is emptied on the way, to give memory back."""
    last = steps[-1]
    with torch.enable_grad():
        loss = losses(last)
        total = loss.sum()
    outputs, cotangents = [total], [torch.ones_like(total)]
    exact: list[list[Tensor]] = []  # by lag, then by state
    walks: list[_Walk] = []
    while steps:
        step = steps.pop()
        new, old = flatten(step.new), flatten(step.old)
        found = pull_back(outputs, [*new, *old], cotangents)
        at_new, cotangents = found[: len(new)], found[len(new) :]
        outputs = [] if not steps else flatten(steps[-1].new)
        exact.append([_norm(gradient) for gradient in at_new])
        if explain and not walks:
            walks = _walks(stack, step, at_new)
        for walk in walks:
            walk.back(step)
    return Gradients(loss.detach().double().cpu(), _by_layer(stack, exact, walks))


class _Walk:
    """The two explanations for one layer, from the last step backwards."""

    def __init__(self, number: int, memory: int, gradients: Sequence[Tensor], forgets: bool):
        self.number, self.memory = number, memory  # the places of the layer, and of its memory
        self.forgets = forgets
        self.chain: list[Tensor] = []  # norms by lag
        self.forget_gates: list[Tensor] = []
        self._direct, self._by_hidden = gradients[self.memory], torch.zeros_like(gradients[0])
        self._carousel = gradients[self.memory]

    def back(self, step: StackStep) -> None:
        """Note the norms at one step, then go to the one before it."""
        old, new, memory = step.old[self.number], step.new[self.number], self.memory
        at_memory = self._direct
        if memory:  # the hidden state shows the memory of its own step
            at_memory = at_memory + pull_back([new[0]], [new[memory]], [self._by_hidden])[0]
        self.chain.append(_norm(at_memory))
        self.forget_gates.append(_norm(self._carousel))
        self._direct, self._by_hidden = pull_back([new[memory]], [old[memory], old[0]], [at_memory])
        if self.forgets:
            self._carousel = self._carousel * step.gates[self.number]["forget"]


def _walks(stack: Stack, last: StackStep, gradients: Sequence[Tensor]) -> list[_Walk]:
    walks, given = [], iter(gradients)
    for number, (layer, new, gates) in enumerate(zip(stack.layers, last.new, last.gates, strict=True)):
        own, memory = [next(given) for _ in new], layer.cell.state.index(layer.memory)
        walks.append(_Walk(number, memory, own, forgets(layer.cell.state, gates, own[memory])))
    return walks


def forgets(states: Sequence[str], gates: Mapping[str, Tensor], memory: Tensor) -> bool:
    """Whether the forget gate is the factor between the memory and the one before it. With a stabiliser
    (sLSTM) it is not: the states are kept divided by a number that changes from step to step."""
    return "forget" in gates and gates["forget"].shape == memory.shape and "stabilizer" not in states


def _norm(gradient: Tensor) -> Tensor:
    """(B, ...) -> (B,), float64: a norm of 1e-30 must not be 0 because its square is."""
    norm: Tensor = torch.linalg.vector_norm(gradient.detach().flatten(1).double(), dim=-1)
    return norm


def _fetched(norms: Sequence[Tensor]) -> Tensor:
    """Those of all steps at once: each by itself would be waited for."""
    return torch.stack(list(norms)).cpu()


def _by_layer(stack: Stack, exact: list[list[Tensor]], walks: list[_Walk]) -> list[LayerGradients]:
    columns = iter([_fetched(column) for column in zip(*exact, strict=True)])
    found = []
    for number, layer in enumerate(stack.layers):
        states = {name: next(columns) for name in layer.cell.state}
        walk = walks[number] if walks else None
        chain = _fetched(walk.chain) if walk else None
        product = _fetched(walk.forget_gates) if walk and walk.forgets else None
        found.append(LayerGradients(layer.memory, states, chain, product))
    return found


def half_life(norms: Sequence[float]) -> float | None:
    """The lag from which the norm, given by lag from 0 on, is first at most half of what it is at lag 0,
    straight between lags on a logarithmic scale; None: it is not within these lags."""
    first = norms[0]
    for lag, norm in enumerate(norms):
        if norm <= 0.5 * first:
            if lag == 0 or norm <= 0.0:
                return float(lag)
            before = torch.tensor([norms[lag - 1], norm, 0.5 * first], dtype=torch.float64).log()
            return float(lag - 1 + (before[0] - before[2]) / (before[0] - before[1]))
    return None


def lag_holding(norms: Sequence[float], share: float = 0.99) -> int:
    """The first lag up to which the norms by lag add up to `share` of their sum over all lags."""
    sums = torch.tensor(norms, dtype=torch.float64).cumsum(0)
    return int((sums >= share * sums[-1]).nonzero()[0])


def share_within(norms: Sequence[float], window: int) -> tuple[float, float]:
    """How much of the sum over all lags truncated BPTT reaches in a window of so many steps: for the
    window's last step, and on average over its steps, the first of which reaches lag 0 alone."""
    values = torch.tensor(norms, dtype=torch.float64)
    reached = (1.0 - torch.arange(len(norms), dtype=torch.float64) / window).clamp_min(0.0)
    total = float(values.sum()) or 1.0
    return float(values[:window].sum()) / total, float((values * reached).sum()) / total
