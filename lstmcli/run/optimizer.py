"""An optimizer of torch, by name, with decay on matrices only; Muon for the matrices of the layers, with
AdamW for all else."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from lstmcli.config.schema import Train
from lstmcli.core.errors import ConfigError
from lstmcli.engine.untraced import untraced

OWN_SETTINGS = {"lr": "train.learning_rate", "weight_decay": "train.weight_decay"}


def make_optimizer(train: Train, model: nn.Module) -> torch.optim.Optimizer:
    """`train.optimizer` of torch.optim over the model's parameters in two groups: matrices with
    `weight_decay`, vectors without."""
    optimizer_class = _find(train.optimizer)
    known = set(inspect.signature(optimizer_class).parameters)
    if optimizer_class is torch.optim.Muon:
        known = {*inspect.signature(torch.optim.AdamW).parameters, *MuonAdamW.MUON}
        make: Callable[..., torch.optim.Optimizer] = partial(_muon, model)
    else:
        make = untraced(optimizer_class)
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p.dim() > 1]}]
    groups.append({"params": [p for p in parameters if p.dim() <= 1]})
    if "weight_decay" in known:
        groups[0]["weight_decay"], groups[1]["weight_decay"] = train.weight_decay, 0.0
    elif train.weight_decay:
        raise ConfigError(f"train.weight_decay: {train.optimizer} has none; set it to 0")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in train.optimizer_options.items()}
    chosen = {"foreach", "differentiable"} & set(options)  # neither goes with `fused`
    if "fused" in known and not chosen and parameters[0].device.type in ("cpu", "cuda"):
        options.setdefault("fused", True)
    taken = sorted(set(options) & set(OWN_SETTINGS))
    if taken:
        where = OWN_SETTINGS[taken[0]]
        raise ConfigError(f"train.optimizer_options: {taken[0]} has a setting of its own, {where}")
    unknown = sorted(set(options) - known | set(options) & {"params"})
    if unknown:
        raise ConfigError(
            f"train.optimizer_options: {train.optimizer} knows no {', '.join(unknown)}",
            f"it knows {', '.join(sorted(known - {'params'}))}",
        )
    try:
        return make([g for g in groups if g["params"]], lr=train.learning_rate, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"train.optimizer_options: {train.optimizer}: {error}") from error


def _muon(model: nn.Module, groups: list[dict[str, Any]], lr: float, **options: Any) -> MuonAdamW:
    """The matrices of the layers apart from all other parameters."""
    inside = {id(p) for name, p in model.named_parameters() if "layers." in name and p.dim() == 2}
    matrices = [p for group in groups for p in group["params"] if id(p) in inside]
    if not matrices:
        raise ConfigError(
            "train.optimizer: Muon is for the matrices of the layers, of which this model has none",
            "choose AdamW",
        )
    decay = max(float(group.get("weight_decay", 0.0)) for group in groups)
    rest = [group | {"params": [p for p in group["params"] if id(p) not in inside]} for group in groups]
    return MuonAdamW(matrices, [g for g in rest if g["params"]], lr, decay, **options)


@torch.no_grad()
def add_noise(parameters: Iterable[nn.Parameter], variance: float, step: int) -> None:
    """Gaussian noise of `variance` / (1 + step)^0.55 on every gradient (Neelakantan et al. 2015)."""
    deviation = math.sqrt(variance / (1.0 + step) ** 0.55)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(torch.randn_like(parameter.grad), alpha=deviation)


def _find(name: str) -> Any:
    found = getattr(torch.optim, name, None)
    if isinstance(found, type) and issubclass(found, torch.optim.Optimizer) and name != "Optimizer":
        if name in ("LBFGS", "SparseAdam"):
            raise ConfigError(f"train.optimizer: {name} does not fit this training loop")
        return found
    every = (n for n in dir(torch.optim) if isinstance(getattr(torch.optim, n), type))
    names = ", ".join(n for n in every if n not in ("Optimizer", "LBFGS", "SparseAdam"))
    raise ConfigError(f"train.optimizer: torch.optim has no {name!r}", f"it has {names}")


_Optimizer: Any = untraced(torch.optim.Optimizer)


class MuonAdamW(_Optimizer):  # type: ignore[misc]
    """Muon (Jordan et al. 2024) orthogonalises the momentum of a matrix, which suits hidden layers; an
    embedding, a head and vectors are left to AdamW, as its authors do. The step is scaled to the size of
    AdamW's (Liu et al. 2025), so that one learning rate serves both.

    Args:
        matrices: what Muon updates, all 2-D.
        rest: groups of AdamW.
        options: `momentum`, `nesterov` and `ns_steps` are Muon's; the others AdamW's.
    """

    MUON = ("momentum", "nesterov", "ns_steps")

    def __init__(
        self,
        matrices: list[nn.Parameter],
        rest: list[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        **options: Any,
    ):
        own = {k: options.pop(k) for k in self.MUON if k in options}
        self._muon = untraced(torch.optim.Muon)(
            matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw", **own
        )
        self._adamw = untraced(torch.optim.AdamW)(rest, lr=lr, **options)
        super().__init__(self._muon.param_groups + self._adamw.param_groups, {})
        self._share()

    def _share(self) -> None:
        """The two work on the groups and the state of this one."""
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        self._muon.step()
        self._adamw.step(closure)
