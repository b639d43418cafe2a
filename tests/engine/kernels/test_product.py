"""The product at each width of registers that it may be built for, whatever this CPU's own is."""

from __future__ import annotations

import ctypes
import platform
import subprocess

import pytest
import torch

from lstmcli.engine.kernels import build, product

CAPABLE = torch.backends.cpu.get_cpu_capability()
WIDTHS = {"x86-64": True, "haswell": CAPABLE in ("AVX2", "AVX512"), "skylake-avx512": CAPABLE == "AVX512"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names are those of x86")
@pytest.mark.skipif(build.find_compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("target", WIDTHS)
def test_the_product_at_every_width(target, tmp_path):
    if not WIDTHS[target]:
        pytest.skip(f"this CPU is no {target}")
    library = tmp_path / "product.so"
    command = [build.find_compiler(), *build.OPTIONS, f"-march={target}", "-o", str(library), "-"]
    subprocess.run(command, input=product.TEXT, text=True, check=True, capture_output=True)
    loaded = ctypes.CDLL(str(library))
    lanes, block = loaded.lanes_of_a_register(), loaded.registers_of_a_block()
    number, address = ctypes.c_long, ctypes.c_void_p
    loaded.multiply.argtypes = (number, address, number, address, number, address, number, number)
    torch.manual_seed(1)
    for rows, outputs, inputs in ((7, 130, 64), (1, 5, 3), (13, 64, 31), (6, 36, 128), (64, 192, 200)):
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        room = torch.full((rows, outputs + 3), 7.0)
        weights = product._laid_out(weight, lanes, block)
        where = (x.data_ptr(), inputs, weights.data_ptr(), inputs, room.data_ptr(), outputs + 3)
        loaded.multiply(rows, *where, outputs)
        exact = x.double() @ weight.double().t()
        assert (room[:, :outputs] - exact).abs().max() < 2e-6 * inputs
        assert (room[:, outputs:] == 7.0).all(), "nothing is written beside it"
