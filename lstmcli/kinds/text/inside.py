"""What goes on inside a text model: its gates over a window, and its gradients by lag."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lstmcli.core.errors import DataError
from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.gates import STREAMS
from lstmcli.engine.measures.gradients import Gradients, norms_by_lag
from lstmcli.engine.measures.unrolled import StackStep, differentiable, unroll
from lstmcli.engine.stack import StackState
from lstmcli.kinds.text.model import TextModel


def text_traces(model: TextModel, ids: Tensor, state: StackState) -> list[Trace]:
    """Gates and states over a window ids (T, B) read from `state`, of the first few streams."""
    few = tuple(tuple(s[:STREAMS] for s in layer) for layer in state)
    return model.observe(ids[:, :STREAMS], few)


def gradient_norms(
    model: TextModel, ids: Tensor, state: StackState | None = None, explain: bool = True
) -> Gradients:
    """Norms by lag for the loss, in nats, of the last symbol of ids (T + 2, B) given all before it: lags
    0 to T, in the dtype of the parameters. The model, its gradients and every generator stay as they are.

    Args:
        state: before the first symbol; None: zero.
        explain: whether `chain` and `forget_gates` are computed too.
    """
    if len(ids) < 2:
        raise DataError(f"{len(ids)} symbols have no gradient: at least 2 are needed, one to predict")
    if state is None:
        state = model.initial_state(ids.shape[1])

    def losses(last: StackStep) -> Tensor:
        logits = model.logits(last.output.unsqueeze(0))[0]
        return functional.cross_entropy(logits, ids[-1], reduction="none")

    with differentiable(model, [model.layers]):
        inputs = functional.embedding(ids[:-1], model.embedding.weight.detach())
        steps = unroll(model.layers, inputs, state)
        return norms_by_lag(model.layers, steps, losses, explain)
