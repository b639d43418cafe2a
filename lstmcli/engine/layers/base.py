"""What every layer says of itself, and which layer computes a cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lstmcli.cells.base import CellClass, State
from lstmcli.config.schema import Model
from lstmcli.core.errors import ConfigError
from lstmcli.engine.layers.equations import Equations, check_names
from lstmcli.engine.pointwise import ACCUMULATE

Multiply = Callable[[Tensor, Tensor], Tensor]
"""x (B, K) and a weight (N, K) -> x weightᵀ (B, N)."""


class Trace(NamedTuple):
    """What a layer did over a window, for the statistics."""

    gates: dict[str, Tensor]  # by name, each (T, B, H), in fp32 at least
    states: dict[str, Tensor]  # by name, each (T, B, H), likewise


class Regularization(NamedTuple):
    """What a layer drops while it trains."""

    weight_drop: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[float, ...] = ()  # one rate per state, or none

    @property
    def used(self) -> frozenset[str]:
        """Names of what is dropped at any rate above 0."""
        rates = self._asdict() | {"zoneout": any(self.zoneout)}
        return frozenset(name for name, rate in rates.items() if rate)


UNDROPPED = Regularization()


class Start(NamedTuple):
    """How a layer's parameters begin; see the settings of the same names."""

    recurrent_init: str = "orthogonal"
    forget_bias: float | str | None = 1.0
    chrono_steps: int = 100


class Path(NamedTuple):
    """One way to compute a layer, and what it is known to compute: nothing else goes that way."""

    knows: frozenset[str] = frozenset()  # fields of `Regularization` that it applies
    cell: CellClass | None = None  # the one cell whose equations it has of its own; None: any of the kind
    compiled: bool = False  # by kernels that are compiled for the cell, where there is a compiler
    windows: bool = True  # whole windows with gradients; else one step after the other, outside of torch


class Cost(NamedTuple):
    """What a layer costs, by arithmetic."""

    parameters: int  # numbers that are learned
    multiply_adds: int  # of the matrix products, for one symbol, forward; backward has twice as many
    by_symbol: int  # of these, what a look-up saves where the input is one of few symbols
    kept: int  # numbers in fp32 that training keeps of one symbol at the least, until backward


class Layer(nn.Module):
    """A cell over time.

    `step` and `reset_parameters` are all that a kind of cell must have: the rest is made of them, step by
    step. A kind that knows a quicker way lists it in `paths` and takes it in `forward`.
    """

    kind: ClassVar[str]
    """What cells of this kind are called in messages: "gated"."""
    paths: ClassVar[Mapping[str, Path]] = {"loop": Path()}
    """By name, the quickest first. The last is the plain one: it serves every layer of the kind, and has
    gradients in evaluation, too."""

    function: ClassVar[str] = "step"
    """Name of the method that the author of a cell of this kind writes."""

    cell: Any
    path: str
    compiled = False
    recompute = False

    def __init__(self, cell: Any, input_size: int, hidden_size: int, drops: Regularization = UNDROPPED):
        super().__init__()
        self.cell, self.drops = cell, drops
        self.input_size, self.hidden_size = input_size, hidden_size
        self.path = self.plain_path

    # --- before there is a layer ---

    @classmethod
    def make(
        cls, cell_class: Any, sizes: Sequence[tuple[int, int]], drops: Regularization
    ) -> Sequence[Layer]:
        """One layer per (input size, hidden size). The cell is equations only: all layers share it, and what
        is compiled of it."""
        cell = cell_class()
        return [cls(cell, *size, drops) for size in sizes]

    @classmethod
    def regularization(cls, settings: Model, cell_class: Any) -> Regularization:
        """What the settings drop inside of the recurrence. ConfigError: this kind of cell cannot."""
        given = settings.zoneout
        asked = {"weight_drop": settings.weight_drop, "recurrent_dropout": settings.recurrent_dropout}
        asked["zoneout"] = max(given) if isinstance(given, list) else given
        if named := [f"model.{name}" for name, rate in asked.items() if rate]:
            raise ConfigError(
                f"{', '.join(named)}: {settings.cell} is a {cls.kind} cell, whose recurrence is its own",
                "set it to 0, or choose a gated cell (`lstm cells` lists them)",
            )
        return UNDROPPED

    @classmethod
    def cost(cls, cell_class: Any, input_size: int, hidden_size: int) -> Cost:
        """Counted on a layer that has no memory for its numbers; kept are the outputs."""
        with torch.device("meta"):
            parameters = list(cls.make(cell_class, [(input_size, hidden_size)], UNDROPPED)[0].parameters())
        matrices = sum(p.numel() for p in parameters if p.dim() > 1)
        return Cost(sum(p.numel() for p in parameters), matrices, 0, hidden_size)

    @classmethod
    def check_declared(cls, cell_class: Any) -> None:
        """`Unfit` if what the class declares is malformed."""
        check_names("state", cell_class.state)

    # --- what it is ---

    @property
    def memory(self) -> str:
        """The state that carries what is remembered: the cell state, or else the hidden state."""
        return "cell" if "cell" in self.cell.state else self.cell.state[0]

    @property
    def plain_path(self) -> str:
        return [*self.paths][-1]

    @property
    def known_paths(self) -> list[str]:
        """The paths that compute windows of this layer, what it drops included; the quickest first."""
        return [name for name, path in self.paths.items() if path.windows and self.serves(name)]

    def serves(self, path: str) -> bool:
        """Whether the path is known to compute this layer."""
        way = self.paths.get(path)
        if way is None or (way.cell is not None and type(self.cell) is not way.cell):
            return False
        return self.drops.used <= way.knows

    @property
    def needs_compiling(self) -> bool:
        """Whether the first step on its path takes a compiler's time."""
        return self.compiled and self.paths[self.path].compiled

    def former_names(self) -> Mapping[str, str]:
        """Of each parameter that a checkpoint of format 1 calls otherwise: its name there, and its name
        here."""
        return {}

    def equations(self) -> Equations:
        """What the checks hold to the contract: the layer's own step, with all of its parameters, or what it
        is made of."""
        return Equations(self, self.cell.state, self.input_size, self.hidden_size)

    @property
    def has_kernels(self) -> bool:
        """Whether all that was run compiled so far did not have to fall back."""
        return self.compiled

    # --- what it computes ---

    def reset_parameters(self, start: Start) -> None:
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        """Zeros (B, H) for each state, on the device and in the dtype of the parameters."""
        like = next(self.parameters())
        return tuple(like.new_zeros(batch_size, self.hidden_size) for _ in self.cell.state)

    def step(
        self, x: Tensor, state: State, multiply: Multiply = functional.linear
    ) -> tuple[Tensor, State, Mapping[str, Tensor]]:
        """One step for x (B, I), as in evaluation: the output (B, H), a function of the new state tensors
        themselves, the new state and the gates by name. What is known to be a product of x or of a state
        with a weight is asked of `multiply`."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x (T, B, I) in the products' dtype -> outputs (T, B, H) in that dtype, final state."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self._steps(x, *state)
        outputs = []
        for part in torch.split(x, max(1, math.isqrt(x.shape[0]))):
            output, state = checkpoint(self._steps, part, *state, use_reentrant=False)
            outputs.append(output)
        return torch.cat(outputs), state

    def _steps(self, x: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        outputs = []
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            for x_t in x.unbind():
                output, state, _ = self.step(x_t, state)
                outputs.append(output.to(x.dtype))
        return torch.stack(outputs), state

    def forward_symbols(self, embedding: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Like `forward` on embedding[ids], for ids (T, B) and an embedding (V, I)."""
        return self.forward(functional.embedding(ids, embedding), state)

    @torch.no_grad()
    def observe(self, x: Tensor, state: State) -> tuple[Tensor, State, Trace]:
        """`forward` without gradients, and what the gates and states were."""
        outputs, gates, states = [], [], []
        for x_t in x.to(ACCUMULATE.get(x.dtype, x.dtype)).unbind():
            output, state, activations = self.step(x_t, state)
            outputs.append(output)
            gates.append(tuple(activations.values()))
            states.append(state)
        trace = Trace(by_name(tuple(activations), gates), by_name(self.cell.state, states))
        return torch.stack(outputs).to(x.dtype), state, trace


