"""How two runs are compared: everything but what the clock says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def assert_same(lab: Any, run: str, other: str) -> None:
    """Weights, optimizer, carried state, numbers and logged metrics are equal bit for bit."""
    assert lab.steps(run)[-1] == lab.steps(other)[-1]
    first, second = lab.checkpoint(run), lab.checkpoint(other)
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert np.array_equal(value, second.tensors[name]), name
    assert without_clock(first.document) == without_clock(second.document)
    assert lab.metrics(run) == lab.metrics(other)


def without_clock(document: dict[str, Any]) -> dict[str, Any]:
    numbers = {k: v for k, v in document["progress"].items() if k != "seconds"}
    return {**document, "progress": numbers}


@pytest.fixture
def same() -> Callable[[Any, str, str], None]:
    return assert_same
