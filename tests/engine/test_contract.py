"""The contract that holds a cell together: whatever evaluates it, and whatever a model is set to, in training
and in evaluation, computes what one plain loop computes.

The loop is `plain`: it reads parameters by name, writes every input out, and shares nothing with the code
under test but the cells' own equations (which tests/cells/zoo holds against their papers). What is dropped in
training is recorded where it is drawn and given to the loop.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from lstmcli.cells import BUILT_IN, GatedCell, find_cell
from lstmcli.engine import stack
from lstmcli.engine.checks.subject import step_by_step
from lstmcli.engine.hardware import set_path
from lstmcli.engine.kernels.compiled import compiler_available
from lstmcli.engine.layers import gated
from lstmcli.engine.measures.unrolled import differentiable, flatten, pull_back, unroll
from lstmcli.kinds.text import model as text
from lstmcli.kinds.text.decoder import TorchDecoder, decoder_of_model, has_numpy_decoder
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel

T, B, V, H = 4, 2, 7, 5
SMALL = {"hidden_size": H, "embedding_size": H, "num_layers": 2}
EXACT, SINGLE = 1e-10, 1e-5
RECURRENT = {"zoneout": 0.3, "recurrent_dropout": 0.4, "weight_drop": 0.3}  # for gated cells alone
EVERYTHING = {
    "dropout": 0.3, "output_dropout": 0.5, "input_dropout": 0.2, "locked_dropout": True,
    "embedding_dropout": 0.3, "residual": True, "sum_outputs": True, "tie_weights": True, "mixtures": 3,
    "num_layers": 3, "recompute": True,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    **{name: {name: rate} for name, rate in RECURRENT.items()},
    "dropout": {"dropout": 0.3},
    "output_dropout": {"dropout": 0.3, "output_dropout": 0.5},
    "input_dropout": {"input_dropout": 0.3},
    "locked_dropout": {"dropout": 0.3, "input_dropout": 0.2, "locked_dropout": True},
    "embedding_dropout": {"embedding_dropout": 0.4},
    "residual": {"residual": True, "num_layers": 3},
    "sum_outputs": {"sum_outputs": True, "num_layers": 3},
    "tie_weights": {"tie_weights": True},
    "mixtures": {"mixtures": 3, "embedding_size": 3},
    "embedding_size": {"embedding_size": 3},
    "hidden_size": {"hidden_size": [4, 6], "residual": True},
    "recompute": {"recompute": True},
    "everything": RECURRENT | EVERYTHING,
}
"""By the setting that is tried; `everything` has all of them."""
ELSEWHERE = {
    "cell": "all of them, here",
    "num_layers": "with others, here",
    "path": "all of them, here",
    "forget_bias": "how parameters begin",
    "chrono_steps": "how parameters begin",
    "recurrent_init": "how parameters begin",
}


def test_every_setting_of_a_model_is_tried():
    """A new setting is tried here, or it says where."""
    assert OPTIONS.keys() - {"plain", "everything"} | ELSEWHERE.keys() == LanguageModel.model_fields.keys()
    assert EVERYTHING.keys() | RECURRENT.keys() >= OPTIONS.keys() - {
        "plain", "everything", "embedding_size", "hidden_size"
    }  # fmt: skip


class Affine(GatedCell):
    """h = tanh(scale * z + bias): vectors that are declared in no alphabetical order, and exchange badly."""

    gates = ("candidate",)
    vectors: ClassVar = {"scale": 1.0, "bias": 0.0}

    def pointwise(self, z, state, *vectors):
        scale, bias = vectors
        h = (scale * z[0] + bias).tanh()
        return (h,), (h,)


CELLS = {name: find_cell(name) for name in BUILT_IN} | {"affine": Affine}
GATED = [name for name, cell in CELLS.items() if hasattr(cell, "pointwise")]


# --- the plain loop ------------------------------------------------------------------------------


class Tape(list):
    """What was drawn in training, in order."""

    def dropout(self, x, p, training, locked=False):
        """As `lstmcli.engine.dropout.dropout`, noting by what x is multiplied."""
        if not training or p == 0.0:
            return x
        shape = (1, *x.shape[1:]) if locked else x.shape
        self.append((torch.rand(shape) >= p).to(x.dtype) / (1.0 - p))
        return x * self[-1]

    def chosen(self, shape, p, device):
        self.append(torch.rand(*shape) < p)
        return self[-1]

    def take(self):
        return self.pop(0)


def zoneout_rates(settings, cell):
    """One per state; where only some may be held back, a plain number is theirs."""
    given, may = settings.zoneout, getattr(cell, "zoneout_states", None) or cell.state
    return given if isinstance(given, list) else [given if name in may else 0.0 for name in cell.state]


def plain_layer(layer, p, x, state, settings, tapes, training):
    """Outputs (T, B, H), and all states and gates of every step, of a layer with parameters p by name."""
    cell, outputs, states, gates = layer.cell, [], [], []
    gated, steps = hasattr(cell, "pointwise"), len(x)
    rates = zoneout_rates(settings, cell) if gated else [0.0] * len(state)
    weight = p.get("weight_hh")
    if training and settings.weight_drop and gated:
        weight = weight * tapes["gated"].take()
    mask = tapes["gated"].take() if training and settings.recurrent_dropout and gated else 1.0
    held = [tapes["gated"].take() if training and rate else None for rate in rates]
    names, size = cell.gates, layer.hidden_size
    for t in range(steps):
        if hasattr(cell, "step"):
            output, new, named = cell.step(x[t], state)
        else:
            rows = {gate: slice(k * size, (k + 1) * size) for k, gate in enumerate(names)}
            inputs = {gate: x[t] @ p["weight_ih"][r].T + p["bias"][r] for gate, r in rows.items()}
            if gated:
                hidden = {gate: (state[0] * mask) @ weight[r].T for gate, r in rows.items()}
                z = [inputs[k] if k in cell.separate else inputs[k] + hidden[k] for k in names]
                z += [hidden[k] for k in cell.separate]
                vectors = [p[f"vectors.{name}"] for name in cell.vectors]
                new, activations = cell.pointwise(tuple(z), state, *vectors)
            else:
                a, b, activations = cell.coefficients(tuple(inputs[k] for k in names))
                new = (a * state[0] + b,)
            named = dict(zip(names, activations, strict=True))
            kept = [rate if m is None else m[t].to(x.dtype) for m, rate in zip(held, rates, strict=True)]
            new = tuple(k * old + (1 - k) * n for k, old, n in zip(kept, state, new, strict=True))
            output = new[0]
        state = new
        outputs.append(output)
        states.append(state)
        gates.append(named)
    return torch.stack(outputs), states, gates


def plain(model, ids, start, tapes, training):
    """Logits (log-probabilities of a mixture) by parameter name, the states and gates of every layer."""
    p, s = dict(model.named_parameters()), model.settings
    table = p["embedding.weight"]
    if training and s.embedding_dropout:
        table = table * tapes["model"].take()
    x = table[ids]
    if training and s.input_dropout:
        x = x * tapes["model"].take()
    total, states, gates = 0.0, [], []
    for k, layer in enumerate(model.layers.layers):
        own = {
            name.removeprefix(f"layers.{k}."): v for name, v in p.items() if name.startswith(f"layers.{k}.")
        }
        outputs, layer_states, layer_gates = plain_layer(layer, own, x, start[k], s, tapes, training)
        last = k == len(model.layers) - 1
        rate = s.output_dropout if last and s.output_dropout is not None else s.dropout
        if training and rate:
            outputs = outputs * tapes["stack"].take()
        x = outputs + x if s.residual and k and x.shape == outputs.shape else outputs
        total = total + x if s.sum_outputs else x
        states.append(layer_states)
        gates.append(layer_gates)
    weight, bias = p.get("head.weight", p["embedding.weight"]), p["head.bias"]
    if s.mixtures == 1:
        return total @ weight.T + bias, states, gates
    prior, parts = (total @ p["mixture.prior.weight"].T).softmax(-1), 0.0
    width = weight.shape[1]
    for k in range(s.mixtures):
        rows = slice(k * width, (k + 1) * width)
        latent = (total @ p["mixture.latent.weight"][rows].T + p["mixture.latent.bias"][rows]).tanh()
        parts = parts + prior[..., k : k + 1] * (latent @ weight.T + bias).softmax(-1)
    return parts.log(), states, gates


# --- what is compared ----------------------------------------------------------------------------


def made(name, settings, dtype=torch.float64):
    """A model with parameters that are nowhere zero and far from equal, symbols, and a carried state."""
    torch.manual_seed(3)
    cell = CELLS[name]
    model = TextModel(LanguageModel(**{"cell": name} | SMALL | settings), V, cell)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    ids = torch.randint(V, (T, B))
    state = tuple(tuple(0.2 + 0.5 * torch.rand_like(s) for s in one) for one in model.initial_state(B))
    model.product_dtype = dtype
    state = tuple(tuple(s.to(dtype) for s in one) for one in state)
    return model.to(dtype), ids, state


def allowed(name, settings):
    return {k: v for k, v in settings.items() if name in GATED or k not in RECURRENT}


def options(name):
    """The settings that are tried with a cell."""
    for option, settings in OPTIONS.items():
        if name in GATED or option not in RECURRENT:
            yield option, allowed(name, settings)


def with_gradients(model, logits, start, final):
    """By name: logits, final states, and the gradients of a loss in which all of them have a part."""
    found = {"logits": logits} | {f"final {k}": value for k, value in enumerate(flatten(final))}
    draw, loss = torch.Generator().manual_seed(1), 0.0
    for value in found.values():
        loss = loss + (value * torch.randn(value.shape, generator=draw, dtype=torch.float64)).sum()
    sources = dict(model.named_parameters()) | {f"start {k}": s for k, s in enumerate(flatten(start))}
    gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    found |= {
        f"gradient of {name}": torch.zeros_like(source) if gradient is None else gradient
        for (name, source), gradient in zip(sources.items(), gradients, strict=True)
    }
    return {name: value.detach().double() for name, value in found.items()}


def leaves(state):
    return tuple(tuple(s.clone().requires_grad_() for s in layer) for layer in state)


def recorded(monkeypatch):
    """From now on: what layers, stack and model draw, each on a tape of its own."""
    tapes = {}
    for module in (gated, stack, text):
        tape = tapes[module.__name__.rpartition(".")[2]] = Tape()
        monkeypatch.setattr(module, "dropout", tape.dropout)
        if hasattr(module, "chosen"):
            monkeypatch.setattr(module, "chosen", tape.chosen)
    return tapes


def by_plain(model, ids, state, tapes, training):
    start = leaves(state)
    logits, states, _ = plain(model, ids, start, tapes, training)
    return with_gradients(model, logits, start, [layer[-1] for layer in states])


def in_float64(model, ids, state, tapes):
    """The loop of training with an fp32 model's numbers."""
    for tape in tapes.values():
        tape[:] = [mask.double() if mask.is_floating_point() else mask for mask in tape]
    state = tuple(tuple(s.double() for s in layer) for layer in state)
    return by_plain(model.double(), ids, state, tapes, True)


