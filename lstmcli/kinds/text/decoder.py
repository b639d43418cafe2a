"""Decoders: one symbol in, the logits of the next one out, for N texts side by side.

``LSTMDecoder`` computes the stock LSTM in NumPy, many times faster than a framework's loop over
single symbols. ``TorchDecoder`` gives any other model the same interface.

At N = 1 a step costs the reading of the weights, so everything else is kept small: few NumPy calls,
no allocation, and one product per layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import RunError

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[Any]
Tensors = Mapping[str, npt.NDArray[Any]]

# The first layer's product with every symbol is tabulated up to this many numbers (64 MiB).
TABLE_ENTRIES = 2**24
HALF = np.float32(0.5)
# Up to this many texts, a matrix-vector product for each beats one thin matrix-matrix product.
VECTOR_TEXTS = 4


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


class _LayerViews(NamedTuple):
    """Where one layer finds its own in the arrays of an LSTMState."""

    columns: Floats  # what its weights are multiplied with: [input, hidden state]
    hidden: Floats  # (H, N)
    cell: Floats  # (H, N)


class LSTMState:
    """The state of N texts, and the buffers of a step.

    ``hidden`` stacks, from the top: the embedding (E rows, or none when the input is tabulated) and
    the hidden state of each layer (H rows). So [input, hidden state] of a layer is one slice of it,
    and nothing needs to be copied from a layer to the next. ``cell`` stacks the cell states.
    """

    def __init__(self, embedding_rows: int, num_layers: int, sizes: tuple[int, int], num: int):
        hidden_size, symbols = sizes
        # Each text is contiguous for products by vector, each feature for products by matrix.
        self._by_vector = num <= VECTOR_TEXTS
        self.hidden = self._zeros(embedding_rows + num_layers * hidden_size, num)
        self.cell = self._zeros(num_layers * hidden_size, num)
        self.embedding = self.hidden[:embedding_rows]
        self.gates = self._zeros(4 * hidden_size, num)  # rows: i, f, o, g
        self.sigmoids = self.gates[: 3 * hidden_size]
        self.i, self.f, self.o, self.g = np.split(self.gates, 4)
        self.gates_out = self._columns(self.gates)
        self.gates_by_text = self.gates.T
        self.logits = self._zeros(symbols, num)
        self.logits_out = self._columns(self.logits)
        self.layers = list(self._layer_views(embedding_rows, num_layers, hidden_size))
        self.top_columns = self._columns(self.layers[-1].hidden)

    def _layer_views(self, rows: int, num_layers: int, hidden_size: int) -> Iterator[_LayerViews]:
        for layer in range(num_layers):
            begin = rows + layer * hidden_size
            end = begin + hidden_size
            inputs = rows if layer == 0 else hidden_size
            cell = self.cell[layer * hidden_size : (layer + 1) * hidden_size]
            columns = self._columns(self.hidden[begin - inputs : end])
            yield _LayerViews(columns, self.hidden[begin:end], cell)

    def _zeros(self, rows: int, num: int) -> Floats:
        return np.zeros((rows, num), dtype=np.float32, order="F" if self._by_vector else "C")

    def _columns(self, matrix: Floats) -> Floats:
        """(rows, N) as an operand of ``np.matmul``: itself, or a batch of vectors (N, rows, 1)."""
        return matrix.T[:, :, None] if self._by_vector else matrix


class LSTMDecoder:
    """A stack of LSTM layers between an embedding and a head, from its fp32 tensors.

        i, f, o = sigmoid(W x + U h + b)      g = tanh(W x + U h + b)
        c' = f * c + i * g                    h' = o * tanh(c')

    With zoneout a unit keeps a share of its old state, as a model in evaluation does (Krueger et al. 2017).

    Inside, the gates are in the order i, f, o, g, and the rows of i, f and o are halved, for
    sigmoid(x) = tanh(x / 2) / 2 + 1/2: one tanh serves all four gates and cannot overflow.

    With the same state, a text's logits are equal bit for bit for any N up to ``VECTOR_TEXTS``, and
    equal but for rounding above.
    """

    def __init__(self, tensors: Tensors, zoneout: tuple[float, float] = (0.0, 0.0)):
        """`zoneout`: the share of the old hidden and of the old cell state in the new ones."""
        self._kept = np.array(zoneout, dtype=np.float32)
        embedding = _tensor(tensors, "embedding.weight", None, None)  # (V, E)
        self.symbols, width = embedding.shape
        self.num_layers = _count_layers(tensors)
        self.hidden_size = _tensor(tensors, "layers.0.weight_hh", None, None).shape[1]
        head_name = "head.weight" if "head.weight" in tensors else "embedding.weight"
        self._head = _tensor(tensors, head_name, self.symbols, self.hidden_size)
        self._head_bias = _tensor(tensors, "head.bias", self.symbols)[:, None]
        weights, self._biases = [], []
        for layer in range(self.num_layers):
            inputs = width if layer == 0 else self.hidden_size
            weight, bias = _layer(tensors, layer, inputs, self.hidden_size)
            weights.append(weight)
            self._biases.append(bias)
        self._tabulated = self.symbols * 4 * self.hidden_size <= TABLE_ENTRIES
        self._rows = embedding  # what a symbol looks up
        if self._tabulated:
            self._rows = embedding @ weights[0][:, :width].T + self._biases[0]  # (V, 4H)
            weights[0] = weights[0][:, width:]
        self._weights = [np.ascontiguousarray(weight) for weight in weights]

    def initial_state(self, num: int) -> LSTMState:
        """The zero state of ``num`` texts, with its buffers."""
        rows = 0 if self._tabulated else self._rows.shape[1]
        return LSTMState(rows, self.num_layers, (self.hidden_size, self.symbols), num)

    def copy_state(self, state: LSTMState, rows: Sequence[int]) -> LSTMState:
        """A state of its own for the texts ``rows`` of ``state``."""
        chosen = list(rows)
        copy = self.initial_state(len(chosen))
        copy.hidden[...] = state.hidden[:, chosen]
        copy.cell[...] = state.cell[:, chosen]
        return copy

    def step(self, ids: Ids, state: LSTMState) -> Floats:
        """Read ids (N,), update ``state`` in place, return logits (N, V): a buffer of ``state``."""
        addend = self._read(ids, state)
        zoned = bool(self._kept.any())
        gates, by_text, sigmoids = state.gates, state.gates_by_text, state.sigmoids
        for layer, (columns, hidden, cell) in enumerate(state.layers):
            np.matmul(self._weights[layer], columns, out=state.gates_out)
            np.add(by_text, addend if layer == 0 else self._biases[layer], out=by_text)
            np.tanh(gates, out=gates)
            np.multiply(sigmoids, HALF, out=sigmoids)
            np.add(sigmoids, HALF, out=sigmoids)
            if zoned:
                old_hidden, old_cell = hidden * self._kept[0], cell * self._kept[1]
            np.multiply(cell, state.f, out=cell)
            np.multiply(state.g, state.i, out=state.g)
            np.add(cell, state.g, out=cell)
            np.tanh(cell, out=hidden)
            np.multiply(hidden, state.o, out=hidden)
            if zoned:
                np.add(hidden * (1 - self._kept[0]), old_hidden, out=hidden)
                np.add(cell * (1 - self._kept[1]), old_cell, out=cell)
        np.matmul(self._head, state.top_columns, out=state.logits_out)
        np.add(state.logits, self._head_bias, out=state.logits)
        return state.logits.T

    def units(self) -> list[int]:
        """How many units each layer has."""
        return [self.hidden_size] * self.num_layers

    def hold(self, state: LSTMState, units: Iterable[tuple[int, int, float]]) -> None:
        """Set the cell states of (layer, unit, value) in every text."""
        for layer, unit, value in units:
            state.layers[layer].cell[unit] = value

    def _read(self, ids: Ids, state: LSTMState) -> Floats:
        """What is added to the first layer's product: looked up (N, 4H), or the bias (4H,)."""
        if self._tabulated:
            return self._rows[ids]
        state.embedding[...] = self._rows[ids].T
        return self._biases[0]


def _layer(tensors: Tensors, layer: int, inputs: int, hidden_size: int) -> tuple[Floats, Floats]:
    """[W, U] (4H, I + H) and b (4H,) of a layer, as ``LSTMDecoder`` orders and scales the gates."""
    rows = 4 * hidden_size
    from_input = _tensor(tensors, f"layers.{layer}.weight_ih", rows, inputs)
    from_hidden = _tensor(tensors, f"layers.{layer}.weight_hh", rows, hidden_size)
    bias = _tensor(tensors, f"layers.{layer}.bias", rows)
    together = np.concatenate([from_input, from_hidden, bias[:, None]], axis=1)
    i, f, g, o = np.split(together, 4)
    together = np.concatenate([i * HALF, f * HALF, o * HALF, g])
    return together[:, :-1], np.ascontiguousarray(together[:, -1])


def _count_layers(tensors: Tensors) -> int:
    return next(layer for layer in count() if f"layers.{layer}.weight_hh" not in tensors)


def _tensor(tensors: Tensors, name: str, *shape: int | None) -> Floats:
    """A tensor as fp32, copied; RunError unless it is there in this shape (None: any size)."""
    if name not in tensors:
        raise RunError(f"the model has no tensor {name}", "the checkpoint is damaged, or no LSTM")
    found = tensors[name].shape
    fits = len(found) == len(shape) and all(
        size is None or size == actual for size, actual in zip(shape, found, strict=True)
    )
    if not fits:
        wanted = tuple("any" if size is None else size for size in shape)
        raise RunError(f"the tensor {name} has shape {found} instead of {wanted}")
    return np.array(tensors[name], dtype=np.float32, order="C")


class TorchModel(Protocol):
    """The two methods of a model that ``TorchDecoder`` uses."""

    def initial_state(self, num: int, /) -> Any: ...

    def step(self, ids: Any, state: Any, /) -> tuple[Any, Any]: ...


class _TorchState:
    def __init__(self, value: Any):
        self.value = value


class TorchDecoder:
    """The interface of ``LSTMDecoder`` around a torch model, whatever its cell.

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
        names = [layer.cell.state for layer in model.layers.layers]
        return [state.index("cell") if "cell" in state else 0 for state in names]


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
