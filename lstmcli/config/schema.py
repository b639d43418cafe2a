"""Every setting of a run, documented where it is defined.

The objects are frozen. The texts below feed `lstm validate --schema` and the editors' completion.
`null` switches an optional setting off.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lstmcli.config.kinds import incomplete_synthetic, misplaced, misplaced_label

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
    """Where the data come from: a text and how it becomes symbols, or a table of time series and what
    its columns mean (give one of `path`, `url` or `source`), or a task that makes its own sequences."""

    kind: Literal["text", "series", "synthetic"] = "text"
    """What the data are: a text, time series in a table (CSV or Parquet), or sequences made by `task`.
    With a `label` whole texts or series are classified."""
    path: str | list[str] | None = None
    """A file, a glob pattern, or a list of either; several are joined in order."""
    val_path: str | list[str] | None = None
    """text: separate validation text; `splits` then leaves the training text whole."""
    test_path: str | list[str] | None = None
    """Separate test text; series: a table whose rows continue the series of `path`."""
    url: str | None = None
    """An https address, downloaded once into `cache`; needs `sha256`."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Checksum of what `url` gives (of `path`, too, if there is one)."""
    source: Literal["python-stdlib", "python-packages"] | None = None
    """A built-in text: the source of the running Python's standard library, in a fixed order; or a built-in
    table with a label: lines of that source and the package that each comes from."""
    cache: str = "data/cache"
    """Folder for downloads and prepared ids."""
    splits: list[Annotated[float, Field(ge=0.0)]] = Field(default=[0.9, 0.1], min_length=1, max_length=3)
    """Shares of training, validation and test: contiguous, in file order. series: of the steps of each
    series; whole numbers above 1 are counts of steps, such as [8640, 2880, 2880]."""
    level: Literal["characters", "bytes"] = "characters"
    """What a symbol is: a Unicode character, or a raw byte (then anything at all can be read)."""
    min_count: PositiveInt = 1
    """Characters rarer than this in the training text become the unknown symbol, which then learns
    what an unseen character is like."""
    layout: Literal["auto", "long", "wide", "rows"] = "auto"
    """series: `long`: one row per time and group; `wide`: one row per time, a column per series;
    `rows`: one series per row, without times (as in M4); auto: rows if there is no `time`, long if
    there is a `group`, else wide."""
    time: str | list[str] | None = None
    """series: the column of times (dates, timestamps or whole numbers), or several that make a time,
    such as [year, month, day, hour]. Timestamps with an offset are read as UTC."""
    target: str | list[str] | None = None
    """series: the columns to forecast; null: every numeric column that has no other part."""
    group: str | None = None
    """series: the column that names the series (layouts long and rows)."""
    frequency: str | None = None
    """series: the step between times, such as 15m, 1h, 1d, 1w, 1mo, 1q, 1y or 1i (whole numbers);
    null: found from the times. Layout rows: what a step is (1h for M4 Hourly), if known."""
    season: PositiveInt | None = None
    """series: steps of the main season (24 for hours, 12 for months), for the seasonal baselines and
    MASE; null: by the frequency."""
    known: list[str] = []
    """series: columns known ahead, such as prices or holidays; the future part of them is needed to
    forecast."""
    past: list[str] = []
    """series: further numeric columns that are seen up to the forecast's origin."""
    static: list[str] = []
    """series: columns that are constant within a group; numbers, or text taken as categories."""
    missing: list[str] = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"]
    """series: texts that stand for a missing value."""
    context_length: PositiveInt = 96
    """series: steps that the model reads before a forecast."""
    horizon: PositiveInt = 24
    """series: steps that are forecast at once."""
    val_length: PositiveInt | None = None
    """series: instead of `splits`: the last so many steps of each series, before the test's, are
    validation."""
    test_length: PositiveInt | None = None
    """series: instead of `splits`: the last so many steps of each series are test."""
    task: Literal["adding", "copy", "parity", "recall", "dyck", "anbn", "sine", "sawtooth"] | None = None
    """synthetic: what is to be learned (docs/sequences.md has each task, its source and when it is
    solved)."""
    length: PositiveInt = 100
    """synthetic: how hard it is. adding, parity, dyck, sine, sawtooth: steps of a sequence; copy: blanks
    to wait for; recall: symbols between the key and the question; anbn: n is at most this."""
    symbols: Annotated[int, Field(ge=2, le=1000)] | None = None
    """synthetic: symbols to copy or recall, kinds of brackets; null: 8 for copy and recall, 2 for dyck."""
    train_length: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    """synthetic: train on lengths from this range, one drawn per batch; null: `length`.
    Evaluation is at `length`."""
    label: str | None = None
    """text, series: the column of classes. Each row's text, or each group's series, is a sequence, and
    its class is learned; `splits` are then random shares of each class."""
    text: str = "text"
    """text with a label: the column of texts."""
    max_length: PositiveInt | None = None
    """With a label: only the last so many symbols or steps of a sequence are read; null: all."""

    @model_validator(mode="after")
    def _fits_kind(self) -> Data:
        fields = type(self).model_fields
        given = [n for n, f in fields.items() if getattr(self, n) != f.get_default(call_default_factory=True)]
        wrong = misplaced(self.kind, given, list(fields)) or misplaced_label(
            self.kind, {name: getattr(self, name) for name in (*given, "label", "level", "source", "group")}
        )
        if wrong is None and self.kind == "synthetic":
            wrong = incomplete_synthetic(self.task, given)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        if self.train_length is not None and self.train_length[0] > self.train_length[1]:
            raise ValueError("train_length must rise, such as [10, 50]")
        given = [name for name in ("path", "url", "source") if getattr(self, name) is not None]
        if len(given) != 1 and self.kind != "synthetic":
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give exactly one of path, url and source; found {found}")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of the file it points to")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("the url must begin with https://")
        counts = self.kind == "series" and self.label is None and max(self.splits) > 1.0
        if counts and any(not share.is_integer() for share in self.splits):
            raise ValueError("splits must be shares that add up to 1, or whole numbers of steps")
        if self.splits[0] <= 0.0 or not (counts or sum(self.splits) <= 1.0 + 1e-9):
            raise ValueError("splits must begin above 0 and add up to at most 1, such as [0.9, 0.1]")
        return self


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
    input_dropout: Probability = 0.0
    """The same for what the first layer reads."""
    locked_dropout: bool = False
    """Zero the same units at every step of a window in all three (variational dropout; Gal and
    Ghahramani 2016), not others at each step."""
    embedding_dropout: Probability = 0.0
    """text: share of the vocabulary's symbols whose embedding is zeroed for a window (Gal and Ghahramani
    2016)."""
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
    mixtures: Annotated[int, Field(ge=1, le=64)] = 1
    """text: softmaxes that the head mixes (mixture of softmaxes; Yang et al. 2018); 1: a plain head."""
    forget_bias: float | Literal["chrono"] | None = 1.0
    """Start value of the forget gate's bias (Gers et al. 2000; Jozefowicz et al. 2015); chrono: spread
    over timescales up to `chrono_steps`, the input gate's opposite (Tallec and Ollivier 2018); null: as
    the other biases."""
    chrono_steps: Annotated[int, Field(ge=3)] | None = None
    """The longest timescale of `forget_bias: chrono`; null: the training window."""
    recurrent_init: Literal["orthogonal", "uniform", "identity"] = "orthogonal"
    """Recurrent weights start orthogonal gate by gate (Saxe et al. 2014), uniform as in PyTorch, or as
    the identity (Le et al. 2015, for rnn-relu)."""
    tie_weights: bool = False
    """Let the head share the embedding's matrix; needs `embedding_size` equal to `hidden_size`."""
    path: Literal["auto", "fused", "engine", "loop", "scan"] = "auto"
    """How the recurrence is computed: the library's fused LSTM (oneDNN, cuDNN), this tool's engine,
    a plain loop, or whichever is fastest here."""
    pooling: Literal["last", "mean", "max"] = "last"
    """With `data.label`: what the class is told from: the last step's output, or the mean or the largest
    of all steps."""
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
        width = self.embedding_size or self.sizes[0]
        if self.tie_weights and self.mixtures == 1 and width != self.sizes[-1]:
            raise ValueError("tie_weights needs embedding_size equal to hidden_size (or null)")
        if self.sum_outputs and len(set(self.sizes)) > 1:
            raise ValueError(f"sum_outputs needs layers of one width; found {self.sizes}")
        return self


