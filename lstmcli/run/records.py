"""What is read of a run's directory, checked before anything of it is used.

A run may come from anybody, and its files may have been edited: each has a schema here, and what does not
fit it ends as one RunError that names the file and the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lstmcli.config.load import load_config, parse_text
from lstmcli.config.schema import Config
from lstmcli.core.errors import ConfigError, RunError
from lstmcli.core.files import decode_json, read_json, read_regular
from lstmcli.run.checkpoint.manifest import DOCUMENT, read_manifest, read_text
from lstmcli.run.directory import RunDir

CONFIG_LIMIT = 16 << 20
"""Bytes of the largest config that is looked at."""
Count = Annotated[int, Field(ge=0, lt=2**53)]
Positive = Annotated[int, Field(ge=1, lt=2**53)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _SetBack(_Part):
    to: Count
    left: dict[Annotated[str, Field(pattern=r"^\d{1,18}$")], Sha256 | None]


class RunRecord(_Part):
    """`manifest.json` of a run. A kind of data adds what only people read."""

    state: Literal["running", "complete", "interrupted", "diverged", "failed"]
    created: str
    precision: Literal["fp32", "bf16"]
    path: Literal["fused", "engine", "loop", "scan"]
    device: Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:\d+)?)$")]
    cell: str
    parameters: Count
    data_fingerprint: str
    threads: Positive
    ranks: Positive = 1
    command: list[str] = []
    precision_reason: str = "auto"
    folder: str | None = None
    id: str | None = None
    launch: str | None = None
    set_back: _SetBack | None = None


class _Progress(_Part):
    """As lstmcli.run.state.Progress has it; what was never finite was never saved, but for losses."""

    model_config = ConfigDict(strict=True, allow_inf_nan=True, extra="forbid")
    step: Count
    tokens: Count
    seconds: Annotated[float, Field(ge=0.0, lt=1e12, allow_inf_nan=False)]
    best_step: Count | None
    best_loss: Annotated[float, Field(allow_inf_nan=False)] | None
    stale_evaluations: Count
    plateau_stale: Count
    plateau_drops: Count
    evaluated_at: Annotated[int, Field(ge=-1, lt=2**53)]
    last_val_loss: float | None
    loss_sum: float
    loss_count: Count
    learning_rate: Annotated[float, Field(allow_inf_nan=False)]
    gradient_norm: float


class _Average(_Part):
    count: Count
    begun: bool
    losses: list[float | None]


class _Best(_Part):
    step: Count | None
    loss: float | None


class _Document(_Part):
    """`state.json` of a checkpoint."""

    progress: _Progress
    best: _Best
    optimizer: dict[Annotated[str, Field(pattern=r"^\d{1,6}$")], dict[str, Any]]
    average: _Average | None = None


def checked(schema: type[BaseModel], found: Mapping[str, Any], path: Path) -> None:
    """RunError, naming the key, if `found`, read from `path`, does not fit the schema."""
    try:
        schema.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        raise RunError(f"{path} is damaged: {place}: {first['msg'].lower()}") from None


def read_run(run: RunDir) -> dict[str, Any]:
    """The manifest of a run."""
    found = read_json(run.manifest_path)
    checked(RunRecord, found, run.manifest_path)
    return found


def check_document(document: Mapping[str, Any], checkpoint: Path, step: int) -> None:
    """RunError unless a checkpoint's document is one of this step."""
    path = checkpoint / DOCUMENT
    checked(_Document, document, path)
    for key in ("step", "evaluated_at", "best_step"):
        value = document["progress"][key]
        if value is not None and (value > step or (key == "step" and value != step)):
            raise RunError(f"{path} is damaged: progress.{key}: {value} in a checkpoint of step {step}")


def read_listed(checkpoint: Path, name: str) -> str | None:
    """A text file of a checkpoint, if its manifest lists it and it is what the manifest says."""
    record = read_manifest(checkpoint).files.get(name)
    return None if record is None else read_text(checkpoint / name, record)


def read_listed_json(checkpoint: Path, name: str) -> dict[str, Any]:
    """A JSON file of a checkpoint, which must be there."""
    text = read_listed(checkpoint, name)
    if text is None:
        raise RunError(f"{checkpoint / 'manifest.json'} is damaged: it does not list {name}")
    return decode_json(text.encode(), checkpoint / name)


def config_of(run: RunDir, checkpoint: Path | None = None) -> Config:
    """The config of a checkpoint, or of the run. RunError where it is not one."""
    try:
        if checkpoint is None or (text := read_listed(checkpoint, run.config_path.name)) is None:
            read_regular(run.config_path, CONFIG_LIMIT)  # no link, nothing endless
            return load_config(run.config_path, of_run=True)
        return parse_text(text, str(checkpoint / run.config_path.name))
    except ConfigError as error:
        raise RunError(error.message, error.hint) from None
