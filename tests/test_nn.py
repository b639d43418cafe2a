"""`lstmcli.nn.Recurrent` in the place of `nn.LSTM`: the same call, the same return, the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import lstmcli
from lstmcli.cells.base import GatedCell
from lstmcli.core.errors import UsageError
from lstmcli.nn import Recurrent

T, B, IN, H, LAYERS = 7, 5, 6, 8, 2
PATHS = ["auto", "engine", "fused", "loop"]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def pair(path="auto", dtype=torch.float64, **options):
    """An `nn.LSTM`, and the same as a `Recurrent`."""
    torch.manual_seed(0)
    library = nn.LSTM(IN, H, LAYERS, dtype=dtype, **options)
    return library, Recurrent.from_torch(library, path)


def close(got, wanted, tolerance):
    torch.testing.assert_close(got, wanted, rtol=0, atol=tolerance)


def gradients(module, x, state, sample):
    """Of the input, the state, and all parameters by name."""
    x, state = x.clone().requires_grad_(), tuple(s.clone().requires_grad_() for s in state)
    outputs, final = module(x, state)
    ((outputs * sample).sum() + final[0].sum() + (2.0 * final[1]).sum()).backward()
    return x.grad, [s.grad for s in state], dict(module.named_parameters())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_states_and_gradients_are_those_of_torch(path, dtype):
    library, ours = pair(path, dtype)
    tolerance = TOLERANCE[dtype]
    x, sample = torch.randn(2, T, B, IN, dtype=dtype)[0], torch.randn(T, B, H, dtype=dtype)
    state = torch.randn(LAYERS, B, H, dtype=dtype).tanh(), torch.randn(LAYERS, B, H, dtype=dtype)
    for given in (None, state):
        (wanted, (h, c)), (outputs, (our_h, our_c)) = library(x, given), ours(x, given)
        for got, expected in ((outputs, wanted), (our_h, h), (our_c, c)):
            close(got, expected, tolerance)
    d_x, d_state, named = gradients(library, x, state, sample)
    our_x, our_state, our_named = gradients(ours, x, state, sample)
    close(our_x, d_x, 10 * tolerance)
    close(our_state, d_state, 10 * tolerance)
    for number in range(LAYERS):
        for part in ("weight_ih", "weight_hh"):
            close(our_named[f"layers.{number}.{part}"].grad, named[f"{part}_l{number}"].grad, 10 * tolerance)
        close(our_named[f"layers.{number}.bias"].grad, named[f"bias_ih_l{number}"].grad, 10 * tolerance)


def test_batch_first_and_a_single_sequence():
    library, ours = pair(batch_first=True)
    x = torch.randn(B, T, IN, dtype=torch.float64)
    (wanted, state), (outputs, our_state) = library(x), ours(x)
    close(outputs, wanted, 1e-10)
    close(our_state, state, 1e-10)
    (wanted, state), (outputs, our_state) = library(x[0]), ours(x[0])
    assert outputs.shape == (T, H) and our_state[0].shape == (LAYERS, H)
    close(outputs, wanted, 1e-10)
    close(our_state, state, 1e-10)
    close(ours(x[0], our_state)[0], library(x[0], state)[0], 1e-10)


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_packed_sequences(path, enforce_sorted):
    library, ours = pair(path)
    lengths = [7, 5, 5, 2, 1] if enforce_sorted else [2, 7, 5, 1, 5]
    x = torch.randn(T, B, IN, dtype=torch.float64)
    state = tuple(torch.randn(LAYERS, B, H, dtype=torch.float64) for _ in range(2))
    one, two = (x.clone().requires_grad_() for _ in range(2))
    packed = [pack_padded_sequence(each, lengths, enforce_sorted=enforce_sorted) for each in (one, two)]
    (wanted, final), (outputs, our_final) = library(packed[0], state), ours(packed[1], state)
    close(our_final, final, 1e-10)
    assert torch.equal(outputs.batch_sizes, wanted.batch_sizes)
    close(pad_packed_sequence(outputs)[0], pad_packed_sequence(wanted)[0], 1e-10)
    for found, end in ((wanted, final), (outputs, our_final)):
        (found.data.square().sum() + end[0].sum() + end[1].square().sum()).backward()
    close(two.grad, one.grad, 1e-9)


def test_packed_sequences_of_a_cell_with_one_state_are_each_run_alone():
    torch.manual_seed(0)
    layers = Recurrent("gru", IN, H, path="loop", dtype=torch.float64)
    texts = [torch.randn(n, IN, dtype=torch.float64) for n in (3, 6, 1)]
    outputs, final = layers(pack_sequence(texts, enforce_sorted=False))
    padded, _ = pad_packed_sequence(outputs)
    assert final.shape == (1, 3, H)
    for number, text in enumerate(texts):
        alone, end = layers(text)
        close(padded[: len(text), number], alone, 1e-12)
        close(final[:, number], end, 1e-12)


class Leaky(GatedCell):
    """h' = f h + (1 - f) tanh(z)."""

    gates = ("forget", "candidate")

    def pointwise(self, z, state):
        f, g = z[0].sigmoid(), z[1].tanh()
        return (f * state[0] + (1.0 - f) * g,), (f, g)


