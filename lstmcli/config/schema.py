"""Every setting of a run, documented where it is defined.

The objects are frozen. The texts below feed `lstm validate --schema` and the editors' completion.
`null` switches an optional setting off.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class Data(Section):
    """Where the text comes from and how it becomes symbols. Give one of `path`, `url` or `source`."""

    kind: Literal["text"] = "text"
    """What the data are."""
    path: str | list[str] | None = None
    """A text file, a glob pattern, or a list of either; several files are joined in order."""
    val_path: str | list[str] | None = None
    """Separate validation text; `splits` then leaves the training text whole."""
    test_path: str | list[str] | None = None
    """Separate test text."""
    url: str | None = None
    """An https address, downloaded once into `cache`; needs `sha256`."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Checksum of what `url` gives (of `path`, too, if there is one)."""
    source: Literal["python-stdlib"] | None = None
    """A built-in text: the source of the running Python's standard library, in a fixed order."""
    level: Literal["characters", "bytes"] = "characters"
    """What a symbol is: a Unicode character, or a raw byte (then anything at all can be read)."""
    splits: list[Annotated[float, Field(ge=0.0, le=1.0)]] = Field(
        default=[0.9, 0.1], min_length=1, max_length=3
    )
    """Shares of training, validation and test text: contiguous, in file order."""
    min_count: PositiveInt = 1
    """Characters rarer than this in the training text become the unknown symbol, which then learns
    what an unseen character is like."""
    cache: str = "data/cache"
    """Folder for downloads and prepared ids."""

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        given = [name for name in ("path", "url", "source") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give exactly one of path, url and source; found {found}")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of the file it points to")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("the url must begin with https://")
        if not 0.0 < sum(self.splits) <= 1.0 + 1e-9 or self.splits[0] <= 0.0:
            raise ValueError("splits must begin above 0 and add up to at most 1, such as [0.9, 0.1]")
        return self


class Model(Section):
    """Embedding, a stack of recurrent layers, and a head."""

    cell: str = "lstm"
    """A built-in cell (`lstm cells` lists them), `package.module:Class`, or `path/to/file.py:Class`."""
    embedding_size: PositiveInt | None = None
    """Width of the symbol embedding; null means `hidden_size`."""
    hidden_size: PositiveInt = 256
    """Units per layer."""
    num_layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers, each reading the one below."""
    dropout: Probability = 0.0
    """Share of a layer's outputs that is zeroed while training, for every layer and the last too."""
    forget_bias: float | None = 1.0
    """Start value of the forget gate's bias (Gers et al. 2000; Jozefowicz et al. 2015); null: as the
    other biases."""
    recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal"
    """Recurrent weights start orthogonal gate by gate (Saxe et al. 2014), or uniform as in PyTorch."""
    tie_weights: bool = False
    """Let the head share the embedding's matrix; needs `embedding_size` equal to `hidden_size`."""
    path: Literal["auto", "fused", "engine", "loop"] = "auto"
    """How the recurrence is computed: the library's fused LSTM (oneDNN, cuDNN), this tool's engine,
    a plain loop, or whichever is fastest here."""

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if self.tie_weights and self.embedding_size not in (None, self.hidden_size):
            raise ValueError("tie_weights needs embedding_size equal to hidden_size (or null)")
        return self


class Train(Section):
    """How the model learns. The first budget that is used up ends the run."""

    batch_size: PositiveInt = 64
    """Streams read side by side."""
    sequence_length: PositiveInt = 128
    """The truncated-BPTT window: symbols per stream and step."""
    max_steps: PositiveInt | None = None
    """Budget in updates. With steps or epochs alone a run is reproducible bit for bit."""
    max_epochs: PositiveFloat | None = None
    """Budget in passes over the training text; 20 when no budget is given."""
    max_minutes: PositiveFloat | None = None
    """Budget in minutes of wall clock, evaluation included; the learning rate then follows the clock."""
    optimizer: str = "AdamW"
    """A class of torch.optim, by name."""
    optimizer_options: dict[str, Any] = {}
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
    state_reset: Probability = 0.0
    """Chance, per stream and window, that the carried state starts again from zero: prepares a model
    for text without context."""
    early_stopping: PositiveInt | None = None
    """Stop after this many evaluations in a row without a better validation loss."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the matrix products; auto: bf16 where this machine is fast at it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto: cuda, else mps, else cpu."""
    threads: PositiveInt | None = None
    """CPU threads; null: one per core."""


class Evaluation(Section):
    """Validation while training."""

    every: PositiveInt | None = 500
    """Steps between evaluations; null: only at the end."""
    protocol: Literal["stateful", "windows"] = "windows"
    """`windows`: zero state at the start of each window of 256; `stateful`: state carried through."""
    max_tokens: PositiveInt | None = None
    """Evaluate on the first so many symbols of the split; null: all of it."""
    sample_length: Annotated[int, Field(ge=0)] = 200
    """Symbols of sample text written at each evaluation; 0: none."""
    sample_temperature: Annotated[float, Field(ge=0.0)] = 0.8
    """Temperature of that sample."""


class Telemetry(Section):
    """What a run tells while it trains."""

    every: PositiveInt = 20
    """Steps between logged losses."""
    gates_every: PositiveInt | None = 200
    """Steps between gate statistics; null: none."""
    tensorboard: bool = True
    """Write TensorBoard event files beside metrics.jsonl."""


class Checkpoint(Section):
    """What is kept of a run."""

    every: PositiveInt | None = 500
    """Steps between checkpoints; null: only for a better validation loss and at the end."""
    keep: PositiveInt = 2
    """How many of the newest checkpoints stay, beside the best."""


class Config(Section):
    """A run of lstmcli."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Start of every random number: weights, dropout, batches."""
    data: Data
    model: Model = Model()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    telemetry: Telemetry = Telemetry()
    checkpoint: Checkpoint = Checkpoint()
