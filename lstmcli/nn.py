"""The engine for models of your own: a module that is called like `torch.nn.LSTM`, with any cell.

layers = lstmcli.nn.Recurrent("lstm-peephole", 64, 256, num_layers=2)
outputs, state = layers(x)              # x (T, B, 64): outputs (T, B, 256)
outputs, state = layers(x, state)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lstmcli.cells import find_cell
from lstmcli.cells.base import CellClass, State
from lstmcli.config.schema import Model
from lstmcli.core.errors import UsageError
from lstmcli.engine.hardware import can_compile, set_path
from lstmcli.engine.kernels.product import available
from lstmcli.engine.layers import Layer
from lstmcli.engine.stack import Stack, StackState

__all__ = ["Recurrent"]

PathName = Literal["auto", "fused", "engine", "loop", "scan"]
States = Tensor | tuple[Tensor, ...]
"""One tensor (layers, B, H) for a cell of one state, such as a GRU; else a tuple of one for each."""


class Recurrent(nn.Module):
    """A stack of recurrent layers over time, in the place of `nn.LSTM`, `nn.GRU` or `nn.RNN`.

    Args:
        cell: a built-in cell (`lstm cells` lists them), `package.module:Class`, `path/to/file.py:Class`, or a
            class of cells itself.
        input_size: numbers per step, I.
        hidden_size: units per layer, H.
        num_layers: layers, each reading the one below.
        batch_first: inputs and outputs are (B, T, ...) instead of (T, B, ...); states are not.
        dropout: share of every layer's outputs but the last one's that is zeroed while training.
        forget_bias: start value of the forget gate's bias; None: as the other biases.
        recurrent_init: how recurrent weights begin: `orthogonal`, `uniform` as in PyTorch, or `identity`.
        path: how the recurrence is computed: `fused` (the library's LSTM), `engine`, `loop`, `scan`, or
            `auto` for the quickest. Gradients of gradients need `loop`.
        device, dtype: of the parameters, as everywhere in PyTorch.

    Each layer has one bias, not two. Under autocast the products are made in its dtype, and so are the
    outputs; states stay in fp32. `layers.0.weight_ih` (G·H, I), `layers.0.weight_hh` (G·H, H) and
    `layers.0.bias` (G·H) hold the blocks of a gated cell in the order of its gates; for the LSTM that is
    PyTorch's: i, f, g, o.

    Raises:
        UsageError: `bidirectional` or `bias=False`, which the engine does not have; a cell that is none.
    """

    bidirectional = False

    def __init__(
        self,
        cell: str | CellClass,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        forget_bias: float | None = 1.0,
        recurrent_init: Literal["orthogonal", "uniform", "identity"] = "orthogonal",
        path: PathName = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if bidirectional or not bias:
            what = "bidirectional" if bidirectional else "bias=False"
            raise UsageError(f"Recurrent has no {what}", "use two of them, one on the reversed sequence"
                             if bidirectional else "every layer of the engine has a bias")  # fmt: skip
        cell_class = find_cell(cell) if isinstance(cell, str) else cell
        name = cell if isinstance(cell, str) else cell.__name__
        settings = Model(
            cell=name, hidden_size=hidden_size, num_layers=num_layers, dropout=dropout, output_dropout=0.0,
            forget_bias=forget_bias, recurrent_init=recurrent_init, path=path,
        )  # fmt: skip
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout = batch_first, dropout
        self.layers = Stack(settings, cell_class, input_size)
        self._placed: tuple[torch.device, torch.dtype] | None = None
        self.reset_parameters()
        self.to(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Begin anew."""
        self.layers.reset_parameters()

    def flatten_parameters(self) -> None:
        """Nothing: there is no flat buffer. For those who call it of `nn.LSTM`."""

    @classmethod
    def from_torch(cls, lstm: nn.LSTM, path: PathName = "auto") -> Recurrent:
        """The same layers as those of an `nn.LSTM`, with copies of its weights; the two biases become one.

        Raises:
            UsageError: it is bidirectional or has projections or no biases.
        """
        if lstm.proj_size:
            raise UsageError("Recurrent has no projections", "build it without proj_size")
        weight = next(lstm.parameters())
        made = cls(
            "lstm", lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bias, lstm.batch_first,
            lstm.dropout, lstm.bidirectional, path=path, device=weight.device, dtype=weight.dtype,
        )  # fmt: skip
        with torch.no_grad():
            for number, layer in enumerate(made.layers.layers):
                own = dict(layer.named_parameters())
                own["weight_ih"].copy_(getattr(lstm, f"weight_ih_l{number}"))
                own["weight_hh"].copy_(getattr(lstm, f"weight_hh_l{number}"))
                biases = [getattr(lstm, f"bias_{part}_l{number}") for part in ("ih", "hh")]
                own["bias"].copy_(biases[0] + biases[1])
        return made

    def forward(
        self, input: Tensor | PackedSequence, hx: States | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """Run the layers over a window.

        Args:
            input: (T, B, I), or (B, T, I) if `batch_first`; (T, I) for a single sequence; or a
                `PackedSequence` of sequences of any lengths.
            hx: the state before the first step, as `forward` returns it; None: zeros.

        Returns:
            The last layer's outputs, laid out like the input, and the state after each sequence's last step:
            one tensor (num_layers, B, H) for each name in the cell's `state`, hidden state first; not in a
            tuple where there is one alone; (num_layers, H) for a single sequence.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        single = input.dim() == 2
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise UsageError(
                f"the input has shape {tuple(input.shape)}, whose last part is not {self.input_size}"
            )
        outputs, state = self._run(x, self._start(x.shape[1], hx, single))
        outputs = outputs.squeeze(1) if single else outputs.transpose(0, 1) if self.batch_first else outputs
        return outputs, self._given_out(state, single)

    def _run(self, x: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """x (T, B, I) in the dtype of the parameters, or that of autocast."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        self._place(x)
        with torch.autocast(kind, enabled=False):

            def bottom(layer: Layer, start: State) -> tuple[Tensor, State]:
                found: tuple[Tensor, State] = layer(x.contiguous(), start)
                return found

            result: tuple[Tensor, StackState] = self.layers(bottom, state)
            return result

    def _place(self, x: Tensor) -> None:
        """Choose the path when the module is first called, or called elsewhere or in another arithmetic."""
        if self._placed == (x.device, x.dtype):
            return
        self._placed = x.device, x.dtype
        first, wanted = self.layers.layers[0], str(self.layers.settings.path)
        if wanted == "auto":
            known = first.known_paths
            on_cpu = x.device.type == "cpu" and can_compile(x.device) and available(x.dtype)
            wanted = "engine" if "engine" in known and on_cpu else known[0]
        elif not first.serves(wanted):
            raise UsageError(
                f"path {wanted!r} does not serve this cell", f"choose {' or '.join(first.known_paths)}"
            )
        set_path(self.layers, wanted)

    def _start(self, batch: int, hx: States | None, single: bool = False) -> StackState:
        """The state by layer, from one tensor (layers, B, H) by name."""
        if hx is None:
            return self.layers.initial_state(batch)
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        given = tuple(s.unsqueeze(1) for s in given) if single else given
        names = self.layers.layers[0].cell.state
        shape = (self.num_layers, batch, self.hidden_size)
        if len(given) != len(names) or any(tuple(s.shape) != shape for s in given):
            found = ", ".join(str(tuple(s.shape)) for s in given)
            raise UsageError(
                f"the state has the shapes {found}", f"this cell carries {', '.join(names)}, each {shape}"
            )
        return tuple(tuple(s[number] for s in given) for number in range(self.num_layers))

    def _given_out(self, state: StackState, single: bool = False) -> States:
        stacked = tuple(torch.stack(parts) for parts in zip(*state, strict=True))
        stacked = tuple(s.squeeze(1) for s in stacked) if single else stacked
        return stacked[0] if len(stacked) == 1 else stacked

    def _packed(self, packed: PackedSequence, hx: States | None) -> tuple[PackedSequence, States]:
        """Stretches of as many sequences each; those that have ended keep the state that they ended with."""
        sizes = packed.batch_sizes.tolist()
        state = self._start(sizes[0], hx)
        if packed.sorted_indices is not None:
            state = _rows(state, packed.sorted_indices)
        outputs, ended, first = [], [], 0
        for steps, batch in _stretches(sizes):
            ended.append(_rows(state, slice(batch, None)))
            part = packed.data[first : first + steps * batch].view(steps, batch, -1)
            found, state = self._run(part, _rows(state, slice(batch)))
            outputs.append(found.reshape(steps * batch, -1))
            first += steps * batch
        ended.append(state)
        final = _joined(ended[::-1])
        if packed.unsorted_indices is not None:
            final = _rows(final, packed.unsorted_indices)
        laid_out = PackedSequence(
            torch.cat(outputs), packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        return laid_out, self._given_out(final)

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"
        return f"{self.layers.settings.cell}, {sizes}"


def _stretches(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of steps with the same number of sequences: (steps, sequences)."""
    first = 0
    for step in range(1, len(sizes) + 1):
        if step == len(sizes) or sizes[step] != sizes[first]:
            yield step - first, sizes[first]
            first = step


def _rows(state: StackState, chosen: slice | Tensor) -> StackState:
    return tuple(tuple(s[chosen] for s in layer) for layer in state)


def _joined(states: list[StackState]) -> StackState:
    """One after the other along the batch."""
    return tuple(
        tuple(
            torch.cat([s.to(layers[0][k].dtype) for s in column])
            for k, column in enumerate(zip(*layers, strict=True))
        )
        for layers in zip(*states, strict=True)
    )
