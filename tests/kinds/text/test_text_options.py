"""What can be dropped, mixed, summed and penalised, each against its definition written out slowly."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from lstmcli.engine.dropout import dropout
from lstmcli.kinds.text.decoder import NumpyDecoder, decoder_of_model, has_numpy_decoder
from lstmcli.kinds.text.model import Penalties, TextModel
from lstmcli.kinds.text.settings import LanguageModel

V, T, B = 7, 6, 4
SMALL = {"hidden_size": 8, "embedding_size": 8, "num_layers": 2}


def make(**settings):
    torch.manual_seed(3)
    model = TextModel(LanguageModel(**SMALL | settings), V).double()
    model.product_dtype = torch.float64
    return model


def batch():
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(1))
    return ids[:-1], ids[1:]


def test_locked_dropout_zeroes_the_same_units_at_every_step_and_others_in_each_stream():
    x = torch.ones(50, 20, 30)
    dropped = dropout(x, 0.4, True, locked=True)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert not torch.equal(dropped[0, 0], dropped[0, 1])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.4, abs=0.06)
    assert float(dropped.max()) == pytest.approx(1 / 0.6, rel=1e-4)
    assert torch.equal(dropout(x, 0.4, False, locked=True), x)


@pytest.mark.parametrize("locked", [True, False])
def test_input_dropout_reaches_what_the_first_layer_reads(locked):
    model = make(input_dropout=0.5, locked_dropout=locked)
    seen = []
    model.layers.layers[0].register_forward_hook(lambda *_: None)
    first = model.layers.layers[0]
    forward = first.forward
    first.forward = lambda x, state: (seen.append(x), forward(x, state))[1]
    ids, targets = batch()
    model.train()
    model.loss(ids, targets, model.initial_state(B))
    (read,) = seen
    kept = read != 0
    assert (bool((kept == kept[:1]).all())) is locked
    model.eval()
    model.loss(ids, targets, model.initial_state(B))
    assert len(seen) == 1  # evaluation looks the symbols up


def test_the_last_layer_can_have_a_rate_of_its_own():
    model = make(dropout=0.9, output_dropout=0.0)
    ids, _ = batch()
    model.train()
    outputs, raw, _ = model.outputs(ids, model.initial_state(B))
    assert torch.equal(outputs, raw)
    model = make(dropout=0.0, output_dropout=0.5)
    outputs, raw, _ = model.train().outputs(ids, model.initial_state(B))
    assert bool(((outputs == 0) | torch.isclose(outputs, 2 * raw, rtol=1e-3)).all())
    assert bool((outputs == 0).any())


def test_embedding_dropout_drops_a_symbol_wherever_it_stands():
    model = make(embedding_dropout=0.5)
    tables = []
    first = model.layers.layers[0]
    inner = first.forward_symbols
    first.forward_symbols = lambda table, ids, state: (tables.append(table), inner(table, ids, state))[1]
    ids, targets = batch()
    model.train()
    for _ in range(20):
        model.loss(ids, targets, model.initial_state(B))
    rows = torch.stack(tables).ne(0)
    whole = rows.all(-1) | ~rows.any(-1)
    assert bool(whole.all())  # a symbol is there, or not at all
    assert 0.3 < float(rows.any(-1).double().mean()) < 0.7
    kept = tables[0][rows[0].any(-1)]
    torch.testing.assert_close(kept, 2 * model.embedding.weight[rows[0].any(-1)], rtol=1e-4, atol=0)


def test_summed_outputs_are_the_sum_over_layers():
    model = make(sum_outputs=True, num_layers=3).eval()
    ids, _ = batch()
    outputs, _, _ = model.outputs(ids, model.initial_state(B))
    x, total = model.embedding(ids), 0.0
    for layer in model.layers.layers:
        x, _ = layer(x, layer.initial_state(B))
        total = total + x
    torch.testing.assert_close(outputs, total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_a_mixture_of_softmaxes_against_its_definition(tied):
    model = make(mixtures=3, embedding_size=5, tie_weights=tied).eval()
    ids, targets = batch()
    outputs, _, _ = model.outputs(ids, model.initial_state(B))
    logits = model.logits(outputs)
    for t in range(T):
        for b in range(B):
            h = outputs[t, b]
            prior = (model.mixture.prior.weight @ h).softmax(0)
            p = torch.zeros(V, dtype=torch.float64)
            for k in range(3):
                rows = slice(5 * k, 5 * k + 5)
                part = model.mixture.latent.weight[rows] @ h + model.mixture.latent.bias[rows]
                p += prior[k] * (model.head.weight @ part.tanh() + model.head.bias).softmax(0)
            torch.testing.assert_close(logits[t, b].double().exp(), p, rtol=1e-5, atol=1e-6)
    loss = model.loss(ids, targets, model.initial_state(B))[0].detach()
    picked = logits.detach().flatten(0, 1).gather(1, targets.reshape(-1, 1))
    assert float(loss) == pytest.approx(-float(picked.mean()), rel=1e-6)


def test_penalties_against_their_definitions():
    model = make(dropout=0.3)
    ids, targets = batch()
    model.train()
    torch.manual_seed(9)
    minimised, nats, _ = model.objective(ids, targets, model.initial_state(B), Penalties(2.0, 3.0, 0.1))
    torch.manual_seed(9)
    outputs, raw, _ = model.outputs(ids, model.initial_state(B))
    logp = model.logits(outputs).float().log_softmax(-1)
    right = -logp.gather(-1, targets.unsqueeze(-1)).mean()
    smooth = -float(logp.detach().mean())
    outputs, raw, logp = outputs.detach(), raw.detach(), logp.detach()
    activation = sum(float(v) ** 2 for v in outputs.flatten()) / outputs.numel()
    change = [float(d) ** 2 for t in range(1, T) for d in (raw[t] - raw[t - 1]).flatten()]
    wanted = 0.9 * float(right.detach()) + 0.1 * smooth + 2 * activation + 3 * sum(change) / len(change)
    assert float(minimised.detach()) == pytest.approx(wanted, rel=1e-5)
    assert float(nats) == pytest.approx(float(right.detach()), rel=1e-5)
    assert not nats.requires_grad and minimised.requires_grad


def test_without_penalties_the_objective_is_the_loss():
    model = make(mixtures=2)
    ids, targets = batch()
    state = model.initial_state(B)
    minimised, nats, _ = model.objective(ids, targets, state, Penalties())
    assert torch.equal(minimised, model.loss(ids, targets, state)[0]) and torch.equal(nats, minimised)


@pytest.mark.parametrize(
    "option", [{"residual": True}, {"sum_outputs": True}, {"mixtures": 2}, {"hidden_size": [8, 6]}]
)
def test_text_is_generated_by_the_model_that_was_trained(option):
    model = make(**option).float().eval()
    model.product_dtype = torch.float32
    assert not has_numpy_decoder(model.settings)
    decoder = decoder_of_model(model)
    state, torch_state = decoder.initial_state(1), model.initial_state(1)
    for symbol in (1, 4, 2):
        found = torch.from_numpy(decoder.step(torch.tensor([symbol]).numpy(), state)).softmax(-1)
        wanted, torch_state = model.step(torch.tensor([symbol]), torch_state)
        torch.testing.assert_close(found, wanted.softmax(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("zoneout", [0.3, [0.6, 0.2]])
def test_the_numpy_decoder_knows_zoneout(zoneout):
    model = make(zoneout=zoneout, weight_drop=0.2, recurrent_dropout=0.2, dropout=0.2).float().eval()
    model.product_dtype = torch.float32
    assert has_numpy_decoder(model.settings)
    decoder, ids = decoder_of_model(model), torch.randint(V, (T, 2))
    assert isinstance(decoder, NumpyDecoder)
    state, own, h, c = decoder.initial_state(2), dict(model.named_parameters()), [0.0, 0.0], [0.0, 0.0]
    p_h, p_c = zoneout if isinstance(zoneout, list) else (zoneout, zoneout)
    with torch.no_grad():
        for symbols in ids:
            x = own["embedding.weight"][symbols]
            for k in range(2):
                read = h[k] if isinstance(h[k], torch.Tensor) else torch.zeros(2, 8)
                z = x @ own[f"layers.{k}.weight_ih"].T + read @ own[f"layers.{k}.weight_hh"].T
                i, f, g, o = (z + own[f"layers.{k}.bias"]).chunk(4, -1)
                new = f.sigmoid() * c[k] + i.sigmoid() * g.tanh()
                h[k] = x = p_h * read + (1 - p_h) * o.sigmoid() * new.tanh()
                c[k] = p_c * c[k] + (1 - p_c) * new
            wanted = x @ own["head.weight"].T + own["head.bias"]
            found = torch.from_numpy(decoder.step(symbols.numpy(), state))
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_setting_that_the_numpy_decoder_does_not_name_goes_the_general_way():
    class Later(LanguageModel):
        highway: bool = False

    assert has_numpy_decoder(LanguageModel(**SMALL)) and not has_numpy_decoder(Later(**SMALL))
    assert not has_numpy_decoder(LanguageModel(**SMALL, zoneout=[0.1, 0.1, 0.1]))


def test_every_parameter_learns_with_all_options_on():
    model = make(
        mixtures=2, sum_outputs=True, residual=True, dropout=0.1, input_dropout=0.1, embedding_dropout=0.1,
        locked_dropout=True, weight_drop=0.1, zoneout=0.1, recurrent_dropout=0.1,
    )  # fmt: skip
    ids, targets = batch()
    loss, _, _ = model.train().objective(ids, targets, model.initial_state(B), Penalties(1.0, 1.0, 0.1))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and math.isfinite(float(parameter.grad.norm())), name
        assert float(parameter.grad.norm()) > 0 or name == "head.bias", name


def test_cross_entropy_of_log_probabilities_is_their_negative():
    logp = torch.randn(5, V).log_softmax(-1)
    targets = torch.arange(5)
    assert float(functional.cross_entropy(logp, targets)) == pytest.approx(
        -float(logp[range(5), targets].mean()), rel=1e-5
    )