@pytest.mark.parametrize("cell", [Leaky, "gru", "lstm-peephole", "mingru", "mogrifier-lstm"])
def test_any_cell_carries_its_state_from_one_window_to_the_next(cell):
    torch.manual_seed(0)
    layers = Recurrent(cell, IN, H, LAYERS, dtype=torch.float64)
    x = torch.randn(T, B, IN, dtype=torch.float64)
    whole, end = layers(x)
    first, middle = layers(x[:3])
    second, last = layers(x[3:], middle)
    close(torch.cat([first, second]), whole, 1e-10)
    close(last, end, 1e-10)
    whole.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layers.parameters())


def test_dropout_is_between_layers_and_in_training_alone():
    torch.manual_seed(0)
    layers = Recurrent("lstm", IN, H, LAYERS, dropout=0.5, path="loop")
    x = torch.randn(T, B, IN)
    assert not torch.equal(layers(x)[0], layers(x)[0])
    assert (layers(x)[0] != 0).all()  # of the last layer's outputs none is dropped
    layers.eval()
    assert torch.equal(layers(x)[0], layers(x)[0])


def test_autocast_makes_the_products_in_bf16():
    library, ours = pair("loop", torch.float32)
    x = torch.randn(T, B, IN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, state = ours(x)
    assert outputs.dtype == torch.bfloat16 and state[0].dtype == torch.float32
    close(outputs.float(), library(x)[0], 0.05)


def test_it_learns_in_a_model_of_ones_own_and_keeps_its_weights():
    torch.manual_seed(0)
    model = nn.ModuleDict({"layers": Recurrent("lstm", 1, 16), "head": nn.Linear(16, 1)})
    x = torch.randn(20, 16, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(30):
        outputs, _ = model["layers"](x)
        loss = (model["head"](outputs)[3:] - x[:-3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    copy = Recurrent("lstm", 1, 16)
    copy.load_state_dict(model["layers"].state_dict())
    close(copy(x)[0], model["layers"](x)[0], 1e-6)


def test_what_it_does_not_have_is_refused():
    assert lstmcli.nn.Recurrent is Recurrent
    with pytest.raises(UsageError, match="bidirectional"):
        Recurrent("lstm", IN, H, bidirectional=True)
    with pytest.raises(UsageError, match="bias"):
        Recurrent("lstm", IN, H, bias=False)
    with pytest.raises(UsageError, match="projections"):
        Recurrent.from_torch(nn.LSTM(IN, H, proj_size=3))
    layers = Recurrent("lstm", IN, H)
    with pytest.raises(UsageError, match="last part is not 6"):
        layers(torch.randn(T, B, IN + 1))
    with pytest.raises(UsageError, match="hidden, cell"):
        layers(torch.randn(T, B, IN), torch.randn(1, B, H))
    with pytest.raises(UsageError, match="engine or loop"):
        Recurrent("gru", IN, H, path="fused")(torch.randn(T, B, IN))
    assert "lstm, 6, 8, num_layers=1" in repr(layers)
