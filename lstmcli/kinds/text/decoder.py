"""Decoders: one symbol in, the logits of the next one out, for N texts side by side.

``NumpyDecoder`` serves the models whose layers have the path `decode`; ``TorchDecoder`` gives any other model
the same interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lstmcli.engine import decode
from lstmcli.engine.decode import Floats, LSTMState, LSTMSteps, Tensors, tensor
from lstmcli.kinds.text.settings import LanguageModel
from lstmcli.run.checkpoint.store import Layout

if TYPE_CHECKING:
    from lstmcli.kinds.text.model import TextModel

Ids = npt.NDArray[Any]

# The first layer's product with every symbol is tabulated up to this many numbers (64 MiB).
TABLE_ENTRIES = 2**24
SERVED: dict[str, Callable[[Any], bool]] = decode.SERVED | {
    "mixtures": lambda count: count == 1,
    **dict.fromkeys(("embedding_size", "tie_weights"), lambda _: True),
    **dict.fromkeys(("input_dropout", "embedding_dropout"), lambda _: True),  # while it trains alone
}
"""Every setting of a model that ``NumpyDecoder`` is known to compute, with the values that it serves. A
setting that is not named here, or has another value, goes the general way."""


class Decoder(Protocol):
    """What ``generate`` needs of a model. The state is the decoder's own business."""

    def initial_state(self, num: int) -> Any:
        """The zero state of ``num`` texts."""

    def step(self, ids: Ids, state: Any) -> Floats:
        """Read one symbol per text, (N,), update ``state`` in place, and return logits (N, V).

        The logits are valid until the next step with the same state.
        """

    def copy_state(self, state: Any, rows: Sequence[int]) -> Any:
        """A state of its own for the texts ``rows`` of ``state``; a text may occur repeatedly."""


class _TextState(LSTMState):
    """The state of N texts, and their logits."""

    def __init__(self, input_rows: int, num_layers: int, sizes: tuple[int, int], num: int):
        hidden_size, symbols = sizes
        super().__init__(input_rows, num_layers, hidden_size, num)
        self.logits = self.zeros(symbols, num)
        self.logits_out = self.columns(self.logits)
        self.top_columns = self.columns(self.layers[-1].hidden)


class NumpyDecoder:
    """``LSTMSteps`` between an embedding and a head, from fp32 tensors."""

    def __init__(self, tensors: Tensors, zoneout: tuple[float, float] = (0.0, 0.0)):
        """`zoneout`: the share of the old hidden and of the old cell state in the new ones."""
        self._rows = tensor(tensors, "embedding.weight", None, None)  # (V, E): what a symbol looks up
        self.symbols, width = self._rows.shape
        self._steps = LSTMSteps(tensors, width, zoneout)
        hidden_size = self._steps.hidden_size
        head_name = "head.weight" if "head.weight" in tensors else "embedding.weight"
        self._head = tensor(tensors, head_name, self.symbols, hidden_size)
        self._head_bias = tensor(tensors, "head.bias", self.symbols)[:, None]
        self._tabulated = self.symbols * 4 * hidden_size <= TABLE_ENTRIES
        if self._tabulated:
            self._rows = self._steps.tabulate(self._rows)  # (V, 4H)

    def initial_state(self, num: int) -> _TextState:
        """The zero state of ``num`` texts, with its buffers."""
        rows = 0 if self._tabulated else self._rows.shape[1]
        return _TextState(rows, self._steps.num_layers, (self._steps.hidden_size, self.symbols), num)

    def copy_state(self, state: _TextState, rows: Sequence[int]) -> _TextState:
        """A state of its own for the texts ``rows`` of ``state``."""
        chosen = list(rows)
        copy = self.initial_state(len(chosen))
        copy.hidden[...] = state.hidden[:, chosen]
        copy.cell[...] = state.cell[:, chosen]
        return copy

    def step(self, ids: Ids, state: _TextState) -> Floats:
        """Read ids (N,), update ``state`` in place, return logits (N, V): a buffer of ``state``."""
        if self._tabulated:
            self._steps.step(state, self._rows[ids])
        else:
            state.input[...] = self._rows[ids].T
            self._steps.step(state)
        np.matmul(self._head, state.top_columns, out=state.logits_out)
        np.add(state.logits, self._head_bias, out=state.logits)
        return state.logits.T

    def units(self) -> list[int]:
        """How many units each layer has."""
        return [self._steps.hidden_size] * self._steps.num_layers

    def hold(self, state: _TextState, units: Iterable[tuple[int, int, float]]) -> None:
        """Set the cell states of (layer, unit, value) in every text."""
        for layer, unit, value in units:
            state.layers[layer].cell[unit] = value


def has_numpy_decoder(settings: LanguageModel) -> bool:
    """Whether text can be generated without importing torch."""
    return all(SERVED.get(name, lambda _: False)(value) for name, value in settings)


