"""What the gates of each layer do over a window, as a few numbers per gate."""

from __future__ import annotations

import torch
from torch import Tensor

from lstmcli.model.layers import Trace
from lstmcli.model.stack import StackState
from lstmcli.model.text import TextModel


def gate_statistics(traces: list[Trace]) -> dict[str, float]:
    """Scalars by tag for what each layer did, as in evaluation (no dropout).

    Per layer and gate: mean, std, and the shares that are shut and wide open. For a forget gate its
    timescale in steps; for a cell state its norm.
    """
    scalars: dict[str, float] = {}
    for number, trace in enumerate(traces):
        scalars |= {f"gates/layer{number}/{k}": v for k, v in layer_statistics(trace).items()}
    return scalars


STREAMS = 8
"""Streams of a batch that are looked at: T·8·H values say enough and cost little."""


def text_traces(model: TextModel, ids: Tensor, state: StackState) -> list[Trace]:
    """Gates and states over a window ids (T, B) read from `state`, of the first few streams."""
    few = tuple(tuple(s[:STREAMS] for s in layer) for layer in state)
    return model.observe(ids[:, :STREAMS], few)


def layer_statistics(trace: Trace) -> dict[str, float]:
    """The scalars of one layer, without the layer's name."""
    scalars: dict[str, float] = {}
    for name, values in trace.gates.items():
        scalars |= {f"{name}/{k}": v for k, v in _gate(values).items()}
        if name == "forget":
            scalars |= {f"forget/{k}": v for k, v in timescales(values).items()}
    if "cell" in trace.states:
        # L2 norm over the units, mean over steps and streams
        scalars["cell_state/norm"] = float(trace.states["cell"].norm(dim=-1).mean())
    return scalars


def _gate(values: Tensor) -> dict[str, float]:
    """mean, std, low (share below 0.1; below -0.9 for a gate that goes below 0), high (above 0.9)."""
    shut = 0.1 if float(values.min()) >= 0.0 else -0.9
    return {
        "mean": float(values.mean()),
        "std": float(values.std(correction=0)),
        "low": float((values < shut).float().mean()),
        "high": float((values > 0.9).float().mean()),
    }


def timescales(forget: Tensor) -> dict[str, float]:
    """Steps after which a unit has forgotten all but 1/e: -1 over the mean of ln f, for f (T, B, H).

    The 10th, 50th and 90th percentile over units. What is kept over many steps is the product of the
    gates, so their geometric mean is the right one.
    """
    log_f = forget.clamp_min(1e-7).log().flatten(0, 1).mean(0)
    tau = -1.0 / log_f.clamp_max(-1e-7)
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=tau.dtype, device=tau.device)
    low, middle, high = torch.quantile(tau, levels).tolist()
    return {"timescale_p10": low, "timescale_p50": middle, "timescale_p90": high}
