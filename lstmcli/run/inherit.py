"""A new run that begins with the weights of another: what `lstm train --from RUN` takes over.

Tensors are paired by name, and along each axis by what an index stands for: symbols by the character,
channels, series and categories by name, steps of a patch or of the horizon by their number. Nothing is paired
by position but what has no other meaning, the units of a layer, and those only where there are as many of
them. A layer is taken over as a whole or begins anew. Of anything that the old run did not know (a new
character, a new series) the embedding begins at the mean of all embeddings, all else as in any new run.

The optimizer, the schedule, the best loss and early stopping begin anew; the manifest keeps the ancestry.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lstmcli.config.schema import Config
from lstmcli.core.errors import ConfigError, LstmError, RunError
from lstmcli.core.files import read_json, write_json_atomic
from lstmcli.core.notices import notice
from lstmcli.engine.stack import RecurrentModel
from lstmcli.run.checkpoint.manifest import MODEL, read_manifest
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint, resolve
from lstmcli.run.directory import RunDir
from lstmcli.run.hooks import Evaluation, Hooks
from lstmcli.run.kind import kind_of
from lstmcli.run.records import config_of, read_run
from lstmcli.run.state import tensors_of
from lstmcli.run.task import Task
from lstmcli.run.telemetry.console import Console

UNKNOWN = None
"""Second part of the label of what stands for all that is unknown: it is in no mean."""
MOST_NAMED = 12
"""New or lost ones that the screen names."""
_PART = re.compile(r"(?:members\.\d+\.)?(layers\.\d+|[^.]+)")


class Axis(NamedTuple):
    """What the indices along one axis of a tensor stand for."""

    labels: Sequence[Hashable]
    """One per index, each once: what it is and its name, such as ("symbol", "a")."""
    noun: str = ""
    """One of them, in messages; empty: they are not counted on the screen."""
    new: Literal["mean", "fresh"] = "fresh"
    """How what the old run did not know begins: at the mean of what it knew, or as in any new run."""


Meanings = Mapping[str, tuple[Axis | None, ...]]
"""By tensor: its axes; None: an index there has no meaning but its position."""


@dataclass
class Heritage:
    """What a run has from another, as its manifest keeps it."""

    run: str
    path: str
    step: int
    id: str | None  # of that run, whatever its directory is called
    weights: str  # the SHA-256 of the file that they were read from
    taken: int = 0  # numbers that were taken over
    kept: dict[str, int] = field(default_factory=dict)  # symbols and the like, by noun
    new: dict[str, list[str]] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)
    anew: list[str] = field(default_factory=list)  # parts that begin as in any new run, and why
    ancestors: list[dict[str, Any]] = field(default_factory=list)  # of that run, the nearest first

    def document(self) -> dict[str, Any]:
        counted = {"kept": self.kept, "new": _counts(self.new), "lost": _counts(self.lost)}
        plain = {k: getattr(self, k) for k in ("run", "path", "id", "step", "weights", "taken")}
        return plain | {k: v for k, v in counted.items() if v} | {
            k: v for k in ("anew", "ancestors") if (v := getattr(self, k))
        }  # fmt: skip

    def describe(self) -> str:
        """The lines `from` of the screen."""
        lines = [f"from   {self.run} at step {self.step}: {self.taken:,} numbers"]
        nouns = dict.fromkeys([*self.kept, *self.new, *self.lost])
        lines += [f"       {self._counted(noun)}" for noun in nouns]
        return "\n".join([*lines, *(f"       {each}" for each in self.anew)])

    def _counted(self, noun: str) -> str:
        parts = [f"{self.kept.get(noun, 0):,} {noun} known"]
        for what, found in (("new", self.new), ("lost", self.lost)):
            if names := found.get(noun):
                more = ", ..." if len(names) > MOST_NAMED else ""
                parts.append(f"{len(names):,} {what}: {', '.join(names[:MOST_NAMED])}{more}")
        return "; ".join(parts)


def inherit(
    task: Task, config: Config, source: RunDir, which: str | None, expected: str | None = None
) -> Heritage:
    """Give the task's model the weights of a run.

    Args:
        which: the checkpoint: a step, `best` or `last`; None: the best.
        expected: the SHA-256 that the file of the weights must have, where a run begins once more.

    Raises:
        RunError: the run is missing, damaged or has changed; nothing of it fits.
    """
    checkpoint = resolve(source.checkpoints, which, notice)
    weights = read_manifest(checkpoint).files[MODEL].sha256
    if expected not in (None, weights):
        raise RunError(f"the weights of {source.path} at step {which} are not those that this run began with")
    snapshot = read_checkpoint(checkpoint, tensors="model")
    theirs, told = config_of(source, checkpoint), read_run(source)
    heritage = Heritage(source.name, str(source.path.resolve()), snapshot.step, told.get("id"), weights)
    heritage.ancestors = _ancestors(told)
    old = Old(_tensors(snapshot, task.model, same_cell(theirs, config)), meanings_of(theirs, snapshot.files))
    begun_anew = {} if same_cell(theirs, config) else _other_cell(task.model, theirs, config)
    transplant(task.model, meanings_of(config, task.files()), old, heritage, begun_anew)
    if not heritage.taken:
        raise RunError(
            f"nothing of run {source.name} fits this model: {'; '.join(heritage.anew)}",
            "give the new config the model section of that run's config.yaml",
        )
    return heritage


def begin_again(task: Task, config: Config, manifest: Mapping[str, Any]) -> None:
    """What a run that was stopped before its first checkpoint had inherited, once more."""
    if not isinstance(found := manifest.get("from"), dict):
        return
    try:
        inherit(task, config, RunDir(Path(found["path"])), str(found["step"]), found["weights"])
    except (LstmError, KeyError, TypeError) as error:
        raise RunError(
            f"this run began with the weights of another, which cannot be read any more: {error}",
            "begin a new one: lstm train CONFIG --from RUN",
        ) from error


def meanings_of(config: Config, files: Mapping[str, str]) -> Meanings:
    """Of the tensors of a run; `files`: what its checkpoint holds beside tensors."""
    return kind_of(config).meanings(config, files)


def same_cell(theirs: Config, ours: Config) -> bool:
    """Whether two runs' cells are the same by name; a file of one's own may have moved."""
    return theirs.model.cell.rpartition(":")[2] == ours.model.cell.rpartition(":")[2]


def _tensors(snapshot: Snapshot, model: RecurrentModel, renamed: bool) -> dict[str, Tensor]:
    found = tensors_of(snapshot, model) if renamed else snapshot.tensors
    return {k.removeprefix("model."): v for k, v in found.items() if k.startswith("model.")}


def _ancestors(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = manifest.get("from")
    if not isinstance(found, dict):
        return []
    return [{k: found.get(k) for k in ("run", "id", "step", "weights")}, *found.get("ancestors", [])]


def _other_cell(model: RecurrentModel, theirs: Config, ours: Config) -> dict[str, str]:
    why = f"its cell was {theirs.model.cell} and is {ours.model.cell}"
    return {_place(name): why for name in model.state_dict() if "layers." in name}


class Old(NamedTuple):
    """The weights of the run that is inherited from."""

    tensors: Mapping[str, Tensor]
    meanings: Meanings


@torch.no_grad()
def transplant(
    model: RecurrentModel,
    meanings: Meanings,
    old: Old,
    heritage: Heritage,
    begun_anew: Mapping[str, str] | None = None,
) -> None:
    """Overwrite what the old weights have of a model's tensors.

    Args:
        heritage: is told what was taken over, and what was not.
        begun_anew: parts of the model that are not to be taken over, and why.
    """
    own = {k: v for k, v in model.state_dict().items() if k not in model.shared}
    reasons = dict(begun_anew or {})
    plans: dict[str, list[_Paired]] = {}
    for name, value in own.items():
        paired = _pair(name, value, meanings, old)
        if isinstance(paired, str):
            reasons.setdefault(_place(name), paired)
        else:
            plans[name] = paired
    for name, axes in plans.items():
        if _place(name) not in reasons:
            heritage.taken += _copy(own[name], old.tensors[name], axes)
            _count(heritage, axes)
    heritage.anew += [f"{part} begins anew: {why}" for part, why in reasons.items()]


class _Paired(NamedTuple):
    """Along one axis: which index of the old tensor each new one is, -1 for none."""

    source: Tensor
    axis: Axis | None
    before: Axis | None

    @property
    def complete(self) -> bool:
        return bool((self.source >= 0).all())


def _pair(name: str, value: Tensor, meanings: Meanings, old: Old) -> list[_Paired] | str:
    """How the axes of a tensor match those of the old one; or why they do not."""
    before = old.tensors.get(name)
    if before is None or before.dim() != value.dim():
        return f"the old run has no {name}"
    nothing = (None,) * value.dim()
    ours, theirs = meanings.get(name, nothing), old.meanings.get(name, nothing)
    found = []
    for size, old_size, axis, other in zip(value.shape, before.shape, ours, theirs, strict=True):
        if axis is None or other is None:
            if size != old_size:
                return f"{name} was {list(before.shape)} and is {list(value.shape)}"
            source = torch.arange(size)
        else:
            places = {label: number for number, label in enumerate(other.labels)}
            source = torch.tensor([places.get(label, -1) for label in axis.labels], dtype=torch.long)
            if size and not bool((source >= 0).any()):
                return f"no {axis.noun or 'row or column'} of the old run's {name} is among this one's"
        found.append(_Paired(source, axis, other))
    return found


def _copy(value: Tensor, before: Tensor, axes: Sequence[_Paired]) -> int:
    """Fill a tensor in place; how many numbers were taken over."""
    for number, paired in enumerate(axes):
        if paired.axis is not None and paired.axis.new == "mean" and not paired.complete:
            _fill_with_mean(value, before, number, axes)
    rows, taken = [], before.to(value.device, value.dtype)
    for number, paired in enumerate(axes):
        rows.append((paired.source >= 0).nonzero().flatten())
        taken = taken.index_select(number, paired.source[rows[-1]].to(value.device))
    if all(paired.complete for paired in axes):
        value.copy_(taken)
    else:
        value[torch.meshgrid(*(r.to(value.device) for r in rows), indexing="ij")] = taken
    return taken.numel()


def _fill_with_mean(value: Tensor, before: Tensor, number: int, axes: Sequence[_Paired]) -> None:
    """Put the mean of the old rows into the new ones, where the other axes are alike."""
    paired = axes[number]
    if paired.before is None or not all(other.complete for k, other in enumerate(axes) if k != number):
        return
    known = torch.tensor([_is_known(label) for label in paired.before.labels])
    mean = before[known].mean(0) if number == 0 and bool(known.any()) else None
    new = [k for k, place in enumerate(paired.source.tolist()) if place < 0]
    if mean is not None:
        value[new] = mean.to(value.device, value.dtype)


def _is_known(label: Hashable) -> bool:
    return not (isinstance(label, tuple) and label[-1] is UNKNOWN)


def _count(heritage: Heritage, axes: Sequence[_Paired]) -> None:
    """Note what was known, new and lost; each noun once, however many tensors have it."""
    for paired in axes:
        axis, before = paired.axis, paired.before
        if axis is None or before is None or not axis.noun or axis.noun in heritage.kept:
            continue
        ours, theirs = set(axis.labels), set(before.labels)
        heritage.kept[axis.noun] = sum(_is_known(label) for label in ours & theirs)
        for what, labels, others in (
            (heritage.new, axis.labels, theirs),
            (heritage.lost, before.labels, ours),
        ):
            if missing := [shown(label) for label in labels if label not in others]:
                what[axis.noun] = missing


def shown(label: Hashable) -> str:
    """What a label names, in a message."""
    return repr(label[-1]) if isinstance(label, tuple) else repr(label)


def _counts(found: Mapping[str, Sequence[object]]) -> dict[str, int]:
    return {noun: len(names) for noun, names in found.items()}


def part_of(name: str) -> str:
    """What a tensor is a part of, as `train.freeze` names it: embedding, layer0, head."""
    match = _PART.match(name)
    return (match[1] if match else name).replace("layers.", "layer")


def _place(name: str) -> str:
    """The part of one member of a model."""
    match = _PART.match(name)
    return (match[0] if match else name).replace("layers.", "layer")


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Let the named parts of a model stay as they are. ConfigError: there is no such part, or nothing is left
    to learn."""
    if not parts:
        return
    there = dict.fromkeys(part_of(name) for name, _ in model.named_parameters())
    for part in parts:
        if part not in there:
            raise ConfigError(f"train.freeze: the model has no {part!r}", f"it has {', '.join(there)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) not in parts)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("train.freeze: nothing is left to learn", f"leave out one of {', '.join(there)}")


class Heir(Hooks):
    """Tells and keeps what the inherited weights were worth before the first step."""

    def __init__(self, run: RunDir, console: Console, first: bool):
        self._run, self._console, self._first = run, console, first

    def on_evaluation(self, evaluation: Evaluation) -> None:
        if evaluation.step or not self._first:
            return
        self._console.line(f"before the first step the old weights have val loss {evaluation.loss:.4f}")
        manifest = read_json(self._run.manifest_path)
        manifest["from"] = {**manifest["from"], "loss": evaluation.loss}
        write_json_atomic(self._run.manifest_path, manifest)
