"""One step of a recurrence: the part of a model that a user may write."""

from lstmcli.cells.base import Cell, FreeCell, GatedCell, ScanCell
from lstmcli.cells.registry import BUILT_IN, find_cell

__all__ = ["BUILT_IN", "Cell", "FreeCell", "GatedCell", "ScanCell", "find_cell"]
