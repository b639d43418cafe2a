"""The path `decode` of the stock LSTM: single steps in NumPy, many times faster than a framework's loop over
single symbols, and without importing one.

For one text a step costs the reading of the weights, so everything else is kept small: few NumPy calls, no
allocation, and one product per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import RunError

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[Any]]

CELL = "lstm"
KNOWS = frozenset({"weight_drop", "recurrent_dropout", "zoneout"})
"""What a layer may drop in training: in evaluation the first two do nothing, and the third is computed."""
SERVED: dict[str, Callable[[Any], bool]] = {
    "cell": lambda name: name == CELL,
    "hidden_size": lambda sizes: not isinstance(sizes, list) or len(set(sizes)) == 1,
    "zoneout": lambda rates: not isinstance(rates, list) or len(rates) == 2,
    "residual": lambda on: not on,
    "sum_outputs": lambda on: not on,
    **dict.fromkeys((
        "num_layers", "path", "weight_drop", "recurrent_dropout", "recompute", "dropout", "output_dropout",
        "locked_dropout", "forget_bias", "chrono_steps", "recurrent_init",
    ), lambda _: True),
}  # fmt: skip
"""Of the settings of a model those that are about its layers, with the values that this path computes. What
only training reads, or where weights begin, may have any."""
HALF = np.float32(0.5)
# Up to this many texts, a matrix-vector product for each beats one thin matrix-matrix product.
VECTOR_TEXTS = 4


class _LayerViews(NamedTuple):
    """Where one layer finds its own in the arrays of an LSTMState."""

    columns: Floats  # what its weights are multiplied with: [input, hidden state]
    hidden: Floats  # (H, N)
    cell: Floats  # (H, N)


class LSTMState:
    """The state of N texts, and the buffers of a step.

    ``hidden`` stacks, from the top: the input (E rows, or none where its product comes ready) and
    the hidden state of each layer (H rows). So [input, hidden state] of a layer is one slice of it,
    and nothing needs to be copied from a layer to the next. ``cell`` stacks the cell states.
    """

    def __init__(self, input_rows: int, num_layers: int, hidden_size: int, num: int):
        # Each text is contiguous for products by vector, each feature for products by matrix.
        self._by_vector = num <= VECTOR_TEXTS
        self.hidden = self.zeros(input_rows + num_layers * hidden_size, num)
        self.cell = self.zeros(num_layers * hidden_size, num)
        self.input = self.hidden[:input_rows]
        self.gates = self.zeros(4 * hidden_size, num)  # rows: i, f, o, g
        self.sigmoids = self.gates[: 3 * hidden_size]
        self.i, self.f, self.o, self.g = np.split(self.gates, 4)
        self.gates_out = self.columns(self.gates)
        self.gates_by_text = self.gates.T
        self.layers = list(self._layer_views(input_rows, num_layers, hidden_size))

    def _layer_views(self, rows: int, num_layers: int, hidden_size: int) -> Iterator[_LayerViews]:
        for layer in range(num_layers):
            begin = rows + layer * hidden_size
            end = begin + hidden_size
            inputs = rows if layer == 0 else hidden_size
            cell = self.cell[layer * hidden_size : (layer + 1) * hidden_size]
            columns = self.columns(self.hidden[begin - inputs : end])
            yield _LayerViews(columns, self.hidden[begin:end], cell)

    def zeros(self, rows: int, num: int) -> Floats:
        return np.zeros((rows, num), dtype=np.float32, order="F" if self._by_vector else "C")

    def columns(self, matrix: Floats) -> Floats:
        """(rows, N) as an operand of ``np.matmul``: itself, or a batch of vectors (N, rows, 1)."""
        return matrix.T[:, :, None] if self._by_vector else matrix


class LSTMSteps:
    """A stack of LSTM layers, from its fp32 tensors.

        i, f, o = sigmoid(W x + U h + b)      g = tanh(W x + U h + b)
        c' = f * c + i * g                    h' = o * tanh(c')

    With zoneout a unit keeps a share of its old state, as a model in evaluation does (Krueger et al. 2017).

    Inside, the gates are in the order i, f, o, g, and the rows of i, f and o are halved, for
    sigmoid(x) = tanh(x / 2) / 2 + 1/2: one tanh serves all four gates and cannot overflow.

    With the same state, a text's results are equal bit for bit for any N up to ``VECTOR_TEXTS``, and
    equal but for rounding above.
    """

    def __init__(self, tensors: Tensors, width: int, zoneout: tuple[float, float] = (0.0, 0.0)):
        """`width`: of the first layer's input. `zoneout`: the share of the old hidden and of the old cell
        state in the new ones."""
        self._kept = np.array(zoneout, dtype=np.float32)
        self.num_layers = next(k for k in count() if f"layers.{k}.weight_hh" not in tensors)
        self.hidden_size = tensor(tensors, "layers.0.weight_hh", None, None).shape[1]
        self._input_rows = width
        self._weights, self._biases = [], []
        for layer in range(self.num_layers):
            inputs = width if layer == 0 else self.hidden_size
            weight, bias = _layer(tensors, layer, inputs, self.hidden_size)
            self._weights.append(np.ascontiguousarray(weight))
            self._biases.append(bias)

    def tabulate(self, inputs: Floats) -> Floats:
        """The first layer's W x + b for each of inputs (V, E), (V, 4H): from now on `step` is given rows of
        it."""
        weight, width = self._weights[0], self._input_rows
        rows: Floats = inputs @ weight[:, :width].T + self._biases[0]
        self._weights[0] = np.ascontiguousarray(weight[:, width:])
        self._input_rows = 0
        return rows

    def step(self, state: LSTMState, products: Floats | None = None) -> None:
        """Update ``state``, whose ``input`` is set, or ``products`` given: rows (N, 4H) of `tabulate`."""
        first = self._biases[0] if products is None else products
        zoned = bool(self._kept.any())
        gates, by_text, sigmoids = state.gates, state.gates_by_text, state.sigmoids
        for layer, (columns, hidden, cell) in enumerate(state.layers):
            np.matmul(self._weights[layer], columns, out=state.gates_out)
            np.add(by_text, first if layer == 0 else self._biases[layer], out=by_text)
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


def _layer(tensors: Tensors, layer: int, inputs: int, hidden_size: int) -> tuple[Floats, Floats]:
    """[W, U] (4H, I + H) and b (4H,) of a layer, as ``LSTMSteps`` orders and scales the gates."""
    rows = 4 * hidden_size
    from_input = tensor(tensors, f"layers.{layer}.weight_ih", rows, inputs)
    from_hidden = tensor(tensors, f"layers.{layer}.weight_hh", rows, hidden_size)
    bias = tensor(tensors, f"layers.{layer}.bias", rows)
    together = np.concatenate([from_input, from_hidden, bias[:, None]], axis=1)
    i, f, g, o = np.split(together, 4)
    together = np.concatenate([i * HALF, f * HALF, o * HALF, g])
    return together[:, :-1], np.ascontiguousarray(together[:, -1])


def tensor(tensors: Tensors, name: str, *shape: int | None) -> Floats:
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
