"""Recurrent layers: a cell over time, by whichever of its paths computes it, one file for each kind of cell.

Everything outside asks the layer what it is called, what it costs, which paths it has and what one step is;
nothing asks which kind it is. A further kind is a class derived from `lstmcli.cells.base.Cell` and a `Layer`
with `layer_of(That)`, in any module that is imported with the cell.
"""

from lstmcli.engine.layers.base import (
    Cost,
    Layer,
    Multiply,
    Path,
    Regularization,
    Start,
    Trace,
    layer_class,
    layer_of,
    make_layers,
)
from lstmcli.engine.layers.free import FreeLayer
from lstmcli.engine.layers.gated import GatedLayer
from lstmcli.engine.layers.scan import ScanLayer

__all__ = [
    "Cost",
    "FreeLayer",
    "GatedLayer",
    "Layer",
    "Multiply",
    "Path",
    "Regularization",
    "ScanLayer",
    "Start",
    "Trace",
    "layer_class",
    "layer_of",
    "make_layers",
]
