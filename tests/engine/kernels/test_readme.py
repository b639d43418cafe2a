"""The README of the kernels shows what is written at each stage, as it is written today.

python tests/engine/kernels/test_readme.py      writes the shown texts anew
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import torch

from lstmcli.cells import find_cell
from lstmcli.engine import pointwise
from lstmcli.engine.kernels.gpu import triton_source
from lstmcli.engine.kernels.source import source
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import described
from lstmcli.engine.layers import Regularization, Start, make_layers

README = Path(__file__).parents[3] / "lstmcli" / "engine" / "kernels" / "README.md"
H = 8


def programs():
    """What the LSTM's step is recorded as, forward and backward, for 8 units in fp32."""
    found = []

    def compiled(function, arguments, summed=frozenset(), by_rows=None, name=""):
        found.append(trace(by_rows or function, arguments))
        return function

    before, pointwise.compiled = pointwise.compiled, compiled
    try:
        (layer,) = make_layers(find_cell("lstm"), [(3, H)], Regularization())
        layer.reset_parameters(Start())
        layer.path, layer.compiled = "engine", True
        layer(torch.zeros(2, 2, 3), layer.initial_state(2))[0].sum().backward()
    finally:
        pointwise.compiled = before
    return found


def rows_of(text):
    """Of the C++, the loop over the rows."""
    start = text.index("    for (long row")
    return textwrap.dedent(text[start : text.index("\n    }\n", start) + 7]).rstrip()


def centred(x, y):
    e = x.exp()
    y.copy_(e - e.mean(-1, keepdim=True))


def blocks():
    """Every shown text by name, with its language."""
    forward, backward = programs()
    two = trace(centred, [torch.zeros(2, H), torch.zeros(2, H)])
    step = inspect.getsource(find_cell("lstm").pointwise)
    gpu = triton_source(forward).text
    return {
        "the step": ("python", textwrap.dedent(step).rstrip()),
        "the recorded step": ("text", described(forward)),
        "the step in C++": ("cpp", rows_of(source(forward).text)),
        "the recorded derivative": ("text", described(backward)),
        "the derivative in C++": ("cpp", rows_of(source(backward).text)),
        "two phases": ("python", inspect.getsource(centred).rstrip()),
        "two phases recorded": ("text", described(two)),
        "two phases in C++": ("cpp", rows_of(source(two).text)),
        "the step in Triton": ("python", gpu[gpu.index("@jit\ndef kernel") :].rstrip()),
    }


def renewed(text):
    """The README with each shown text as it would be written now."""
    for name, (language, shown) in blocks().items():
        pattern = rf"(<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)"
        block = f"```{language}\n{shown}\n```\n"
        text, count = re.subn(pattern, lambda m, b=block: m[1] + b, text, flags=re.DOTALL)
        assert count == 1, f"the README shows {name!r} {count} times"
    return text


def test_what_the_readme_shows_is_what_is_written():
    text = README.read_text(encoding="utf-8")
    assert text == renewed(text), "run python tests/engine/kernels/test_readme.py"


def test_the_readme_names_every_file_and_no_other():
    there = {path.name for path in README.parent.glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"`(\w+\.py)`", README.read_text(encoding="utf-8")))
    assert {name for name in named if not name.startswith("test_")} == there


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