def by_model(model, ids, state):
    start = leaves(state)
    torch.manual_seed(5)
    logits, final = model(ids, start)
    return with_gradients(model, logits, start, final)


def assert_same(found, wanted, tolerance, where):
    assert found.keys() == wanted.keys()
    for name, want in wanted.items():
        worst = float((found[name] - want).abs().max())
        assert worst <= tolerance * max(1.0, float(want.abs().max())), (*where, name, worst)


def paths_of(name, settings, training):
    """The paths that a cell has with these settings, and whether the engine is compiled."""
    if name not in GATED:
        return [("scan" if hasattr(CELLS[name], "coefficients") else "loop", None)]
    fuses = name == "lstm" and not settings.get("zoneout") and not settings.get("recurrent_dropout")
    return [("loop", None), ("engine", False)] + ([("fused", None)] if fuses and training else [])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", CELLS)
def test_every_path_is_the_plain_loop(name, training, monkeypatch):
    """Logits, final states and the gradients of all parameters and of the state at the start."""
    tapes = recorded(monkeypatch)
    for option, settings in options(name):
        model, ids, state = made(name, settings)
        model.train(training)
        for path, compiled in paths_of(name, settings, training):
            set_path(model.layers, path, compiled)
            found = by_model(model, ids, state)
            wanted = by_plain(model, ids, state, tapes, training)
            assert not any(tapes.values()), (option, path, "something was drawn that the loop does not know")
            assert_same(found, wanted, EXACT, (option, path))


