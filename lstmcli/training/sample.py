"""A sample of what the model writes by now, made by the decoder that `lstm generate` uses."""

from __future__ import annotations

from lstmcli.config.schema import Evaluation
from lstmcli.data.vocabulary import Vocabulary
from lstmcli.inference.decoders import decoder_of_model
from lstmcli.inference.generate import GenerateOptions, generate
from lstmcli.model.text import TextModel


def sample_text(model: TextModel, vocabulary: Vocabulary, settings: Evaluation, seed: int) -> str:
    """`sample_length` symbols from an empty prompt."""
    options = GenerateOptions(
        length=settings.sample_length, temperature=settings.sample_temperature, seed=seed
    )
    return generate(decoder_of_model(model), vocabulary, "", options)[0].text
