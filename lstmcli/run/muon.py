"""Muon for the matrices of the layers, AdamW for all else, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lstmcli.engine.untraced import untraced

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
