"""A sample of what the model writes by now, made by the decoder that `lstm generate` uses."""

from __future__ import annotations

import numpy as np

from lstmcli.core.errors import RunError
from lstmcli.kinds.text.decoder import decoder_of_model
from lstmcli.kinds.text.generate import GenerateOptions, generate
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import TextEvaluation
from lstmcli.kinds.text.vocabulary import Vocabulary


def sample_text(model: TextModel, vocabulary: Vocabulary, settings: TextEvaluation, seed: int) -> str:
    """`sample_length` symbols from an empty prompt; nothing if the model's outputs are not numbers:
    a sample must not be what ends a run."""
    options = GenerateOptions(
        length=settings.sample_length, temperature=settings.sample_temperature, seed=seed
    )
    try:
        with np.errstate(all="ignore"):
            return generate(decoder_of_model(model), vocabulary, "", options)[0].text
    except RunError:
        return ""