_layers: dict[type, type[Layer]] = {}
AnyLayer = TypeVar("AnyLayer", bound=type[Layer])


def layer_of(base: type) -> Callable[[AnyLayer], AnyLayer]:
    """For a class of layers: it computes cells that are derived from `base`."""

    def register(layer: AnyLayer) -> AnyLayer:
        _layers[base] = layer
        return layer

    return register


def layer_class(cell_class: CellClass) -> type[Layer]:
    """The layer that computes cells of this class. ConfigError: there is none."""
    for base in cell_class.__mro__:
        if base in _layers:
            return _layers[base]
    raise ConfigError(
        f"model.cell: {cell_class.__name__} is of a kind that no layer computes",
        "derive it from GatedCell, ScanCell or FreeCell, or write a layer with @layer_of(its kind)",
    )


def kinds_with(path: str) -> list[str]:
    """What the kinds of cell are called that have a path of this name."""
    return sorted({layer.kind for layer in _layers.values() if path in layer.paths})


def make_layers(
    cell_class: CellClass, sizes: Sequence[tuple[int, int]], drops: Regularization
) -> Sequence[Layer]:
    """One layer per (input size, hidden size)."""
    return layer_class(cell_class).make(cell_class, sizes, drops)


def start_biases(bias: Tensor, gates: Sequence[str], start: Start) -> None:
    """Zero, but for the forget gate's: constant, or spread over timescales (chrono)."""
    nn.init.zeros_(bias)
    start_forgetting(dict(zip(gates, bias.chunk(len(gates)), strict=True)), start)


def start_forgetting(blocks: dict[str, Tensor], start: Start) -> None:
    """The forget gate's bias, and for chrono the input gate's, of biases by gate."""
    if "forget" not in blocks:
        return
    if start.forget_bias != "chrono":
        nn.init.constant_(blocks["forget"], float(start.forget_bias or 0.0))
        return
    blocks["forget"].uniform_(1.0, start.chrono_steps - 1.0).log_()
    if "input" in blocks:
        blocks["input"].copy_(-blocks["forget"])


def by_name(names: Sequence[str], steps: list[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """From a tuple (B, H) for each step to a tensor (T, B, H) for each name."""
    return dict(zip(names, [torch.stack(values) for values in zip(*steps, strict=True)], strict=True))
