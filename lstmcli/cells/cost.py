"""What a cell costs: its parameters, and the work of its matrix products."""

from __future__ import annotations

import torch

from lstmcli.cells.base import CellClass, FreeCell, GatedCell


def parameters(cell_class: CellClass, input_size: int, hidden_size: int) -> int:
    """Learned numbers of one layer of this cell."""
    if issubclass(cell_class, FreeCell):
        free = _blueprint(cell_class, input_size, hidden_size)
        return sum(parameter.numel() for parameter in free.parameters())
    rows = len(cell_class.gates) * hidden_size
    if issubclass(cell_class, GatedCell):
        return rows * (input_size + hidden_size + 1) + len(cell_class.vectors) * hidden_size
    return rows * (input_size + 1)


def flops_per_step(cell_class: CellClass, input_size: int, hidden_size: int) -> float:
    """Floating-point operations of the matrix products for one symbol, forward: two (multiply, add)
    for each weight. The backward pass has twice as many."""
    if issubclass(cell_class, FreeCell):
        free = _blueprint(cell_class, input_size, hidden_size)
        return 2.0 * sum(parameter.numel() for parameter in free.parameters() if parameter.dim() > 1)
    columns = input_size + (hidden_size if issubclass(cell_class, GatedCell) else 0)
    return 2.0 * len(cell_class.gates) * hidden_size * columns


def _blueprint(cell_class: type[FreeCell], input_size: int, hidden_size: int) -> FreeCell:
    """The cell without memory for its numbers."""
    with torch.device("meta"):
        return cell_class(input_size, hidden_size)
