"""Every setting of a run, documented where it is defined.

The objects are frozen. The texts below feed `lstm validate --schema` and the editors' completion.
`null` switches an optional setting off.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lstmcli.config.data import Data
from lstmcli.config.model import Model
from lstmcli.config.section import PositiveFloat, PositiveInt, Section

__all__ = [
    "Checkpoint",
    "Config",
    "Data",
    "Evaluation",
    "Model",
    "PositiveFloat",
    "PositiveInt",
    "Section",
    "Telemetry",
    "Train",
]


class Train(Section):
    """How the model learns. The first budget that is used up ends the run."""

    batch_size: PositiveInt = 64
    """Streams read side by side."""
    max_steps: PositiveInt | None = None
    """Budget in updates. With steps or epochs alone a run is reproducible bit for bit."""
    max_epochs: PositiveFloat | None = None
    """Budget in passes over the training text; 20 when no budget is given."""
    max_minutes: PositiveFloat | None = None
    """Budget in minutes of wall clock, evaluation included; the learning rate then follows the clock."""
    optimizer: str = "AdamW"
    """A class of torch.optim, by name. Muon serves the matrices of the layers, AdamW then all else."""
    optimizer_options: dict[str, Any] = Field(default={})
    """Further arguments of the optimizer, such as {betas: [0.9, 0.99]}."""
    learning_rate: PositiveFloat = 2e-3
    """The highest learning rate, reached after the warm-up."""
    final_learning_rate: Annotated[float, Field(ge=0.0)] = 0.0
    """Where the linear and cosine schedules end, and below which plateau does not go."""
    schedule: Literal["linear", "cosine", "constant", "plateau"] = "linear"
    """How the learning rate falls after the warm-up."""
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """plateau: the learning rate is multiplied by this ..."""
    plateau_patience: PositiveInt = 2
    """... after this many evaluations in a row without a better validation loss."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps over which the learning rate rises from nought."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Decay of matrices (not of biases), where the optimizer has one."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest norm of the whole gradient; null: no clipping."""
    gradient_noise: Annotated[float, Field(ge=0.0)] = 0.0
    """Variance of Gaussian noise on the gradient at the first step; it falls as (1 + step)^-0.55
    (Neelakantan et al. 2015)."""
    average: Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["swa", "nt-asgd"] | None = None
    """Average of the weights, which then is what is evaluated and kept. A number: the decay of an
    exponential moving average (Polyak averaging; its memory is 1 / (1 - decay) steps); swa: the mean over
    all steps from `average_from` on (Izmailov et al. 2018); nt-asgd: the same from the first evaluation that
    is worse than the best one more than `average_patience` evaluations earlier (Merity et al. 2018)."""
    average_from: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.75
    """swa: the share of the budget after which averaging begins."""
    average_patience: PositiveInt = 5
    """nt-asgd: evaluations that an evaluation is not compared with."""
    freeze: list[str] = Field(default=[])
    """Parts of the model that stay as they are: embedding, layer0, layer1, head and so on. For a run with the
    weights of another (`--from`)."""
    early_stopping: PositiveInt | None = None
    """Stop after this many evaluations in a row without a better validation loss."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the matrix products; auto: bf16 where this machine is fast at it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto: cuda, else mps, else cpu."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads; null: one per core."""


class Evaluation(Section):
    """Validation while training."""

    every: PositiveInt | None = 500
    """Steps between evaluations; null: only at the end."""


class Telemetry(Section):
    """What a run tells while it trains."""

    every: PositiveInt = 20
    """Steps between logged losses."""
    gates_every: PositiveInt | None = 200
    """Steps between gate statistics; null: none."""
    pictures: bool = True
    """At evaluations, measure how far gradients reach in a fixed input; draw that, and the gates over it, at
    most every 30 seconds."""
    tensorboard: bool = True
    """Write TensorBoard event files beside metrics.jsonl."""


class Checkpoint(Section):
    """What is kept of a run."""

    minutes: PositiveFloat | None = 5.0
    """Minutes of training between checkpoints, at most: what a kill can cost; null: by `every` alone."""
    every: PositiveInt | None = None
    """Steps between checkpoints; null: by `minutes`, for a better validation loss and at the end."""
    keep: PositiveInt = 2
    """How many of the newest checkpoints stay, beside the best."""


class Config(Section):
    """A run of lstmcli. A kind of data has a config of its own with the sections and settings that it reads
    (lstmcli/kinds/*/settings.py; lstmcli/config/forms.py finds it); here is what all have in common."""

    learned: ClassVar[str]
    """The name of the kind that learns from such data."""
    called: ClassVar[str]
    """What messages call such data."""
    marks: ClassVar[tuple[str, ...]] = ()
    """Settings of `data` that tell this config from others of the same `data.kind`: they are given."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Start of every random number: weights, dropout, batches."""
    data: Data
    model: Model = Model()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    telemetry: Telemetry = Telemetry()
    checkpoint: Checkpoint = Checkpoint()

    @property
    def window(self) -> int:
        """Steps of a sequence that training reads at once."""
        raise NotImplementedError
