"""Settings of the model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lstmcli.config.section import PositiveInt, Probability, Section


class Model(Section):
    """Embedding, a stack of recurrent layers, and a head."""

    cell: str = "lstm"
    """A built-in cell (`lstm cells` lists them), `package.module:Class`, or `path/to/file.py:Class`."""
    embedding_size: PositiveInt | None = None
    """Width of the symbol embedding; null means `hidden_size`."""
    hidden_size: PositiveInt | list[PositiveInt] = 256
    """Units per layer; a list gives each layer its own."""
    num_layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers, each reading the one below."""
    dropout: Probability = 0.0
    """Share of a layer's outputs that is zeroed while training, for every layer and the last too."""
    output_dropout: Probability | None = None
    """The same for the last layer alone; null: as `dropout`."""
    locked_dropout: bool = False
    """Zero the same units at every step of a window in all three (variational dropout; Gal and
    Ghahramani 2016), not others at each step."""
    weight_drop: Probability = 0.0
    """Share of the recurrent weights that is zeroed for a training window (DropConnect; Merity et al.
    2018)."""
    recurrent_dropout: Probability = 0.0
    """Share of the hidden state that the recurrent product does not see, the same units for a whole
    window (Gal and Ghahramani 2016)."""
    zoneout: Probability | Annotated[list[Probability], Field(min_length=1)] = 0.0
    """Chance that a unit keeps its state of the step before (Krueger et al. 2017); a list gives each
    state its own, hidden state first."""
    residual: bool = False
    """Add a layer's input to its output where both have the same width."""
    sum_outputs: bool = False
    """Let the head read the sum of all layers' outputs, not the last one's alone (Melis et al. 2020)."""
    forget_bias: float | Literal["chrono"] | None = 1.0
    """Start value of the forget gate's bias (Gers et al. 2000; Jozefowicz et al. 2015); chrono: spread
    over timescales up to `chrono_steps`, the input gate's opposite (Tallec and Ollivier 2018); null: as
    the other biases."""
    chrono_steps: Annotated[int, Field(ge=3)] | None = None
    """The longest timescale of `forget_bias: chrono`; null: the training window."""
    recurrent_init: Literal["orthogonal", "uniform", "identity"] = "orthogonal"
    """Recurrent weights start orthogonal gate by gate (Saxe et al. 2014), uniform as in PyTorch, or as
    the identity (Le et al. 2015, for rnn-relu)."""
    path: Literal["auto", "fused", "engine", "loop", "scan"] = "auto"
    """How the recurrence is computed: the library's fused LSTM (oneDNN, cuDNN), this tool's engine,
    a plain loop, or whichever is fastest here."""
    recompute: bool = False
    """Keep a window's states only at every √T-th step and compute the others again in the backward
    pass: about a third slower, and the memory of √T steps instead of T."""

    @property
    def sizes(self) -> list[int]:
        """Units of each layer."""
        given = self.hidden_size
        return list(given) if isinstance(given, list) else [given] * self.num_layers

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if isinstance(self.hidden_size, list) and len(self.hidden_size) != self.num_layers:
            found = f"{len(self.hidden_size)} sizes for num_layers {self.num_layers}"
            raise ValueError(f"hidden_size must give one size per layer; found {found}")
        if self.sum_outputs and len(set(self.sizes)) > 1:
            raise ValueError(f"sum_outputs needs layers of one width; found {self.sizes}")
        return self