@pytest.mark.parametrize("name", CELLS)
def test_every_path_is_the_plain_loop_in_fp32(name, monkeypatch):
    """The loop stays in float64."""
    tapes = recorded(monkeypatch)
    for option in ("plain", "everything"):
        settings = allowed(name, OPTIONS[option])
        for path, compiled in paths_of(name, settings, True):
            model, ids, state = made(name, settings, torch.float32)
            set_path(model.layers, path, compiled)
            found = by_model(model.train(), ids, state)
            assert_same(found, in_float64(model, ids, state, tapes), SINGLE, (option, path))


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
@pytest.mark.parametrize("name", GATED)
def test_the_compiled_engine_is_the_plain_loop(name, monkeypatch):
    tapes = recorded(monkeypatch)
    model, ids, state = made(name, OPTIONS["everything"], torch.float32)
    set_path(model.layers, "engine", True)
    found = by_model(model.train(), ids, state)
    assert_same(found, in_float64(model, ids, state, tapes), SINGLE, ("engine, compiled",))


@pytest.mark.parametrize("name", CELLS)
def test_what_is_observed_unrolled_decoded_and_checked_is_the_plain_loop(name):
    """In evaluation: gates and states of every step, the gradient of a state by way of the unrolled steps,
    and the logits of a text that is read symbol by symbol."""
    for option, settings in options(name):
        model, ids, state = made(name, settings)
        model.eval()
        start = leaves(state)
        logits, states, gates = plain(model, ids, start, {}, False)
        observed(model, ids, state, states, gates, option)
        unrolled(model, ids, state, start, states, option)
        zero = model.initial_state(B)
        decoded(model, ids, plain(model, ids, zero, {}, False)[0].detach(), option)
        if option == "plain":
            checked(model, ids, state, states)
        if ("fused", None) in paths_of(name, settings, True):
            fused(model, ids, state, logits, states, option)


