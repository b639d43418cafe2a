"""A thread that waits sleeps, unless the user wants it otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_how_long_a_thread_spins_is_set_before_torch_is_loaded(given, expected):
    usual = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = (
        "import sys, os, lstmcli; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    found = subprocess.run([sys.executable, "-c", code], env=usual | given, capture_output=True, text=True)
    assert found.stdout.strip() == expected, found.stderr