class Forecast(Section):
    """Series only: how windows of values go into the layers, and how forecasts come out."""

    transform: Literal["none", "log", "log1p", "box-cox"] = "none"
    """Applied to all target values before anything else, and undone in forecasts; box-cox fits its
    exponent on the training part."""
    scaling: Literal["none", "standard"] = "standard"
    """Z-scores of each series, or of each channel where there is one series, fitted on the training
    part."""
    normalization: Literal["none", "last", "seasonal", "mean-abs", "standard"] = "last"
    """Of each window by its own context, undone in the forecast: the last value is subtracted; or the
    seasonal shape at the level of the last season; or all is divided by the mean absolute value; or made
    zero-mean with unit deviation."""
    season: PositiveInt | None = None
    """Steps of the shape that `normalization: seasonal` subtracts, such as 168 for the hours of a week;
    null: `data.season`."""
    patch_length: PositiveInt = 1
    """Steps that make one input of the recurrence (segments; the context must be a multiple)."""
    lags: list[PositiveInt] = []
    """Values so many steps earlier that are read beside each value."""
    calendar: bool | list[str] = False
    """Features of the time (hour, weekday, day, month, ...) beside each value; true: those that vary
    at this frequency."""
    channels: Literal["independent", "joint"] = "independent"
    """Several targets: each a series of its own to one model, or all read and forecast together."""
    channel_embedding: Annotated[int, Field(ge=0)] = 0
    """Width of a learned vector per target; 0: none."""
    series_embedding: Annotated[int, Field(ge=0)] = 0
    """Width of a learned vector per series; 0: none. Series that training never saw get zeros."""
    decoder: Literal["direct", "segments", "recursive"] = "direct"
    """`direct`: all steps from the final state; `segments`: each segment of `patch_length` steps from
    the final state and a vector for its place, in parallel (SegRNN; Lin et al. 2023); `recursive`: one
    patch after the other, each fed back (DeepAR where the loss is a distribution)."""
    loss: Literal["mse", "mae", "huber", "quantile", "gaussian", "student-t", "negative-binomial"] = "mae"
    """What the head is trained for: a point, quantiles (pinball loss), or a distribution's
    likelihood."""
    quantiles: list[Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(default=[0.05, 0.5, 0.95], min_length=1)
    """Levels that a forecast reports, and that the loss `quantile` learns."""
    samples: PositiveInt = 100
    """Paths drawn where a forecast needs them (recursive decoding of distributions)."""
    members: Annotated[int, Field(ge=1, le=64)] = 1
    """Models that are trained side by side from different starts; the forecast is their mean."""

    @model_validator(mode="after")
    def _consistent(self) -> Forecast:
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError("quantiles must rise, such as [0.05, 0.5, 0.95]")
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
    """A class of torch.optim, by name. Muon serves the matrices of the layers, AdamW then all else."""
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
    sequence_jitter: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    """text: how far a window's length may stray from `sequence_length`, as a share of it, so that other
    symbols lie at the borders of backpropagation each time; the learning rate of a step is scaled with its
    length (Merity et al. 2018)."""
    activation_penalty: Annotated[float, Field(ge=0.0)] = 0.0
    """text: weight of the mean square of the last layer's outputs (activation regularisation; Merity et
    al. 2017)."""
    temporal_penalty: Annotated[float, Field(ge=0.0)] = 0.0
    """text: weight of the mean square of their change from step to step (temporal activation
    regularisation; likewise)."""
    label_smoothing: Probability = 0.0
    """text: share of the target that is spread over all symbols (Szegedy et al. 2016)."""
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
    protocol: Literal["stateful", "windows"] = "windows"
    """`windows`: zero state at the start of each window of 256; `stateful`: state carried through."""
    max_tokens: PositiveInt | None = None
    """Evaluate on the first so many symbols of the split; null: all of it."""
    stride: PositiveInt = 1
    """series: steps from one forecast's origin to the next."""
    max_windows: PositiveInt | None = None
    """series: evaluate on at most so many windows while training, evenly spread; null: all. With a label:
    so many sequences. synthetic: so many are made; null: 1,000."""
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
    pictures: bool = True
    """Draw, at each evaluation, the gates over a fixed input and how far gradients reach in it."""
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
    forecast: Forecast = Forecast()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    telemetry: Telemetry = Telemetry()
    checkpoint: Checkpoint = Checkpoint()

    @model_validator(mode="after")
    def _fits_data(self) -> Config:
        if self.model.pooling != "last" and self.data.label is None:
            raise ValueError(
                f"model.pooling: {self.model.pooling} is for classification: it needs data.label"
            )
        return self