def numpy_tensors(settings: LanguageModel, symbols: int) -> dict[str, Layout]:
    """Shape and dtype of every tensor of a model of which `has_numpy_decoder` is true, by name."""
    hidden_size = settings.sizes[0]
    width = settings.embedding_size or hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (symbols, width), "head.bias": (symbols,)}
    if not settings.tie_weights:
        shapes["head.weight"] = (symbols, hidden_size)
    for layer in range(len(settings.sizes)):
        shapes[f"layers.{layer}.weight_ih"] = (4 * hidden_size, hidden_size if layer else width)
        shapes[f"layers.{layer}.weight_hh"] = (4 * hidden_size, hidden_size)
        shapes[f"layers.{layer}.bias"] = (4 * hidden_size,)
    return {name: (shape, "float32") for name, shape in shapes.items()}


def numpy_decoder(settings: LanguageModel, tensors: Tensors) -> NumpyDecoder:
    """The decoder of a model of which `has_numpy_decoder` is true, from its tensors by name."""
    given = settings.zoneout
    hidden, cell = given if isinstance(given, list) else (given, given)
    return NumpyDecoder(tensors, (hidden, cell))


def decoder_of_model(model: TextModel) -> Decoder:
    """A decoder with the model's weights as they are now."""
    if has_numpy_decoder(model.settings):
        state = model.state_dict()
        tensors = {name: value.detach().cpu().numpy() for name, value in state.items()}
        return numpy_decoder(model.settings, tensors)
    return TorchDecoder(model.eval(), device=str(model.head.weight.device))


class TorchModel(Protocol):
    """The two methods of a model that ``TorchDecoder`` uses."""

    def initial_state(self, num: int, /) -> Any: ...

    def step(self, ids: Any, state: Any, /) -> tuple[Any, Any]: ...


class _TorchState:
    def __init__(self, value: Any):
        self.value = value


class TorchDecoder:
    """The interface of ``NumpyDecoder`` around a torch model, whatever its cell.

    A state may be a tensor, or tuples, lists and dictionaries of them. The batch axis of each
    tensor is the one that grows with the number of texts. The caller puts the model in eval mode.
    """

    def __init__(self, model: TorchModel, device: str = "cpu"):
        self._model = model
        self._device = device

    def initial_state(self, num: int) -> _TorchState:
        """The model's own zero state of ``num`` texts."""
        import torch

        with torch.inference_mode():
            return _TorchState(self._model.initial_state(num))

    def copy_state(self, state: _TorchState, rows: Sequence[int]) -> _TorchState:
        """A state of its own for the texts ``rows`` of ``state``."""
        import torch

        one, two = self.initial_state(1).value, self.initial_state(2).value
        with torch.inference_mode():
            index = torch.tensor(list(rows), device=self._device)
            return _TorchState(_select(state.value, one, two, index))

    def step(self, ids: Ids, state: _TorchState) -> Floats:
        """Read ids (N,), replace the value of ``state``, return logits (N, V)."""
        import torch

        with torch.inference_mode():
            symbols = torch.as_tensor(ids.astype(np.int64), device=self._device)
            logits, state.value = self._model.step(symbols, state.value)
            found: Floats = logits.float().cpu().numpy()
            return found

    def units(self) -> list[int]:
        """How many units each layer of a stack of layers carries a state of."""
        state, held = self.initial_state(1).value, self._held()
        return [layer[k].shape[1] for layer, k in zip(state, held, strict=True)]

    def hold(self, state: _TorchState, units: Iterable[tuple[int, int, float]]) -> None:
        """Set the states that (layer, unit, value) carry in every text."""
        import torch

        with torch.inference_mode():
            value, held = [list(layer) for layer in state.value], self._held()
            for layer, unit, wanted in units:
                changed = value[layer][held[layer]].clone()  # outputs may share its memory
                changed[:, unit] = wanted
                value[layer][held[layer]] = changed
            state.value = tuple(tuple(layer) for layer in value)

    def _held(self) -> list[int]:
        """Of each layer, the place of its cell state, or of its hidden state where there is none."""
        model: Any = self._model
        return [layer.cell.state.index(layer.memory) for layer in model.layers.layers]


def _select(value: Any, one: Any, two: Any, index: Any) -> Any:
    """``value`` with the texts ``index``; ``one`` and ``two`` are states of one and two texts."""
    if isinstance(value, Mapping):
        return {key: _select(value[key], one[key], two[key], index) for key in value}
    if isinstance(value, (tuple, list)):
        parts = [_select(*three, index) for three in zip(value, one, two, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    sizes = zip(one.shape, two.shape, strict=True)
    axis = next((axis for axis, (first, second) in enumerate(sizes) if first != second), None)
    return value.clone() if axis is None else value.index_select(axis, index)
