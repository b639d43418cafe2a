"""Any optimizer of torch.optim by name; decay on matrices only; its state survives a checkpoint."""

from __future__ import annotations

import json

import pytest
import torch

from lstmcli.config.schema import Train
from lstmcli.core.errors import ConfigError
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel
from lstmcli.run.optimizer import add_noise, make_optimizer
from lstmcli.run.state import Progress, TrainState

OPTIONS = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "Adam": {"amsgrad": True},
    "AdamW": {"betas": [0.9, 0.99]},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "Adagrad": {},
    "Adadelta": {},
    "ASGD": {},
    "Rprop": {},
    "Adafactor": {},
    "Muon": {"momentum": 0.9, "betas": [0.9, 0.99]},
}


def small_model():
    torch.manual_seed(0)
    return TextModel(LanguageModel(hidden_size=6, embedding_size=5, num_layers=2), 9)


def make(name="AdamW", **settings):
    options = settings.pop("optimizer_options", OPTIONS.get(name, {}))
    train = Train(optimizer=name, optimizer_options=options, learning_rate=0.05, **settings)
    model = small_model()
    return model, make_optimizer(train, model)


def updates(model, optimizer, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(9, (8, 3), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        model.loss(ids[:-1], ids[1:], model.initial_state(3))[0].backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_state_of_every_optimizer_survives_a_checkpoint_bit_for_bit(name):
    model, optimizer = make(name)
    updates(model, optimizer, range(3))
    state = TrainState(model, optimizer, model.initial_state(3), Progress(step=3))
    tensors = {k: v.clone() for k, v in state.tensors().items()}
    document = json.loads(json.dumps(state.document()))
    updates(model, optimizer, range(3, 6))

    other, fresh = make(name)
    restored = TrainState(other, fresh, other.initial_state(3), Progress())
    restored.restore(tensors, document)
    assert restored.progress.step == 3
    updates(other, fresh, range(3, 6))
    for (key, value), again in zip(state.tensors().items(), restored.tensors().values(), strict=True):
        assert torch.equal(value, again), key


def test_every_optimizer_of_this_torch_is_tested_or_refused():
    names = {
        n
        for n in dir(torch.optim)
        if isinstance(getattr(torch.optim, n), type) and n not in ("Optimizer", "LBFGS", "SparseAdam")
    }
    assert names == set(OPTIONS)


def test_muon_moves_the_matrices_of_layers_and_adamw_all_else():
    model, optimizer = make("Muon", optimizer_options={"betas": [0.9, 0.99], "momentum": 0.8, "ns_steps": 3})
    twin = small_model()
    matrices = [p for n, p in twin.named_parameters() if n.startswith("layers.") and p.dim() == 2]
    others = [p for n, p in twin.named_parameters() if not (n.startswith("layers.") and p.dim() == 2)]
    alone = [
        torch.optim.Muon(
            matrices, lr=0.05, weight_decay=0.0, momentum=0.8, ns_steps=3, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=0.05, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
    ]
    updates(model, optimizer, range(4))
    for step in range(4):
        ids = torch.randint(9, (8, 3), generator=torch.Generator().manual_seed(step))
        twin.zero_grad()
        twin.loss(ids[:-1], ids[1:], twin.initial_state(3))[0].backward()
        for each in alone:
            each.step()
    for (name, one), two in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adafactor"])
def test_weight_decay_pulls_matrices_and_leaves_biases(name):
    decayed, optimizer = make(name, weight_decay=0.1, optimizer_options={})
    plain, other = make(name, weight_decay=0.0, optimizer_options={})
    for model, each in ((decayed, optimizer), (plain, other)):
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 1.0)
            parameter.grad = torch.zeros_like(parameter)
        each.step()
    for (key, value), without in zip(decayed.named_parameters(), plain.parameters(), strict=True):
        assert bool((value < without).all()) if value.dim() > 1 else torch.equal(value, without), key


def test_sgd_against_the_rule_by_hand():
    model, optimizer = make("SGD", optimizer_options={"momentum": 0.5})
    start = {k: v.clone() for k, v in model.named_parameters()}
    velocity = {k: torch.zeros_like(v) for k, v in start.items()}
    for step in range(3):
        updates(model, optimizer, [step])
        for key, parameter in model.named_parameters():
            velocity[key] = 0.5 * velocity[key] + parameter.grad
            start[key] = start[key] - 0.05 * velocity[key]
            assert torch.allclose(start[key], parameter, atol=1e-6), key


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("AdamX", {}, "AdamW"),
        ("Optimizer", {}, "torch.optim has no"),
        ("LBFGS", {}, "does not fit"),
        ("lr_scheduler", {}, "torch.optim has no"),
        ("__name__", {}, "torch.optim has no"),
        ("AdamW", {"momentum": 0.9}, "knows no momentum"),
        ("AdamW", {"betas": [0.9, 1.5]}, "beta"),
        ("AdamW", {"betas": "high"}, "AdamW"),
        ("AdamW", {"lr": 0.1}, "train.learning_rate"),
        ("AdamW", {"weight_decay": 0.1}, "train.weight_decay"),
        ("AdamW", {"params": []}, "params"),
    ],
)
def test_unknown_names_and_options_are_config_errors(name, options, said):
    with pytest.raises(ConfigError) as caught:
        make(name, optimizer_options=options)
    assert "train.optimizer" in str(caught.value) and said in str(caught.value)


