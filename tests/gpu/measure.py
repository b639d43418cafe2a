"""All that a card can tell, in eight minutes: `make gpu`; `make gpu REHEARSE=1` tries the script on the CPU.

Every stage is a process of its own with a time of its own. One that fails or runs over is told first and
keeps none of the others from running. What was found lands in build/gpu.json, and as a table on the screen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
BUDGET = 480.0
"""Seconds for all stages together."""
SHAPES = [
    f"--hidden {units} --layers 1 --batch 64 --window {steps} --rounds 1"
    for units in (512, 1024)
    for steps in (128, 512)
]
SMALL = ["--hidden 16 --layers 1 --batch 4 --window 8 --rounds 1"]
TESTS = ("test_cuda", "test_faults")
PYTHON = sys.executable
LSTM = [PYTHON, "-m", "lstmcli"]
DEVICE = """
import json, torch
there = torch.cuda.is_available()
name = torch.cuda.get_device_name() if there else "none: a rehearsal on the CPU"
print(json.dumps({"device": name, "torch": torch.__version__, "cuda": torch.version.cuda}))
"""
WORST = """
import json, torch
from lstmcli.cells import BUILT_IN, find_cell
from lstmcli.cells.base import GatedCell
from lstmcli.engine.layers import Regularization, Start, make_layers
device = "cuda" if torch.cuda.is_available() else "cpu"
found = {}
def outcome(layer, x, state, path):
    layer.path, layer.compiled = path, path == "engine"
    layer.zero_grad()
    x = x.clone().requires_grad_()
    outputs, final = layer(x, state)
    (outputs.double().square().sum() + sum(s.double().sum() for s in final)).backward()
    return [v.detach().double().cpu() for v in (outputs, x.grad, *(p.grad for p in layer.parameters()))]
for name in BUILT_IN:
    if issubclass(find_cell(name), GatedCell):
        torch.manual_seed(1)
        (layer,) = make_layers(find_cell(name), [(16, 48)], Regularization())
        layer.reset_parameters(Start())
        x, state = torch.randn(17, 6, 16), layer.initial_state(6)
        exact = outcome(layer.double(), x.double(), tuple(s.double() for s in state), "loop")
        ours = outcome(layer.float().to(device), x.to(device), tuple(s.to(device) for s in state), "engine")
        pairs = zip(ours, exact, strict=True)
        found[name] = max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)
print(json.dumps({"worst": max(found.values()), "cells": found}))
assert max(found.values()) < 1e-4, found
"""


class Stage(NamedTuple):
    name: str
    words: Sequence[str]
    seconds: float  # at most


def stages(rehearse: bool) -> list[Stage]:
    """What is measured, in order of worth. A rehearsal does a little of each."""
    short = ["train.max_steps=3", "evaluation.every=null", "train.batch_size=4"] if rehearse else []
    minute = short or ["train.max_minutes=1"]
    shapes = SMALL if rehearse else SHAPES
    quickstart = ["train", str(ROOT / "configs" / "quickstart.yaml"), "--json"]
    rank = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", "-m", "lstmcli"]
    return [
        Stage("device", [PYTHON, "-c", DEVICE], 30),
        Stage("engine against float64", [PYTHON, "-c", WORST], 90),
        Stage("tests/gpu", [PYTHON, "-m", "pytest", "-q", *map("tests/gpu/{}.py".format, TESTS)], 120),
        *(
            Stage(f"bench cells {shape}", [*LSTM, "bench", "cells", *shape.split(), "--json"], 60)
            for shape in shapes
        ),
        Stage("bench train", [*LSTM, "bench", "train", *shapes[0].split(), "--json"], 60),
        Stage("bench generate", [*LSTM, "bench", "generate", "--rounds", "1", "--json"], 40),
        Stage("ptb-char", [*LSTM, "train", "configs/ptb-char.yaml", *minute, "--json"], 100),
        Stage("enwik8", [*LSTM, "train", "configs/enwik8.yaml", *minute, "--json"], 100),
        Stage("one rank", [PYTHON, *rank, *quickstart, "train.max_steps=20"], 60),
    ]


Run = Callable[[Stage, float], dict[str, Any]]


def run(stage: Stage, seconds: float) -> dict[str, Any]:
    """One stage: how it ended, how long it took, and what it printed as JSON."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            list(stage.words), cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
        code, out, error = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        code, out, error = 124, "", f"not done after {seconds:.0f} s"
    return {
        "stage": stage.name,
        "code": code,
        "seconds": round(time.monotonic() - started, 1),
        "found": _json(out),
        "told": "" if code == 0 else "\n".join((error or out).strip().splitlines()[-5:]),
    }


def _json(text: str) -> Any:
    for line in (text, *reversed(text.strip().splitlines())):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def measure(wanted: Sequence[Stage], budget: float, how: Run = run) -> list[dict[str, Any]]:
    """All stages, as long as the budget lasts; those that it did not reach are told as such."""
    started, found = time.monotonic(), []
    for stage in wanted:
        left = budget - (time.monotonic() - started)
        if left < 5:
            found.append(
                {"stage": stage.name, "code": None, "seconds": 0.0, "found": None, "told": "no time left"}
            )
        else:
            found.append(how(stage, min(stage.seconds, left)))
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """What failed first, then a row for each stage."""
    lines = [f"FAILED {each['stage']}: {each['told']}" for each in found if each["code"] != 0]
    lines += [f"{'stage':72}{'ended':>8}{'seconds':>9}"]
    for each in found:
        ended = "-" if each["code"] is None else str(each["code"])
        lines.append(f"{each['stage']:72}{ended:>8}{each['seconds']:>9.1f}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="a little of each stage, on any machine")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for all stages")
    parser.add_argument("--only", nargs="*", help="names of stages")
    chosen = parser.parse_args(words)
    wanted = [s for s in stages(chosen.rehearse) if not chosen.only or s.name in chosen.only]
    found = measure(wanted, chosen.budget)
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return int(any(each["code"] != 0 for each in found))


if __name__ == "__main__":
    raise SystemExit(main())
