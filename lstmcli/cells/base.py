"""The contract of a cell: its equations and nothing else.

Three kinds. A *gated cell* writes one function of a step between two matrix products; the engine owns
its weights, hoists the products out of the loop and derives the backward pass from that function. A
*scan cell* has no recurrent product at all, so that all steps are computed at once. A *free cell* is a
module with parameters of its own and may do anything in a step; it is slower, never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What is carried from step to step, each (B, H); the first is the hidden state."""
NOTHING: Mapping[str, float] = MappingProxyType({})


class Cell:
    """What cells of every kind have. A kind of cell is a class derived from this one, with a layer in
    `lstmcli.engine.layers`."""

    state: ClassVar[tuple[str, ...]] = ("hidden",)
    """Names of what is carried; the first is the hidden state."""


CellClass = type[Cell]


class GatedCell(Cell):
    """A cell whose step works unit by unit between one input product and one recurrent product.

    For each gate k, the engine computes the pre-activation z_k = W_k x_t + U_k h_{t-1} + b_k and
    hands all of them to `pointwise`. The blocks of rows in W, U and b follow the order of `gates`.
    """

    gates: ClassVar[tuple[str, ...]]
    """Names of the pre-activations, in the order of their blocks; a gate named `forget` gets the
    forget bias at the start."""
    state: ClassVar[tuple[str, ...]] = ("hidden",)
    """Names of what is carried; the first is `hidden`, which the recurrent product reads and which
    is the output."""
    separate: ClassVar[tuple[str, ...]] = ()
    """Gates whose two parts the equations need apart: `pointwise` then gets W_k x_t + b_k in the place
    of the gate, and U_k h_{t-1} behind all gates, in this order."""
    vectors: ClassVar[Mapping[str, float]] = NOTHING
    """Learned vectors (H,) of the equations' own, such as peepholes, by name with their start value;
    `pointwise` gets them as further arguments, in this order."""

    zoneout_states: ClassVar[tuple[str, ...] | None] = None
    """States that zoneout may hold back, where not all of them make sense alone; None: all."""

    def pointwise(
        self, z: tuple[Tensor, ...], state: State, *vectors: Tensor
    ) -> tuple[State, tuple[Tensor, ...]]:
        """The equations.

        Args:
            z: one pre-activation (B, H) per name in `gates`, then one recurrent part (B, H) per name
                in `separate`.
            state: one tensor (B, H) per name in `state`, from the step before.
            vectors: one (H,) per name in `vectors`.

        Returns:
            The new state, and the activation of each gate, in the same orders. Operations of torch
            that treat each row of the batch by itself (pointwise, or reductions over the units),
            without in-place writes and without dependence on data in Python's control flow.
        """
        raise NotImplementedError


class ScanCell(Cell):
    """A cell whose gates see the input alone, so that its state is a linear recurrence in time:

        h_t = a_t * h_{t-1} + b_t

    and all steps are computed by one parallel scan (Martin and Cundy 2018).
    """

    gates: ClassVar[tuple[str, ...]]
    """Names of the pre-activations W_k x_t + b_k, in the order of their blocks."""

    def coefficients(self, z: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """a and b of the recurrence and the activation of each gate, for all steps at once.

        Args:
            z: one pre-activation (T, B, H) per name in `gates`.
        """
        raise NotImplementedError


class FreeCell(Cell, nn.Module):
    """A cell with parameters of its own: `__init__(input_size, hidden_size)` and `step`."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    def initial_state(self, batch_size: int) -> State:
        """Zeros (B, H) for each name in `state`, on the device and in the dtype of the parameters."""
        like = next(self.parameters())
        return tuple(like.new_zeros(batch_size, self.hidden_size) for _ in self.state)

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State, dict[str, Tensor]]:
        """One step.

        Args:
            x_t: (B, input_size).
            state: as `initial_state` gives it.

        Returns:
            The output (B, H), the new state, and the gate activations by name, each (B, H).
        """
        raise NotImplementedError


def zeros_like_state(state: State, reset: Tensor) -> State:
    """The state with the streams in `reset` (B, bool) begun again from zero."""
    keep = (~reset).unsqueeze(-1)
    return tuple(torch.where(keep, s, torch.zeros((), dtype=s.dtype, device=s.device)) for s in state)
