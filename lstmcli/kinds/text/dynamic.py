"""Dynamic evaluation: a model that goes on learning from the text that it is scored on.

Each segment is scored first and learned from after that, so that nothing is predicted by weights that
have seen it. The rule is that of Krause et al. 2018: a step along the gradient over the root of its mean
square on the training text, and a pull back to the trained weights where they matter,

    w <- w - rate * g / (r + floor) + decay * m * (w0 - w),      r = sqrt(mean g^2),  m = r / mean(r)

with `decay * m` at most 1. The model given is left as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lstmcli.core.errors import DataError
from lstmcli.engine.stack import StackState, detach
from lstmcli.kinds.text.evaluate import WINDOW
from lstmcli.kinds.text.model import TextModel


@dataclass(frozen=True)
class Dynamics:
    """How the weights follow the text."""

    rate: float = 3e-4
    decay: float = 2e-3
    segment: int = 64  # symbols between updates
    statistics: int = 256  # segments of the training text that give the gradient's mean square
    floor: float = 1e-5


def dynamic_losses(
    model: TextModel,
    ids: np.ndarray,
    train: np.ndarray,
    protocol: str,
    settings: Dynamics,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Nats of each of `ids[1:]`, read once from front to back, float32.

    In the protocol `windows` the state is zero at the start of each window, and only the weights remember
    what came before; in `stateful` the state is carried through the whole text.
    """
    model = copy.deepcopy(model).eval()
    if model.head.weight.device.type == "cpu":
        model.product_dtype = torch.promote_types(
            model.product_dtype, torch.float32
        )  # faster for a single row
    scale = _root_mean_square(model, train, settings)
    follow = _Follower(model, scale, settings)
    losses = np.empty(len(ids) - 1, dtype=np.float32)
    length = WINDOW if protocol == "windows" else len(ids)
    state, begin = model.initial_state(1), 0
    while begin < len(losses):
        if begin % length == 0:
            state = model.initial_state(1)
        end = min(begin + settings.segment, len(losses), (begin // length + 1) * length)
        found, state = _segment(model, ids, begin, end, state)
        losses[begin:end] = found.detach().cpu().numpy()
        found.mean().backward()  # type: ignore[no-untyped-call]
        follow.update()
        state, begin = detach(state), end
        if on_progress is not None:
            on_progress(begin, len(losses))
    return losses


def _segment(
    model: TextModel, ids: np.ndarray, begin: int, end: int, state: StackState
) -> tuple[Tensor, StackState]:
    """Nats of each target of ids[begin : end], with their graph."""
    device = model.head.weight.device
    symbols = torch.from_numpy(np.asarray(ids[begin : end + 1], dtype=np.int64)).to(device)
    logits, state = model(symbols[:-1].unsqueeze(1), state)
    return functional.cross_entropy(logits.flatten(0, 1).float(), symbols[1:], reduction="none"), state


def _root_mean_square(model: TextModel, train: np.ndarray, settings: Dynamics) -> list[Tensor]:
    """Root of the mean square of the gradient of each parameter over segments of the training text, each
    read from the state that the segment before it leaves."""
    length = settings.segment
    if len(train) < 2 * length + 1:
        raise DataError(
            f"dynamic evaluation needs {2 * length + 1} symbols of training text, not {len(train)}"
        )
    squares = [torch.zeros_like(p) for p in model.parameters()]
    starts = np.linspace(0, len(train) - 2 * length - 1, settings.statistics).astype(int)
    for start in starts.tolist():
        with torch.no_grad():
            _, state = _segment(model, train, start, start + length, model.initial_state(1))
        losses, _ = _segment(model, train, start + length, start + 2 * length, detach(state))
        losses.mean().backward()  # type: ignore[no-untyped-call]
        for square, parameter in zip(squares, model.parameters(), strict=True):
            if parameter.grad is not None:
                square.addcmul_(parameter.grad, parameter.grad)
            parameter.grad = None
    return [(square / len(starts)).sqrt_() for square in squares]


class _Follower:
    """The rule above, for all parameters at once."""

    def __init__(self, model: TextModel, scale: list[Tensor], settings: Dynamics):
        self._parameters = list(model.parameters())
        self._trained = [p.detach().clone() for p in self._parameters]
        mean = torch.cat([s.flatten() for s in scale]).mean().clamp_min(1e-30)
        self._steps = [settings.rate / (s + settings.floor) for s in scale]
        self._pulls = [(settings.decay * s / mean).clamp_max_(1.0) for s in scale]

    @torch.no_grad()
    def update(self) -> None:
        for parameter, trained, step, pull in zip(
            self._parameters, self._trained, self._steps, self._pulls, strict=True
        ):
            if parameter.grad is None:
                continue
            back = (trained - parameter).mul_(pull)
            parameter.addcmul_(step, parameter.grad, value=-1.0).add_(back)
            parameter.grad = None