@pytest.mark.parametrize("name", CELLS)
def test_the_path_decode_serves_what_the_settings_say_without_a_layer(name):
    """What `lstm generate` knows of a run without torch is what the layers say."""
    for option, settings in options(name):
        model = made(name, settings)[0]
        layers, by_settings = model.layers.layers, has_numpy_decoder(model.settings)
        served = all(layer.serves("decode") for layer in layers)
        assert served or not by_settings, option
        assert served == by_settings or option not in ("plain", *RECURRENT), option
        assert not any("decode" in layer.known_paths for layer in layers)


def observed(model, ids, state, states, gates, option):
    for trace, layer_states, layer_gates in zip(model.observe(ids, state), states, gates, strict=True):
        assert trace.gates.keys() == layer_gates[0].keys(), option
        for gate, values in trace.gates.items():
            wanted = torch.stack([step[gate] for step in layer_gates]).detach()
            torch.testing.assert_close(values, wanted, rtol=1e-10, atol=1e-10, msg=f"{option}: {gate}")
        for values, wanted in zip(trace.states.values(), zip(*layer_states, strict=True), strict=True):
            torch.testing.assert_close(values, torch.stack(wanted).detach(), rtol=1e-10, atol=1e-10)


def unrolled(model, ids, state, start, states, option):
    """The gradient at the start of a sum over the last step's states, and over the second layer's alone."""
    ends = flatten([layer[-1] for layer in states])
    wanted = torch.autograd.grad(
        sum(k * (s * s).sum() for k, s in enumerate(ends, 1)), flatten(start), allow_unused=True
    )
    with differentiable(model, [model.layers]):
        steps = unroll(model.layers, model.embedding.weight.detach()[ids], state)
    for k, value in enumerate(flatten(steps[-1].new)):
        torch.testing.assert_close(value, ends[k], rtol=1e-10, atol=1e-10, msg=option)
    found = [2 * k * s.detach() for k, s in enumerate(ends, 1)]
    for step in reversed(steps):
        found = pull_back(flatten(step.new), flatten(step.old), found)
    for got, want in zip(found, wanted, strict=True):
        want = torch.zeros_like(got) if want is None else want
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10, msg=option)


def decoded(model, ids, logits, option):
    """By the decoder that `lstm generate` takes, which is NumPy's where it serves, and by the general one."""
    general = TorchDecoder(model)
    for decoder in (general, decoder_of_model(model)) if has_numpy_decoder(model.settings) else (general,):
        state = decoder.initial_state(B)
        for symbols, wanted in zip(ids, logits, strict=True):
            found = torch.from_numpy(decoder.step(symbols.numpy(), state).copy()).double()
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, msg=f"{option}: {decoder}")


def checked(model, ids, state, states):
    """What `lstm cells check` holds a cell against."""
    _, final = step_by_step(model.layers.layers[0], model.embedding.weight[ids], state[0])
    for got, want in zip(final, states[0][-1], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def fused(model, ids, state, logits, states, option):
    """The library's LSTM has no gradients in evaluation."""
    set_path(model.layers, "fused")
    with torch.no_grad():
        found, final = model(ids, state)
    torch.testing.assert_close(found, logits, rtol=1e-10, atol=1e-10, msg=option)
    for got, want in zip(flatten(final), flatten([layer[-1] for layer in states]), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10, msg=option)
