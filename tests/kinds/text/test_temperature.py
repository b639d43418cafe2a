"""Losses at other temperatures: against logits divided one by one, and how sure a model should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lstmcli.core.errors import UsageError
from lstmcli.kinds.text.evaluate import CANDIDATES, IGNORED, Temperatures, evaluate_text
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.report import Beside
from lstmcli.kinds.text.settings import LanguageModel

V = 5


@pytest.mark.parametrize("protocol", ["windows", "stateful"])
def test_a_temperature_divides_the_logits_of_all_that_is_scored(protocol):
    torch.manual_seed(1)
    model = TextModel(LanguageModel(hidden_size=6, embedding_size=4, num_layers=2), V).double().eval()
    model.product_dtype = torch.float64
    ids = np.random.default_rng(0).integers(0, V, 700)
    tried = Temperatures((0.5, 1.0, 1.7))
    score = evaluate_text(model, ids, protocol, 3, on_logits=tried.add)
    by_hand, state = [], model.initial_state(1)
    with torch.no_grad():
        for k in range(len(ids) - 1):
            if protocol == "windows" and k % 256 == 0:
                state = model.initial_state(1)
            logits, state = model(torch.tensor([[ids[k]]]), state)
            by_hand.append(logits[0, 0])
    logits, targets = torch.stack(by_hand), torch.from_numpy(ids[1:])
    losses = [float(functional.cross_entropy(logits / value, targets)) for value in tried.values]
    best = int(np.argmin(losses))
    assert tried.best() == (tried.values[best], pytest.approx(losses[best], rel=1e-5))
    alone = Temperatures((0.5,))
    assert evaluate_text(model, ids, protocol, 3, on_logits=alone.add) == score
    assert alone.best()[1] == pytest.approx(losses[0], rel=1e-5)
    assert score.loss == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("sureness", [0.7, 1.0, 1.5])
def test_the_best_temperature_is_how_much_too_sure_the_logits_are(sureness):
    generator = torch.Generator().manual_seed(1)
    logits = 2.0 * torch.randn(20_000, V, generator=generator)
    targets = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    targets[::7] = IGNORED
    tried = Temperatures(CANDIDATES)
    for part in torch.arange(20_000).split(3_000):
        tried.add(sureness * logits[part], targets[part])
    found, loss = tried.best()
    assert found == pytest.approx(sureness, abs=0.051)
    assert loss == pytest.approx(float(functional.cross_entropy(logits, targets)), rel=1e-3)


def test_temperatures_that_make_no_sense_are_refused():
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="temperature"):
            Beside(temperature=temperature).check()


def test_the_command_tells_the_best_and_one_that_is_named(trained_lab):
    found = trained_lab.lstm("eval", "good", "--temperature", "best", "--json").json
    best = found["beside"]["best temperature"]
    named = f"{best['temperature']:g}"
    again = trained_lab.lstm("eval", "good", "--temperature", named, "--json").json
    assert again["beside"][f"temperature {named}"]["loss"] == best["loss"] <= found["loss"] == again["loss"]
    assert f"best temperature, {named} " in trained_lab.lstm("eval", "good", "--temperature", "best").out
    refused = trained_lab.lstm("eval", "good", "--temperature", "warm")
    assert refused.code == 2 and "--temperature warm: a number above 0, or best" in refused.err
