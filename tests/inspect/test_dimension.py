"""The dimension of a cloud of states whose shape is known."""

from __future__ import annotations

import pytest
import torch

from lstmcli.inspect.context import Covariance, effective_dimension


def test_a_covariance_in_parts_is_that_of_all_values():
    torch.manual_seed(0)
    values = 1e6 + torch.randn(500, 4, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.0, 0.1])
    covariance = Covariance(4)
    for part in values.split([1, 70, 400, 29]):
        covariance.add(part)
    expected = torch.cov(values.T, correction=0)
    torch.testing.assert_close(covariance.values, expected, rtol=1e-7, atol=1e-9)
    assert covariance.count == 500


@pytest.mark.parametrize("variances", [[2.0, 2.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
def test_equal_variances_count_and_others_do_not(variances):
    used = sum(v > 0 for v in variances)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    found = effective_dimension(turn @ torch.tensor(variances).double().diag() @ turn.T)
    assert found.participation == pytest.approx(used)
    assert found.components == used
    assert found.shares[used - 1] == pytest.approx(1.0)


def test_unequal_variances():
    values = [90.0, 8.0, 1.5, 0.5]
    found = effective_dimension(torch.tensor(values).double().diag())
    assert found.participation == pytest.approx(100.0**2 / sum(v * v for v in values))
    assert found.components == 3  # 98 % with two, 99.5 % with three
    assert effective_dimension(torch.tensor(values).diag(), share=0.9).components == 1


def test_a_state_that_never_changes_has_no_dimension():
    found = effective_dimension(torch.zeros(3, 3, dtype=torch.float64))
    assert (found.participation, found.components) == (0.0, 0)
    assert found.shares.tolist() == [1.0, 1.0, 1.0]
