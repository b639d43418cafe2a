"""Which decoder serves a model: the NumPy one for the stock LSTM, else the module step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstmcli.config.schema import Model
from lstmcli.inference.text.decoder import Decoder, LSTMDecoder, TorchDecoder

if TYPE_CHECKING:
    from lstmcli.model.text import TextModel


def has_numpy_decoder(settings: Model) -> bool:
    """Whether text can be generated without importing torch."""
    plain = not (settings.residual or settings.sum_outputs or settings.mixtures > 1)
    return settings.cell == "lstm" and plain and len(set(settings.sizes)) == 1


def decoder_of_model(model: TextModel) -> Decoder:
    """A decoder with the model's weights as they are now."""
    if has_numpy_decoder(model.settings):
        state = model.state_dict()
        return LSTMDecoder({name: value.detach().cpu().numpy() for name, value in state.items()})
    return TorchDecoder(model.eval(), device=str(model.head.weight.device))
