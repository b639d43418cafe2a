"""Which decoder serves a model: the NumPy one for the stock LSTM, else the module step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lstmcli.kinds.text.decoder import Decoder, LSTMDecoder, Tensors, TorchDecoder
from lstmcli.kinds.text.settings import LanguageModel

if TYPE_CHECKING:
    from lstmcli.kinds.text.model import TextModel


# What the NumPy decoder is known to compute: every setting of a model with the values that it serves.
# A setting that is not named here, or has another value, goes the general way.
STARTS = ("forget_bias", "chrono_steps", "recurrent_init")  # only the weights that training begins with
TRAINS = (
    "dropout", "output_dropout", "input_dropout", "locked_dropout", "embedding_dropout", "weight_drop",
    "recurrent_dropout", "recompute",
)  # fmt: skip
"""What does something while it trains alone."""
FREE = ("path", "pooling")  # which library computes; what a class is told from
SERVED: dict[str, Callable[[Any], bool]] = {
    "cell": lambda name: name == "lstm",
    "hidden_size": lambda sizes: not isinstance(sizes, list) or len(set(sizes)) == 1,
    "zoneout": lambda rates: not isinstance(rates, list) or len(rates) == 2,
    "residual": lambda on: not on,
    "sum_outputs": lambda on: not on,
    "mixtures": lambda count: count == 1,
    **dict.fromkeys(("embedding_size", "num_layers", "tie_weights", *STARTS, *TRAINS, *FREE), lambda _: True),
}


def has_numpy_decoder(settings: LanguageModel) -> bool:
    """Whether text can be generated without importing torch."""
    served = (SERVED.get(name, lambda _: False)(value) for name, value in settings)
    return all(served)


def numpy_decoder(settings: LanguageModel, tensors: Tensors) -> LSTMDecoder:
    """The decoder of a model of which `has_numpy_decoder` is true, from its tensors by name."""
    given = settings.zoneout
    hidden, cell = given if isinstance(given, list) else (given, given)
    return LSTMDecoder(tensors, (hidden, cell))


def decoder_of_model(model: TextModel) -> Decoder:
    """A decoder with the model's weights as they are now."""
    if has_numpy_decoder(model.settings):
        state = model.state_dict()
        tensors = {name: value.detach().cpu().numpy() for name, value in state.items()}
        return numpy_decoder(model.settings, tensors)
    return TorchDecoder(model.eval(), device=str(model.head.weight.device))
