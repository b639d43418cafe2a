"""The experiments that come with the tool: each is valid, complete, and tells where its claim is from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lstmcli.sweep.experiment import experiment_files, make_plan, trials

ROOT = Path(__file__).parents[2]
FILES = [path.resolve() for path in experiment_files()]


def test_they_are_all_here():
    assert {path.stem for path in FILES} >= {
        *("vanishing-gradients", "clipping", "forget-bias", "recall", "adding", "copy", "parity", "dyck"),
        *("anbn", "input-modulation", "gate-ablation", "waves"),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_is_a_grid_of_valid_configs(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for quick in (False, True):
        plan, lines = make_plan(str(path), quick=quick)
        made = trials(plan, lines)
        assert len(made) == (
            len(plan.experiment.variants)
            * len(plan.experiment.over.get(plan.axis or "", [0]))
            * len(plan.experiment.seeds)
        )
        assert all(trial.config.train.max_steps for trial in made)  # else a seed would not give one result
    assert plan.experiment.claim and plan.experiment.source and plan.experiment.quick


def test_the_cell_with_a_sigmoid_input(monkeypatch):
    monkeypatch.chdir(ROOT)
    from lstmcli.cells import find_cell

    cell = find_cell("configs/experiments/cells.py:SigmoidInputLSTM")()
    z = [torch.randn(3, 2, dtype=torch.float64) for _ in range(4)]
    h, c = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    (new_h, new_c), gates = cell.pointwise(tuple(z), (h, c))

    def s(x):
        return 1 / (1 + torch.exp(-x))

    wanted = s(z[1]) * c + s(z[0]) * s(z[2])
    torch.testing.assert_close(new_c, wanted)
    torch.testing.assert_close(new_h, s(z[3]) * torch.tanh(wanted))
    assert (gates[2] > 0).all()
