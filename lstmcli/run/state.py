"""All that a run is at a step: the one object which the loop changes, and what a checkpoint holds.

Batches and dropout masks are pure functions of the seed and the step, so no generator's state needs
keeping: `seed_step` sets every generator anew at each step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstmcli.core.errors import RunError
from lstmcli.core.notices import notice
from lstmcli.engine.stack import RecurrentModel, StackState
from lstmcli.run.average import Average
from lstmcli.run.checkpoint.store import Snapshot, check_tensors, describe


@dataclass
class Progress:
    """The numbers of a run; all of them plain JSON."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    stale_evaluations: int = 0  # in a row without a better validation loss
    plateau_stale: int = 0
    plateau_drops: int = 0
    evaluated_at: int = -1
    last_val_loss: float | None = None
    loss_sum: float = 0.0  # of the steps since the last logged one
    loss_count: int = 0
    learning_rate: float = 0.0  # of the last update
    gradient_norm: float = 0.0  # before clipping, of the last update


@dataclass
class TrainState:
    model: RecurrentModel
    optimizer: torch.optim.Optimizer
    carried: StackState
    progress: Progress
    average: Average | None = None

    def tensors(self, carried: StackState | None = None) -> dict[str, Tensor]:
        """Everything that is a tensor, by name. `model.*` is what the run has to offer: where weights are
        averaged, their average; the weights themselves are then `raw.*`. `carried`: of all ranks together,
        where there are several."""
        found = {f"model.{k}": v for k, v in _own_tensors(self.model).items()}
        if self.average is not None:
            found = {k.replace("model.", "raw.", 1): v for k, v in found.items()}
            found |= {f"model.{k}": v for k, v in self._offered().items()}
        found |= _optimizer_tensors(self.optimizer)
        for number, layer in enumerate(self.carried if carried is None else carried):
            found |= {f"carried.{number}.{k}": s for k, s in enumerate(layer)}
        return found

    def _offered(self) -> dict[str, Tensor]:
        """The model's tensors with averages for those that are averaged: what is learned."""
        averages = {} if self.average is None else self.average.values
        return _own_tensors(self.model) | averages

    def document(self) -> dict[str, Any]:
        best = {"step": self.progress.best_step, "loss": self.progress.best_loss}
        numbers = _optimizer_numbers(self.optimizer)
        document = {"progress": vars(self.progress).copy(), "best": best, "optimizer": numbers}
        return document | ({"average": self.average.document()} if self.average is not None else {})

    def restore(
        self,
        tensors: dict[str, Tensor],
        document: dict[str, Any],
        part: Callable[[Tensor], Tensor] | None = lambda value: value,
    ) -> None:
        """Take the place of the run that wrote these; `part`: this rank's streams of a carried state; None:
        carried states begin anew. RunError if they do not fit."""
        if self.average is not None:
            load_model(self.model, tensors, "raw.")
            own = {f"model.{name}": value for name, value in self._offered().items()}
            found = {name: value for name, value in tensors.items() if name.startswith("model.")}
            check_tensors(describe(own), describe(found))
            values = {name: found[f"model.{name}"] for name in self.average.values}
            self.average.restore(values, document.get("average", {}))
        else:
            load_model(self.model, tensors)
        try:
            self.progress = _progress(document["progress"])
            _load_optimizer(self.optimizer, tensors, document["optimizer"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RunError(f"the checkpoint's state.json is incomplete or damaged: {error}") from error
        if extra := tensors.keys() - self.tensors().keys():
            raise RunError(f"the checkpoint has a tensor {min(extra)} that the model does not")
        if part is None:
            return
        self.carried = tuple(
            tuple(_tensor(tensors, f"carried.{number}.{k}", s, part) for k, s in enumerate(layer))
            for number, layer in enumerate(self.carried)
        )

    def judge_anew(self) -> None:
        """Forget which weights were best: no later loss can be compared with theirs."""
        numbers = self.progress
        numbers.best_step = numbers.best_loss = numbers.last_val_loss = None
        numbers.stale_evaluations = numbers.plateau_stale = 0
        numbers.evaluated_at = -1
        if self.average is not None:
            self.average.losses.clear()


def _progress(found: dict[str, Any]) -> Progress:
    """The numbers of a checkpoint; TypeError if they are none."""
    progress = Progress(**found)
    kinds = {"int": int, "float": (int, float), "int | None": (int, type(None))}
    for field in fields(progress):
        value, kind = getattr(progress, field.name), kinds.get(str(field.type), (int, float, type(None)))
        if isinstance(value, bool) or not isinstance(value, kind):  # type: ignore[arg-type]
            raise TypeError(f"{field.name} is {value!r}")
    return progress


def _own_tensors(model: RecurrentModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name not in model.shared}


def tensors_of(checkpoint: Snapshot, model: RecurrentModel) -> dict[str, Any]:
    """A checkpoint's tensors under the names that the model has for them. One of an older format computes
    what it computed when it was trained; that is said once."""
    former = model.former_names() if checkpoint.format_version < 2 else {}
    if not former:
        return checkpoint.tensors
    notice(
        f"this checkpoint has format 1, which gave the equations of {model.layers.settings.cell} its vectors "
        f"in alphabetical order: {len(former)} tensors change names, and it computes what it was trained as"
    )
    renamed = {f"{part}{old}": f"{part}{new}" for part in ("model.", "raw.") for old, new in former.items()}
    return {renamed.get(name, name): value for name, value in checkpoint.tensors.items()}


def load_model(model: RecurrentModel, tensors: dict[str, Tensor], prefix: str = "model.") -> None:
    """Put a checkpoint's `model.*` tensors into a model of the same shape."""
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    own = _own_tensors(model)
    check_tensors(
        {k: (tuple(v.shape), str(v.dtype)) for k, v in own.items()},
        {k: (tuple(v.shape), str(v.dtype)) for k, v in found.items()},
    )
    model.load_state_dict(found | {name: found[source] for name, source in model.shared.items()})


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Set every generator as a pure function of (seed, step, rank), the user's cells included."""
    words = np.random.SeedSequence([seed, step, rank][: 3 if rank else 2]).generate_state(2, np.uint64)
    torch.manual_seed(int(words[0] >> np.uint64(1)))
    random.seed(int(words[1]))
    np.random.seed(int(words[1] & np.uint64(0xFFFFFFFF)))


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{number}.{key}": value
        for number, entry in state.items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }


def _optimizer_numbers(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    state = optimizer.state_dict()["state"]
    return {
        str(number): {k: v for k, v in entry.items() if not isinstance(v, Tensor)}
        for number, entry in state.items()
    }


def _load_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, dict[str, Any]]
) -> None:
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in numbers.items()}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    document = optimizer.state_dict()
    shapes = [tuple(p.shape) for g in optimizer.param_groups for p in g["params"]]
    same_shape = type(optimizer).__name__ != "Adafactor"  # which keeps row and column means
    for number, entry in state.items():
        for key, value in entry.items():
            free = not (same_shape and isinstance(value, Tensor) and value.dim() > 0)
            if number >= len(shapes) or not (free or tuple(value.shape) == shapes[number]):
                raise RunError(f"optimizer.{number}.{key} in the checkpoint does not fit the model")
    optimizer.load_state_dict({"state": state, "param_groups": document["param_groups"]})


def _tensor(
    tensors: dict[str, Tensor],
    name: str,
    like: Tensor,
    part: Callable[[Tensor], Tensor] = lambda value: value,
) -> Tensor:
    if name not in tensors:
        raise RunError(f"the checkpoint has no tensor {name}")
    value = part(tensors[name])
    if value.shape != like.shape:
        raise RunError(f"{name} has shape {tuple(value.shape)}, expected {tuple(like.shape)}")
    return value.to(like.device)