def test_weight_decay_for_an_optimizer_without_one():
    with pytest.raises(ConfigError, match=r"train\.weight_decay"):
        make("Rprop", weight_decay=0.1)


@pytest.mark.parametrize("choice", ["foreach", "differentiable"])
def test_an_implementation_that_the_user_chose_is_taken(choice):
    _, optimizer = make("AdamW", optimizer_options={choice: True})
    assert optimizer.defaults[choice] and not optimizer.defaults["fused"]


def test_a_run_cannot_go_on_with_options_that_its_state_does_not_fit(lab):
    lab.train("r")
    words = ["train.optimizer_options={amsgrad: true}", "train.max_steps=30"]
    refused = lab.lstm("train", "--resume", "r", *words)
    assert refused.code == 5 and "train.optimizer_options" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ["train.optimizer=SGD", "train.optimizer_options={momentum: 0.9}", "train.learning_rate=0.5"],
        ["train.optimizer=RMSprop", "train.optimizer_options={alpha: 0.9}"],
        ["train.optimizer=Adafactor"],
    ],
)
def test_a_run_with_another_optimizer_resumes_bit_equal(lab, same, words):
    lab.train("whole", *words)
    lab.train("part", *words, "train.max_steps=20", "checkpoint.every=7")
    fault = [("lstmcli.run.loop:_step", 2, "SIGTERM")]
    assert lab.process("train", "--resume", "part@7", faults=fault).code == 143
    assert lab.lstm("train", "--resume", "part").code == 0
    same(lab, "whole", "part")


@pytest.mark.parametrize("words", [["train.optimizer=Adamm"], ["train.optimizer_options={beta: 1}"]])
def test_through_the_command_line(lab, words):
    refused = lab.lstm("train", "config.yaml", *words, "--run", "r")
    assert refused.code == 3 and "train.optimizer" in refused.err
    assert not lab.path("r").exists()


def test_gradient_noise_has_the_variance_it_should():
    parameter = torch.nn.Parameter(torch.zeros(200, 500))
    frozen = torch.nn.Parameter(torch.zeros(3))
    for step, variance in ((0, 0.3), (99, 0.3 / 100**0.55)):
        parameter.grad = torch.ones_like(parameter)
        torch.manual_seed(step)
        add_noise([parameter, frozen], 0.3, step)
        noise = parameter.grad - 1.0
        assert float(noise.var()) == pytest.approx(variance, rel=0.03)
        assert abs(float(noise.mean())) < 0.01
    assert frozen.grad is None


def test_muon_without_a_matrix_to_move_says_so():
    model = torch.nn.ModuleDict({"head": torch.nn.Linear(2, 2)})
    with pytest.raises(ConfigError, match="none"):
        make_optimizer(Train(optimizer="Muon", max_steps=1), model)
